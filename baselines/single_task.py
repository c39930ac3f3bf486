"""The reference of every comparison: one network per task, each trained alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from harness.backbones import Encoder, build_backbone
from harness.baselines.common.tasks import head_for
from harness.errors import UsageError
from harness.method import Budget, Method, MethodOptions, MultiTaskModel, Predictions, Stage
from harness.problem import Problem, TaskSpec
from harness.stream import Stream, StreamPolicy
from harness.stream.contract import FrameByFrame, no_gates
from harness.stream.gated import gate_networks
from harness.training.recipes import baseline_stage, single_network
from harness.weights.state import Adapted, State


class SingleNet(nn.Module):
    """An encoder and one head.

    On convolutional encoders it has the keys and the numbers of ``SingleTaskModel`` in Multi-Task-Learning-PyTorch
    (Vandenhende et al., TPAMI 2021).

    Args:
        task: What to predict.
        encoder: What the head reads.
        output_size: (height, width) of the prediction.
    """

    def __init__(self, task: TaskSpec, encoder: Encoder, output_size: tuple[int, int]) -> None:
        super().__init__()
        self.backbone = encoder
        self.decoder = head_for(task, encoder, output_size)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [B, 3, H, W] to a raw map [B, C, H, W]."""
        # [B, channels, h, w] in between
        prediction: Tensor = self.decoder(self.backbone(images))
        return prediction


class SeparateNets(MultiTaskModel):
    """One encoder and head per task, with nothing in common.

    Args:
        problem: The tasks and the input size.
        nets: Task name to network, images to a raw map.
    """

    def __init__(self, problem: Problem, nets: Mapping[str, nn.Module]) -> None:
        super().__init__(problem)
        self.nets = nn.ModuleDict(nets)

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Run the network of every task asked for."""
        return {task: self.nets[task](images) for task in tasks or self.problem.names}

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the networks by task."""
        return {f"net/{task}": net for task, net in self.nets.items()}

    def open(self, policy: StreamPolicy) -> Stream:
        """Return a stream: frame by frame, or every network gated against its own past where that is asked for."""
        if policy.mode != "gated":
            return FrameByFrame(self)
        single = {task: net for task, net in self.nets.items() if isinstance(net, SingleNet)}
        if len(single) < len(self.nets):
            raise no_gates(type(self).__name__)
        return gate_networks(self, {task: (net.backbone, {task: net.decoder}) for task, net in single.items()}, policy)


class SingleTaskOptions(MethodOptions):
    """Options of `SingleTask`."""

    effort: Literal["budget", "match"] = Field(
        default="budget",
        description="Training of every network: as long as the budget says, or on as many images of its task as the "
        "methods of the same command see at most.",
    )


class SingleTask(Method):
    """One network per task, trained alone: what a multi-task method must beat or undercut."""

    name: ClassVar[str] = "single-task"
    summary: ClassVar[str] = "one network per task, each trained alone"
    is_reference: ClassVar[bool] = True
    Options: ClassVar[type[SingleTaskOptions]] = SingleTaskOptions
    options: SingleTaskOptions
    _images: Mapping[str, int] = MappingProxyType({})

    def build(self, problem: Problem) -> SeparateNets:
        """Return the networks, untrained."""
        nets = {}
        for task in problem:  # nothing is shared, the encoder neither
            encoder = build_backbone(self.backbone, problem.input_size, self.weights)
            nets[task.name] = SingleNet(task, encoder, problem.input_size)
        return SeparateNets(problem, nets)

    def adapt(self, state: State, model: MultiTaskModel) -> Adapted:
        """Take the checkpoint of one network as published, if the model has but one."""
        # As SingleTaskModel of Multi-Task-Learning-PyTorch is saved
        if len(model.problem.tasks) == 1 and all(key.startswith(("backbone.", "decoder.")) for key in state):
            [task] = model.problem.names
            return Adapted({f"nets.{task}.{key}": value for key, value in state.items()})
        return Adapted(state)

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one stage per task, each training that task's network alone."""
        return [
            replace(
                self._matched(
                    baseline_stage(
                        self.backbone,
                        task,
                        (task,),
                        budget,
                        trainable=(f"nets.{task}.",),
                        network=single_network(f"nets.{task}.backbone.", f"nets.{task}.decoder."),
                    )
                ),
                after=(),
            )
            for task in problem.names
        ]

    def match(self, images: Mapping[str, int]) -> None:
        """Train every task on as many images as it sees in other methods, where the options say so."""
        if self.options.effort == "budget":
            return
        if not images:
            raise UsageError("--set effort=match: there is no other method to match; add one with -m")
        self._images = images

    def _matched(self, stage: Stage) -> Stage:
        """Return a stage that is as long as its task is trained elsewhere, if that was asked for."""
        wanted = self._images.get(stage.name)
        if wanted is None:
            return stage
        return replace(stage, iterations=-(-wanted // stage.batch_size), epochs=None)

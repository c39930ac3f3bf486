"""The shared-encoder baseline: one encoder, one head per task, trained together."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from harness.backbones import Encoder, build_backbone
from harness.baselines.common.tasks import head_for, key_of
from harness.method import Budget, Method, MultiTaskModel, Predictions, Stage
from harness.problem import Problem
from harness.stream import Stream, StreamPolicy
from harness.stream.contract import FrameByFrame
from harness.stream.gated import gate_networks
from harness.training.recipes import baseline_stage


class SharedEncoder(MultiTaskModel):
    """One encoder whose features every head reads.

    On convolutional encoders it has the keys and the numbers of ``MultiTaskModel`` in Multi-Task-Learning-PyTorch
    (Vandenhende et al., TPAMI 2021).

    Args:
        problem: The tasks and the input size.
        encoder: What all heads read.
    """

    def __init__(self, problem: Problem, encoder: Encoder) -> None:
        super().__init__(problem)
        # Names of MultiTaskModel in Multi-Task-Learning-PyTorch
        self.backbone = encoder
        self.decoders = nn.ModuleDict(
            {key_of(task.name): head_for(task, encoder, problem.input_size) for task in problem}
        )

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Encode once and decode every task asked for."""
        features = self.backbone(images)  # [B, channels, H/stride, W/stride]
        return {task: self.decoders[key_of(task)](features) for task in tasks or self.problem.names}

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder and one head per task."""
        heads = {f"head/{task}": self.decoders[key_of(task)] for task in self.problem.names}
        return {"encoder": self.backbone} | heads

    def open(self, policy: StreamPolicy) -> Stream:
        """Return a stream: frame by frame, or the encoder and the heads gated where that is asked for."""
        if policy.mode != "gated":
            return FrameByFrame(self)
        heads = {task: self.decoders[key_of(task)] for task in self.problem.names}
        return gate_networks(self, {"encoder": (self.backbone, heads)}, policy)


class MultiTask(Method):
    """A shared encoder with one head per task, trained on the weighted sum of the losses.

    Examples:
        >>> import torch
        >>> from harness.problem import Problem, TaskSpec
        >>> problem = Problem((TaskSpec("semseg", 40), TaskSpec("depth")), input_size=(48, 64))
        >>> model = MultiTask(MultiTask.Options(), "resnet-micro").build(problem).eval()
        >>> with torch.inference_mode():
        ...     predictions = model(torch.randn(2, 3, 48, 64))
        >>> {task: tuple(map_.shape) for task, map_ in predictions.items()}
        {'semseg': (2, 40, 48, 64), 'depth': (2, 1, 48, 64)}
    """

    name: ClassVar[str] = "multi-task"
    summary: ClassVar[str] = "one shared encoder, one head per task"

    def build(self, problem: Problem) -> SharedEncoder:
        """Return the model, untrained."""
        return SharedEncoder(problem, build_backbone(self.backbone, problem.input_size, self.weights))

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks."""
        return [baseline_stage(self.backbone, "joint", problem.names, budget)]

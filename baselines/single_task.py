"""The reference of every comparison: one network per task, each trained alone."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from harness.backbones import build_backbone
from harness.baselines.recipe import supervised_stage
from harness.heads.convnext import task_head
from harness.method import Budget, Method, MultiTaskModel, Predictions, Stage
from harness.problem import Problem


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


class SingleTask(Method):
    """One network per task, trained alone: what a multi-task method must beat or undercut."""

    name: ClassVar[str] = "single-task"
    summary: ClassVar[str] = "one network per task, each trained alone"
    is_reference: ClassVar[bool] = True

    def build(self, problem: Problem) -> SeparateNets:
        """Return the networks, untrained."""
        nets = {}
        for task in problem:
            encoder = build_backbone(self.backbone, problem.input_size, self.weights)
            head = task_head(task, encoder.channels, problem.input_size, encoder.cells)
            nets[task.name] = nn.Sequential(encoder, head)
        return SeparateNets(problem, nets)

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one stage per task, each training that task's network alone."""
        return [supervised_stage(task, (task,), budget, trainable=(f"nets.{task}.",)) for task in problem.names]

"""The shared-encoder baseline: one encoder, one head per task, trained together."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from harness.backbones import Encoder, build_backbone
from harness.baselines.recipe import supervised_stage
from harness.heads.convnext import task_head
from harness.method import Budget, Method, MultiTaskModel, Predictions, Stage
from harness.problem import Problem


class SharedEncoder(MultiTaskModel):
    """One encoder whose features every head reads.

    Args:
        problem: The tasks and the input size.
        encoder: What all heads read.
    """

    def __init__(self, problem: Problem, encoder: Encoder) -> None:
        super().__init__(problem)
        self.encoder = encoder
        self.heads = nn.ModuleDict(
            {task.name: task_head(task, encoder.channels, problem.input_size, encoder.cells) for task in problem}
        )

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Encode once and decode every task asked for."""
        features = self.encoder(images)
        return {task: self.heads[task](features) for task in tasks or self.problem.names}

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the encoder and one head per task."""
        return {"encoder": self.encoder} | {f"head/{task}": head for task, head in self.heads.items()}


class MultiTask(Method):
    """A shared encoder with one head per task, trained on the weighted sum of the losses."""

    name: ClassVar[str] = "multi-task"
    summary: ClassVar[str] = "one shared encoder, one head per task"

    def build(self, problem: Problem) -> SharedEncoder:
        """Return the model, untrained."""
        return SharedEncoder(problem, build_backbone(self.backbone, problem.input_size, self.weights))

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one joint stage over all tasks."""
        return [supervised_stage("joint", problem.names, budget)]

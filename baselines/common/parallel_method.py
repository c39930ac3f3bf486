"""How networks that exchange features are built and trained: each task alone, then all together."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.backbones import build_backbone
from harness.backbones.resnet import ResNetEncoder
from harness.baselines.common.parallel_nets import ExchangeOptions, ParallelNets
from harness.baselines.common.reference import key_of
from harness.method import Budget, Method, Optimizer, ParameterGroup, Schedule, Stage
from harness.problem import Problem
from harness.training.recipes import baseline_stage

_UNITS_FASTER = 100
_QUICK_ITERATIONS = 170


@dataclass(frozen=True)
class _Joint:
    """Published settings of the joint training with SGD; the batches are those of the shared-encoder baseline."""

    lr: float
    epochs: int
    batch_size: int


_NYUD = _Joint(lr=1e-3, epochs=50, batch_size=8)
_PASCAL = _Joint(lr=5e-3, epochs=20, batch_size=6)


class ParallelMethod(Method):
    """Base of cross-stitch networks and NDDR-CNN.

    The reference starts the joint training from single-task networks that were trained before. Here the recipe trains
    them first, in one stage per task.
    """

    units: ClassVar[str]
    """Prefix of the units' parameters."""
    default_backbone: ClassVar[Mapping[Budget, str]] = {"quick": "resnet-micro", "full": "resnet50"}
    families: ClassVar[tuple[str, ...]] = ("resnet",)
    Options: ClassVar[type[ExchangeOptions]] = ExchangeOptions
    options: ExchangeOptions

    @abstractmethod
    def build(self, problem: Problem) -> ParallelNets:
        """Return the model, untrained."""

    def stages(self, problem: Problem, budget: Budget) -> list[Stage]:
        """Return one stage per task that trains its network alone, then the joint one.

        ``full`` trains each network by the single-task baseline's recipe. Jointly it is SGD with momentum 0.9 and
        weight decay 1e-4, polynomial decay 0.9 once per epoch, and 100 times the learning rate for the units:
        published for NYUD on ResNet-50 (1e-3, 50 epochs), and for PASCAL on ResNet-18 (5e-3, 20 epochs). A method does
        not know the data set, so the encoder decides. ``quick`` divides the baselines' iterations between the two.
        """
        tasks = problem.names
        alone = [baseline_stage(self.backbone, task, (task,), budget, self._own(task)) for task in tasks]
        if budget == "full":
            joint = self._joint(tasks)
        else:
            joint = replace(baseline_stage(self.backbone, "joint", tasks, budget), iterations=_QUICK_ITERATIONS)
            alone = [replace(stage, iterations=_QUICK_ITERATIONS) for stage in alone]
        return [*alone, joint] if len(tasks) > 1 else [joint]

    def _joint(self, tasks: tuple[str, ...]) -> Stage:
        published = _PASCAL if self.backbone == "resnet18" else _NYUD
        return Stage(
            "joint",
            tasks,
            iterations=0,
            epochs=published.epochs,
            batch_size=published.batch_size,
            optimizer=Optimizer("sgd", lr=published.lr, weight_decay=1e-4, momentum=0.9),
            schedule=Schedule("poly", power=0.9, steps=published.epochs),
            groups=(ParameterGroup((self.units,), lr=_UNITS_FASTER * published.lr),),
        )

    def _own(self, task: str) -> tuple[str, ...]:
        return f"backbone.{key_of(task)}.", f"heads.{key_of(task)}."

    def _encoders(self, problem: Problem) -> dict[str, ResNetEncoder]:
        encoders = {}
        for task in problem.names:
            encoder = build_backbone(self.backbone, problem.input_size, self.weights)
            assert isinstance(encoder, ResNetEncoder)
            encoders[task] = encoder
        return encoders

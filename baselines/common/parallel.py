"""Networks side by side, one per task, that exchange features: the base of cross-stitch networks and NDDR-CNN.

Both follow Multi-Task-Learning-PyTorch (Vandenhende et al., TPAMI 2021): dilated ResNets with a DeepLab head each, and
units between them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor, nn

from harness.backbones import build_backbone
from harness.backbones.resnet import ResNetEncoder
from harness.baselines.common.tasks import head_for, in_order, key_of
from harness.counting import attributed_to
from harness.method import (
    Budget,
    Method,
    MethodOptions,
    MultiTaskModel,
    Optimizer,
    ParameterGroup,
    Predictions,
    Schedule,
    Stage,
    TrainingOutput,
)
from harness.problem import Problem
from harness.training.recipes import baseline_stage, single_network


class ExchangeOptions(MethodOptions):
    """First weights of the units.

    Attributes:
        alpha: Weight of a task's own features. None: 0.9 beside one other task, as published for two tasks of NYUD,
            and 0.8 beside several, as published for five of PASCAL.
        beta: Weight of each other task's features. None: the rest to 1, in equal parts: 0.1 and 0.05 there.
    """

    alpha: float | None = None
    beta: float | None = None

    def first_weights(self, tasks: int) -> tuple[float, float]:
        """Return alpha and beta for a number of tasks."""
        others = tasks - 1  # alpha + others * beta = 1
        alpha = self.alpha if self.alpha is not None else {0: 1.0, 1: 0.9}.get(others, 0.8)
        beta = self.beta if self.beta is not None else round((1 - alpha) / max(others, 1), 12)
        return alpha, beta


class ParallelNets(MultiTaskModel, ABC):
    """One encoder and head per task, and units that mix the features of all tasks at some depths.

    All tasks go through the units together. A stage of training that supervises only some of the tasks trains their
    networks alone, without the units: these are the single-task networks that the joint training starts from.

    Args:
        problem: The tasks and the input size.
        encoders: Task name to encoder.

    Attributes:
        order: Names of the tasks in the order of the reference, in which features are joined.
    """

    def __init__(self, problem: Problem, encoders: Mapping[str, ResNetEncoder]) -> None:
        super().__init__(problem)
        tasks = in_order(problem)
        self.order = tuple(task.name for task in tasks)
        # One network per task, in the order in which their features are joined
        self.backbone = nn.ModuleDict({key_of(task.name): encoders[task.name] for task in tasks})
        self.heads = nn.ModuleDict(
            {key_of(task.name): head_for(task, encoders[task.name], problem.input_size) for task in tasks}
        )

    @property
    @abstractmethod
    def units(self) -> Sequence[nn.Module | None]:
        """The units after the stem and after each of the four stages; None where features stay as they are.

        A unit maps (task name to map, for all tasks; names of the tasks wanted) to the mixed maps of those wanted.
        """

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Run all encoders side by side and decode the tasks asked for, whose last maps alone are mixed."""
        wanted = tuple(tasks or self.problem.names)
        maps = dict.fromkeys(self.order, images)  # by task: [B, 3, H, W], then [B, C, h, w] of every section
        *_, last = units = self.units  # after the last unit only the tasks asked for go on
        for level, unit in enumerate(units):
            for task, map_ in maps.items():
                with attributed_to(f"encoder/{task}"):
                    maps[task] = self._encoder(task).sections[level](map_)
            if unit is not None:  # x_t <- unit(x_1, ..., x_T)
                maps = unit(maps, wanted if unit is last else self.order)
        return {task: self._decode(task, maps[task]) for task in wanted}

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> TrainingOutput:
        """Predict all tasks together, or some of them each by its own network alone."""
        wanted = tuple(tasks or self.problem.names)
        if set(wanted) == set(self.order):
            return super().forward_train(images, wanted)
        # Only some tasks: the single-task networks that the joint training starts from
        return TrainingOutput({task: self._decode(task, self._encoder(task)(images)) for task in wanted})

    def parts(self) -> Mapping[str, nn.Module]:
        """Return what a task adds to the others, its encoder and head; subclasses add their units."""
        encoders = {f"encoder/{task}": self._encoder(task) for task in self.problem.names}
        return encoders | {f"head/{task}": self.heads[key_of(task)] for task in self.problem.names}

    def _encoder(self, task: str) -> ResNetEncoder:
        encoder = self.backbone[key_of(task)]
        assert isinstance(encoder, ResNetEncoder)
        return encoder

    def _decode(self, task: str, features: Tensor) -> Tensor:
        prediction: Tensor = self.heads[key_of(task)](features)
        return prediction


_UNITS_FASTER = 100
"""Learning rate of the units over that of the networks (Misra et al., section 3.3: 10^2 to 10^3)."""


@dataclass(frozen=True)
class _Joint:
    """Published settings of the joint training with SGD; the batches are those of the shared-encoder baseline."""

    lr: float
    epochs: int
    batch_size: int


# Of Multi-Task-Learning-PyTorch
_NYUD = _Joint(lr=1e-3, epochs=50, batch_size=8)
_PASCAL = _Joint(lr=5e-3, epochs=20, batch_size=6)


class ParallelMethod(Method):
    """Base of cross-stitch networks and NDDR-CNN.

    The reference starts the joint training from single-task networks that were trained before. Here the recipe trains
    them first, in one stage per task.
    """

    units: ClassVar[str]
    """Prefix of the units' parameters."""
    default_backbone: ClassVar[Mapping[Budget, str]] = {
        "quick": "resnet-micro",
        "medium": "resnet18",
        "full": "resnet50",
    }
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
        not know the data set, so the encoder decides. The budgets of
        ours divide the baselines' steps between the two.
        """
        tasks = problem.names
        own = {task: (f"backbone.{key_of(task)}.", f"heads.{key_of(task)}.") for task in tasks}
        alone = [
            baseline_stage(self.backbone, task, (task,), budget, prefixes, single_network(*prefixes))
            for task, prefixes in own.items()
        ]
        if budget == "full":
            published = _PASCAL if self.backbone == "resnet18" else _NYUD
            joint = Stage(
                "joint",
                tasks,
                iterations=0,
                epochs=published.epochs,
                batch_size=published.batch_size,
                optimizer=Optimizer("sgd", lr=published.lr, weight_decay=1e-4, momentum=0.9),
                schedule=Schedule("poly", power=0.9, steps=published.epochs),
                groups=(ParameterGroup((self.units,), lr=_UNITS_FASTER * published.lr),),
            )
        else:
            # Half of the steps each, so that every task sees as many images as in other methods.
            joint = baseline_stage(self.backbone, "joint", tasks, budget)
            if len(tasks) > 1:
                joint, *alone = (replace(stage, iterations=stage.iterations // 2) for stage in (joint, *alone))
        return [*alone, joint] if len(tasks) > 1 else [joint]

    def encoders(self, problem: Problem) -> dict[str, ResNetEncoder]:
        """Return one untrained encoder per task."""
        encoders = {}  # each starts from the same weights, where there are some
        for task in problem.names:
            encoder = build_backbone(self.backbone, problem.input_size, self.weights)
            assert isinstance(encoder, ResNetEncoder)
            encoders[task] = encoder
        return encoders

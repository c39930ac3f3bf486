"""The shared networks: one base, and per sub-task a sparse difference, a head and gates."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.backbones import Encoder
from harness.backbones.vit import ViTEncoder
from harness.counting import attributed_to
from harness.heads.convnext import task_head
from harness.methods.share.block import BlockWeights, Execution
from harness.methods.share.channels import ChangedChannels
from harness.methods.share.delta import Delta, LearnedDelta
from harness.methods.share.encoder import EMBEDDING, FunctionalViT, Weights, countable_elements
from harness.methods.share.execution import (
    Activations,
    BlockGate,
    Clamped,
    Correction,
    Dense,
    Hidden,
    Keep,
    Observer,
    RowGated,
)
from harness.methods.share.options import ShareOptions
from harness.model import MultiTaskModel, Predictions, TrainingOutput
from harness.problem import Problem, TaskSpec


@dataclass(frozen=True)
class BaseRun:
    """What the base leaves for its sub-tasks.

    Attributes:
        entries: Tokens [B, N, D] before the blocks where sub-tasks begin to differ, and after the last one, by block.
        activations: What each block computed that a sub-task computes too.
        hidden: Hidden layers of these blocks, where they are needed.
    """

    entries: Mapping[int, Tensor]
    activations: Mapping[int, Activations]
    hidden: Mapping[int, Hidden]


@dataclass(frozen=True, kw_only=True)
class SubRun(TrainingOutput):
    """What a sub-task returns while training.

    Attributes:
        delta: The differences that are learned.
        base: The base on the same images.
        own: The sub-task's dense run; None where rows are gated, for some of them are never computed.
    """

    delta: LearnedDelta
    base: BaseRun
    own: Dense | None


class SharedNets(MultiTaskModel):
    """A base network and sub-tasks that differ from it in few weights and are computed where they differ.

    Args:
        problem: The tasks and the input size.
        base: Encoder of the base task.
        deltas: Sub-task to the differences of its weights.
        options: Options of the method.

    Attributes:
        gates: Sub-task to the gate of every block.
        base_weights: Weights of the base's encoder by timm's names.
        calibrated: Sub-tasks whose gates were chosen on training images.
        drop_path: Rate of stochastic depth while the base trains.
    """

    def __init__(self, problem: Problem, base: ViTEncoder, deltas: Mapping[str, Delta], options: ShareOptions) -> None:
        super().__init__(problem)
        self.options = options
        self.base = base
        self.deltas = nn.ModuleDict(deltas)
        self.heads = nn.ModuleDict(
            {
                task.name: (seeded_head if task.name in deltas else untrained_head)(task, base, problem.input_size)
                for task in problem
            }
        )
        self.functional = FunctionalViT(base)
        self.base_weights = dict(base.vit.named_parameters())
        self.drop_path = 0.0
        self.gates = {task: self.uniform_gates(options.rows) for task in self.deltas}
        self.calibrated: set[str] = set()
        self._observer: Observer | None = None
        self._starts: dict[str, int] = {}
        self._changed: dict[str, dict[int, ChangedChannels]] = {}

    def get_extra_state(self) -> Tensor:
        """Return the rate of stochastic depth, so that a resumed training goes on with it."""
        return torch.tensor(self.drop_path)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore it."""
        self.drop_path = float(state)

    def uniform_gates(self, share: float) -> dict[int, BlockGate]:
        """Return the same gate for every block."""
        threshold = self.options.threshold
        return {index: BlockGate(share, (threshold,) * 3) for index in range(self.functional.depth)}

    @property
    def countable(self) -> int:
        """Weights that the density of differences is a share of."""
        return countable_elements(self.base)

    def start_of(self, task: str) -> int:
        """Return the first block that a sub-task computes itself: all before it are exactly the base's.

        `EMBEDDING` says that not even the tokens are the base's; the depth, that no block differs.
        """
        if self.training or task not in self._starts:
            self._starts[task] = self.functional.first_of(self.delta(task).differing)
        return self._starts[task]

    def own_blocks(self, task: str) -> range:
        """Return the blocks that a sub-task computes itself."""
        return range(max(self.start_of(task), 0), self.functional.depth)

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the base's encoder, and per task its difference and its head."""
        deltas = {f"delta/{task}": delta for task, delta in self.deltas.items()}
        return {"base": self.base} | deltas | {f"head/{task}": head for task, head in self.heads.items()}

    def train(self, mode: bool = True) -> "SharedNets":
        """Switch between training and evaluation; what follows from the weights is forgotten."""
        self._changed.clear()
        self._starts.clear()
        return super().train(mode)

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Run the base once and every sub-task asked for beside it, in the mode of the options."""
        tasks = tuple(tasks or self.problem.names)
        if self.options.policy == "threshold" and self.options.mode == "gated" and len(images) > 1:
            # Thresholds leave unequally many rows per image.
            single = [self(image[None], tasks) for image in images]
            return {task: torch.cat([predictions[task] for predictions in single]) for task in tasks}
        subs = [task for task in tasks if task in self.deltas]
        base = self.run_base(images, subs, self._keep)
        return {task: self._predict(task, base, images) for task in tasks}

    def _predict(self, task: str, base: BaseRun, images: Tensor) -> Tensor:
        if task not in self.deltas:
            return self.decode(task, self.features_of(base))
        return self.decode(task, self.run_sub(task, base, images, self._execution(task, base)))

    def decode(self, task: str, features: Tensor) -> Tensor:
        """Map features [B, D, h, w] to the task's raw map at input size."""
        prediction: Tensor = self.heads[task](features)
        return prediction

    @property
    def _keep(self) -> Keep:
        """What sub-tasks need of the base."""
        match self.options.mode:
            case "dense":
                return "nothing"
            case "clamped":
                return "all"
            case "gated":
                return "all" if self.options.ungated == "channels" else "rows"

    def run_base(
        self, images: Tensor, subs: Sequence[str], keep: Keep, drop: float = 0.0, blocks: int | None = None
    ) -> BaseRun:
        """Run the base's blocks.

        Args:
            images: [B, 3, H, W].
            subs: Sub-tasks that will be run beside it.
            keep: What to remember of the blocks that these compute themselves.
            drop: Rate of stochastic depth.
            blocks: Run only so many; None runs all.
        """
        functional, weights = self.functional, self.base_weights
        starts = {max(self.start_of(task), 0) for task in subs}
        entries = {}
        execution = Dense()
        last = functional.depth if blocks is None else blocks
        with attributed_to("base"):
            x = functional.embed(weights, images)
            for index in range(last):
                if index in starts:
                    entries[index] = x
                    execution.keep = keep
                x = functional.block(weights, index, x, execution, drop)
        entries[last] = x
        return BaseRun(entries, execution.activations, execution.hidden)

    def features_of(self, base: BaseRun) -> Tensor:
        """Return the map [B, D, h, w] that the base's head reads."""
        with attributed_to("base"):
            return self.functional.features(self.base_weights, base.entries[self.functional.depth])

    def run_sub(self, task: str, base: BaseRun, images: Tensor, execution: Execution) -> Tensor:
        """Run a sub-task's encoder from where it begins to differ; return its map [B, D, h, w]."""
        functional, weights = self.functional, self.weights_of(task)
        with attributed_to(f"delta/{task}"):
            blocks = self.own_blocks(task)
            x = functional.embed(weights, images) if self.start_of(task) == EMBEDDING else base.entries[blocks.start]
            for index in blocks:
                x = functional.block(weights, index, x, execution)
            return functional.features(weights, x)

    def weights_of(self, task: str) -> Weights:
        """Return the merged weights of a sub-task."""
        return self.delta(task).merged(self.base_weights)

    def delta(self, task: str) -> Delta:
        """Return the differences of a sub-task."""
        delta = self.deltas[task]
        assert isinstance(delta, Delta)
        return delta

    def gated(self, task: str, base: BaseRun, observe: Observer | None = None) -> RowGated:
        """Return the execution that computes active rows alone."""
        options = self.options
        correction = None
        if options.ungated == "channels":
            correction = Correction(self._changed_channels(task), base.hidden)
        return RowGated(base.activations, self.gates[task], options.policy, options.queries, correction, observe)

    def _execution(self, task: str, base: BaseRun) -> Execution:
        match self.options.mode:
            case "dense":
                return Dense()
            case "clamped":
                return Clamped(base.activations, base.hidden, self.options.threshold)
            case "gated":
                return self.gated(task, base, self._observer)

    def _changed_channels(self, task: str) -> dict[int, ChangedChannels]:
        """Return the channels that differ, by block; in evaluation they are looked for once."""
        if self.training:
            self._changed.clear()
        if task not in self._changed:
            heads, ours, theirs = self.functional.heads, self.weights_of(task), self.base_weights
            self._changed[task] = {
                index: ChangedChannels.between(
                    BlockWeights.of(theirs, index, heads), BlockWeights.of(ours, index, heads)
                )
                for index in self.own_blocks(task)
            }
        return self._changed[task]

    @contextmanager
    def executed_as(self, **options: object) -> Iterator[None]:
        """Run the block with some options replaced, for example ``mode="dense"``."""
        held = self.options
        self.options = held.model_copy(update=options)
        try:
            yield
        finally:
            self.options = held

    @contextmanager
    def observed_by(self, observer: Observer) -> Iterator[None]:
        """Let ``observer`` see every gate of the block."""
        self._observer = observer
        try:
            yield
        finally:
            self._observer = None

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> TrainingOutput:
        """Predict one task as its stage trains it: the base alone, or a sub-task beside the frozen base."""
        [task] = tasks = tuple(tasks or self.problem.names)
        if task not in self.deltas:
            return TrainingOutput({task: self.decode(task, self._base_features(images))})
        delta = self.delta(task)
        assert isinstance(delta, LearnedDelta)
        delta.reseed(torch.initial_seed())
        compared = delta.phase in ("activations", "rows")
        with torch.no_grad():
            base = self.run_base(images, tasks, "all", blocks=None if compared else self.own_blocks(task).start)
        if delta.phase == "rows":
            return self._train_rows(task, delta, base, images)
        execution = Dense("all" if delta.phase == "activations" else "nothing")
        prediction = self.decode(task, self.run_sub(task, base, images, execution))
        return SubRun({task: prediction}, delta=delta, base=base, own=execution)

    def _base_features(self, images: Tensor) -> Tensor:
        """Return the base's features while it trains."""
        if self.drop_path:
            return self.features_of(self.run_base(images, (), "nothing", self.drop_path))
        features: Tensor = self.base(images)  # the encoder's own pass: step by step the training of a single network
        return features

    def _train_rows(self, task: str, delta: LearnedDelta, base: BaseRun, images: Tensor) -> SubRun:
        """Predict with rows gated, their share drawn anew each time, so that later any share can be chosen.

        Small shares, which matter most, are drawn most often.
        """
        share = self.options.rows + (1 - self.options.rows) * float(torch.rand(())) ** 2
        held, self.gates[task] = self.gates[task], self.uniform_gates(share)
        try:
            prediction = self.decode(task, self.run_sub(task, base, images, self.gated(task, base)))
        finally:
            self.gates[task] = held
        return SubRun({task: prediction}, delta=delta, base=base, own=None)


def untrained_head(task: TaskSpec, encoder: Encoder, output_size: tuple[int, int]) -> nn.Module:
    """Return the untrained head of a task, as the baselines have it."""
    return task_head(task, encoder.channels, output_size, encoder.cells)


def seeded_head(task: TaskSpec, encoder: Encoder, output_size: tuple[int, int]) -> nn.Module:
    """Return the untrained head of a sub-task; its weights follow from the seed in force and the task's name alone.

    So a task that is added later starts as it would have started beside the others.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(f"{torch.initial_seed()}/{task.name}".encode()))
        return untrained_head(task, encoder, output_size)

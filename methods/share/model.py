"""Shared networks: one base, and per sub-task a sparse weight difference, a head and token gates."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from harness.backbones import Encoder
from harness.counting import attributed_to
from harness.errors import UsageError
from harness.heads.convnext import task_head
from harness.methods.share.block import Execution
from harness.methods.share.delta import Delta
from harness.methods.share.encoder import FunctionalViT, OwnPart, Weights, countable_elements, named_weights
from harness.methods.share.execution import (
    Clamped,
    Dense,
    Keep,
    Observer,
    Reference,
    TokenGate,
    TokenGated,
)
from harness.methods.share.execution.channels import ChangedChannels, changed_channels
from harness.methods.share.options import ShareOptions
from harness.methods.share.swin import functional_of
from harness.methods.share.together import SubTask, TokenEngine, active_counts
from harness.model import MultiTaskModel, Predictions
from harness.problem import Problem, TaskSpec
from harness.stream import Stream, StreamPolicy
from harness.stream.contract import FrameByFrame, no_gates


class SharedNets(MultiTaskModel):
    """A base network and sub-tasks that differ from it in few weights and are computed where they differ.

    `harness.methods.share.training.TrainedNets` adds what training needs.

    Args:
        problem: The tasks and the input size.
        base: Encoder of the base task.
        deltas: Sub-task to the differences of its weights.
        options: Options of the method.

    Attributes:
        gates: Sub-task to the gate of every block.
        base_weights: Weights of the base's encoder by timm's names.
        calibrated: Sub-tasks whose gates were chosen on training images.
    """

    def __init__(self, problem: Problem, base: Encoder, deltas: Mapping[str, Delta], options: ShareOptions) -> None:
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
        self.functional = functional_of(base, problem.input_size)
        self.tables = nn.ModuleList(self.functional.tables())  # constants, which move with the model
        self.base_weights: Weights = named_weights(base)
        self.gates = {task: self.uniform_gates(options.rows) for task in self.deltas}
        self.calibrated: set[str] = set()
        self.tokens = TokenEngine(self.functional, self.base_weights, deltas)
        self._observer: Observer | None = None
        # Facts that follow from the weights, remembered in evaluation; `train` forgets them.
        self._own_parts: dict[str, OwnPart] = {}
        self._changed: dict[str, dict[int, ChangedChannels]] = {}

    # Parts of the model

    @property
    def countable(self) -> int:
        """Weights that the density of differences is a fraction of."""
        return countable_elements(self.base)

    def parts(self) -> Mapping[str, nn.Module]:
        """Return the base's encoder, and per task its difference and its head."""
        deltas = {f"delta/{task}": delta for task, delta in self.deltas.items()}
        return {"base": self.base} | deltas | {f"head/{task}": head for task, head in self.heads.items()}

    def delta(self, task: str) -> Delta:
        """Return the differences of a sub-task."""
        delta = self.deltas[task]
        assert isinstance(delta, Delta)
        return delta

    def weights_of(self, task: str) -> Weights:
        """Return the merged weights of a sub-task."""
        return self.delta(task).merged(self.base_weights)

    def own_part(self, task: str) -> OwnPart:
        """Return the part of the encoder that a sub-task computes itself."""
        if self.training or task not in self._own_parts:
            self._own_parts[task] = self.functional.own_part(self.delta(task).differing)
        return self._own_parts[task]

    def uniform_gates(self, fraction: float) -> dict[int, TokenGate]:
        """Return the same gate for every block."""
        threshold = self.options.threshold
        return {index: TokenGate(fraction, (threshold,) * 3) for index in range(self.functional.depth)}

    def nest_gates(self, task: str) -> None:
        """Give every block the fraction of active tokens of any later block that has more.

        Gates of the engine ``paper`` know no order. Active tokens that are carried from block to block never grow in
        number: behind the narrowest gate they would be as few everywhere.
        """
        widest = 0.0
        for index in sorted(self.gates[task], reverse=True):
            widest = max(widest, self.gates[task][index].fraction)
            self.gates[task][index] = replace(self.gates[task][index], fraction=widest)

    def train(self, mode: bool = True) -> "SharedNets":
        """Switch between training and evaluation; what follows from the weights is forgotten."""
        self._changed.clear()
        self._own_parts.clear()
        return super().train(mode)

    # Prediction

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Run the base once, and from it every sub-task asked for, in the mode of the options."""
        tasks = tuple(tasks or self.problem.names)
        if self.options.policy == "threshold" and self.options.mode == "gated" and len(images) > 1:
            # Thresholds leave a different number of tokens per image, which no batch can hold.
            single = [self(image[None], tasks) for image in images]
            return {task: torch.cat([predictions[task] for predictions in single]) for task in tasks}
        return {task: self.decode(task, features) for task, features in self.encode(images, tasks).items()}

    def encode(self, images: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """Return the map [B, D, h, w] that the head of each task reads, by the engine of the options.

        Args:
            images: [B, 3, H, W].
            tasks: Tasks to predict.
        """
        # Dense and clamped runs are the same whatever engine skips work.
        match self.options.engine if self.options.mode == "gated" else "paper":
            case "paper":
                return self._encode_by_gates(images, tasks)
            case "tokens":
                return self._encode_by_tokens(images, tasks)
            case engine:
                raise UsageError(f"--set engine={engine}: this version of share has the engines paper and tokens alone")

    def _encode_by_tokens(self, images: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """Run the base once, and the active tokens of all sub-tasks beside it."""
        subs = {task: SubTask(task, self.own_part(task), self._fractions(task)) for task in self.deltas}
        wanted = [subs[task] for task in tasks if task in subs]
        maps = dict(self.tokens.encode(images, wanted, list(subs.values()), self.options.keys))
        return {task: maps[task if task in subs else ""] for task in tasks}

    def _fractions(self, task: str) -> tuple[float, ...]:
        """Return the fraction of active tokens of every block that a sub-task computes."""
        return tuple(self.gates[task][index].fraction for index in self.own_part(task).blocks)

    def active_counts(self, task: str) -> list[int]:
        """Return the active tokens per image of every block that a sub-task computes, in the engine of tokens."""
        return list(active_counts(self.functional, self.own_part(task), self._fractions(task)))

    def asks_base(self, fraction: float) -> bool:
        """Return whether this fraction of tokens asks the base's keys and values alone."""
        return self.options.engine == "tokens" and self.options.keys == "base" and fraction < 1

    def _encode_by_gates(self, images: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        """Run the base once, and from it every sub-task block by block, in the mode of the options."""
        subs = [task for task in tasks if task in self.deltas]
        keep: Keep = "nothing" if self.options.mode == "dense" else "all"
        if self.options.mode == "gated" and self.options.ungated == "reuse":
            keep = "gated"
        base = self.run_base(images, subs, keep)
        # The base's map, then [B, D, h, w] of every sub-task
        return {
            task: self.run_sub(task, base, images, self.execution(task, base))
            if task in self.deltas
            else self.features_of(base)
            for task in tasks
        }

    def open(self, policy: StreamPolicy) -> Stream:
        """Return a stream: gated over time, unless frame by frame is asked for."""
        from harness.methods.share.stream import SharedStream  # it needs this class

        if not isinstance(self.functional, FunctionalViT):
            if policy.mode == "gated":
                raise no_gates(type(self).__name__)
            return FrameByFrame(self)
        return SharedStream(self, policy)

    def decode(self, task: str, features: Tensor) -> Tensor:
        """Map features [B, D, h, w] to the task's raw map at input size."""
        prediction: Tensor = self.heads[task](features)
        return prediction

    def run_base(
        self, images: Tensor, subs: Sequence[str], keep: Keep, drop: float = 0.0, blocks: int | None = None
    ) -> Reference:
        """Run the base's blocks.

        Args:
            images: [B, 3, H, W].
            subs: Sub-tasks that will be computed against it.
            keep: What to keep of the blocks that these compute themselves.
            drop: Rate of stochastic depth.
            blocks: Run only so many; None runs all.
        """
        functional, weights = self.functional, self.base_weights
        starts = {self.own_part(task).blocks.start for task in subs}
        last = functional.depth if blocks is None else blocks
        execution = Dense()
        entries = {}
        with attributed_to("base"):
            x = functional.embed(weights, images)  # [B, N, D]
            for index in range(last):
                if index in starts or index in functional.ends:
                    entries[index] = x
                if index in starts:
                    execution.keep = keep  # from the first block that some sub-task computes
                x = functional.block(weights, index, x, execution, drop)
        entries[last] = x
        return Reference(entries, execution.activations, execution.hidden)

    def features_of(self, base: Reference) -> Tensor:
        """Return the map [B, D, h, w] that the base's head reads."""
        with attributed_to("base"):
            return self.functional.features(self.base_weights, base.entries)

    def run_sub(self, task: str, base: Reference, images: Tensor, execution: Execution) -> Tensor:
        """Run a sub-task's encoder from where it begins to differ; return its map [B, D, h, w]."""
        functional, weights, own = self.functional, self.weights_of(task), self.own_part(task)
        with attributed_to(f"delta/{task}"):
            x = functional.embed(weights, images) if own.embedding else base.entries[own.blocks.start]  # [B, N, D]
            ends = dict(base.entries)
            for index in own.blocks:
                x = functional.block(weights, index, x, execution)
                ends[index + 1] = x
            return functional.features(weights, ends)

    # Executions

    def execution(self, task: str, base: Reference) -> Execution:
        """Return the execution of a sub-task in the mode of the options."""
        match self.options.mode:
            case "dense":
                return Dense()
            case "clamped":
                return Clamped(base, self.options.threshold)
            case "gated":
                return self.gated(task, base, self._observer)

    def gated(self, task: str, base: Reference, observe: Observer | None = None) -> TokenGated:
        """Return the execution that computes active tokens alone."""
        options, channels = self.options, None
        if options.ungated == "channels":
            # Output channels that differ, by block; in evaluation they are looked for once.
            if self.training or task not in self._changed:
                ours, theirs, block = self.weights_of(task), self.base_weights, self.functional.block_weights
                self._changed[task] = {
                    index: changed_channels(block(theirs, index), block(ours, index))
                    for index in self.own_part(task).blocks
                }
            channels = self._changed[task]
        return TokenGated(base, self.gates[task], options.policy, options.queries, channels, observe)

    @contextmanager
    def executed_as(self, **options: object) -> Iterator[None]:
        """Run the block with some options replaced, for example ``mode="dense"``."""
        original = self.options
        self.options = original.model_copy(update=options)
        try:
            yield
        finally:
            self.options = original

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """Run sub-tasks one by one in the block, so that a count of MACs knows whose they are."""
        self.tokens.one_by_one = True
        try:
            yield
        finally:
            self.tokens.one_by_one = False

    @contextmanager
    def observed_by(self, observer: Observer) -> Iterator[None]:
        """Let ``observer`` receive the decision of every gate of the block."""
        self._observer = observer
        try:
            yield
        finally:
            self._observer = None


def untrained_head(task: TaskSpec, encoder: Encoder, output_size: tuple[int, int]) -> nn.Module:
    """Return the untrained head of a task, the same as the baselines'."""
    return task_head(task, encoder.channels, output_size, encoder.cells)


def seeded_head(task: TaskSpec, encoder: Encoder, output_size: tuple[int, int]) -> nn.Module:
    """Return the untrained head of a sub-task; its weights follow from the seed in force and the task's name alone.

    A task that is added later so starts as it would have started among the others.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(f"{torch.initial_seed()}/{task.name}".encode()))
        return untrained_head(task, encoder, output_size)

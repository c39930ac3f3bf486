"""Training half of the shared networks: a forward pass for each phase of a sub-task."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from harness.methods.share.delta import LearnedDelta
from harness.methods.share.execution import Dense, Reference
from harness.methods.share.model import SharedNets
from harness.model import TrainingOutput


@dataclass(frozen=True, kw_only=True)
class SubTaskOutput(TrainingOutput):
    """Training output of a sub-task.

    Attributes:
        delta: The differences that are learned.
        base: The base on the same images; None where it is not kept.
        own: The sub-task's dense run; None where tokens are gated, for some of them are never computed.
    """

    delta: LearnedDelta
    base: Reference | None
    own: Dense | None


@runtime_checkable
class DropsPaths(Protocol):
    """Networks of any engine whose base trains with stochastic depth.

    Attributes:
        drop_path: Rate of stochastic depth.
    """

    drop_path: float


class TrainedNets(SharedNets):
    """Shared networks whose sub-tasks learn, one task at a time.

    Attributes:
        drop_path: Rate of stochastic depth while the base trains.
    """

    drop_path: float = 0.0

    # The phase of each delta is its own state; the rate is the network's.

    def get_extra_state(self) -> Tensor:
        """Return the rate of stochastic depth, so that a resumed training goes on with it."""
        return torch.tensor(self.drop_path)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore it."""
        self.drop_path = float(state)

    def learned(self, task: str) -> LearnedDelta:
        """Return the differences of a sub-task that is trained here."""
        delta = self.delta(task)
        assert isinstance(delta, LearnedDelta)
        return delta

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> TrainingOutput:
        """Predict one task as its stage trains it: the base alone, or a sub-task with the frozen base."""
        [task] = tasks = tuple(tasks or self.problem.names)
        if task not in self.deltas:
            if self.drop_path:
                features = self.features_of(self.run_base(images, (), "nothing", self.drop_path))
            else:  # the encoder's own pass: step by step the training of a single network
                features = self.base(images)  # [B, D, h, w]
            return TrainingOutput({task: self.decode(task, features)})
        delta = self.learned(task)
        delta.reseed(torch.initial_seed())
        if delta.phase == "rows" and self.options.engine == "tokens":
            with self._drawn_gates(task):
                return SubTaskOutput(self(images, tasks), delta=delta, base=None, own=None)
        # 1. The frozen base: all of it where activations are compared, else as far as the sub-task takes it over.
        compared = delta.phase in ("activations", "rows")
        with torch.no_grad():
            base = self.run_base(images, tasks, "all", blocks=None if compared else self.own_part(task).blocks.start)
        # 2. The sub-task, with gradient.
        if delta.phase == "rows":
            return self._forward_gated(task, delta, base, images)
        execution = Dense("all" if delta.phase == "activations" else "nothing")
        prediction = self.decode(task, self.run_sub(task, base, images, execution))
        return SubTaskOutput({task: prediction}, delta=delta, base=base, own=execution)

    def _forward_gated(self, task: str, delta: LearnedDelta, base: Reference, images: Tensor) -> SubTaskOutput:
        """Predict with tokens gated, their fraction drawn each time, so that later any fraction can be chosen."""
        with self._drawn_gates(task):
            prediction = self.decode(task, self.run_sub(task, base, images, self.gated(task, base)))
        return SubTaskOutput({task: prediction}, delta=delta, base=base, own=None)

    @contextmanager
    def _drawn_gates(self, task: str) -> Iterator[None]:
        """Let a fraction of active tokens that is drawn now hold in the block."""
        # f = r + (1 - r) u^2: small fractions, which matter most, are drawn most often.
        fraction = self.options.rows + (1 - self.options.rows) * float(torch.rand(())) ** 2
        original, self.gates[task] = self.gates[task], self.uniform_gates(fraction)
        try:
            yield
        finally:
            self.gates[task] = original

"""Candidates for the base task: every task as the base of all others, until held-out training images decide."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.method import Score
from harness.methods.share.corrections.nets import CorrectedNets
from harness.model import MultiTaskModel, Predictions, TrainingOutput
from harness.problem import Problem
from harness.records.delta_m import delta_m


class CandidateNets(MultiTaskModel):
    """Corrected networks on the base of every task.

    Args:
        problem: The tasks and the input size.
        candidates: Base task to its networks.

    Attributes:
        chosen: Base task of the networks that predict, and that a stage trains.
    """

    def __init__(self, problem: Problem, candidates: Mapping[str, CorrectedNets]) -> None:
        super().__init__(problem)
        self.candidates = nn.ModuleDict(candidates)
        self.chosen = problem.names[0]

    def nets(self, base: str) -> CorrectedNets:
        """Return the networks on the base of a task, which predict from now on."""
        self.chosen = base
        return self.current

    @property
    def current(self) -> CorrectedNets:
        """The networks that predict."""
        nets = self.candidates[self.chosen]
        assert isinstance(nets, CorrectedNets)
        return nets

    @property
    def drop_path(self) -> float:
        """Rate of stochastic depth while a base trains."""
        return self.current.drop_path

    @drop_path.setter
    def drop_path(self, rate: float) -> None:
        for base in self.problem.names:
            self.nets(base).drop_path = rate

    def get_extra_state(self) -> Tensor:
        """Return the base in training, so that a resumed training goes on with it."""
        return torch.tensor(self.problem.names.index(self.chosen))

    def set_extra_state(self, state: Tensor) -> None:
        """Restore it."""
        self.chosen = self.problem.names[int(state)]

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict by the chosen networks."""
        predictions: Predictions = self.current(images, tasks)
        return predictions

    def forward_train(self, images: Tensor, tasks: Sequence[str] | None = None) -> TrainingOutput:
        """Predict one task by the networks in training."""
        return self.current.forward_train(images, tasks)


def choose(model: CandidateNets, score: Score) -> dict[str, float]:
    """Set the base that serves the other tasks best; return the multi-task gain on each base, in percent.

    Every task is compared with its own network, as a base: the base itself gains 0.

    Args:
        model: Trained on every base; its choice is set.
        score: Scores on training images that no stage saw.
    """
    names = model.problem.names
    # M_i of the gain's reference: each task by its own network
    reference = {task: score(model.nets(task), [task])[task] for task in names}
    # 100 / T * sum_i s_i (M_i - B_i) / B_i on every base
    gains = {}
    for base in names:
        measured = score(model.nets(base), [task for task in names if task != base])
        gain = delta_m({**measured, base: reference[base]}, reference).value
        gains[base] = float("-inf") if gain is None else gain
    model.chosen = max(names, key=lambda base: gains[base])  # of equals the first
    return gains

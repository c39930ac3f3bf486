"""Linear layers with low-rank factors beside them, shared by all tasks and of each task (paper, section 3.2)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Ranks:
    """Ranks and scales of the factors.

    Attributes:
        shared: Rank of the factors of all tasks together.
        task: Rank of the factors of each task.
        shared_scale: Factor of their product, s.
        task_scale: The same of a task's, s_t.
        dropout: Fraction of the inputs of the factors that training sets to zero.
    """

    shared: int
    task: int
    shared_scale: float
    task_scale: float
    dropout: float


class AdaptedLinear(nn.Module):
    """A linear layer W x + b and low-rank products: s B A x for all tasks, s_t B_t A_t x_t for each (equation 3).

    A task's output has the common W x + b of the features of all tasks, and none of their product s B A x.

    Args:
        linear: The layer, taken over.
        ranks: Ranks and scales.
        tasks: Keys of the tasks that have factors of their own.
    """

    def __init__(self, linear: nn.Linear, ranks: Ranks, tasks: Sequence[str] = ()) -> None:
        super().__init__()
        outputs, inputs = linear.weight.shape
        self.ranks = ranks
        self.linear = linear
        self.lora_shared_A, self.lora_shared_B = _factors(outputs, inputs, ranks.shared)
        if tasks:
            pairs = {task: _factors(outputs, inputs, ranks.task) for task in tasks}
            self.lora_tasks_A = nn.ParameterDict({task: a for task, (a, _) in pairs.items()})
            self.lora_tasks_B = nn.ParameterDict({task: b for task, (_, b) in pairs.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Map features of all tasks [..., in] to [..., out].

        The product is taken into the weight first, W + s B A, where that needs fewer multiplications than two thin
        products do; not in training, where the thin ones keep less for the backward pass and see dropout.
        """
        outputs, inputs = self.linear.weight.shape
        vectors = x.numel() // inputs
        # An exported graph serves every batch size: it has the merged weight, which a runtime folds.
        few = not torch.compiler.is_exporting() and vectors * (inputs + outputs) < inputs * outputs
        if self.training or few:
            apart: Tensor = self.linear(x) + self.common(x)
            return apart
        product = self.lora_shared_B @ self.lora_shared_A
        return F.linear(x, self.linear.weight + self.ranks.shared_scale * product, self.linear.bias)

    def common(self, x: Tensor) -> Tensor:
        """Return s B A x with dropout."""
        thin = F.linear(self.dropped(x), self.lora_shared_A)
        return self.ranks.shared_scale * F.linear(thin, self.lora_shared_B)

    def of_task(self, task: str, x: Tensor) -> Tensor:
        """Return s_t B_t A_t x, [..., out], for the features of a task."""
        thin = F.linear(x, self.lora_tasks_A[task])
        return self.ranks.task_scale * F.linear(thin, self.lora_tasks_B[task])

    def dropped(self, x: Tensor) -> Tensor:
        """Apply dropout, which the factors alone see."""
        return F.dropout(x, self.ranks.dropout, self.training)

    def for_tasks(self, x: Tensor, own: Mapping[str, Tensor], common: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """Map features of all tasks and of each.

        Args:
            x: Features of all tasks, [..., in].
            own: Features of the tasks by key, as ``x``; a task without any of its own yet has ``x`` with dropout.
            common: Whether the features of all tasks are wanted with their product; without it they are W x + b.

        Returns:
            The outputs of all tasks and of each, [..., out].
        """
        frozen = self.linear(x)
        outputs = {task: frozen + self.of_task(task, features) for task, features in own.items()}
        return frozen + self.common(x) if common else frozen, outputs


def _factors(outputs: int, inputs: int, rank: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Return A [rank, in] and B [out, rank], whose product is zero at the start."""
    down = nn.Parameter(torch.empty(rank, inputs))
    nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    return down, nn.Parameter(torch.zeros(outputs, rank))

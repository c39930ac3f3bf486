"""Delta weights: the sparse difference of a sub-task's weights from the base's, learned or stored."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from harness.methods.share.options import Granularity, Values

LOW, HIGH = -1.5, 1.5
"""The interval a concrete variable is stretched to before it is clipped to [0, 1]."""

_MARGIN = 1e-4
"""Uniform draws keep this distance from 0 and 1, where the logit is infinite."""

INITIAL_LOGIT = 5.0
"""Gates start open: with probability 0.993."""

Phase = Literal["gates", "mask", "activations", "rows"]
PHASES: tuple[Phase, ...] = ("gates", "mask", "activations", "rows")
"""Phases of a sub-task's training: gates of weights open and close; weights on the binarised mask; with the
activation-matching loss; with tokens gated."""


@dataclass(frozen=True)
class SparseTensor:
    """The non-zero elements of a tensor.

    Attributes:
        shape: Of the tensor.
        index: Places in the flattened tensor, ascending, int64 [k].
        values: Values at these places, [k], none of them zero.
    """

    shape: torch.Size
    index: Tensor
    values: Tensor

    @classmethod
    def of(cls, dense: Tensor) -> "SparseTensor":
        """Return the non-zero elements of ``dense``."""
        index = dense.flatten().nonzero()[:, 0]
        return cls(dense.shape, index, dense.flatten()[index])

    def dense(self) -> Tensor:
        """Return the whole tensor, float32."""
        flat = torch.zeros(self.shape.numel(), dtype=torch.float32, device=self.values.device)
        return flat.index_copy(0, self.index, self.values.float()).view(self.shape)


class Delta(nn.Module, ABC):
    """Differences of some of an encoder's weights, by the encoder's names for them."""

    @abstractmethod
    def differences(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, difference) of every weight that may differ, dense, with gradient where it is learned."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self._merged: list[str] = []

    @property
    def differing(self) -> tuple[str, ...]:
        """Names of the weights that differ: all that may while they are learned, in evaluation those that do."""
        if self.training:
            return self.names
        return tuple(name for name, change in self.differences() if bool(change.any()))

    def merged(self, base: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the sub-task's weights: the base's, those that may differ with their difference added.

        In evaluation they are merged once and kept as buffers, so that they count as memory and move with the module.
        """
        if self.training:
            return dict(base) | {name: base[name].detach() + change for name, change in self.differences()}
        if not self._merged:
            with torch.no_grad():
                for name, change in self.differences():
                    self.register_buffer(_buffer(name), base[name] + change, persistent=False)
                    self._merged.append(name)
        return dict(base) | {name: getattr(self, _buffer(name)) for name in self._merged}

    def train(self, mode: bool = True) -> "Delta":
        """Switch between training and evaluation; merged weights are forgotten, for training moves them."""
        self.forget_merged()
        return super().train(mode)

    def forget_merged(self) -> None:
        """Free the merged weights."""
        for name in self._merged:
            delattr(self, _buffer(name))
        self._merged.clear()

    def sparse(self) -> dict[str, SparseTensor]:
        """Return the non-zero differences of every weight that may differ, as they are stored."""
        with torch.no_grad():
            return {name: SparseTensor.of(difference) for name, difference in self.differences()}


class StoredDelta(Delta):
    """Differences as they come out of an artifact.

    Args:
        tensors: By the encoder's names.
    """

    def __init__(self, tensors: Mapping[str, SparseTensor]) -> None:
        super().__init__(tensors)
        self.shapes = [tensor.shape for tensor in tensors.values()]
        self.values = nn.ParameterList(tensor.values for tensor in tensors.values())
        for number, tensor in enumerate(tensors.values()):
            # 32 bits halve the memory; no weight of an encoder has 2^31 elements
            self.register_buffer(f"index{number}", tensor.index.int(), persistent=False)

    def differences(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the stored differences, dense."""
        for number, (name, shape) in enumerate(zip(self.names, self.shapes, strict=True)):
            index: Tensor = getattr(self, f"index{number}")
            yield name, SparseTensor(shape, index.long(), self.values[number].detach()).dense()


class LearnedDelta(Delta):
    """Differences that are learned: first with gates that open and close, then on a fixed mask (Guo et al., ACL 2021).

    While gates are learned, a weight differs by z_T z w, with one gate z per element or output channel and one gate
    z_T per tensor. Afterwards z_T z is multiplied into w and the elements that are zero stay zero.

    Args:
        weights: The base's weights that may differ, by name.
        granularity: Whether one gate switches an element or an output channel.
        values: Type the differences are stored in; they are rounded to it once nothing is learned any more.
    """

    def __init__(self, weights: Mapping[str, Tensor], granularity: Granularity, values: Values) -> None:
        super().__init__(weights)
        self._generator = torch.Generator()
        self.stored = torch.float16 if values == "fp16" else torch.float32
        shapes = [weight.shape for weight in weights.values()]
        # Differences start at zero: a sub-task starts as the base.
        self.weights = nn.ParameterList(torch.zeros(shape) for shape in shapes)
        # One gate per element, or one per output channel: [out, 1, ...]
        gates = [shape if granularity == "element" else (shape[0], *(1 for _ in shape[1:])) for shape in shapes]
        self.logits = nn.ParameterList(torch.full(shape, INITIAL_LOGIT) for shape in gates)
        self.tensor_logits = nn.ParameterList(torch.tensor(INITIAL_LOGIT) for _ in shapes)
        for number, shape in enumerate(shapes):
            self.register_buffer(f"mask{number}", torch.ones(shape, dtype=torch.bool))
        self.phase: Phase = "gates"

    def get_extra_state(self) -> Tensor:
        """Return the phase, which is part of the state: a resumed training goes on with it."""
        return torch.tensor(PHASES.index(self.phase))

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the phase."""
        self.phase = PHASES[int(state)]

    def differences(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the differences: with gates drawn each time while they are learned, without noise in evaluation."""
        gates = partial(sample_gates, generator=self._generator) if self.training else deterministic_gates
        for number, name in enumerate(self.names):
            weight: Tensor = self.weights[number]
            if self.phase != "gates":
                difference = weight * self._mask(number)
            else:  # dW = z_T z w
                difference = weight * gates(self.tensor_logits[number]) * gates(self.logits[number])
            # Evaluation sees the values as they will be stored.
            yield name, difference if self.training else difference.to(self.stored).float()

    def reseed(self, seed: int) -> None:
        """Seed the draws of the gates: they depend on nothing else that is drawn, and all processes draw the same."""
        self._generator = torch.Generator(self.weights[0].device).manual_seed(seed)

    def expected_l0_norm(self) -> Tensor:
        """Return the expected L0 norm of the gates: of all elements or channels, and one per tensor."""
        return torch.stack([open_probability(logits).sum() for logits in (*self.logits, *self.tensor_logits)]).sum()

    @torch.no_grad()
    def binarise(self, density: float | None, elements: int) -> None:
        """End the learning of gates: multiply them into the weights and binarise the mask.

        Args:
            density: Keep at most this fraction of ``elements``, those that differ most; None keeps all open ones.
            elements: Elements of the whole encoder.
        """
        # 1. Gates into weights: w <- z_T z w.
        for number, weight in enumerate(self.weights):
            weight.mul_(deterministic_gates(self.tensor_logits[number]) * deterministic_gates(self.logits[number]))
        # 2. The mask of what is kept, and zeros elsewhere.
        limit = None if density is None else int(density * elements)
        units = []
        for logits, weight in zip(self.logits, self.weights, strict=True):
            # What a gate switches: the root mean square of its elements, [gates], and their number
            count = weight.numel() // logits.numel()
            units.append((weight.square().view(-1, count).mean(1).sqrt(), count))
        for number, keep in enumerate(_largest(units, limit)):
            self._mask(number).copy_(keep.view(self.logits[number].shape).expand_as(self.weights[number]))
            self.weights[number].mul_(self._mask(number))
        self.phase = "mask"

    @torch.no_grad()
    def randomise(self, density: float, elements: int) -> None:
        """Set differences at random, as many as training would leave, for measurements of untrained models."""
        for weight in self.weights:
            weight.normal_(std=0.01)  # any scale: costs depend on where differences are, not on their size
        self.binarise(density, elements)

    def _mask(self, number: int) -> Tensor:
        mask: Tensor = getattr(self, f"mask{number}")
        return mask


def _buffer(name: str) -> str:
    return f"merged:{name.replace('.', ':')}"


def _largest(units: list[tuple[Tensor, int]], limit: int | None) -> Iterable[Tensor]:
    """Return, per tensor, the mask of kept units: not zero, and among the largest with ``limit`` elements in all.

    Units as large as the largest that is dropped are dropped too: which of equals stay would depend on their order.
    """
    threshold = torch.tensor(0.0)
    if limit is not None:
        sizes = torch.cat([size for size, _ in units])
        counts = torch.cat([torch.full_like(size, count, dtype=torch.long) for size, count in units])
        order = sizes.argsort(descending=True)
        # Channels have different numbers of elements, so the limit is on the running sum.
        within = counts[order].cumsum(0) <= limit
        dropped = sizes[order][~within]
        threshold = dropped[0] if len(dropped) else threshold
    return [size > threshold.to(size.device) for size, _ in units]


# Hard-concrete gates (Louizos et al., ICLR 2018), as diff pruning uses them (Guo et al., ACL 2021)


def sample_gates(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw gates in [0, 1], differentiable in ``logits``.

    z = clip(s (HIGH - LOW) + LOW, 0, 1) with s = sigmoid(logit(u) + logits), u uniform.

    Args:
        logits: Any shape.
        generator: Source of the draws, on the device of ``logits``.
    """
    # A concrete variable at temperature 1: s = sigmoid(log u - log(1 - u) + logits).
    uniform = torch.empty_like(logits).uniform_(_MARGIN, 1 - _MARGIN, generator=generator)
    return _stretch(torch.sigmoid(torch.logit(uniform) + logits))


def deterministic_gates(logits: Tensor) -> Tensor:
    """Return the gates without noise, for evaluation; positive exactly where a gate is open more often than not."""
    return _stretch(torch.sigmoid(logits))


def open_probability(logits: Tensor) -> Tensor:
    """Return the probability that a gate is not zero: sigmoid(logits - log(-LOW / HIGH)).

    The margin of the uniform draws is neglected; it moves the probability by at most 1e-4.
    """
    return torch.sigmoid(logits)  # the interval is symmetric: log(-LOW / HIGH) = 0


def _stretch(s: Tensor) -> Tensor:
    return (s * (HIGH - LOW) + LOW).clamp(0, 1)

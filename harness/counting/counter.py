"""Counter of multiply-accumulates, at torch's dispatch of operators."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DispatchKey
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch.utils._python_dispatch import TorchDispatchMode

from harness.counting.formulas import FORMULAS
from harness.counting.operators import may_multiply, only_moves
from harness.counting.parts import follow

OTHER = "other"
"""Part of what no part did."""


@dataclass(frozen=True)
class MacCount:
    """MACs of one call.

    Attributes:
        macs: Multiply-accumulates of matrix products, convolutions and attention.
        per_part: The same by part; ``other`` is what no part did, absent where that is nothing. Sums to ``macs``.
        elementwise_outputs: Values written by all other arithmetic, which `harness.counting.operators` separates from
            mere moves. What a fused kernel keeps to itself, such as the softmax of attention, is never written.
        unsupported: Operators that may multiply but have no formula here, with their calls.
    """

    macs: int
    per_part: dict[str, int] = field(default_factory=dict)
    elementwise_outputs: int = 0
    unsupported: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class MacReport:
    """MACs of one forward pass of all tasks.

    Attributes:
        executed: What the kernels multiplied.
        dense: What they would have multiplied with nothing skipped.
        ideal: Non-zero multiplies alone; None where nothing is sparse.
        simulated: By the sharing paper's output thresholds, which skip nothing; None elsewhere.
    """

    executed: MacCount
    dense: int
    ideal: int | None = None
    simulated: int | None = None


def count_macs(call: Callable[[], object], parts: Mapping[str, nn.Module] = MappingProxyType({})) -> MacCount:
    """Run ``call`` and count what it executes.

    Every operator is counted where it is launched, so tokens that are gathered first, branches that are not taken and
    layers that run twice count as they happen. A backward pass inside is not counted. torch compiles nothing meanwhile,
    so a compiled model is counted as it runs uncompiled.

    Args:
        call: A forward pass; gradients, inference mode and autocast change nothing about the MACs.
        parts: Modules to attribute MACs to, by name, where they are called; inside nested parts the innermost counts.
            Calls of other code name their part with `attributed_to`.

    Returns:
        The count, with every name of ``parts`` in it.
    """
    with follow(parts) as at_work, MacCounter(at_work) as counter:
        call()
    # The parts in their order, then those that code named, then the rest, which is left out where it is nothing.
    per_part = dict.fromkeys(parts, 0) | {part: macs for part, macs in counter.macs.items() if part != OTHER}
    if counter.macs[OTHER]:
        per_part[OTHER] = counter.macs[OTHER]
    return MacCount(
        macs=counter.macs.total(),
        per_part=per_part,
        elementwise_outputs=counter.elementwise_outputs,
        unsupported=dict(counter.unsupported),
    )


class MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is entered.

    Args:
        at_work: Names of the parts at work, innermost last, kept by someone else.
        backward: Whether the kernels of a backward pass count too.

    Attributes:
        macs: MACs by part.
        calls: Operators with a formula, by how often they ran.
        unsupported: Names of operators that may multiply but have no formula, by how often they ran.
        elementwise_outputs: Values written by all other arithmetic.
    """

    supports_higher_order_operators = True

    def __init__(self, at_work: Sequence[str] = (), backward: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.at_work, self.backward = at_work, backward
        self.macs: Counter[str] = Counter()
        self.calls: Counter[OpOverloadPacket[..., Any]] = Counter()
        self.unsupported: Counter[str] = Counter()
        self.elementwise_outputs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator; count it if it is one kernel, else count the operators it is made of."""
        kwargs = kwargs or {}
        # 1. Operators that this mode cannot look into: control flow, flex attention, other kinds of tensors.
        if isinstance(func, HigherOrderOperator):
            self.unsupported[str(func)] += 1
            return func(*args, **kwargs)
        if any(kind.__torch_dispatch__ is not Tensor.__torch_dispatch__ for kind in types):
            return NotImplemented  # a tensor of another kind, semi-structured say, launches operators on what it holds
        # 2. Composites, taken apart: inference mode alone passes them on whole, autograd has split them before.
        nested = any(isinstance(arg, Tensor) and arg.is_nested for arg in args)
        if not nested and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            with self:
                return func._op_dk(DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        # 3. Kernels: run first, as a formula needs the shape of the result.
        result = func(*args, **kwargs)
        if self.backward or torch._C._current_graph_task_id() == -1:  # the latter outside a backward pass
            self._count(func, args, result, nested)
        return result

    def _count(self, func: "OpOverload[..., Any]", args: tuple[Any, ...], result: Any, nested: bool) -> None:
        """Add the MACs of one kernel, or note that it is unsupported, or count its outputs as element-wise."""
        # In-place variants (`addmm_`) share the formula of the operator they end with an underscore.
        formula = FORMULAS.get(func._opname.removesuffix("_")) if func.namespace == "aten" else None
        # Nested tensors have no one shape that a formula could take.
        macs = None if nested or formula is None else formula(result, *args)
        if macs is not None:
            self.macs[self.at_work[-1] if self.at_work else OTHER] += macs
            self.calls[func._overloadpacket] += 1
        elif nested or formula is not None or may_multiply(func._schema.name):
            self.unsupported[func._schema.name] += 1
        elif not only_moves(func):
            self.elementwise_outputs += _values(result)


def _values(result: object) -> int:
    """Return the values in all tensors that an operator returned."""
    if isinstance(result, Tensor):
        return result.numel()
    return sum(_values(item) for item in result) if isinstance(result, (tuple, list)) else 0

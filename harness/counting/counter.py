"""Counter of multiply-accumulates, at torch's dispatch of operators."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DispatchKey
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch.utils._python_dispatch import TorchDispatchMode

from harness.counting.count import MacCount
from harness.counting.formulas import FORMULAS
from harness.counting.operators import may_multiply, only_moves
from harness.counting.parts import follow

OTHER = "other"


def count_macs(call: Callable[[], object], parts: Mapping[str, nn.Module] = MappingProxyType({})) -> MacCount:
    """Run ``call`` and count what it executes.

    Every operator is counted where it is launched, so rows that are gathered first, branches that are not taken and
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
    return MacCount(
        macs=counter.macs.total(),
        per_part=_ordered(counter.macs, parts),
        elementwise_outputs=counter.elementwise_outputs,
        unseen=dict(counter.unseen),
    )


class MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is entered.

    Args:
        at_work: Names of the parts at work, innermost last, kept by someone else.

    Attributes:
        macs: MACs by part.
        calls: Operators with a formula, by how often they ran.
        unseen: Names of operators that may multiply but have no formula, by how often they ran.
        elementwise_outputs: Values written by all other arithmetic.
    """

    supports_higher_order_operators = True

    def __init__(self, at_work: Sequence[str] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.at_work = at_work
        self.macs: Counter[str] = Counter()
        self.calls: Counter[OpOverloadPacket[..., Any]] = Counter()
        self.unseen: Counter[str] = Counter()
        self.elementwise_outputs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator; count it if it is one kernel, else count the operators it is made of."""
        kwargs = kwargs or {}
        if isinstance(func, HigherOrderOperator):
            self.unseen[str(func)] += 1
            return func(*args, **kwargs)
        if any(kind.__torch_dispatch__ is not Tensor.__torch_dispatch__ for kind in types):
            return NotImplemented  # a tensor of another kind, semi-structured say, launches operators on what it holds
        nested = any(isinstance(arg, Tensor) and arg.is_nested for arg in args)
        if not nested and _is_composite(func):
            # Inference mode alone passes these on whole; autograd takes them apart in the same way before.
            with self:
                return func._op_dk(DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        result = func(*args, **kwargs)
        if torch._C._current_graph_task_id() == -1:  # outside a backward pass
            self._count(func, args, result, nested)
        return result

    def _count(self, func: "OpOverload[..., Any]", args: tuple[Any, ...], result: Any, nested: bool) -> None:
        formula = _formula(func)
        macs = None if nested or formula is None else formula(result, *args)
        if macs is not None:
            self.macs[self.at_work[-1] if self.at_work else OTHER] += macs
            self.calls[func._overloadpacket] += 1
        elif nested or formula is not None or may_multiply(func._schema.name):
            self.unseen[func._schema.name] += 1
        elif not only_moves(func):
            self.elementwise_outputs += _values(result)


def _is_composite(func: "OpOverload[..., Any]") -> bool:
    name = func.name()  # type: ignore[no-untyped-call]
    return torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")


def _formula(func: "OpOverload[..., Any]") -> Callable[..., int | None] | None:
    return FORMULAS.get(func._opname.removesuffix("_")) if func.namespace == "aten" else None


def _values(result: object) -> int:
    if isinstance(result, Tensor):
        return result.numel()
    return sum(_values(item) for item in result) if isinstance(result, (tuple, list)) else 0


def _ordered(macs: Mapping[str, int], parts: Iterable[str]) -> dict[str, int]:
    """The parts in their order, then those that code named, then the rest."""
    named = dict.fromkeys(parts, 0) | {part: count for part, count in macs.items() if part != OTHER}
    rest = macs.get(OTHER, 0)
    return named | ({OTHER: rest} if rest else {})

"""Counts of other libraries on the same forward pass, each corrected where it is known to miss or to add something.

The common ground is matrix products and convolutions, attention as its two products. Uncorrected, the libraries are up
to 100 % apart on attention; `tests/probes/test_macs.py` shows where.
"""

import contextlib
import io
import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.compute import Compute
from harness.counting import MacCounter, may_multiply
from harness.method import MultiTaskModel
from harness.records.costs import CounterFigure

_NOT_PRODUCTS = (
    "aten::batch_norm",
    "aten::group_norm",
    "aten::layer_norm",
    "aten::instance_norm",
    "aten::upsample_nearest2d",
    "aten::upsample_bilinear2d",
    "aten::adaptive_avg_pool2d",
    "aten::grid_sampler",
)
"""Operators that fvcore counts and that are no matrix product or convolution."""

_Counts = tuple[int, Mapping[str, int]]
"""MACs, and the operators that may multiply but were not counted, with their calls.

The libraries are imported by what calls them, so that one that cannot be imported is a counter that failed.
"""


class _AsTuple(nn.Module):
    """A model as the libraries take it: one tensor in, tensors out; keeps what its forward raised.

    Args:
        model: Predicts by task.
        tasks: Tasks to predict; None for all.
    """

    def __init__(self, model: MultiTaskModel, tasks: Sequence[str] | None) -> None:
        super().__init__()
        self.model = model
        self.tasks = tasks
        self.failure: Exception | None = None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Predict from [B, 3, H, W]."""
        try:
            return tuple(self.model(images, self.tasks).values())
        except Exception as error:
            self.failure = error
            raise


def count_torch(subject: _AsTuple, images: Tensor) -> _Counts:
    """Count by torch's `FlopCounterMode`, which does not know attention on the CPU; it is added."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]

    lacking = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    with MacCounter() as launched, FlopCounterMode(display=False, custom_mapping=lacking) as counter:
        subject(images)
    # 1 MAC = 2 flops by its convention
    return counter.get_total_flops() // 2, _uncounted(launched, counter.flop_registry)


def count_fvcore(subject: _AsTuple, images: Tensor) -> _Counts:
    """Count by fvcore, on the traced graph; attention is added, and what is no product taken off."""
    from fvcore.nn import FlopCountAnalysis

    def nothing(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        return Counter()

    def attention(inputs: list[Any], outputs: list[Any]) -> int:
        sizes: list[list[int]] = [operand.type().sizes() for operand in inputs[:3]]
        query, key, value = sizes
        # B H L S (D + E), as `harness.counting.formulas` counts it
        return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])

    analysis = FlopCountAnalysis(subject, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    analysis.set_op_handle("aten::scaled_dot_product_attention", attention, **dict.fromkeys(_NOT_PRODUCTS, nothing))
    macs = int(analysis.total())
    return macs, {name: calls for name, calls in analysis.unsupported_ops().items() if may_multiply(name)}


def count_ptflops(subject: _AsTuple, images: Tensor) -> _Counts:
    """Count by ptflops, per operator; attention runs as matrix products, which it knows, and biases are left out."""
    from ptflops import get_model_complexity_info
    from ptflops.aten_ops import ATEN_OPS_MAPPING, addmm_flop, conv_flop
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def linear(inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> int:
        return int(addmm_flop([None, *inputs[1:]], outputs))

    def convolution(inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> int:
        return int(conv_flop([*inputs[:2], None, *inputs[3:]], outputs))

    with MacCounter() as launched, sdpa_kernel(SDPBackend.MATH):
        macs, _ = get_model_complexity_info(
            subject,
            tuple(images.shape[1:]),
            input_constructor=lambda _: images,
            backend="aten",
            as_strings=False,
            print_per_layer_stat=False,
            custom_modules_hooks={torch.ops.aten.addmm: linear, torch.ops.aten.convolution: convolution},
        )
    if subject.failure is not None:  # the library prints it and goes on
        raise subject.failure
    return int(macs), _uncounted(launched, ATEN_OPS_MAPPING)


def _uncounted(launched: MacCounter, known: Mapping[Any, object]) -> dict[str, int]:
    """Return the operators that were launched and may multiply, but are not ``known`` to the library."""
    lacking = {str(packet): calls for packet, calls in launched.calls.items() if packet not in known}
    return {name.replace(".", "::", 1): calls for name, calls in lacking.items()} | dict(launched.unsupported)


@dataclass(frozen=True)
class _Library:
    """A library that counts.

    Attributes:
        counter: Its name in the records.
        package: The package whose version is stored.
        convention: What it counts, with the corrections.
        count: Counts a forward pass.
    """

    counter: Literal["fvcore", "ptflops", "torch"]
    package: str
    convention: str
    count: Callable[[_AsTuple, Tensor], _Counts]


_EVERYWHERE = "fused attention layers switched off"

_LIBRARIES = (
    _Library(
        "fvcore",
        "fvcore",
        "MACs of the traced graph (its flops are MACs); attention added; norms, pooling and interpolation taken off; "
        + _EVERYWHERE,
        count_fvcore,
    ),
    _Library(
        "ptflops",
        "ptflops",
        "MACs of the operators launched (backend aten); attention by matrix products; biases taken off; " + _EVERYWHERE,
        count_ptflops,
    ),
    _Library(
        "torch",
        "torch",
        "half the flops of the operators launched; attention on the CPU added; " + _EVERYWHERE,
        count_torch,
    ),
)


def library_counts(
    model: MultiTaskModel, images: Tensor, compute: Compute, tasks: Sequence[str] | None = None
) -> list[CounterFigure]:
    """Count one forward pass by fvcore, ptflops and torch.

    Args:
        model: What predicts, in evaluation mode.
        images: [1, 3, H, W] on the model's device.
        compute: Arithmetic of the pass.
        tasks: Tasks to predict; None for all.

    Returns:
        One count per library; one that fails has no MACs but the reason.
    """
    counts = []
    for library in _LIBRARIES:
        macs: int | None = None
        unsupported: Mapping[str, int] = {}
        reason = None
        try:
            with _undisturbed(model), _quiet(), torch.inference_mode(False), torch.no_grad(), compute.autocast():
                # The libraries see through linear layers only outside of inference mode, with an ordinary tensor.
                macs, unsupported = library.count(_AsTuple(model, tasks), images.clone())
        except Exception as error:  # a library that fails must not fail the run
            reason = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        counts.append(
            CounterFigure(
                counter=library.counter,
                version=version(library.package),
                convention=library.convention,
                macs=macs,
                unseen=dict(unsupported),
                reason=reason,
            )
        )
    return counts


def disagreements(executed: int, counters: Sequence[CounterFigure], tolerance: float = 0.02) -> list[str]:
    """Return one line for every counter that is further off than ``tolerance``, a fraction of ``executed``.

    Args:
        executed: Our own count of the same forward pass, in MACs.
        counters: The libraries' counts; those that failed disagree with nothing.
        tolerance: 0.02 for 2 %.
    """
    lines = []
    for one in counters:
        if one.macs is not None and abs(one.macs - executed) > tolerance * executed:
            off = f"{one.macs / executed - 1:+.1%}" if executed else "without bound"
            lines.append(
                f"{one.counter} counts {one.macs / 1e9:.3f} GMAC where {executed / 1e9:.3f} were executed ({off})"
            )
    return lines


@contextlib.contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Switch fused attention layers off and on again, and take off the hooks that libraries leave behind."""
    hooks = [hooks for module in model.modules() for hooks in (module._forward_pre_hooks, module._forward_hooks)]
    before = [set(registered) for registered in hooks]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for registered, old in zip(hooks, before, strict=True):
            for key in registered.keys() - old:
                del registered[key]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the libraries print, log and warn of."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)

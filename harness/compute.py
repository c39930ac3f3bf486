"""Compute: device and precision of forward passes, execution settings, and seeds."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from harness.errors import UsageError

if TYPE_CHECKING:  # the command line lists devices and precisions without it
    import torch
    from torch import nn

Precision = Literal["fp32", "tf32", "bf16", "fp16", "bf16-weights"]
"""Arithmetic of matrix products and convolutions. ``bf16`` and ``fp16`` cast float32 weights in every call (autocast);
``bf16-weights`` casts the weights once, when the model is loaded."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
"""Modes of torch.compile."""

Runtime = Literal["eager", "compile", "export", "onnxruntime", "openvino", "tensorrt"]
"""``eager`` and ``compile`` run the model itself; ``export`` its captured graph by torch; the others its ONNX file."""

RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)

Quantise = Literal["dynamic", "static"]
"""8-bit weights and activations; the scales of activations are found at every call, or once on calibration images."""

_AUTOCAST: dict[Precision, str] = {"bf16": "bfloat16", "fp16": "float16", "bf16-weights": "bfloat16"}
"""Precision to torch's name of the type that autocast computes with."""
_DEVICES = re.compile(r"cpu|mps|cuda(:\d+)?")
"""Devices whose clocks and synchronisation the probes know; others (meta, xpu) would give wrong latencies."""

_AMPERE = 8
"""Major compute capability of the first cards with TF32 (NVIDIA Ampere)."""

_Model = TypeVar("_Model", bound="nn.Module")


@dataclass(frozen=True)
class Compute:
    """Device and arithmetic of forward passes.

    Attributes:
        device: Where to compute.
        precision: Arithmetic of matrix products and convolutions.

    Example:
        >>> import torch
        >>> compute = Compute(torch.device("cpu"), "bf16")
        >>> with compute.autocast():
        ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        torch.bfloat16
    """

    device: torch.device
    precision: Precision = "fp32"

    def set_switches(self, deterministic: bool = False) -> None:
        """Set the process-wide switches: TF32 is on for ``tf32`` alone.

        Args:
            deterministic: Refuse operators whose result depends on the order in which a GPU's threads add.

        Raises:
            UsageError: the device cannot do it.
        """
        import torch

        device, precision = self.device, self.precision
        if precision in ("tf32", "fp16") and device.type == "cpu":
            raise UsageError(f"--precision {precision} needs a GPU; on a CPU use fp32 or bf16")
        if precision == "tf32":
            if device.type != "cuda":
                raise UsageError(f"--precision tf32 does not exist on {device.type}; use fp32, bf16 or fp16")
            if torch.cuda.get_device_capability(device)[0] < _AMPERE:
                name = torch.cuda.get_device_name(device)
                raise UsageError(f"--precision tf32 needs an NVIDIA GPU from Ampere on, not {name}; use fp32 or fp16")
        if deterministic:  # cuBLAS reads it when it is first used; 8 buffers of 4096 KiB, as its manual asks for
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context of a forward pass; matrix products and convolutions use the precision inside it."""
        if self.precision in _AUTOCAST:
            import torch

            return torch.autocast(self.device.type, dtype=getattr(torch, _AUTOCAST[self.precision]))
        return contextlib.nullcontext()

    def place(self, model: _Model) -> _Model:
        """Move a model that only predicts to the device, and cast its weights once for ``bf16-weights``.

        Cast are parameters of two and more axes, the operands of products and convolutions. Norms and biases stay in
        float32, as autocast computes with them so, and as they take next to no memory.
        """
        model.to(self.device)
        if self.precision == "bf16-weights":
            import torch

            for parameter in model.parameters():
                if parameter.ndim > 1 and parameter.is_floating_point():
                    parameter.data = parameter.data.to(torch.bfloat16)
        return model

    def training(self) -> Compute:
        """Return the compute of training: weights stay in float32, as an optimiser's small steps vanish in bf16."""
        return Compute(self.device, "bf16") if self.precision == "bf16-weights" else self


@dataclass(frozen=True)
class ExecutionSettings:
    """Execution of a timed forward pass: settings that change its time and not its result.

    Attributes:
        compile: Mode of torch.compile; None for eager execution.
        cuda_graph: Whether the pass is captured as a CUDA graph and replayed.
        channels_last: Whether images and kernels lie in memory channels last.
        runtime: What runs the model, one of `harness.export.settings.RUNTIMES`.
        quantise: 8-bit weights, with activations scaled at every call or by calibration; None for none.
    """

    compile: str | None = None
    cuda_graph: bool = False
    channels_last: bool = False
    runtime: str = "eager"
    quantise: str | None = None


EAGER = ExecutionSettings()
"""The default: operators run one by one, as a run evaluates."""


def pick_device(name: str | None) -> torch.device:
    """Return the device called ``name``; None picks a GPU when there is one.

    Raises:
        UsageError: it is none of cpu, cuda, cuda:INDEX and mps, or does not exist here.
    """
    import torch

    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not _DEVICES.fullmatch(name):
        raise UsageError(f"--device {name}: devices are cpu, cuda, cuda:INDEX and mps")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return device


@contextlib.contextmanager
def cudnn_benchmark(device: torch.device) -> Iterator[None]:
    """Let cuDNN choose its convolution kernels by timing them, for passes of one shape on a GPU.

    Elsewhere, and where deterministic algorithms are asked for, nothing changes: the choice may differ between runs.
    """
    import torch

    before = torch.backends.cudnn.benchmark
    if device.type == "cuda" and not torch.are_deterministic_algorithms_enabled():
        torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def seed_everything(*parts: int | str) -> None:
    """Seed torch's generators (CPU and devices) with a number made from ``parts``."""
    import torch

    torch.manual_seed(zlib.crc32("/".join(map(str, parts)).encode()))

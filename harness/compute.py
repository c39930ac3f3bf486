"""Arithmetic of a forward pass, by name."""

import contextlib
import zlib
from typing import Literal, get_args

import torch

from harness.errors import UsageError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """Return the context a forward pass runs in; matrices and convolutions use ``precision`` inside it."""
    if precision in ("bf16", "fp16"):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float16
        return torch.autocast(device.type, dtype=dtype)
    return contextlib.nullcontext()


def set_precision(device: torch.device, precision: Precision) -> None:
    """Set the process-wide switches a precision needs: TF32 is on for ``tf32`` alone.

    Raises:
        UsageError: the device cannot do it.
    """
    if precision in ("tf32", "fp16") and device.type == "cpu":
        raise UsageError(f"--precision {precision} needs a GPU; on a CPU use fp32 or bf16")
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def pick_device(name: str | None) -> torch.device:
    """Return the device called ``name``; None picks a GPU when there is one.

    Raises:
        UsageError: it does not exist here.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return device


def seed_everything(*parts: int | str) -> None:
    """Seed torch's generators (CPU and devices) with a number made from ``parts``."""
    torch.manual_seed(zlib.crc32("/".join(map(str, parts)).encode()))

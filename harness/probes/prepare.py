"""Forward passes, ready to be measured."""

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from harness.compute import EAGER, Compute, ExecutionSettings
from harness.errors import MethodError, UsageError, unknown
from harness.method import Predictions

_T = TypeVar("_T")

_GRAPH_WARMUP = 3
"""Calls before a capture, in which libraries allocate what must not be allocated while it goes on."""


def prepare_forward(model: nn.Module, compute: Compute) -> Callable[[Tensor], Predictions]:
    """Return inference: images [B, 3, H, W] on the device to raw maps by task.

    The model is put into evaluation mode. TF32 is a switch of the whole process, which `Compute.set_switches` sets.
    """
    model.eval()

    def forward(images: Tensor) -> Predictions:
        with torch.inference_mode(), compute.autocast():
            predictions: Predictions = model(images)
            return predictions

    return forward


def prepare_call(
    model: nn.Module,
    images: Tensor,
    compute: Compute,
    execution: ExecutionSettings = EAGER,
) -> Callable[[], Predictions]:
    """Return one forward pass on fixed images, to be called again and again.

    The model itself is moved to the device, laid out in memory as asked, and put into evaluation mode.

    Args:
        model: What predicts.
        images: Normalised RGB, [B, 3, H, W].
        compute: Device and arithmetic of the forward pass.
        execution: Its execution. Each replay of a CUDA graph overwrites the predictions of the one before.

    Raises:
        UsageError: a CUDA graph without a GPU, or an unknown mode.
        MethodError: the model cannot be compiled or captured.
    """
    device, compiled = compute.device, execution.compile
    if execution.cuda_graph and device.type != "cuda":
        raise UsageError(f"a CUDA graph needs a GPU, and the device is {device}; leave it out")
    layout = torch.channels_last if execution.channels_last else torch.contiguous_format
    model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    fixed = images.to(device=device, memory_format=layout)
    module = _compile(model, compiled) if compiled is not None else model
    forward = prepare_forward(module, compute)

    def call() -> Predictions:
        return forward(fixed)

    if compiled is not None:
        _attempt(call, f"torch.compile in mode {compiled!r} failed")
    if execution.cuda_graph:
        return _attempt(lambda: _capture(call, device), "the forward pass cannot be captured as a CUDA graph")
    return call


def _compile(model: nn.Module, mode: str) -> nn.Module:
    modes = torch._inductor.list_mode_options()
    if mode not in modes:
        raise UsageError(unknown("mode of torch.compile", mode, modes))
    return cast(nn.Module, torch.compile(model, mode=mode))  # a module given, a module is returned


def _capture(call: Callable[[], Predictions], device: torch.device) -> Callable[[], Predictions]:
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_GRAPH_WARMUP):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            predictions = call()

    def replay() -> Predictions:
        graph.replay()
        return predictions

    return replay


def _attempt(work: Callable[[], _T], failure: str) -> _T:
    try:
        return work()
    except Exception as error:  # compilers and drivers raise whatever they like
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MethodError(f"{failure}: {reason}") from error

"""Forward passes ready to be measured: eager, compiled, or as CUDA graphs."""

import contextlib
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from harness.compute import EAGER, Compute, ExecutionSettings, Quantise, Runtime
from harness.errors import MethodError, UsageError, unknown
from harness.export.runtime import RuntimeModel, deploy
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
    if execution.runtime != "eager":
        runtime, quantise = cast(Runtime, execution.runtime), cast(Quantise | None, execution.quantise)
        model = deploy(model, images.to(device), runtime, quantise, torch.split(images, 1))  # type: ignore[arg-type]
    if execution.cuda_graph and device.type != "cuda":
        raise UsageError(f"a CUDA graph needs a GPU, and the device is {device}; leave it out")
    layout = torch.channels_last if execution.channels_last else torch.contiguous_format
    model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    fixed = images.to(device=device, memory_format=layout)
    module = model
    if compiled is not None:
        modes = torch._inductor.list_mode_options()
        if compiled not in modes:
            raise UsageError(unknown("mode of torch.compile", compiled, modes))
        # Eagerly first: what a model prepares once is no part of what is compiled.
        _attempt(lambda: prepare_forward(model, compute)(fixed), f"torch.compile in mode {compiled!r} failed")
        module = cast(nn.Module, torch.compile(model, mode=compiled))  # a module given, a module is returned
    forward = prepare_forward(module, compute)

    def call() -> Predictions:
        return forward(fixed)

    if isinstance(model, RuntimeModel):
        call.model = model  # type: ignore[attr-defined]  # whoever times it asks for its size
        return call
    # Compilation happens at the first call, so that its errors are met here and not in a measurement.
    if compiled is not None:
        _attempt(call, f"torch.compile in mode {compiled!r} failed")
    if execution.cuda_graph:
        return _attempt(lambda: _capture(call, device), "the forward pass cannot be captured as a CUDA graph")
    return call


def _capture(call: Callable[[], Predictions], device: torch.device) -> Callable[[], Predictions]:
    """Record a call as a CUDA graph and return its replay."""
    with torch.cuda.device(device):
        # Libraries allocate at first calls, on a side stream as the capture needs it.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_GRAPH_WARMUP):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # A capture that fails half-way leaves the generator registered with the dead graph, and the next draw fails.
        state = torch.cuda.get_rng_state(device)
        try:
            with torch.cuda.graph(graph):
                predictions = call()
        except BaseException:
            with contextlib.suppress(Exception):  # the error of the capture is the one to report
                _restore_generator(device, state)
            raise

    def replay() -> Predictions:
        graph.replay()
        return predictions

    # The graph reads the static input at its address, and does not own it: it lives as long as its replay does.
    replay.static = call  # type: ignore[attr-defined]
    return replay


def _restore_generator(device: torch.device, state: Tensor) -> None:
    """Give the device a generator outside of any capture, in the state it had before."""
    index = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.default_generators[index].graphsafe_set_state(torch.Generator(device=device))
    torch.cuda.set_rng_state(state, device)


def release_compiled() -> None:
    """Free what torch.compile holds: code of models that are done with, and the memory pools of its CUDA graphs."""
    torch.compiler.reset()


def _attempt(work: Callable[[], _T], failure: str) -> _T:
    try:
        return work()
    except Exception as error:  # compilers and drivers raise whatever they like
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MethodError(f"{failure}: {reason}") from error

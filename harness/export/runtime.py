"""Runtimes that a trained model is served by, each as a model that predicts: torch.export, ONNX Runtime and more."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.compute import ExecutionSettings, Quantise, Runtime
from harness.errors import HarnessError, MethodError, UsageError, described
from harness.export.capture import capture
from harness.export.onnx import INPUT, needed, quantise_onnx, write_onnx
from harness.export.settings import ITSELF
from harness.model import MultiTaskModel, Predictions
from harness.problem import Problem

Maps = Callable[[Tensor], Sequence[Tensor]]
"""Images [B, 3, H, W] to the raw maps of the tasks in order."""


class RuntimeModel(MultiTaskModel):
    """A model that another runtime serves; it has no parameters of its own.

    Args:
        problem: The tasks and the input size.
        maps: The runtime's call.
        tasks: Tasks by the order of its maps.
        size: Bytes of what is deployed.
        batch: Images of a call; None for any number.
    """

    def __init__(self, problem: Problem, maps: Maps, tasks: Sequence[str], size: int, batch: int | None) -> None:
        super().__init__(problem)
        self.maps, self.tasks, self.size, self.batch = maps, tuple(tasks), size, batch

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> Predictions:
        """Predict all tasks, in calls of the graph's own size where it is fixed; return those asked for."""
        parts = [images] if self.batch in (None, len(images)) else list(torch.split(images, self.batch or 1))
        results = [self.maps(part) for part in parts]
        whole = results[0] if len(results) == 1 else [torch.cat(list(each)) for each in zip(*results, strict=True)]
        maps = dict(zip(self.tasks, whole, strict=True))
        return {task: maps[task] for task in tasks or self.problem.names}


def execution_of(settings: Any) -> ExecutionSettings:
    """Return the execution of a command; ``--runtime compile`` is torch.compile in its default mode.

    Args:
        settings: A `Served`, with ``compile``, ``cuda_graph`` and ``channels_last`` where it has them.
    """
    mode = getattr(settings, "compile", None) or ("default" if settings.runtime == "compile" else None)
    return ExecutionSettings(
        mode,
        getattr(settings, "cuda_graph", False),
        getattr(settings, "channels_last", False),
        "eager" if settings.runtime in ITSELF else settings.runtime,
        settings.quantise,
    )


def check_runtime(runtime: Runtime | None, device: torch.device) -> None:
    """Check that a runtime is installed and serves a device, before minutes of capturing.

    Raises:
        UsageError: it is not, or does not.
    """
    if runtime == "openvino" and device.type != "cpu":
        raise UsageError("--runtime openvino serves a CPU here; add --device cpu")
    if runtime == "tensorrt" and device.type != "cuda":
        raise UsageError("--runtime tensorrt needs an NVIDIA GPU")
    if runtime in _PACKAGE:
        for module in ("onnx", "onnxscript"):
            needed(module)
        needed(*_PACKAGE[runtime])


def deploy(
    model: MultiTaskModel,
    images: Tensor,
    runtime: Runtime,
    quantise: Quantise | None = None,
    calibration: Iterable[Tensor] = (),
    threads: int | None = None,
) -> RuntimeModel:
    """Return a model as a runtime serves it.

    Args:
        model: In evaluation mode, on the device that serves.
        images: An example, [B, 3, H, W].
        runtime: One that is not the model itself.
        quantise: 8-bit weights, by ONNX Runtime alone; None for fp32.
        calibration: Images [1, 3, H, W] for ``static``.
        threads: Threads of a CPU; None for torch's number.

    Raises:
        UsageError: the runtime is not installed, or does not do what is asked for.
        MethodError: the model cannot be captured or converted.
    """
    check_runtime(runtime, images.device)
    device = images.device
    captured = capture(model, images)
    with tempfile.TemporaryDirectory(prefix="harness-export-") as folder:
        path = Path(folder) / ("model.pt2" if runtime == "export" else "model.onnx")
        if runtime == "export":
            torch.export.save(captured.program, path)
        else:
            write_onnx(captured, path)
        if quantise is not None:
            plain, path = path, Path(folder) / "int8.onnx"
            quantise_onnx(plain, path, quantise, calibration)
        maps = open_file(path, captured.tasks, runtime, device, threads)
        size = sum(file.stat().st_size for file in Path(folder).glob(f"{path.name}*"))
    return RuntimeModel(model.problem, maps, captured.tasks, size, captured.batch)


_PACKAGE = {
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "openvino"),
    "tensorrt": ("onnxruntime", "onnx"),
}
"""Runtime to the module that it needs, and the extra that brings it."""

_CPU = torch.device("cpu")


def open_file(
    path: Path,
    tasks: Sequence[str],
    runtime: Runtime | None = None,
    device: torch.device = _CPU,
    threads: int | None = None,
) -> Maps:
    """Return the call of an exported file, ``model.pt2`` or ONNX.

    Args:
        path: The file; it is not needed afterwards.
        tasks: Names of its outputs.
        runtime: What runs it; None for torch and ONNX Runtime by its kind.
        device: Where it runs.
        threads: Threads of a CPU; None for torch's number.

    Raises:
        UsageError: the runtime is not installed, or lacks the device.
        MethodError: it cannot load the file.
    """
    runtime = runtime or ("export" if path.suffix == ".pt2" else "onnxruntime")
    call = {"export": _program, "onnxruntime": _onnxruntime, "openvino": _openvino, "tensorrt": _tensorrt}[runtime]
    try:
        return call(path, tasks, device, threads or torch.get_num_threads())
    except HarnessError:
        raise
    except Exception as error:  # runtimes raise errors of many kinds
        raise MethodError(f"{runtime} cannot load the model ({described(error)})") from error


def _program(path: Path, tasks: Sequence[str], device: torch.device, threads: int) -> Maps:
    """Open a torch program, whose weights lie on the device that it was captured on."""
    graph: Any = torch.export.load(path).module()
    maps: Maps = graph
    return maps


def _onnxruntime(path: Path, tasks: Sequence[str], device: torch.device, threads: int) -> Maps:
    """Open an ONNX file with ONNX Runtime, on the CPU or on CUDA."""
    return _session(path, tasks, device, threads, "CUDAExecutionProvider" if device.type == "cuda" else None)


def _tensorrt(path: Path, tasks: Sequence[str], device: torch.device, threads: int) -> Maps:
    """Open an ONNX file with TensorRT, through ONNX Runtime, which gives what TensorRT lacks to CUDA."""
    return _session(path, tasks, device, threads, "TensorrtExecutionProvider")


def _session(path: Path, tasks: Sequence[str], device: torch.device, threads: int, provider: str | None) -> Maps:
    ort: Any = needed("onnxruntime")
    if provider is not None and provider not in ort.get_available_providers():
        raise UsageError(f"this build of onnxruntime has no {provider}; install onnxruntime-gpu")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    chosen = [] if provider is None else [(provider, {"device_id": device.index or 0})]
    session = ort.InferenceSession(str(path), options, providers=[*chosen, "CPUExecutionProvider"])
    if provider is not None and provider not in session.get_providers():
        raise UsageError(f"onnxruntime did not load {provider}: its libraries are not found")
    if provider is None:

        def on_cpu(images: Tensor) -> list[Tensor]:
            return [torch.from_numpy(one) for one in session.run(list(tasks), {INPUT: images.numpy()})]

        return on_cpu

    def on_gpu(images: Tensor) -> list[Tensor]:
        # Neither images nor maps leave the device.
        binding = session.io_binding()
        images = images.contiguous()
        torch.cuda.synchronize(images.device)  # the session works on a stream of its own
        place = {"device_type": "cuda", "device_id": images.device.index or 0}
        binding.bind_input(
            name=INPUT, element_type="float32", shape=tuple(images.shape), buffer_ptr=images.data_ptr(), **place
        )
        for task in tasks:
            binding.bind_output(task, **place)
        session.run_with_iobinding(binding)
        return [torch.utils.dlpack.from_dlpack(value._ortvalue.to_dlpack()) for value in binding.get_outputs()]

    return on_gpu


def _openvino(path: Path, tasks: Sequence[str], device: torch.device, threads: int) -> Maps:
    """Open an ONNX file with OpenVINO, which serves CPUs here."""
    vino: Any = needed("openvino", "openvino")
    # In fp32: bf16 where the processor has it would be another precision than the record says.
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = vino.Core().compile_model(str(path), "CPU", settings)

    def maps(images: Tensor) -> list[Tensor]:
        found = compiled(images.numpy())
        return [torch.from_numpy(found[task].copy()) for task in tasks]

    return maps

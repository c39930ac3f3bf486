"""ONNX files: a captured model written, and quantised to int8 by ONNX Runtime."""

import contextlib
import importlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from harness.compute import Quantise
from harness.errors import MethodError, UsageError, described
from harness.export.capture import Captured

OPSET = 18
"""Version of the operators: the first that the exporter writes without a conversion, and known to all runtimes."""

INPUT = "images"
"""Name of the input; outputs have the names of their tasks."""


def needed(module: str, extra: str = "onnx") -> ModuleType:
    """Return a module of an optional package.

    Raises:
        UsageError: it is not installed; the message says how it comes.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{module} is not installed; run: pip install 'mtl-harness[{extra}]'") from error


def write_onnx(captured: Captured, path: Path) -> None:
    """Write a captured model as ONNX; weights of 2 GB and more go to a second file beside it.

    Raises:
        UsageError: the packages of the extra ``onnx`` are missing.
        MethodError: an operator of the model has no counterpart.
    """
    for module in ("onnx", "onnxscript"):
        needed(module)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            # Constants are folded by the runtimes themselves, so that writing takes half the time.
            program = torch.onnx.export(
                captured.program,
                input_names=[INPUT],
                output_names=list(captured.tasks),
                opset_version=OPSET,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
        assert program is not None
        program.save(str(path))
    except Exception as error:  # the converter raises errors of many kinds
        cause = error.__cause__ or error
        raise MethodError(f"the model cannot be written as ONNX ({described(cause)})") from error


def quantise_onnx(source: Path, target: Path, kind: Quantise, images: Iterable[Tensor] = ()) -> None:
    """Write an ONNX file with weights of 8 bits.

    Args:
        source: The file in fp32.
        target: Where it goes.
        kind: ``dynamic``: products of matrices alone, activations scaled at every call; ``static``: convolutions too,
            activations scaled by what calibration has seen.
        images: For ``static``: calibration images, each [1, 3, H, W].

    Raises:
        UsageError: the packages of the extra ``onnx`` are missing.
        MethodError: the file cannot be quantised.
    """
    tools: Any = needed("onnxruntime.quantization")
    prepare: Any = needed("onnxruntime.quantization.shape_inference")
    with tempfile.TemporaryDirectory(prefix="harness-int8-") as folder, _silent():
        inferred = Path(folder) / "inferred.onnx"
        try:
            prepare.quant_pre_process(str(source), str(inferred), skip_symbolic_shape=True)
            if kind == "dynamic":
                tools.quantize_dynamic(
                    str(inferred),
                    str(target),
                    op_types_to_quantize=["MatMul", "Gemm"],
                    weight_type=tools.QuantType.QInt8,
                )
                return
            tools.quantize_static(
                str(inferred),
                str(target),
                _reader(tools.CalibrationDataReader, images),
                op_types_to_quantize=["MatMul", "Gemm", "Conv"],
                per_channel=True,
                weight_type=tools.QuantType.QInt8,
                activation_type=tools.QuantType.QUInt8,
            )
        except Exception as error:
            raise MethodError(f"the model cannot be quantised ({described(error)})") from error


def _reader(base: type, images: Iterable[Tensor]) -> object:
    """Return calibration images in the form that ONNX Runtime reads them."""
    feeds = iter([{INPUT: image.numpy()} for image in images])

    def get_next(self: object) -> object:
        return next(feeds, None)

    return type("Images", (base,), {"get_next": get_next})()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

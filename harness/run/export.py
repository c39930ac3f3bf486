"""Export of an artifact to a file that other runtimes read, checked on images before it is kept."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from harness.compute import seed_everything
from harness.data.loading import eval_batches
from harness.data.open import open_data
from harness.data.transforms import MEAN, STD
from harness.errors import MethodError, UsageError
from harness.export.capture import Captured, capture
from harness.export.onnx import OPSET, needed, write_onnx
from harness.export.runtime import open_file
from harness.files import check_writable, new_folder
from harness.method import MultiTaskModel
from harness.protocol import Protocol
from harness.registry import load_dataset
from harness.run.api import load
from harness.weights.artifact import digest_artifact, read_manifest

Target = Literal["onnx", "torch-export"]

TOLERANCE = 1e-4
"""Largest difference that is accepted, relative to the largest value of the map: fp32 sums in another order."""

FILES = {"onnx": "model.onnx", "torch-export": "model.pt2"}
CARD = "export.json"


@dataclass(frozen=True)
class Exported:
    """An exported model, as ``export.json`` beside it says.

    Attributes:
        target: Format.
        file: Its name.
        method: Name of the method.
        artifact: sha256 of the artifact.
        input: Name and shape of the input; a batch of any size is ``batch``.
        outputs: Task to the shape of its map.
        normalisation: Values that images are normalised with, RGB in 0 to 1.
        opset: Version of ONNX's operators; None for torch.
        fixed_batch: Why the batch is of a fixed size; None where it is of any.
        checked_on: Images that the outputs were compared on.
        largest_error: Largest difference of a map by task, relative to its largest value.
        bytes: Size of the files.
    """

    target: Target
    file: str
    method: str
    artifact: str
    input: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    normalisation: dict[str, list[float]]
    opset: int | None
    fixed_batch: str | None
    checked_on: str
    largest_error: dict[str, float]
    bytes: int


def export(
    artifact: Path,
    target: Target,
    output: Path,
    dataset: str | None = None,
    data_root: Path | None = None,
    limit: int = 4,
) -> Exported:
    """Export the model of an artifact, in fp32 on the CPU, and keep it if it predicts what the model predicts.

    Args:
        artifact: Folder of a run's export.
        target: Format.
        output: Folder of the files; what an earlier export left there is replaced.
        dataset: Data set whose validation images it is checked on; None for random ones.
        data_root: Where that lies.
        limit: Images that are compared.

    Raises:
        UsageError: a wrong name or place, or a missing package.
        MethodError: the model cannot be exported, or the file predicts something else.
    """
    if target == "onnx":  # before minutes of work
        for module in ("onnx", "onnxscript", "onnxruntime"):
            needed(module)
    model = load(artifact)
    check_writable("-o", output.parent)
    if output.exists() and not (output / CARD).is_file():
        raise UsageError(f"-o {output}: exists and holds no export; name another folder")
    images = list(_images(model, dataset, data_root, limit))
    captured = capture(model, images[0])
    with new_folder(output) as unfinished:
        path = unfinished / FILES[target]
        if target == "onnx":
            write_onnx(captured, path)
        else:
            torch.export.save(captured.program, path)
        errors = _compared(model, captured, path, images)
        if (worst := max(errors.values())) > TOLERANCE:
            task = max(errors, key=errors.__getitem__)
            raise MethodError(
                f"the file predicts something else: {task} differs by {worst:.1e} of its largest value, more than "
                f"{TOLERANCE:.0e}; what this method computes follows from the image, and a graph is fixed"
            )
        size = sum(file.stat().st_size for file in unfinished.iterdir())
        batch: int | str = captured.batch or "batch"
        with torch.inference_mode():
            maps = model(images[0])
        card = Exported(
            target=target,
            file=path.name,
            method=read_manifest(artifact).method,
            artifact=digest_artifact(artifact),
            input={"images": [batch, 3, *model.problem.input_size]},
            outputs={task: [batch, *maps[task].shape[1:]] for task in captured.tasks},
            normalisation={"mean": MEAN.tolist(), "std": STD.tolist()},
            opset=OPSET if target == "onnx" else None,
            fixed_batch=captured.reason,
            checked_on=f"{len(images)} validation images of {dataset}" if dataset else f"{len(images)} random images",
            largest_error=dict(errors),
            bytes=size,
        )
        (unfinished / CARD).write_text(json.dumps(asdict(card), indent=1) + "\n")
        shutil.rmtree(output, ignore_errors=True)  # an earlier export
    return card


def _images(model: MultiTaskModel, dataset: str | None, data_root: Path | None, limit: int) -> Iterator[Tensor]:
    """Yield normalised images, each [1, 3, H, W]."""
    size = model.problem.input_size
    if dataset is None:
        seed_everything("export")
        yield from torch.randn(limit, 1, 3, *size)
        return
    opened = load_dataset(dataset)
    tasks = [spec.name for spec in opened.tasks if spec.name in model.problem.names]
    data = open_data(opened, data_root, tasks, Protocol.profile("invpt"), limit, False, size)
    yield from (batch.images for batch in eval_batches(data.val, data.transform, 1))


def _compared(model: MultiTaskModel, captured: Captured, path: Path, images: Sequence[Tensor]) -> Mapping[str, float]:
    """Return the largest difference of every task's map, relative to its largest value.

    Images come one by one and, where the file takes any number, all at once.
    """
    maps = open_file(path, captured.tasks)
    batches = [*images] + ([torch.cat(list(images))] if captured.batch is None else [])
    errors = dict.fromkeys(captured.tasks, 0.0)
    with torch.inference_mode():
        for batch in batches:
            wanted = model(batch)
            for task, found in zip(captured.tasks, maps(batch), strict=True):
                largest = wanted[task].abs().max().clamp(min=torch.finfo(torch.float32).tiny)
                errors[task] = max(errors[task], float((found - wanted[task]).abs().max() / largest))
    return errors

"""Saving what a model predicts, for `harness score` and for anyone else."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from harness.data.sample import Batch
from harness.data.transforms import EvalTransform
from harness.files import write_atomically, writing_to
from harness.predictions.formats import format_of
from harness.tasks.base import Task


class PredictionWriter:
    """Writes predictions while they are scored: ``<folder>/<task>/<id>.<suffix>``, each file complete or not there.

    Padding is cut off, so that files are as large as the images; resized and cropped inputs are saved at the
    size that is scored.

    Args:
        folder: Where to write.
        tasks: Task objects by name.
        transform: How images became inputs.
    """

    def __init__(self, folder: Path, tasks: Mapping[str, Task], transform: EvalTransform) -> None:
        self.folder = folder
        self.tasks = tasks
        self.transform = transform
        for name in tasks:
            (folder / name).mkdir(parents=True, exist_ok=True)

    def write(self, task: str, prediction: Tensor, batch: Batch) -> None:
        """Save the raw prediction of a batch, [B, C, H, W] at label size."""
        form = format_of(task)
        decoded = self.tasks[task].decode(prediction).cpu().numpy()
        for image_id, size, planes in zip(batch.ids, batch.sizes, decoded, strict=True):
            path = self.folder / task / f"{image_id}{form.suffix}"
            with writing_to(f"--save-predictions {self.folder}"):
                write_atomically(path, form.write(self.transform.restore(planes, size)), durable=False)

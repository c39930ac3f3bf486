"""A split through a model into meters, streaming."""

import contextlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.compute import Precision, autocast
from harness.data.sample import Batch
from harness.model import MultiTaskModel
from harness.predictions.writer import PredictionWriter
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.records.metric import Metric
from harness.tasks.base import Task


def evaluate(
    model: MultiTaskModel,
    batches: Iterable[Batch],
    total: int,
    tasks: Mapping[str, Task],
    protocol: Protocol,
    device: torch.device,
    precision: Precision,
    progress: RunProgress,
    writer: PredictionWriter | None = None,
) -> dict[str, dict[str, Metric]]:
    """Score ``model`` on every batch.

    Args:
        model: On ``device``; put into evaluation mode.
        batches: The split, in order, each image once.
        total: Number of images, for the progress bar.
        tasks: Task objects by name.
        protocol: Conventions of the meters.
        device: Where to compute.
        precision: Arithmetic of the forward pass; meters always see float32.
        progress: Where progress is shown.
        writer: Saves what is scored; None saves nothing.

    Returns:
        Task name to its figures, the headline first.
    """
    model.eval()
    labels = {name: task.scored_label(protocol) for name, task in tasks.items()}
    meters = {name: task.meter(protocol) for name, task in tasks.items()}
    with contextlib.ExitStack() as stack, torch.inference_mode(), progress.bar("evaluate", total) as report:
        for meter in meters.values():
            stack.callback(meter.close)
        done = 0
        for batch in batches:
            batch = batch.to(device)
            with autocast(device, precision):
                predictions = model(batch.images, list(meters))
            for name, meter in meters.items():
                label = batch.labels[labels[name]]
                prediction = at_label_size(predictions[name].float(), label)
                meter.update(prediction, label)
                if writer is not None:
                    writer.write(name, prediction, batch)
            done += len(batch.ids)
            report(done)
        return {name: meter.compute() for name, meter in meters.items()}


def at_label_size(prediction: Tensor, label: Tensor) -> Tensor:
    """Resize a raw prediction bilinearly to the label's size where the protocol scores at another size."""
    if prediction.shape[-2:] == label.shape[-2:]:
        return prediction
    return F.interpolate(prediction, size=label.shape[-2:], mode="bilinear", align_corners=False)

"""Evaluation: a split through a model into meters, batch by batch."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import compress

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.compute import Compute
from harness.data.sample import Batch
from harness.model import MultiTaskModel, check_predictions
from harness.predictions.writer import PredictionWriter
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.records.metric import Metric
from harness.tasks.base import Task
from harness.tasks.per_image import PerImage


def evaluate(
    model: MultiTaskModel,
    batches: Iterable[Batch],
    total: int,
    tasks: Mapping[str, Task],
    protocol: Protocol,
    compute: Compute,
    progress: RunProgress,
    writer: PredictionWriter | None = None,
    per_image: PerImage | None = None,
) -> dict[str, dict[str, Metric]]:
    """Score ``model`` on every batch.

    Args:
        model: On the device; put into evaluation mode.
        batches: The split, in order, each image once.
        total: Number of images, for the progress bar.
        tasks: Task objects by name.
        protocol: Conventions of the meters.
        compute: Device and arithmetic of the forward pass; meters always see float32.
        progress: Where progress is shown.
        writer: Saves what is scored; None saves nothing.
        per_image: Takes the ids of the images and the statistics of every task whose predictions are finite.

    Returns:
        Task name to its metrics, the headline first. Those of a task are null, with the reason, where one of its
        predictions is not finite: the class of a NaN would be the first one.

    Raises:
        MethodError: a prediction is missing or of another shape than the task's.
    """
    model.eval()
    labels = {name: task.scored_label(protocol) for name, task in tasks.items()}
    meters = {name: task.meter(protocol) for name, task in tasks.items()}
    with contextlib.ExitStack() as stack, torch.inference_mode(), progress.bar("evaluate", total) as report:
        for meter in meters.values():
            stack.callback(meter.close)
        done = 0
        spoiled: dict[str, list[str]] = {name: [] for name in meters}
        for batch in batches:
            batch = batch.to(compute.device)
            with compute.autocast():
                predictions = model(batch.images, list(meters))
            check_predictions(predictions, batch.images, model.problem, list(meters))
            # [tasks, B] in one transfer: every look at a value waits for the device.
            finite = torch.stack([predictions[name].isfinite().flatten(1).all(1) for name in meters]).tolist()
            for (name, meter), fine in zip(meters.items(), finite, strict=True):
                label = batch.labels[labels[name]]
                prediction = at_label_size(predictions[name].float(), label)
                meter.update(prediction if all(fine) else prediction.nan_to_num(), label)
                spoiled[name] += [image for image, whole in zip(batch.ids, fine, strict=True) if not whole]
                if writer is not None and all(fine):
                    writer.write(name, prediction, batch)
                elif writer is not None and any(fine):  # ids and sizes are all that is needed to save the rest
                    kept = replace(batch, ids=list(compress(batch.ids, fine)), sizes=list(compress(batch.sizes, fine)))
                    writer.write(name, prediction[torch.tensor(fine)], kept)
            done += len(batch.ids)
            report(done)
            if per_image is not None:
                per_image.ids += batch.ids
        metrics = {name: meter.compute() for name, meter in meters.items()}
        for name, meter in meters.items():
            if per_image is not None and not spoiled[name]:
                per_image.take(tasks[name].spec, meter)
    for name, images in spoiled.items():
        if images:
            reason = (
                f"predictions of {len(images)} of {done} images are not finite (NaN or infinite), first {images[0]}"
            )
            nothing = {"value": None, "reason": reason}
            metrics[name] = {key: metric.model_copy(update=nothing) for key, metric in metrics[name].items()}
    return metrics


def at_label_size(prediction: Tensor, label: Tensor) -> Tensor:
    """Resize a raw prediction bilinearly to the label's size where the protocol scores at another size."""
    if prediction.shape[-2:] == label.shape[-2:]:
        return prediction
    return F.interpolate(prediction, size=label.shape[-2:], mode="bilinear", align_corners=False)

"""Evaluation: a split through a model into meters, batch by batch."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress

import torch

from harness.compute import Compute
from harness.data.geometry import at_label_size
from harness.data.sample import Batch
from harness.events import BEAT_SECONDS
from harness.model import MultiTaskModel, check_predictions
from harness.predictions.writer import PredictionWriter
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.records.metric import Metric
from harness.tasks.base import Meter, Task
from harness.tasks.images import ImageMeter
from harness.tasks.per_image import PerImage
from harness.training import parallel


@dataclass
class _Part:
    """Part of a split that one process scored.

    Attributes:
        meters: By task.
        batches: Number and image ids of every batch.
        spoiled: Images with predictions that are not finite, by task.
        single: By task whose meter adds up floats in the order they come, the meters of every batch.
    """

    meters: dict[str, Meter]
    batches: list[tuple[int, list[str]]] = field(default_factory=list)
    spoiled: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    single: dict[str, list[Meter]] = field(default_factory=lambda: defaultdict(list))

    def ids(self) -> list[str]:
        """Return the ids of all images in the order they were scored."""
        return [image for _, ids in self.batches for image in ids]


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
    shared: bool = False,
) -> dict[str, dict[str, Metric]]:
    """Score ``model`` on every batch.

    Args:
        model: On the device; put into evaluation mode.
        batches: The split, in order, each image once; of a shared one the batches of this process.
        total: Number of images, for the progress bar.
        tasks: Task objects by name.
        protocol: Conventions of the meters.
        compute: Device and arithmetic of the forward pass; meters always see float32.
        progress: Where progress is shown.
        writer: Saves what is scored; None saves nothing.
        per_image: Takes the ids of the images and the statistics of every task whose predictions are finite; of a
            shared evaluation, in process 0.
        shared: Whether every process of the cell scores its part: whole batches, every world-th from its rank on, so
            that forward passes and metrics are the same to the last bit whatever the number of processes.

    Returns:
        Task name to its metrics, the headline first. Those of a task are null, with the reason, where one of its
        predictions is not finite: the class of a NaN would be the first one.

    Raises:
        MethodError: a prediction is missing or of another shape than the task's.
    """
    model.eval()
    rank, world = (parallel.rank(), parallel.world()) if shared else (0, 1)
    labels = {name: task.scored_label(protocol) for name, task in tasks.items()}
    part = _Part({name: task.meter(protocol) for name, task in tasks.items()})
    with contextlib.ExitStack() as stack, torch.inference_mode(), progress.bar("evaluate", total) as report:
        for meter in part.meters.values():
            stack.callback(meter.close)
        done = 0
        for place, batch in enumerate(batches):
            batch = batch.to(compute.device)
            with compute.autocast():
                predictions = model(batch.images, list(tasks))
            check_predictions(predictions, batch.images, model.problem, list(tasks))
            # [tasks, B] in one transfer: every look at a value waits for the device.
            finite = torch.stack([predictions[name].isfinite().flatten(1).all(1) for name in tasks]).tolist()
            for (name, meter), fine in zip(part.meters.items(), finite, strict=True):
                if world > 1 and not isinstance(meter, ImageMeter):  # its sums depend on their order
                    part.single[name].append(meter := tasks[name].meter(protocol))
                label = batch.labels[labels[name]]
                prediction = at_label_size(predictions[name].float(), label)
                meter.update(prediction if all(fine) else prediction.nan_to_num(), label)
                part.spoiled[name] += [image for image, whole in zip(batch.ids, fine, strict=True) if not whole]
                if writer is not None and all(fine):
                    writer.write(name, prediction, batch)
                elif writer is not None and any(fine):  # ids and sizes are all that is needed to save the rest
                    kept = replace(batch, ids=list(compress(batch.ids, fine)), sizes=list(compress(batch.sizes, fine)))
                    writer.write(name, prediction[torch.tensor(fine)], kept)
            part.batches.append((rank + place * world, batch.ids))
            done = min(done + world * len(batch.ids), total)  # the others are about as far
            report(done)
            if progress.events.due(BEAT_SECONDS):
                progress.events.write("evaluate", phase="evaluate", iteration=done, iterations=total)
        if world == 1:
            return _metrics([part], tasks, protocol, per_image)
        for meter in (*part.meters.values(), *(one for meters in part.single.values() for one in meters)):
            meter.settle()
        parts = parallel.gathered(part)
        return parallel.led(lambda: _metrics(parts or [], tasks, protocol, per_image))


def _metrics(
    parts: Sequence[_Part], tasks: Mapping[str, Task], protocol: Protocol, per_image: PerImage | None
) -> dict[str, dict[str, Metric]]:
    """Return the metrics of what the processes scored, by rank, and give `PerImage` what it takes."""
    batches = sorted(batch for part in parts for batch in part.batches)
    images = [image for _, ids in batches for image in ids]  # in the order of the split
    merged = [image for part in parts for image in part.ids()]  # in the order of the merged meters
    if per_image is not None:
        per_image.ids += images
    metrics = {}
    for name, task in tasks.items():
        # 1. One meter of all: by rank where the order is free, else batch by batch in the order of the split.
        meter, *others = (part.meters[name] for part in parts)
        if any(part.single[name] for part in parts):
            numbers = [number for part in parts for number, _ in part.batches]
            single = [one for part in parts for one in part.single[name]]
            meter = task.meter(protocol)
            others = [one for _, one in sorted(zip(numbers, single, strict=True), key=lambda pair: pair[0])]
        for other in others:
            meter.merge(other)
        found = meter.compute()
        # 2. Values of predictions that are not finite are none.
        spoiled = {image for part in parts for image in part.spoiled[name]}
        if spoiled:
            first = next(image for image in images if image in spoiled)
            reason = (
                f"predictions of {len(spoiled)} of {len(images)} images are not finite (NaN or infinite), first {first}"
            )
            nothing = {"value": None, "reason": reason}
            found = {key: metric.model_copy(update=nothing) for key, metric in found.items()}
        elif per_image is not None:
            per_image.take(task.spec, meter, merged)
        metrics[name] = found
    return metrics

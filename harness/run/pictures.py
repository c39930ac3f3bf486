"""Pictures in the folder of a run: predictions next to labels, and heat maps of values per layer and task."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from harness.data.cache import Scenes
from harness.data.geometry import at_label_size
from harness.data.loading import collate
from harness.data.transforms import MEAN, STD, EvalTransform
from harness.model import MultiTaskModel
from harness.protocol import Protocol
from harness.tasks.base import Task

_CELL_INCHES = (1.1, 0.3)
"""Width and height of a cell of a heat map: room for a value of four characters."""


def write_contact_sheet(
    path: Path,
    model: MultiTaskModel,
    scenes: Scenes,
    transform: EvalTransform,
    tasks: Mapping[str, Task],
    protocol: Protocol,
    device: torch.device,
    count: int = 4,
) -> None:
    """Draw the first scenes of a split: per scene a row of labels and under it a row of predictions.

    Args:
        path: PNG to write.
        model: On ``device``, in evaluation mode.
        scenes: The split.
        transform: Prepares each scene.
        tasks: Task objects by name.
        protocol: Says which labels are scored.
        device: Where to compute.
        count: Number of scenes.
    """
    count = min(count, len(scenes))
    figure = Figure(figsize=(2.2 * (len(tasks) + 1), 3.5 * count), layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * count, len(tasks) + 1, squeeze=False)
    for index in range(count):
        batch = collate([transform(scenes[index])]).to(device)
        with torch.inference_mode():
            predictions = model(batch.images)
        above, below = axes[2 * index], axes[2 * index + 1]
        planes = batch.images[0].cpu().numpy() * STD[:, None, None] + MEAN[:, None, None]  # [3, H, W], not normalised
        above[0].imshow((planes.transpose(1, 2, 0).clip(0, 1) * 255).astype(np.uint8))
        for column, (name, task) in enumerate(tasks.items(), 1):
            label = batch.labels[task.scored_label(protocol)]
            prediction = at_label_size(predictions[name].float(), label)
            above[column].imshow(task.target_picture(label[0].cpu()))
            below[column].imshow(task.picture(prediction[0].cpu()))
        above[0].set_title(f"{batch.ids[0]}: labels above, predictions below", fontsize=7, loc="left")
        for column, task in enumerate(tasks.values(), 1):
            above[column].set_title(task.title, fontsize=7)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(path, dpi=110)


def write_heat_maps(path: Path, frames: Mapping[str, pd.DataFrame]) -> None:
    """Draw one heat map per frame, side by side, every cell with its value.

    Args:
        path: PNG file to write.
        frames: Title to fractions between 0 and 1, layers as rows and tasks as columns; NaN cells stay empty.
    """
    first = next(iter(frames.values()))
    width = sum(1.6 + _CELL_INCHES[0] * frame.shape[1] for frame in frames.values())
    figure = Figure(figsize=(width, 1.2 + _CELL_INCHES[1] * max(4, len(first))), layout="constrained")
    for axes, (title, frame) in zip(figure.subplots(1, len(frames), squeeze=False)[0], frames.items(), strict=True):
        values = frame.to_numpy(dtype=float)
        axes.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(frame.shape[1]), map(str, frame.columns), fontsize=8)
        axes.set_yticks(range(len(frame)), map(str, frame.index), fontsize=8)
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                colour = "black" if value > 0.6 else "white"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    # No name and date of matplotlib in the file, so that equal frames give equal bytes.
    figure.savefig(path, dpi=120, metadata={"Software": None})


def frames_as_json(frames: Mapping[str, pd.DataFrame]) -> str:
    """Return the frames as JSON: title to column to row to value, unrounded; empty cells are null."""
    content = {title: json.loads(frame.to_json(double_precision=15)) for title, frame in frames.items()}
    return json.dumps(content, indent=1) + "\n"

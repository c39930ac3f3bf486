"""Figures per layer and task, drawn as heat maps."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

_CELL_INCHES = (1.1, 0.3)


def write_heat_maps(path: Path, frames: Mapping[str, pd.DataFrame]) -> None:
    """Draw one heat map per frame, side by side, every cell with its value.

    Args:
        path: PNG file to write.
        frames: Title to shares between 0 and 1, layers as rows and tasks as columns; NaN cells stay empty.
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
    figure.savefig(path, dpi=120, metadata={"Software": None})


def frames_as_json(frames: Mapping[str, pd.DataFrame]) -> str:
    """Return the frames as JSON: title to column to row to value, unrounded; empty cells are null."""
    content = {title: json.loads(frame.to_json(double_precision=15)) for title, frame in frames.items()}
    return json.dumps(content, indent=1) + "\n"

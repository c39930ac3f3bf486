"""Overlay of a stream: the picture, the tasks, the active tokens, and a strip of MACs and milliseconds over time."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from harness.stream.contract import FrameReport
from harness.tasks.base import Task
from harness.tasks.pictures import DEPTH, Picture, Scale

_INK, _PAPER, _GRID = (235, 235, 235), (24, 24, 24), (70, 70, 70)
_MACS, _MS, _FULL = (90, 160, 250), (250, 190, 70), (240, 90, 90)
_LEAST_SIDE = 200
"""Pixels of the longer side of a panel, at least: smaller pictures are magnified."""
_STRIP = 90
_HISTORY = 240
"""Frames that the strip shows."""


@dataclass
class Overlay:
    """Draws the frames of one stream; its layout is fixed by the first.

    Attributes:
        tasks: Task objects by name.
    """

    tasks: Mapping[str, Task]
    _depth: Scale | None = None
    _macs: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    _ms: deque[float] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    _full: deque[bool] = field(default_factory=lambda: deque(maxlen=_HISTORY))

    def draw(self, picture: Picture, raw: Mapping[str, Tensor], report: FrameReport, ms: float) -> Picture:
        """Return the overlay of one frame, RGB uint8 [h, w, 3].

        Args:
            picture: The frame.
            raw: Task to raw map [C, H, W] at the size of the frame.
            report: Of the frame.
            ms: Time of the model.
        """
        panels = self.panels(picture, raw, report)
        height, width = picture.shape[:2]
        zoom = max(1, -(-_LEAST_SIDE // max(height, width)))
        height, width = height * zoom, width * zoom
        columns = 3 if len(panels) > 2 else len(panels)
        rows = -(-len(panels) // columns)
        line = 18
        sheet = Image.new("RGB", (columns * width, rows * (height + line) + _STRIP), _PAPER)
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
        for place, (title, panel) in enumerate(panels):
            x, y = place % columns * width, place // columns * (height + line)
            pen.text((x + 4, y + 2), title, _INK, font)
            shown = Image.fromarray(panel).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(shown, (x, y + line))
        self._macs.append(float(sum(report.macs.values())))
        self._ms.append(ms)
        self._full.append(report.full)
        self._strip(pen, rows * (height + line), columns * width, report)
        return np.asarray(sheet)

    def panels(self, picture: Picture, raw: Mapping[str, Tensor], report: FrameReport) -> list[tuple[str, Picture]]:
        """Return titles and pictures: the frame, every task, and the active tokens over the frame."""
        found = [(f"frame {report.index}: {report.kind}", picture)]
        found += [(self.tasks[task].title, self._task(task, map_)) for task, map_ in raw.items()]
        if report.kind == "partial" or report.kind.startswith("full"):
            found.append(("active tokens", self._tokens(picture, report)))
        return found

    def _task(self, task: str, raw: Tensor) -> Picture:
        if task != "depth":
            return self.tasks[task].picture(raw)
        values = raw[0].float().cpu().numpy()
        if self._depth is None:  # colours of the first frame for all: a picture that adapts flickers by itself
            low, high = (float(value) for value in np.percentile(values, (2, 98)))
            self._depth = replace(DEPTH, low=low, high=max(high, low + 0.1))
        return self._depth.picture(values)

    def _tokens(self, picture: Picture, report: FrameReport) -> Picture:
        """Return the frame in grey, with the tokens that the first block computed in colour."""
        height, width = picture.shape[:2]
        grey = picture.mean(-1, keepdims=True).repeat(3, -1)
        active = report.tokens if report.tokens is not None else torch.ones(1, 1, dtype=torch.bool)
        mask = Image.fromarray(active.cpu().numpy().astype(np.uint8) * 255).resize(
            (width, height), Image.Resampling.NEAREST
        )
        shown = np.where(np.asarray(mask)[..., None] > 0, 0.5 * grey + 0.5 * np.array(_FULL), 0.6 * grey)
        picture = shown.astype(np.uint8)
        return picture

    def _strip(self, pen: ImageDraw.ImageDraw, top: int, width: int, report: FrameReport) -> None:
        """Draw MACs as bars and milliseconds as a line, full frames marked."""
        font = ImageFont.load_default(13)
        highest = max(self._macs) or 1.0
        slowest = max(self._ms) or 1.0
        room, foot = _STRIP - 26, top + _STRIP - 4
        step = max(1, width // _HISTORY)
        first = max(0, len(self._macs) - width // step)
        line = []
        for place, index in enumerate(range(first, len(self._macs))):
            x = place * step
            bar = round(room * self._macs[index] / highest)
            pen.rectangle((x, foot - bar, x + step - 1, foot), _FULL if self._full[index] else _MACS)
            line.append((x, foot - round(room * self._ms[index] / slowest)))
        if len(line) > 1:
            pen.line(line, _MS, 2)
        pen.line((0, foot, width, foot), _GRID)
        giga = self._macs[-1] / 1e9
        text = f"{giga:.3g} GMACs" if self._macs[-1] else ""
        shares = [pair[0] for blocks in report.active.values() for pair in blocks]
        tokens = f", {100 * sum(shares) / len(shares):.0f} % of tokens" if shares else ""
        pen.text((4, top + 3), f"{text}{tokens}  {self._ms[-1]:.1f} ms  (red: computed in full)", _INK, font)


def contact_sheet(frames: Sequence[Sequence[tuple[str, Picture]]]) -> Image.Image:
    """Return one picture of some frames: a row each, with the frame, its tasks and its active tokens.

    Args:
        frames: Per frame the titles and pictures of `Overlay.panels`, all of one size.
    """
    height, width = frames[0][0][1].shape[:2]
    zoom = max(1, -(-_LEAST_SIDE // max(height, width)))
    height, width, line = height * zoom, width * zoom, 18
    columns = max(len(row) for row in frames)
    sheet = Image.new("RGB", (columns * width, len(frames) * (height + line)), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, panels in enumerate(frames):
        for column, (title, panel) in enumerate(panels):
            x, y = column * width, row * (height + line)
            pen.text((x + 4, y + 2), title, _INK, font)
            sheet.paste(Image.fromarray(panel).resize((width, height), Image.Resampling.NEAREST), (x, y + line))
    return sheet

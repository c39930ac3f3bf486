"""One sheet: the image and the panels of all tasks side by side, titles, colour bars and legends."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from harness.gallery.panels import Column, Panel
from harness.tasks.pictures import Scale, Swatch

_LEGIBLE = 400  # pixels; smaller pictures are magnified, each pixel to a square
_INK, _FRAME, _PAPER = (20, 20, 20), (120, 120, 120), (255, 255, 255)


class Sheet:
    """Draws panels of one size in rows and columns, with the image at the upper left.

    Args:
        image: RGB, uint8 [H, W, 3].
        columns: Of equal height, their pictures as large as the image.
    """

    def __init__(self, image: NDArray[np.uint8], columns: Sequence[Column]) -> None:
        self.columns = columns
        height, width = map(int, image.shape[:2])
        self.zoom = -(-_LEGIBLE // max(height, width))
        self.height, self.width = height * self.zoom, width * self.zoom
        self.text = max(13, max(self.height, self.width) // 24)
        self.gap = self.text
        self.pitch = max(self.width, 16 * self.text) + self.gap
        self.first = Panel(f"image, {width} x {height}", image)

    def draw(self) -> Image.Image:
        """Return the sheet."""
        first, *others = zip(*(column.panels for column in self.columns), strict=True)
        rows = [(self.first, *first), *others]
        tops = list(accumulate(map(self._row_height, rows), initial=self.gap))
        width = self.pitch * (len(self.columns) + 1) + self.gap
        # Rows of labels and errors leave room below the image; without them the legends run along the foot.
        below = len(rows) > 1
        top, span = (tops[1], self.pitch - self.gap) if below else (tops[-1], width - 2 * self.gap)
        legends = self._legends(span)
        end = top + (legends.height if legends else 0)
        sheet = Image.new("RGB", (width, max(tops[-1], end)), _PAPER)
        for index, (row, y) in enumerate(zip(rows, tops, strict=False)):
            for column, panel in enumerate(row, start=1 if index else 0):
                self._panel(sheet, panel, self.gap + column * self.pitch, y)
        if legends:
            sheet.paste(legends, (self.gap, top))
        return sheet

    @property
    def _line(self) -> int:
        return self.text * 3 // 2

    def _row_height(self, row: Sequence[Panel]) -> int:
        keys = self._line + self.text // 2 if any(panel.key for panel in row) else 0
        return self._line + self.height + keys + self.gap

    def _panel(self, sheet: Image.Image, panel: Panel, x: int, y: int) -> None:
        draw = ImageDraw.Draw(sheet)
        x += (self.pitch - self.gap - self.width) // 2
        middle = x + self.width // 2
        draw.text((middle, y), panel.title, _INK, font(self.text, bold=True), "ma")
        if panel.picture is None:
            return
        y += self._line
        picture = Image.fromarray(panel.picture).resize((self.width, self.height), Image.Resampling.NEAREST)
        draw.rectangle((x - 1, y - 1, x + self.width, y + self.height), outline=_FRAME)
        sheet.paste(picture, (x, y))
        y += self.height + self.text // 2
        if isinstance(panel.key, str):
            draw.text((middle, y), panel.key, _INK, font(self.text * 4 // 5), "ma")
        elif panel.key is not None:
            self._bar(sheet, panel.key, x, y)

    def _bar(self, sheet: Image.Image, scale: Scale, x: int, y: int) -> None:
        draw, thin = ImageDraw.Draw(sheet), self.text // 2
        sheet.paste(Image.fromarray(scale.bar(self.width, thin)), (x, y))
        draw.rectangle((x - 1, y - 1, x + self.width, y + thin), outline=_FRAME)
        places = ((x, "la"), (x + self.width // 2, "ma"), (x + self.width, "ra"))
        for tick, (place, anchor) in zip(scale.ticks, places, strict=True):
            draw.text((place, y + thin + 2), tick, _INK, font(self.text * 4 // 5), anchor)

    def _legends(self, width: int) -> Image.Image | None:
        """Return the legends of all columns, ``width`` wide; None if there are none."""
        parts = [self._legend(column.title, column.legend, width) for column in self.columns if column.legend]
        if not parts:
            return None
        joined = Image.new("RGB", (width, sum(part.height for part in parts)), _PAPER)
        y = 0
        for part in parts:
            joined.paste(part, (0, y))
            y += part.height
        return joined

    def _legend(self, title: str, swatches: Sequence[Swatch], width: int) -> Image.Image:
        """Return one legend: a heading and, in columns of equal width, squares of colour with their names."""
        plain, side = font(self.text), self.text
        cell = max(int(plain.getlength(name)) for name, _ in swatches) + 5 * side // 2
        across = max(1, width // cell)
        lines = -(-len(swatches) // across)
        legend = Image.new("RGB", (width, self._line * (lines + 1) + self.gap), _PAPER)
        draw = ImageDraw.Draw(legend)
        draw.text((0, 0), f"{title} classes", _INK, font(self.text, bold=True), "la")
        for index, (name, colour) in enumerate(swatches):
            x, y = index % across * cell, self._line * (1 + index // across)
            draw.rectangle((x, y, x + side, y + side), colour, _FRAME)
            draw.text((x + 3 * side // 2, y + side // 2), name, _INK, plain, "lm")
        return legend


@lru_cache(maxsize=16)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib, so that every machine draws the same bytes."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)

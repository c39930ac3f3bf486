"""Procedural textures: the colour of a surface from its surface coordinates."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
"""Real arrays; float32 throughout, for speed."""
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """Look of a surface.

    Attributes:
        colour: Linear albedo.
        paint: Name of the texture, a key of `PAINTS`.
        period: Size of the texture's features, metres.
        contrast: Strength of the texture, 0 to 1.
        second: Colour of lines, stripes or the other squares.
        gloss: Strength of highlights.
        glow: Light it gives off itself, as a fraction of its albedo.
        seed: Which of the random patterns of this paint.
    """

    colour: Colour
    paint: str = "plain"
    period: float = 0.2
    contrast: float = 0.3
    second: Colour = (0.1, 0.1, 0.1)
    gloss: float = 0.0
    glow: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Patch:
    """Points that a painter paints.

    Attributes:
        uv: Coordinates from the middle of the face, metres, [N, 2].
        half: Half size of the face, metres, [N, 2].
        fade: Fraction of the texture that survives at this distance, [N]: what is finer than a pixel is
            averaged away instead of flickering.
    """

    uv: Floats
    half: Floats
    fade: Floats


def albedo(material: Material, patch: Patch) -> Floats:
    """Return the linear albedo at every point of the patch, [N, 3]."""
    colour = PAINTS[material.paint](material, patch)
    clipped: Floats = np.clip(colour, 0.0, 1.0).astype(np.float32)
    return clipped


_TABLE = np.random.Generator(np.random.PCG64(7)).random((64, 64), np.float32)


def noise(uv: Floats, seed: int) -> Floats:
    """Return smooth noise in [0, 1] with features of one unit, [N] (value noise on a lattice)."""
    # Each seed looks at another part of the lattice.
    p = uv + np.array([17.3, 9.7], np.float32) * (seed % 61)
    cell = np.floor(p)
    f = p - cell
    # Smoothstep, so that the lattice does not show.
    f = f * f * (3 - 2 * f)
    # The table wraps around after 64 cells.
    i, j = cell[:, 0].astype(np.int32) & 63, cell[:, 1].astype(np.int32) & 63
    i1, j1 = (i + 1) & 63, (j + 1) & 63
    # Bilinear between the four corners of the cell.
    low = _TABLE[i, j] * (1 - f[:, 0]) + _TABLE[i1, j] * f[:, 0]
    high = _TABLE[i, j1] * (1 - f[:, 0]) + _TABLE[i1, j1] * f[:, 0]
    smooth: Floats = low * (1 - f[:, 1]) + high * f[:, 1]
    return smooth


def dice(index: Floats, seed: int, row: int = 0) -> Floats:
    """Return one random number in [0, 1) per integer, [N]."""
    drawn: Floats = _TABLE[index.astype(np.int32) + 13 * seed & 63, seed + row & 63]
    return drawn


def _shade(material: Material, factor: Floats) -> Floats:
    """Return the colour made lighter or darker."""
    return np.asarray(material.colour, np.float32) * factor[:, None]


def _mix(material: Material, weight: Floats) -> Floats:
    """Return the first colour where the weight is 0, the second where it is 1."""
    first, second = np.asarray(material.colour, np.float32), np.asarray(material.second, np.float32)
    return first + (second - first) * np.clip(weight, 0, 1)[:, None]


def plain(m: Material, p: Patch) -> Floats:
    """Paint one colour with soft noise."""
    return _shade(m, 1 + m.contrast * p.fade * (noise(p.uv / m.period, m.seed) - 0.5))


def rough(m: Material, p: Patch) -> Floats:
    """Paint a surface of fine grain on coarse patches."""
    fine = noise(p.uv / m.period, m.seed) + noise(p.uv * 2.3 / m.period, m.seed + 1)
    coarse = noise(p.uv * 0.2 / m.period, m.seed + 2)
    return _mix(m, m.contrast * (p.fade * (fine - 1) + coarse))


def stripes(m: Material, p: Patch) -> Floats:
    """Paint stripes along v, one in three of the second colour."""
    wave = np.sin(p.uv[:, 0] * (2 * np.pi / m.period))
    return _mix(m, m.contrast * p.fade * (wave > 0.2))


def checker(m: Material, p: Patch) -> Floats:
    """Paint squares of both colours."""
    cell = np.floor(p.uv / m.period).sum(1)
    return _mix(m, m.contrast * (0.5 + p.fade * (np.mod(cell, 2) - 0.5)))


def tiles(m: Material, p: Patch) -> Floats:
    """Paint square tiles of varied tone, the joints in the second colour."""
    q = p.uv / m.period
    cell = np.floor(q)
    joint = (np.abs(q - cell - 0.5).max(1) > 0.45) * p.fade
    tone = dice(cell[:, 0] + 7 * cell[:, 1], m.seed)
    return _mix(m, joint) * (0.9 + 0.2 * m.contrast * tone)[:, None]


def bricks(m: Material, p: Patch) -> Floats:
    """Paint courses of bricks with mortar in the second colour."""
    # Every other course is moved by half a brick.
    q = p.uv / np.array([m.period, m.period / 2.5], np.float32)
    q = q + np.stack([np.mod(np.floor(q[:, 1]), 2) / 2, np.zeros(len(q))], 1)
    cell = np.floor(q)
    inside = np.abs(q - cell - 0.5)
    joint = ((inside[:, 0] > 0.46) | (inside[:, 1] > 0.4)) * p.fade
    tone = dice(cell[:, 0] + 11 * cell[:, 1], m.seed)
    return _mix(m, joint * 0.7) * (1 + m.contrast * (tone - 0.5))[:, None]


def planks(m: Material, p: Patch) -> Floats:
    """Paint floor boards with grain and gaps."""
    q = p.uv / np.array([m.period * 8, m.period], np.float32)
    # Boards of one row begin at a random place.
    row = np.floor(q[:, 1])
    along = q[:, 0] + dice(row, m.seed)
    tone = dice(np.floor(along) * 5 + row, m.seed, 1) - 0.5
    grain = noise(p.uv * np.array([1.5, 14.0], np.float32) / m.period / 3, m.seed) - 0.5
    gap = (np.abs(q[:, 1] - row - 0.5) > 0.46) * p.fade
    return _shade(m, (1 + m.contrast * (tone + 0.6 * grain * p.fade)) * (1 - 0.45 * gap))


def wood(m: Material, p: Patch) -> Floats:
    """Paint the grain of one piece of wood."""
    grain = noise(p.uv * np.array([9.0, 1.0], np.float32) / m.period, m.seed)
    return _shade(m, 1 + m.contrast * p.fade * (grain - 0.5))


def _edges(p: Patch, inset: float) -> Floats:
    """Return 1 on the rim of the face of the given width, else 0."""
    rim: Floats = ((p.half - np.abs(p.uv)).min(1) < inset).astype(np.float32)
    return rim


def panels(m: Material, p: Patch) -> Floats:
    """Paint the six panels of a door."""
    q = (p.uv / p.half + 1) / 2 * np.array([2, 3], np.float32)
    inside = np.abs(q - np.floor(q) - 0.5).max(1)
    groove = (inside > 0.33) & (inside < 0.4)
    grain = noise(p.uv * np.array([40.0, 4.0], np.float32), m.seed) - 0.5
    return _mix(m, m.contrast * groove) * (1 + 0.2 * grain * p.fade)[:, None]


def drawers(m: Material, p: Patch) -> Floats:
    """Paint drawers one above the other, with grips."""
    # As many drawers as fit, each with a joint and a grip.
    rows = np.maximum(np.round(2 * p.half[:, 1] / m.period), 1)
    q = (p.uv[:, 1] / p.half[:, 1] + 1) / 2 * rows
    line = np.abs(q - np.round(q)) < 0.06
    grip = (np.abs(q - np.floor(q) - 0.5) < 0.1) & (np.abs(p.uv[:, 0]) < 0.25 * p.half[:, 0])
    grain = noise(p.uv * np.array([5.0, 40.0], np.float32), m.seed) - 0.5
    return _mix(m, m.contrast * np.maximum(line, 0.8 * grip)) * (1 + 0.25 * grain * p.fade)[:, None]


def doors(m: Material, p: Patch) -> Floats:
    """Paint cabinet doors side by side, with grips."""
    # As many doors as fit, their grips at the right.
    columns = np.maximum(np.round(2 * p.half[:, 0] / m.period), 1)
    q = (p.uv[:, 0] / p.half[:, 0] + 1) / 2 * columns
    line = (np.abs(q - np.round(q)) < 0.035) | (_edges(p, 0.02) > 0)
    grip = (np.abs(q - np.floor(q) - 0.82) < 0.04) & (np.abs(p.uv[:, 1]) < 0.25 * p.half[:, 1])
    grain = noise(p.uv * np.array([25.0, 3.0], np.float32), m.seed) - 0.5
    return _mix(m, m.contrast * np.maximum(line, grip)) * (1 + 0.25 * grain * p.fade)[:, None]


def books(m: Material, p: Patch) -> Floats:
    """Paint the spines of books."""
    # A colour and a title band per spine.
    spine = np.floor(p.uv[:, 0] / m.period)
    hue = np.stack([dice(spine, m.seed, k) for k in range(3)], 1)
    hue = 0.06 + 0.75 * hue**1.5
    band = np.abs(p.uv[:, 1] / p.half[:, 1] - dice(spine, m.seed, 4)) < 0.18
    gap = np.abs(p.uv[:, 0] / m.period - spine - 0.5) > 0.42
    spines: Floats = (hue + 0.25 * band[:, None]) * (1 - 0.8 * gap)[:, None]
    return spines


def art(m: Material, p: Patch) -> Floats:
    """Paint a framed landscape."""
    q = p.uv / p.half
    # A landscape: a sky above a ridge, patches of land below, the sun, and a frame.
    ridge = -0.2 + 0.9 * (noise(q[:, :1] * [[1.3, 0]] + [[0, 0.5]], m.seed) - 0.5)
    sky = dice(np.zeros(len(q)), m.seed)[:, None] * [[0.5, 0.2, -0.4]] + [[0.3, 0.4, 0.7]]
    land = np.stack([dice(np.floor(4 * noise(q * 2, m.seed + 3)), m.seed, k + 5) for k in range(3)], 1) * 0.6
    picture = np.where((q[:, 1] > ridge)[:, None], sky * (0.75 + 0.25 * q[:, 1:]), land)
    sun = ((q - [[0.8 * np.cos(m.seed), 0.55]]) ** 2).sum(1) < 0.05
    picture = np.where(sun[:, None], [[0.9, 0.75, 0.3]], picture)
    frame = _edges(p, m.period)[:, None]
    framed: Floats = picture * (1 - frame) + frame * np.asarray(m.colour)
    return framed


def panes(m: Material, p: Patch) -> Floats:
    """Paint a window with a view outside."""
    q = (p.uv / p.half + 1) / 2
    outside = np.array([0.75, 0.88, 1.0]) - np.array([0.45, 0.25, 0.1]) * q[:, 1:]
    # Daylight with a hedge, behind a cross of bars.
    hedge = q[:, 1] < 0.25 + 0.2 * noise(p.uv * 4, m.seed)
    outside = np.where(hedge[:, None], [[0.16, 0.34, 0.12]], outside)
    bars = (np.abs(p.uv) < 0.025).any(1) | (_edges(p, m.period) > 0)
    return np.where(bars[:, None], np.asarray(m.colour)[None], outside)


def slats(m: Material, p: Patch) -> Floats:
    """Paint the slats of a blind."""
    phase = np.mod(p.uv[:, 1] / m.period, 1)
    return _shade(m, 1 - m.contrast * (0.5 + p.fade * (phase - 0.5)))


def folds(m: Material, p: Patch) -> Floats:
    """Paint the folds of a curtain."""
    wobble = noise(p.uv * np.array([2.0, 0.6], np.float32), m.seed)
    wave = np.sin(p.uv[:, 0] * (2 * np.pi / m.period) + 4 * wobble)
    return _shade(m, 1 - m.contrast * (0.5 + 0.5 * wave * p.fade))


def rug(m: Material, p: Patch) -> Floats:
    """Paint a rug with a border and rhombs."""
    # Distance from the rim in periods: a ring near it, rhombs inside.
    border = (p.half - np.abs(p.uv)).min(1) / m.period
    ring = (border > 0.5) & (border < 1.2)
    rhomb = np.mod(np.abs(p.uv / m.period).sum(1), 1.6) < 0.5
    return _mix(m, m.contrast * np.where(border < 1.5, ring, rhomb * p.fade))


def dots(m: Material, p: Patch) -> Floats:
    """Paint dots of the second colour."""
    q = p.uv / m.period
    inside = q - np.floor(q) - 0.5
    return _mix(m, m.contrast * p.fade * ((inside**2).sum(1) < 0.07))


def scribble(m: Material, p: Patch) -> Floats:
    """Paint handwriting on a framed board."""
    row = np.floor(p.uv[:, 1] / m.period)
    # Wavy lines of writing, broken into words, some rows left out.
    middle = np.abs(p.uv[:, 1] / m.period - row - 0.5 - 0.3 * np.sin(60 * p.uv[:, 0] + row)) < 0.18
    words = (noise(p.uv * [[12.0, 0.0]] + row[:, None] * 3.1, m.seed) > 0.45) & (dice(row, m.seed) > 0.35)
    ink = middle & words & (np.abs(p.uv / p.half) < 0.8).all(1)
    frame = _edges(p, 0.025)
    return _mix(m, np.maximum(m.contrast * ink * p.fade, 0.7 * frame))


def label(m: Material, p: Patch) -> Floats:
    """Paint a carton with a strip of tape."""
    tape = np.abs(p.uv[:, 0]) < 0.12 * p.half[:, 0]
    speck = noise(p.uv * 30, m.seed) - 0.5
    return _mix(m, 0.6 * m.contrast * tape) * (1 + 0.15 * speck * p.fade)[:, None]


def screen(m: Material, p: Patch) -> Floats:
    """Paint a screen with its bezel and a sheen."""
    sheen = (p.uv / p.half).sum(1) > 0.7
    return _mix(m, np.maximum(_edges(p, m.period), m.contrast * sheen))


def facade(m: Material, p: Patch) -> Floats:
    """Paint a house front with windows, some of them lit."""
    q = p.uv / m.period
    cell = np.floor(q)
    pane = (np.abs(q - cell - 0.5) < np.array([0.25, 0.32])).all(1)
    lit = dice(cell[:, 0] + 9 * cell[:, 1], m.seed)
    base = _shade(m, 0.9 + 0.2 * noise(p.uv * 3, m.seed))
    glass = np.asarray(m.second) * (0.4 + 0.9 * lit[:, None])
    return np.where(pane[:, None], glass, base)


def water(m: Material, p: Patch) -> Floats:
    """Paint waves."""
    waves = noise(p.uv * np.array([0.35, 1.0], np.float32) / m.period, m.seed)
    fine = noise(p.uv * np.array([1.0, 2.5], np.float32) / m.period, m.seed + 1)
    return _mix(m, m.contrast * ((waves - 0.4) + p.fade * (fine - 0.5)))


def cowhide(m: Material, p: Patch) -> Floats:
    """Paint the patches of a cow."""
    return _mix(m, (noise(p.uv / m.period, m.seed) > 0.5).astype(np.float32))


def coach(m: Material, p: Patch) -> Floats:
    """Paint the side of a coach: a row of windows above a belt."""
    up = p.uv[:, 1] / p.half[:, 1]
    column = np.abs(np.mod(p.uv[:, 0] / m.period, 1) - 0.5) < 0.4
    glass = (up > 0.1) & (up < 0.7) & column
    belt = np.abs(up + 0.2) < 0.08
    return _mix(m, np.maximum(glass.astype(np.float32), 0.5 * belt))


PAINTS: dict[str, Callable[[Material, Patch], NDArray[np.floating]]] = {
    "art": art,
    "books": books,
    "bricks": bricks,
    "checker": checker,
    "coach": coach,
    "cowhide": cowhide,
    "doors": doors,
    "dots": dots,
    "drawers": drawers,
    "facade": facade,
    "folds": folds,
    "label": label,
    "panels": panels,
    "panes": panes,
    "plain": plain,
    "planks": planks,
    "rough": rough,
    "rug": rug,
    "screen": screen,
    "scribble": scribble,
    "slats": slats,
    "stripes": stripes,
    "tiles": tiles,
    "water": water,
    "wood": wood,
}
"""Painters by name."""

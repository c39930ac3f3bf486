"""Fittings of walls, built from the kit: the origin is on the ground at the foot of the wall.

Labels are NYU-40 class names.
"""

import numpy as np

from harness.datasets.synth.kit import Kit
from harness.datasets.synth.palette import stuff

Rng = np.random.Generator


def _panel(label: str, name: str, rng: Rng, foot: float, size: tuple[float, float], thick: float = 0.04) -> Kit:
    kit = Kit(label)
    kit.add("box", stuff(name, rng), (0, thick / 2, foot + size[1] / 2), (size[0], thick, size[1]), casts=thick > 0.05)
    return kit


def door(rng: Rng) -> Kit:
    """A closed door in its frame."""
    kit = _panel("door", "door", rng, 0.0, (0.85, 2.02), 0.05)
    frame = stuff("door frame", rng)
    for x in (-0.46, 0.46):
        kit.add("box", frame, (x, 0.03, 1.04), (0.08, 0.06, 2.08), casts=False)
    kit.add("box", frame, (0, 0.03, 2.06), (1.0, 0.06, 0.08), casts=False)
    kit.ball(stuff("knob", rng), (0.34, 0.1, 1.0), (0.08, 0.08, 0.08))
    return kit


def window(rng: Rng) -> Kit:
    """A window with daylight behind it."""
    return _panel("window", "window", rng, rng.uniform(0.85, 1.0), (rng.uniform(1.0, 1.6), rng.uniform(1.0, 1.2)))


def draped_window(rng: Rng) -> Kit:
    """A window between two curtains."""
    kit, width = Kit("window"), rng.uniform(0.9, 1.4)
    kit.add("box", stuff("window", rng), (0, 0.02, 1.45), (width, 0.04, 1.15), casts=False)
    cloth = stuff("curtain", rng)
    for sign in (-1, 1):
        centre = (sign * (width / 2 + 0.16), 0.07, 1.2)
        kit.add("box", cloth, centre, (0.5, 0.08, 2.0), label="curtain", casts=False)
    return kit


def blind(rng: Rng) -> Kit:
    """A window with its blinds half down."""
    kit, width = Kit("window"), rng.uniform(1.0, 1.6)
    kit.add("box", stuff("window", rng), (0, 0.02, 1.5), (width, 0.04, 1.2), casts=False)
    drop = rng.uniform(0.7, 1.15)
    kit.add(
        "box", stuff("blinds", rng), (0, 0.06, 2.12 - drop / 2), (width + 0.06, 0.03, drop), label="blinds", casts=False
    )
    return kit


def picture(rng: Rng) -> Kit:
    """A framed picture."""
    size = (rng.uniform(0.6, 1.2), rng.uniform(0.5, 0.85))
    return _panel("picture", "picture", rng, rng.uniform(1.25, 1.45), size)


def mirror(rng: Rng) -> Kit:
    """A mirror; the room it would show is only hinted at."""
    return _panel("mirror", "mirror", rng, 1.05, (rng.uniform(0.55, 0.9), rng.uniform(0.8, 1.0)))


def whiteboard(rng: Rng) -> Kit:
    """A whiteboard with writing."""
    return _panel("whiteboard", "whiteboard", rng, 0.95, (rng.uniform(1.3, 1.9), rng.uniform(0.9, 1.1)))


def towel(rng: Rng) -> Kit:
    """A towel on a rail."""
    return _panel("towel", "towel", rng, rng.uniform(0.8, 1.0), (rng.uniform(0.45, 0.6), rng.uniform(0.7, 0.9)), 0.06)

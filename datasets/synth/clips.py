"""Video clips: one room, a camera on a smooth path, one labelled key frame with three neighbours on each side.

Layout: ``{train,test}/<task>/<clip>.png`` with ``rgb`` and ``semseg`` (0 to 40, 0 unlabelled) of the key frame,
which counts as frame 20, and the neighbours ``rgb_17``, ``rgb_18``, ``rgb_19``, ``rgb_21``, ``rgb_22``, ``rgb_23``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from harness.datasets.synth.files import write_png
from harness.datasets.synth.labels import class_map
from harness.datasets.synth.render import Camera, Frame, Scene, render
from harness.datasets.synth.room import room_scene

KEY_FRAME = 20
OFFSETS = (-3, -2, -1, 0, 1, 2, 3)
CALM = 8
"""Pixels that change by less than this many grey levels between two frames count as unchanged."""
CALM_SHARE = (0.90, 0.97)
"""Fraction of unchanged pixels that every clip aims for."""


def write_clip(
    root: Path, index: int, numbers: Mapping[str, int], size: tuple[int, int], rng: np.random.Generator
) -> None:
    """Write one clip; every fourth one belongs to the test split.

    Args:
        root: Folder of the videos.
        index: Number of the clip.
        numbers: Class name to stored label.
        size: (height, width).
        rng: Draws everything.
    """
    scene, frames = film(index, size, rng)
    folder = root / ("test" if index % 4 == 3 else "train")
    name = f"{index + 1:04d}.png"
    for offset, frame in zip(OFFSETS, frames, strict=True):
        task = "rgb" if offset == 0 else f"rgb_{KEY_FRAME + offset}"
        write_png(folder / task / name, frame.image)
    key = frames[OFFSETS.index(0)]
    labels = class_map(key, scene.shapes, numbers, sky=0)
    write_png(folder / "semseg" / name, labels.astype(np.uint8))


def film(index: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[Scene, list[Frame]]:
    """Return a room and seven frames of it, the key frame in the middle.

    The camera slows down until at least `CALM_SHARE`[0] of the pixels stay as they are from frame to frame.
    """
    # Little sensor noise, or no pixel would be calm.
    scene = replace(room_scene(index, rng), noise=1.2)
    step = rng.normal(0, 1, 3) * np.array([0.02, 0.012, 0.005])
    turn = float(rng.choice([-1, 1]) * rng.uniform(0.3, 1.0))
    noise_seed = int(rng.integers(1 << 31))

    def shoot(offset: int) -> Frame:
        # The camera, moved along its own axes and turned about the vertical.
        angle = np.deg2rad(offset * pace * turn)
        c, s = np.cos(angle), np.sin(angle)
        about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
        camera = scene.camera
        position = (camera.position + camera.rotation.T @ (offset * pace * step)).astype(np.float32)
        moved = replace(scene, camera=Camera(position, camera.rotation @ about_z.T, camera.focal))
        return render(moved, size, np.random.default_rng([noise_seed, offset - OFFSETS[0]]))

    pace = 0.75
    # Slower by a quarter until the clip is calm enough; at rest only noise changes, so this ends.
    while True:
        if calm_share(shoot(0), shoot(1)) >= CALM_SHARE[0]:  # a quick look before all seven
            frames = [shoot(offset) for offset in OFFSETS]
            if min(calm_shares(frames)) >= CALM_SHARE[0]:
                return scene, frames
        pace *= 0.75


def calm_share(first: Frame, second: Frame) -> float:
    """Return the fraction of pixels that stay as they are between two frames."""
    change = np.abs(first.image.astype(np.int16) - second.image.astype(np.int16))
    return float((change.max(2) < CALM).mean())


def calm_shares(frames: Sequence[Frame]) -> list[float]:
    """Return the fraction of unchanged pixels between each two frames in a row."""
    return [calm_share(a, b) for a, b in pairwise(frames)]

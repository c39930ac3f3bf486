"""Kinds of motion: a camera, a lamp or a thing of a room over time, and the exact motion of every pixel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.data.clips import Motion
from harness.datasets.synth.geometry import Shape
from harness.datasets.synth.paint import Floats
from harness.datasets.synth.render import OVERSAMPLING, Camera, Frame, Scene, pixel_rays

Rng = np.random.Generator

KINDS = ("static", "object", "slow", "hand", "walk", "fast", "cut", "light")
"""Kinds of the default set: a camera at rest, one thing that moves, a slow pan, a hand-held camera, walking pace, a
fast pan, two rooms in one clip, and a lamp that dims."""
MORE_KINDS = ("walk-turn", "mixed", "calm")
"""Rendered when they are asked for: walking and turning; rest, pan, rest; and the slowest of hand-held cameras."""

_THING = (0.03, 0.3)
"""Least and largest part of the picture of a thing that is moved; the nearest to a tenth is."""


@dataclass(frozen=True)
class Pose:
    """Displacement of a camera from where a clip begins.

    Attributes:
        ahead: Metres along its first heading, on the level.
        aside: Metres to its right.
        up: Metres upwards.
        yaw: Degrees to the right.
        pitch: Degrees upwards.
    """

    ahead: float = 0.0
    aside: float = 0.0
    up: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0

    def of(self, camera: Camera) -> Camera:
        """Return a camera displaced so."""
        right, _, forward = camera.rotation
        level = np.array([forward[0], forward[1], 0.0])
        level /= np.linalg.norm(level)
        moved = camera.position + self.ahead * level + self.aside * right + np.array([0.0, 0.0, self.up])
        # Yaw about the vertical, then pitch about the camera's own right axis; rows are right, down, forward.
        c, s = np.cos(np.deg2rad(self.yaw)), np.sin(np.deg2rad(self.yaw))
        turned = camera.rotation @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        c, s = np.cos(np.deg2rad(self.pitch)), np.sin(np.deg2rad(self.pitch))
        tilted = np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) @ turned
        return Camera(moved.astype(np.float32), tilted.astype(np.float32), camera.focal)


Path = Callable[[int], Pose]
"""Number of a frame to the pose of the camera there."""


def path_of(kind: str, rng: Rng) -> Path:
    """Return the path of the camera for a kind of motion; kinds that do not move it rest.

    Args:
        kind: One of `KINDS` or `MORE_KINDS`.
        rng: Draws side and phases.
    """
    side = float(rng.choice([-1.0, 1.0]))
    sway = _sway(rng)
    match kind:
        case "slow":
            return lambda t: Pose(yaw=0.1 * side * t)
        case "fast":
            return lambda t: Pose(yaw=1.5 * side * t)
        case "walk":
            return lambda t: Pose(ahead=0.03 * t, up=0.01 * np.sin(2 * np.pi * t / 15))
        case "walk-turn":
            return lambda t: Pose(ahead=0.03 * t, up=0.01 * np.sin(2 * np.pi * t / 15), yaw=0.8 * side * t)
        case "mixed":
            return lambda t: Pose(yaw=side * float(np.clip(t - 8, 0, 8)))
        case "hand" | "cut":
            return sway
        case "calm":
            return lambda t: _scaled(sway(t), 0.15)
    return lambda t: Pose()


def _sway(rng: Rng) -> Path:
    """Return the path of a hand-held camera: about 0.6 pixels a frame at 140 pixels across."""
    # Sums of two slow waves per axis; amplitudes in degrees and metres, periods in frames (30 a second).
    waves = {
        name: [(size * rng.uniform(0.8, 1.2), rng.uniform(14, 34), rng.uniform(0, 2 * np.pi)) for size in sizes]
        for name, sizes in {
            "yaw": (0.9, 0.35),
            "pitch": (0.6, 0.3),
            "aside": (0.008, 0.003),
            "up": (0.006, 0.002),
            "ahead": (0.006, 0.002),
        }.items()
    }

    def at(t: int) -> Pose:
        values = {
            name: sum(size * (np.sin(2 * np.pi * t / period + phase) - np.sin(phase)) for size, period, phase in parts)
            for name, parts in waves.items()
        }
        return Pose(**values)

    return at


def _scaled(pose: Pose, factor: float) -> Pose:
    return Pose(*(factor * value for value in (pose.ahead, pose.aside, pose.up, pose.yaw, pose.pitch)))


def scenes_of(kind: str, scenes: Sequence[Scene], first: Frame, frames: int, rng: Rng) -> tuple[list[Scene], list[int]]:
    """Return the scene of every frame, and the room that it shows.

    Args:
        kind: One of `KINDS` or `MORE_KINDS`.
        scenes: One room, or two for ``cut``, of which the second comes half-way.
        first: The first frame, to choose the thing that moves.
        frames: Their number.
        rng: Draws the motion.
    """
    path = path_of(kind, rng)
    rooms = [int(kind == "cut" and t >= frames // 2) for t in range(frames)]
    found = []
    for t, room in enumerate(rooms):
        scene = replace(scenes[room], camera=path(t).of(scenes[room].camera))
        if kind == "light":  # the first lamp by a fifth, once to and fro
            lamp, *others = scene.lamps
            strength = lamp.strength * (1 + 0.2 * float(np.sin(2 * np.pi * t / frames)))
            scene = replace(scene, lamps=(replace(lamp, strength=strength), *others))
        found.append(scene)
    if kind == "object":
        found = _moving_thing(scenes[0], first, frames)
    return found, rooms


def _moving_thing(scene: Scene, first: Frame, frames: int) -> list[Scene]:
    """Return scenes in which one thing of about a tenth of the picture moves by 1.5 cm a frame across the view."""
    instances = np.array([shape.instance for shape in scene.shapes])
    seen = instances[first.shape[first.shape >= 0]]
    casting = {shape.instance for shape in scene.shapes if shape.casts}
    parts = {number: float((seen == number).mean()) for number in np.unique(seen) if number in casting}
    fitting = {number: part for number, part in parts.items() if _THING[0] <= part <= _THING[1]} or parts
    chosen = min(fitting, key=lambda number: abs(fitting[number] - 0.1))
    # Towards the middle of the picture, so that it stays in view.
    columns = np.nonzero((first.shape >= 0) & (instances[first.shape] == chosen))[1]
    side = 1.0 if columns.mean() < first.shape.shape[1] / 2 else -1.0
    step = 0.015 * side * scene.camera.rotation[0]

    def moved(shape: Shape, t: int) -> Shape:
        return (
            replace(shape, centre=(shape.centre + t * step).astype(np.float32)) if shape.instance == chosen else shape
        )

    return [replace(scene, shapes=[moved(shape, t) for shape in scene.shapes]) for t in range(frames)]


def exact_motion(before: tuple[Scene, Frame], after: tuple[Scene, Frame], same_room: bool = True) -> Motion:
    """Return the motion of every pixel from one rendered frame to the next.

    The surface point of a pixel, moved with its shape, is projected into the next camera. It is visible there if it
    lies inside, and the nearest pixel shows the same shape at that depth, up to a twentieth.

    Args:
        before: Scene and frame.
        after: Scene and frame one later; its shapes are the same, in the same order.
        same_room: Whether they show one room; of two, nothing moves and nothing is visible.
    """
    (scene, frame), (later, shown) = before, after
    height, width = frame.depth.shape
    camera = later.camera
    rotation = (scene.camera.rotation @ camera.rotation.T).astype(np.float32)
    if not same_room:
        return Motion(np.zeros((height, width, 2), np.float32), np.zeros((height, width), bool), rotation)
    # 1. World points, moved with their shapes. [H, W, 3]
    hit = np.isfinite(frame.depth)
    depth = np.where(hit, frame.depth, 1.0).astype(np.float64)
    rays = pixel_rays(scene.camera, (height, width)).astype(np.float64)
    moved = np.array([after.centre - then.centre for then, after in zip(scene.shapes, later.shapes, strict=True)])
    points = scene.camera.position + rays * depth[..., None] + np.where(hit[..., None], moved[frame.shape], 0)
    # 2. Their places in the next frame.
    column, row, ahead = project(camera, points, (height, width))
    flow = np.stack([column - np.arange(width), row - np.arange(height)[:, None]], -1)
    # 3. Visibility by a depth test at the nearest pixel.
    at = np.rint(np.stack([row, column], -1)).clip(-1, 2**30).astype(np.int64)
    inside = hit & (ahead > 0) & (at >= 0).all(-1) & (at[..., 0] < height) & (at[..., 1] < width)
    there = at[..., 0].clip(0, height - 1), at[..., 1].clip(0, width - 1)
    with np.errstate(invalid="ignore"):
        near = np.abs(shown.depth[there] - ahead) < 0.05 * ahead
    visible: NDArray[np.bool_] = inside & (shown.shape[there] == frame.shape) & near
    return Motion(np.where(hit[..., None], flow, 0).astype(np.float32), visible, rotation)


def project(camera: Camera, points: NDArray[np.float64], size: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Return column, row (of the samples that labels are) and depth of world points [..., 3]."""
    local = (points - camera.position) @ camera.rotation.T.astype(np.float64)
    ahead = np.where(np.abs(local[..., 2]) < 1e-6, 1e-6, local[..., 2])
    fine = OVERSAMPLING * camera.focal * size[1]
    # Labels are the sample of odd number of each pair: fine place 2 i + 1.5.
    first = OVERSAMPLING - 0.5
    column = (local[..., 0] / ahead * fine + OVERSAMPLING * size[1] / 2 - first) / OVERSAMPLING
    row = (local[..., 1] / ahead * fine + OVERSAMPLING * size[0] / 2 - first) / OVERSAMPLING
    return column, row, local[..., 2]

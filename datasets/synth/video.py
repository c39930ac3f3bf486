"""Rendered clips of eight kinds of motion in the general layout, every frame labelled, with exact motion."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from harness.data.clips import Motion
from harness.data.parallel import mapped
from harness.data.video import write_video
from harness.datasets.synth import GENERATOR_VERSION
from harness.datasets.synth.files import new_folder, write_json, write_npy, write_png, write_text
from harness.datasets.synth.labels import boundaries, class_map, encode_normals
from harness.datasets.synth.motion import KINDS, MORE_KINDS, exact_motion, scenes_of
from harness.datasets.synth.nyud_tree import DEPTH_RANGE, SIZE
from harness.datasets.synth.render import Frame, Scene, render
from harness.datasets.synth.room import room_scene

FRAMES, FPS = 24, 30.0
NOISE = 1.2
"""Sensor noise of clips in grey levels."""
TASKS = ("semseg", "depth", "normals", "boundary")

_ROOMS = {"train": 20_000, "val": 10_000}
"""Numbers of the first rooms of the splits: no room is in both, and none is one of ``nyud-synth``."""


@dataclass(frozen=True)
class Film:
    """One rendered clip.

    Attributes:
        kind: Kind of motion.
        scenes: Scene of every frame.
        frames: The frames.
        motions: Motion from each frame to the next, one fewer.
    """

    kind: str
    scenes: list[Scene]
    frames: list[Frame]
    motions: list[Motion]


def film(
    kind: str, room: int, *, seed: int = 0, frames: int = FRAMES, size: tuple[int, int] = SIZE, noise: float = NOISE
) -> Film:
    """Render one clip.

    Args:
        kind: One of `harness.datasets.synth.motion.KINDS` or ``MORE_KINDS``.
        room: Number of the room; it is furnished the same for every kind.
        seed: Everything follows from it.
        frames: Their number.
        size: (height, width).
        noise: Sensor noise, grey levels.
    """
    # Rooms by their number alone, so that kinds can be compared; the motion by both.
    rooms = [
        replace(room_scene(number, np.random.default_rng([seed, 7, number])), noise=noise)
        for number in ((room, room + 5000) if kind == "cut" else (room,))
    ]
    number = (*KINDS, *MORE_KINDS).index(kind)
    rng = np.random.default_rng([seed, 11, room, number])
    first = render(rooms[0], size, np.random.default_rng([seed, 13, room, number, 0]))
    scenes, shown = scenes_of(kind, rooms, first, frames, rng)
    gains: dict[int, float] = {0: first.gain}
    rendered = []
    for t, (scene, place) in enumerate(zip(scenes, shown, strict=True)):
        # The gain of the first frame of each room: no camera changes it from frame to frame.
        exposed = replace(scene, gain=gains.get(place))
        rendered.append(render(exposed, size, np.random.default_rng([seed, 13, room, number, t])))
        gains.setdefault(place, rendered[-1].gain)
    pairs = pairwise(zip(scenes, rendered, shown, strict=True))
    motions = [exact_motion((a, f), (b, g), same_room=r == s) for (a, f, r), (b, g, s) in pairs]
    return Film(kind, scenes, rendered, motions)


def write_clips(
    root: Path,
    class_names: tuple[str, ...],
    *,
    seed: int,
    train: int,
    rooms: int,
    size: tuple[int, int] = SIZE,
    kinds: tuple[str, ...] = KINDS,
    frames: int = FRAMES,
    noise: float = NOISE,
    lossless_video: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set of clips; it appears complete or not at all.

    Args:
        root: Folder to write.
        class_names: NYU-40 names in label order.
        seed: Everything follows from it.
        train: Training clips; kinds take turns, each clip is of another room.
        rooms: Validation rooms; each is filmed in every kind of motion.
        size: (height, width).
        kinds: Kinds of motion.
        frames: Frames per clip.
        noise: Sensor noise, grey levels.
        lossless_video: Store frames as FFV1 (needs PyAV) instead of PNG images.
        progress: Called with (done, total) after each clip.
    """
    numbers = {name: k for k, name in enumerate(class_names)}
    wanted = [("train", kinds[k % len(kinds)], _ROOMS["train"] + k) for k in range(train)]
    wanted += [("val", kind, _ROOMS["val"] + k) for k in range(rooms) for kind in kinds]
    with new_folder(root) as draft:
        write = partial(_write_clip, draft, numbers, seed, size, frames, noise, lossless_video)
        with mapped(write, wanted) as written:
            for done, _ in enumerate(written, start=1):
                if progress:
                    progress(done, len(wanted))
        for split in ("train", "val"):
            lines = [f"{clip_name(kind, room)}\n" for where, kind, room in wanted if where == split]
            write_text(draft / "splits" / f"{split}.txt", "".join(lines))
        write_json(draft / "meta.json", {"generator": GENERATOR_VERSION, "seed": seed, "size": size})


def clip_name(kind: str, room: int) -> str:
    """Return the name of a clip."""
    return f"{kind}-{room}"


def _write_clip(
    root: Path,
    numbers: Mapping[str, int],
    seed: int,
    size: tuple[int, int],
    frames: int,
    noise: float,
    lossless_video: bool,
    which: tuple[str, str, int],
) -> None:
    """Render and write one clip."""
    split, kind, room = which
    shot = film(kind, room, seed=seed, frames=frames, size=size, noise=noise)
    folder = root / "clips" / split / clip_name(kind, room)
    if lossless_video:
        folder.mkdir(parents=True)
        write_video(folder / "rgb.mkv", (frame.image for frame in shot.frames), FPS, lossless=True)
    for t, (scene, frame) in enumerate(zip(shot.scenes, shot.frames, strict=True)):
        if not lossless_video:
            write_png(folder / "rgb" / f"{t:06d}.png", frame.image)
        write_clip_labels(folder, t, scene, frame, numbers)
    for t, motion in enumerate(shot.motions):
        path = folder / "motion" / f"{t:06d}-{t + 1:06d}.npz"
        path.parent.mkdir(exist_ok=True)
        u, v = np.moveaxis(motion.flow.astype(np.float16), -1, 0)
        np.savez_compressed(path, u=u, v=v, visible=motion.visible, rotation=motion.rotation)
    times = [{"pts": t / FPS, "key": False, "labels": TASKS} for t in range(frames)]
    text = {"fps": FPS, "frames": times, "scene": f"room {room}", "kind": kind, "motion": "exact", "source": "rendered"}
    write_text(folder / "clip.json", json.dumps(text) + "\n")


def write_clip_labels(folder: Path, t: int, scene: Scene, frame: Frame, numbers: Mapping[str, int]) -> None:
    """Write the four labels of one frame in the general layout."""
    name = f"{t:06d}.png"
    write_png(folder / "semseg" / name, class_map(frame, scene.shapes, numbers, sky=255).astype(np.uint8))
    write_png(folder / "normals" / name, encode_normals(frame.normals))
    write_png(folder / "boundary" / name, boundaries(frame) // np.uint8(255))
    write_npy(folder / "depth" / f"{t:06d}.npy", frame.depth.clip(*DEPTH_RANGE).astype(np.float16))

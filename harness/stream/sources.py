"""Sources of frames: a folder of images, a clip, a video file, a camera, a rendered clip."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.data.clips import Clip, VideoDataset
from harness.data.photographs import find_photographs, read_photograph
from harness.data.video import Picture, VideoFile, camera_frames
from harness.errors import DataError, UsageError
from harness.registry import load_dataset

SourceKind = Literal["clip", "file", "folder", "camera", "synthetic"]


@dataclass(frozen=True)
class Source:
    """Frames in order.

    Attributes:
        name: As people know it.
        kind: Kind of source.
        frames: Time in seconds (None where there is none) and picture, RGB uint8 [H, W, 3].
        fps: Frames per second; None where the source does not say.
        count: Number of frames; None where it is not known.
        lossless: Whether the frames are as the camera gave them.
    """

    name: str
    kind: SourceKind
    frames: Iterator[tuple[float | None, Picture]]
    fps: float | None
    count: int | None
    lossless: bool


def open_source(text: str, frames: int | None, synthetic: str = "nyud-synth-video") -> Source:
    """Open what ``harness stream`` is given.

    Args:
        text: A folder of images, a clip's folder, a video file, ``camera:0``, or ``synth:KIND:ROOM``.
        frames: Most frames; None for all.
        synthetic: Data set that renders ``synth:`` clips.

    Raises:
        UsageError: a wrong name, no such camera, or PyAV is needed and not installed.
        DataError: there is no such folder or file, it holds no frame, or it is no video.
    """
    kind, _, rest = text.partition(":")
    if kind == "camera" and not Path(text).exists():
        if not rest.isdecimal():
            raise UsageError(f"{text}: a camera is named by its number, for example camera:0")
        return Source(text, "camera", camera_frames(int(rest)), None, None, lossless=False)
    if kind == "synth" and not Path(text).exists():
        return _rendered(text, rest, frames, synthetic)
    path = Path(text)
    if path.is_dir():
        if (path / "clip.json").is_file():
            clip = Clip(path)
            return Source(text, "clip", zip(_times(clip), clip, strict=True), clip.fps, len(clip), clip.lossless)
        photographs = sorted(find_photographs([path]), key=_natural)
        pictures = ((None, read_photograph(file)) for file in photographs)
        lossless = all(file.suffix.lower() == ".png" for file in photographs)
        return Source(text, "folder", pictures, None, len(photographs), lossless)
    if not path.exists():
        raise DataError(f"{text}: there is no such folder or file; give one, camera:0, or synth:hand:3")
    video = VideoFile(path)
    return Source(text, "file", iter(video), video.fps, None, lossless=False)


def _rendered(text: str, rest: str, frames: int | None, synthetic: str) -> Source:
    """Render a clip of a data set that can."""
    dataset = load_dataset(synthetic)
    kind, _, room = rest.partition(":")
    if not isinstance(dataset, VideoDataset) or not dataset.kinds:
        raise UsageError(f"{text}: {synthetic} renders no clips")
    if kind not in dataset.kinds or not (room.isdecimal() or not room):
        raise UsageError(f"{text}: write synth:KIND:ROOM, for example synth:hand:3; kinds: {', '.join(dataset.kinds)}")
    pictures = dataset.render_clip(kind, int(room or 0), frames)
    fps = 30.0
    timed = ((index / fps, picture) for index, picture in enumerate(pictures))
    return Source(text, "synthetic", timed, fps, len(pictures), lossless=True)


def _times(clip: Clip) -> list[float]:
    return [frame.pts for frame in clip.info.frames]


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a key under which frame 10 follows frame 9."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]

"""Clips: frames in order with sparse labels and motion, in one layout that every video data set is brought to.

::

    <root>/clips/<split>/<clip>/clip.json                fps, frames, scene, kind, motion, source
                                rgb/000000.png ...       or rgb.mkv (FFV1, lossless), or rgb.mp4 (lossy)
                                <task>/000020.png|npy    labelled frames alone
                                motion/000019-000020.npz u, v, visible, rotation
    <root>/splits/{train,val}.txt                        names of clips
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.data.dataset import Dataset, Reader, Split
from harness.data.files import image_size, read_ids, read_indices, read_npy, read_rgb, reading
from harness.data.labels import check_size, check_values, decode_normals
from harness.data.sample import Array
from harness.data.video import VideoFile
from harness.errors import DataError, UsageError, first_fault
from harness.problem import BOUNDARY_TRUTH

_VIDEOS = {"rgb.mkv": True, "rgb.mp4": False}
"""Files that the frames of a clip may lie in, and whether they are lossless."""


class FrameInfo(BaseModel):
    """One frame of a clip as its list has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pts: float = Field(ge=0, allow_inf_nan=False, description="Seconds since the first frame.")
    key: bool = Field(default=False, description="Whether a labelled key frame, where a source has such.")
    labels: tuple[str, ...] = Field(default=(), description="Tasks that it is labelled for.")


class ClipInfo(BaseModel):
    """The list of a clip, ``clip.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fps: float = Field(gt=0, allow_inf_nan=False)
    frames: tuple[FrameInfo, ...] = Field(min_length=1)
    scene: str | None = Field(default=None, description="Place it shows; clips of one place belong to one split.")
    kind: str | None = Field(default=None, description="Kind of motion, where there are several.")
    motion: str | None = Field(default=None, description="exact, or estimated:<network>; null where there is none.")
    source: str = ""
    intrinsics: tuple[float, float, float, float] | None = Field(default=None, description="fx, fy, cx, cy in pixels.")


@dataclass(frozen=True)
class Motion:
    """Motion from one frame to the next.

    Attributes:
        flow: Pixels to the right and down, float32 [H, W, 2].
        visible: Pixels that are seen in the next frame too, bool [H, W].
        rotation: From the next camera's frame to this one's, [3, 3].
    """

    flow: NDArray[np.float32]
    visible: NDArray[np.bool_]
    rotation: NDArray[np.float32]


class Clip:
    """One clip of a folder; nothing but its list is read until it is asked for.

    Attributes:
        id: Its name.
        info: Its list.
        lossless: Whether its frames are as the camera gave them.

    Args:
        folder: With ``clip.json``.

    Raises:
        DataError: the list is missing or malformed, or there are no frames.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.id = folder, folder.name
        listed = folder / "clip.json"
        with reading(listed, "JSON"):
            text = listed.read_bytes()
        try:
            self.info = ClipInfo.model_validate_json(text)
        except ValidationError as error:
            raise DataError(f"{listed}: {first_fault(error)}") from error
        times = [frame.pts for frame in self.info.frames]
        if any(later <= earlier for earlier, later in pairwise(times)):
            raise DataError(f"{listed}: the times of its frames must grow from frame to frame")
        self._video = next((folder / name for name in _VIDEOS if (folder / name).is_file()), None)
        if self._video is None and not (folder / "rgb").is_dir():
            raise DataError(f"{folder}: holds neither a folder rgb/ nor {' or '.join(_VIDEOS)}; restore the clip")
        self.lossless = True if self._video is None else _VIDEOS[self._video.name]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.info.frames)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield every frame in order, RGB uint8 [H, W, 3]."""
        return (self.image(index) for index in range(len(self)))

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.info.fps

    def files(self, index: int) -> dict[str, Path]:
        """Return the files of a frame by role: ``image``, and its labels."""
        image = self._video or self.folder / "rgb" / f"{index:06d}.png"
        found = {"image": image}
        for task in self.info.frames[index].labels:
            found[task] = self._label_file(task, index)
        return found

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return one frame, RGB uint8 [H, W, 3].

        Raises:
            DataError: it is missing or broken.
        """
        if self._video is None:
            return read_rgb(self.folder / "rgb" / f"{index:06d}.png")
        return self._frames.frame(index)

    def size(self) -> tuple[int, int]:
        """Return (height, width) of the frames."""
        if self._video is None:
            return image_size(self.folder / "rgb" / "000000.png")
        height, width = self.image(0).shape[:2]
        return height, width

    def labelled(self, task: str) -> list[int]:
        """Return the frames that are labelled for a task."""
        return [index for index, frame in enumerate(self.info.frames) if task in frame.labels]

    def label(self, index: int, task: str) -> Array:
        """Return the label of a frame as `harness.data.sample.Sample` describes it.

        Raises:
            DataError: it is missing, broken or of another size than the frames.
            KeyError: the frame is not labelled for the task.
        """
        if task not in self.info.frames[index].labels:
            raise KeyError(task)
        path = self._label_file(task, index)
        label = read_clip_label(path, task)
        check_size(label, self.size(), path)
        return label

    def motion(self, index: int) -> Motion | None:
        """Return the motion from a frame to the next; None where it is not known.

        Raises:
            DataError: the file is missing or broken.
        """
        if self.info.motion is None or index + 1 >= len(self):
            return None
        path = self.folder / "motion" / f"{index:06d}-{index + 1:06d}.npz"
        with reading(path, "motion"), np.load(path, allow_pickle=False) as stored:
            flow = np.stack([stored["u"], stored["v"]], -1).astype(np.float32)
            found = Motion(flow, stored["visible"].astype(bool), stored["rotation"].astype(np.float32))
        check_size(found.visible, self.size(), path)
        return found

    @cached_property
    def _frames(self) -> VideoFile:
        assert self._video is not None
        return VideoFile(self._video)

    def _label_file(self, task: str, index: int) -> Path:
        suffix = "npy" if task == "depth" else "png"
        return self.folder / task / f"{index:06d}.{suffix}"

    def __getstate__(self) -> dict[str, object]:
        """Leave an open decoder behind; another process opens the file again."""
        return {key: value for key, value in self.__dict__.items() if key != "_frames"}


def read_clip_label(path: Path, task: str) -> Array:
    """Return a label file of the layout: classes and masks with 255 ignored, metres, or vectors.

    Raises:
        DataError: the file is missing or broken, or has values that no label has.
    """
    if task == "depth":
        depth = read_npy(path).astype(np.float32)
        if depth.ndim != 2 or not np.isfinite(depth).all() or (depth < 0).any():
            raise DataError(f"{path}: a depth is one finite number per pixel, 0 where it is unknown")
        return depth
    if task == "normals":
        rgb = read_rgb(path, three_channels=True)
        normals = decode_normals(rgb)
        normals[~rgb.any(-1)] = 0  # black: unknown
        return normals
    stored = read_indices(path)
    check_values(stored, path, largest=255)
    return stored.astype(np.uint8)


class ClipFolder(Sequence[Clip]):
    """The clips of one split.

    Args:
        root: Folder of the data set.
        split: ``train`` or ``val``.

    Raises:
        DataError: the list or a clip is missing, or a clip or its scene belongs to both splits.
    """

    def __init__(self, root: Path, split: Split) -> None:
        self.root, self.split = root, split
        self.ids = read_ids(root / "splits" / f"{split}.txt")
        self._clips = [Clip(root / "clips" / split / name) for name in self.ids]
        other: Split = "val" if split == "train" else "train"
        if (root / "splits" / f"{other}.txt").is_file():
            self._check_against(root, other)

    def _check_against(self, root: Path, other: Split) -> None:
        names = read_ids(root / "splits" / f"{other}.txt")
        if both := sorted(set(names) & set(self.ids)):
            raise DataError(
                f"{root}: clip {both[0]} belongs to both splits: scores would be of frames seen in training"
            )
        scenes = {clip.info.scene: clip.id for clip in self._clips if clip.info.scene is not None}
        for name in names:
            folder = root / "clips" / other / name
            if folder.is_dir() and (scene := Clip(folder).info.scene) in scenes:
                raise DataError(f"{root}: {name} and {scenes[scene]} show the scene {scene} and belong to two splits")

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._clips)

    def __getitem__(self, index: int) -> Clip:  # type: ignore[override]  # slices are not needed
        """Return one clip."""
        return self._clips[index]


class ClipReader:
    """Labelled frames of clips as a `harness.data.dataset.Reader` of still images; ids are ``<clip>-<frame>``.

    Args:
        clips: Of one split.
        build: Name of the build.
    """

    def __init__(self, clips: ClipFolder, build: str) -> None:
        self.clips, self.root, self.split = clips, clips.root, clips.split
        self.build = build
        self._places = {
            f"{clip.id}-{index:06d}": (number, index)
            for number, clip in enumerate(clips)
            for index, frame in enumerate(clip.info.frames)
            if frame.labels
        }
        self.ids = tuple(self._places)
        if not self.ids:
            raise DataError(f"{self.root}: no frame of the {self.split} clips is labelled")

    def place(self, image_id: str) -> tuple[Clip, int]:
        """Return the clip of a labelled frame, and its number there."""
        number, index = self._places[image_id]
        return self.clips[number], index

    def files(self, image_id: str) -> Mapping[str, Path]:
        """Return the files of a frame by role."""
        clip, index = self.place(image_id)
        return clip.files(index)

    def sources(self, label: str) -> tuple[str, ...]:
        """Return the roles of the files that a label is made of."""
        return ("boundary",) if label == BOUNDARY_TRUTH else (label,)

    def absent(self, tasks: Iterable[str]) -> dict[str, str]:
        """Return the tasks that not every labelled frame has labels of, and why."""
        found = {}
        for task in tasks:
            missing = [name for name in self.ids if task not in self.files(name)]
            if missing:
                found[task] = f"{len(missing)} of {len(self.ids)} labelled frames have none, first {missing[0]}"
        return found

    def size(self, image_id: str) -> tuple[int, int]:
        """Return (height, width) of a frame."""
        return self.place(image_id)[0].size()

    def image(self, image_id: str) -> NDArray[np.uint8]:
        """Return a frame, RGB uint8 [H, W, 3]; see `Clip.image`."""
        clip, index = self.place(image_id)
        return clip.image(index)

    def label(self, image_id: str, task: str) -> Array:
        """Return a label; see `Clip.label`."""
        clip, index = self.place(image_id)
        if task not in clip.info.frames[index].labels:
            raise DataError(f"{self.root}: {task} of {image_id} cannot be read, the frame has no such label")
        return clip.label(index, task)

    def boundary_regions(self, image_id: str) -> Array:
        """Return the map whose region borders are the reference boundaries of odsF: the boundary label itself."""
        return self.label(image_id, "boundary")


class VideoDataset(Dataset):
    """A data set of clips; its labelled frames are still images, too."""

    kinds: ClassVar[tuple[str, ...]] = ()
    """Kinds of motion that clips can be rendered in on request; empty where none can."""

    def render_clip(self, kind: str, room: int, frames: int | None) -> list[NDArray[np.uint8]]:
        """Return the frames of a clip rendered on request, in data sets with `kinds`; others raise a `UsageError`."""
        raise UsageError(f"{self.name} renders no clips on request; name a folder or a video file")

    @abstractmethod
    def clips(self, root: Path, split: Split) -> ClipFolder:
        """Return the clips of a split.

        Raises:
            DataError: the folder is not in the layout.
        """

    def reader(self, root: Path, split: Split) -> Reader:
        """Return the reader of the labelled frames of a split."""
        clips = self.clips(root, split)
        height, width = clips[0].size()
        return ClipReader(clips, f"clips-{height}x{width}")

    def input_size(self, reader: Reader) -> tuple[int, int]:
        """Return the padded (height, width) of a model's input: whole patches of 16 x 16 around every clip."""
        assert isinstance(reader, ClipReader)
        sizes = [clip.size() for clip in reader.clips]
        height, width = (-(-max(sides) // 16) * 16 for sides in zip(*sizes, strict=True))
        return height, width

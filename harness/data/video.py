"""Video files and cameras, through PyAV: decoded in order, encoded losslessly or for looking at.

PyAV is an extra (``pip install 'harness[video]'``); folders of images need none.
"""

import contextlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError, UsageError, described

Picture = NDArray[np.uint8]

SUFFIXES = (".mkv", ".mp4", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg")
"""Suffixes of files that are taken for videos."""


def require_av() -> Any:
    """Return the module of PyAV.

    Raises:
        UsageError: it is not installed.
    """
    try:
        av = import_module("av")
    except ImportError as error:
        raise UsageError(
            f"video files and cameras need PyAV ({described(error)}): pip install 'mtl-harness[video]', or give a "
            f"folder of images"
        ) from error
    av.logging.set_level(None)  # libav prints on stderr by itself; errors come as exceptions
    return av


class VideoFile:
    """A video file, decoded in order.

    Args:
        path: The file.

    Attributes:
        fps: Frames per second; None where the file does not say.
        dropped: Frames that could not be decoded and were left out.

    Raises:
        UsageError: PyAV is not installed.
        DataError: there is no such file, or it is no video.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.av = path, require_av()
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        with self._blaming(), self.av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path}: holds no video; give a video file or a folder of images")
            rate = container.streams.video[0].average_rate
        self.fps = float(rate) if rate else None
        self._decoding: Iterator[tuple[float | None, Picture]] | None = None
        self._next = 0

    def __iter__(self) -> Iterator[tuple[float | None, Picture]]:
        """Yield the time in seconds and the picture, RGB uint8 [H, W, 3], of every frame.

        Raises:
            DataError: the file breaks off or is damaged; the frames before it were yielded.
        """
        with self._blaming(), self.av.open(str(self.path)) as container:
            count, last = 0, 0.0
            for frame in container.decode(video=0):
                yield frame.time, frame.to_ndarray(format="rgb24")
                count += 1
                last = frame.time or last
            self._check_end(container, count, last)

    def frame(self, index: int) -> Picture:
        """Return one frame; going forward decodes each frame once, going back starts again.

        Raises:
            DataError: there is no such frame, or it cannot be decoded.
        """
        if self._decoding is None or index < self._next:
            self._decoding, self._next = iter(self), 0
        for _, picture in self._decoding:
            self._next += 1
            if self._next > index:
                return picture
        raise DataError(
            f"{self.path}: has no frame {index}, it ends after {self._next}; labels of other frames are void"
        )

    def _check_end(self, container: Any, count: int, last: float) -> None:
        """Raise a `DataError` where the frames end long before the length in the header: decoders say nothing then."""
        length = container.duration / self.av.time_base if container.duration else 0.0
        spare = 2.5 / (self.fps or 25.0) if len(container.streams) == 1 else 2.0  # sound may go on for longer
        if length - last > spare:
            left = f"{length - last:.1f} s before its end"
            raise DataError(f"{self.path}: breaks off after {count} frames, {left}; it may be truncated")
        if not count:
            raise DataError(f"{self.path}: holds no frame")

    @contextlib.contextmanager
    def _blaming(self) -> Iterator[None]:
        try:
            yield
        except (self.av.error.FFmpegError, OSError, ValueError, EOFError) as error:
            raise DataError(f"{self.path}: cannot be decoded ({described(error)}); it may be truncated") from error


def camera_frames(number: int) -> Iterator[tuple[float | None, Picture]]:
    """Yield time and picture of the frames of a camera, without end.

    Args:
        number: Of the device, as in ``/dev/video0``.

    Raises:
        UsageError: PyAV is not installed, or there is no such camera.
    """
    av, device = require_av(), f"/dev/video{number}"
    if not Path(device).exists():
        raise UsageError(f"camera:{number}: there is no {device}; list the cameras with `ls /dev/video*`")
    try:
        container = av.open(device, format="v4l2")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UsageError(f"camera:{number}: {device} cannot be opened ({described(error)})") from error
    with container:
        for frame in container.decode(video=0):
            yield frame.time, frame.to_ndarray(format="rgb24")


class VideoWriter:
    """Writes pictures of one size to a video file.

    Args:
        path: Of the file; its suffix names the container.
        fps: Frames per second.
        lossless: FFV1 on the very RGB values; else H.264, or MPEG-4 where that is not built in, for looking at.

    Raises:
        UsageError: PyAV is not installed, or the file cannot be written.
    """

    def __init__(self, path: Path, fps: float, lossless: bool = False) -> None:
        self.path, self.lossless, self.av = path, lossless, require_av()
        rate = Fraction(fps).limit_denominator(1001)
        try:
            self._container = self.av.open(str(path), "w")
            if lossless:
                self._stream = self._container.add_stream("ffv1", rate=rate)
                self._stream.pix_fmt = "bgr0"  # all 8 bits of red, green and blue
            else:
                codec = "libx264" if "libx264" in self.av.codecs_available else "mpeg4"
                self._stream = self._container.add_stream(codec, rate=rate)
                self._stream.pix_fmt = "yuv420p"
        except (self.av.error.FFmpegError, OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be written ({described(error)})") from error
        self._size: tuple[int, ...] | None = None

    def write(self, picture: Picture) -> None:
        """Append a picture, RGB uint8 [H, W, 3]; odd sides lose a row or column unless the file is lossless."""
        if not self.lossless:
            picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
        if self._size is None:
            self._size = picture.shape
            self._stream.height, self._stream.width = picture.shape[:2]
        frame = self.av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        for packet in self._stream.encode(frame.reformat(format=self._stream.pix_fmt)):
            self._container.mux(packet)

    def close(self) -> None:
        """Write what is still held, and the end of the file."""
        if self._size is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()

    def __enter__(self) -> "VideoWriter":
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file, however the block ended."""
        self.close()


def write_video(path: Path, pictures: Iterable[Picture], fps: float, lossless: bool = False) -> int:
    """Write pictures to a file; return their number. See `VideoWriter`."""
    count = 0
    with VideoWriter(path, fps, lossless) as writer:
        for picture in pictures:
            writer.write(picture)
            count += 1
    return count

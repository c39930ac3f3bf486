"""Plausibility of labels and predictions: what a wrong unit, range or encoding does to their values.

Everything here describes and advises; nothing is ever rescaled.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from statistics import median

import numpy as np
from numpy.typing import NDArray

from harness.data.sample import Array
from harness.problem import TaskSpec
from harness.tasks.base import IGNORE

DEEPEST = 80.0
"""Metres; the evaluation ignores what is deeper (InvPT and its descendants), so that a median above it is no metre."""

_MOST_CENTIMETRES = 1500.0
"""Values up to 15 m in centimetres; what is larger is rather millimetres, which reach 10 000 in a room."""
_UNIT_LENGTH = (0.7, 1.3)
"""Median length of unit vectors after 8-bit rounding, JPEG and resizing, with a margin."""
_STRIDE = 7
"""Every seventh value is enough for a median, at a seventh of the time; odd, so that it walks over all columns."""
_ENOUGH_FILES = 50
"""So many images of a published set contain every class; fewer prove nothing."""


def depth_fault(middle: float, largest: float, *, whole: bool = False, deepest: float = DEEPEST) -> str | None:
    """Say what is wrong with the unit of depth values; None when they may be metres.

    Args:
        middle: Their median.
        largest: Their maximum.
        whole: Whether all are whole numbers.
        deepest: Metres that the sensor can measure.

    Example:
        >>> depth_fault(2.7, 9.8)
        >>> depth_fault(2740, 9870)
        'median 2740, largest 9870: they look like millimetres; depth is in metres, so divide by 1000'
    """
    found = f"median {middle:.4g}, largest {largest:.4g}"
    if 0 < largest <= 1:
        return f"{found}: they look normalised to 0..1; depth is in metres"
    if middle <= deepest:
        return None
    if whole and largest <= 255:
        return f"{found}, whole numbers: they look like 8-bit levels; depth is in metres"
    unit, factor = ("millimetres", 1000) if largest > _MOST_CENTIMETRES else ("centimetres", 100)
    return f"{found}: they look like {unit}; depth is in metres, so divide by {factor}"


def normals_fault(length: float, *, negative: bool, grey: bool = False) -> str | None:
    """Say what is wrong with surface normals; None when they may be unit vectors.

    Args:
        length: Median length of the valid vectors.
        negative: Whether any component is negative.
        grey: Whether x, y and z are equal in every pixel.
    """
    if grey:
        return "x, y and z are equal everywhere: one channel was spread to three; normals need three channels"
    if not negative:
        return "no component is negative: they look like (n + 1) / 2 or 8-bit levels that were not decoded"
    low, high = _UNIT_LENGTH
    if not low <= length <= high:
        return f"the vectors have a median length of {length:.3g}, but normals are unit vectors"
    return None


def levels_fault(largest: float) -> str | None:
    """Say what is wrong with 8-bit levels of a probability; None when they may be 255 times one.

    Args:
        largest: The largest level of all files.
    """
    if 0 < largest <= 1:
        return "no value above 1 in any file: they look like 0 and 1, but levels are 255 times a probability"
    return None


@dataclass
class Facts:
    """Summary of the labels of one task over any number of images.

    Attributes:
        files: Images seen.
        valid: Images with at least one valid pixel.
        medians: Median of each valid image: of depth in metres, of the length of normals.
        largest: Largest depth.
        whole: Whether all depths are whole numbers.
        negative: Whether a normal has a negative component.
        grey: Whether x, y and z of all normals are equal.
        counts: Pixels of each class or label value, [256].
    """

    files: int = 0
    valid: int = 0
    medians: list[float] = field(default_factory=list)
    largest: float = 0.0
    whole: bool = True
    negative: bool = False
    grey: bool = True
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(IGNORE + 1, np.int64))

    def __add__(self, other: "Facts") -> "Facts":
        """Return the summary of both."""
        return Facts(
            self.files + other.files,
            self.valid + other.valid,
            self.medians + other.medians,
            max(self.largest, other.largest),
            self.whole and other.whole,
            self.negative or other.negative,
            self.grey and other.grey,
            self.counts + other.counts,
        )


def facts(task: str, label: Array) -> Facts:
    """Summarise one label, as `harness.data.sample.Sample` describes it."""
    if task == "depth":
        values = label.reshape(-1)[::_STRIDE]  # [N], 0 where unknown
        values = values[values > 0]
        if not values.size:
            return Facts(files=1)
        whole = bool((values == np.rint(values)).all())
        return Facts(1, 1, [float(np.median(values))], float(label.max()), whole)
    if task == "normals":
        vectors = label.reshape(-1, 3)[::_STRIDE]  # [N, 3]
        vectors = vectors[vectors.any(axis=1)]
        if not len(vectors):
            return Facts(files=1)
        length = float(np.median(np.linalg.norm(vectors, axis=1)))
        grey = bool((vectors[:, :1] == vectors[:, 1:]).all())
        return Facts(1, 1, [length], negative=bool((vectors < 0).any()), grey=grey)
    if label.dtype.kind == "f":  # numbers of a plug-in's task, of which nothing is known
        return Facts(1, int(bool((label != IGNORE).any())))
    # Classes and binary labels: how many pixels have each value, 255 for ignored ones.
    counts = np.bincount(label.reshape(-1), minlength=IGNORE + 1)[: IGNORE + 1].astype(np.int64)
    return Facts(1, int(counts[:IGNORE].any()), counts=counts)


def total(parts: Iterable[Facts]) -> Facts:
    """Return the summary of all parts."""
    return reduce(Facts.__add__, parts, Facts())


def implausible(spec: TaskSpec, found: Facts, *, deepest: float = DEEPEST, published: bool = False) -> str | None:
    """Say what is implausible about the labels of a task; None when nothing is.

    Args:
        spec: The task.
        found: Summary of its labels.
        deepest: Metres that the sensor can measure.
        published: Whether the data are a published set, in which every class occurs.
    """
    if not found.files:
        return None
    if not found.valid:
        return f"no valid pixel in any of {found.files} files"
    middle = median(found.medians) if found.medians else 0.0
    match spec.name:
        case "depth":
            return depth_fault(middle, found.largest, whole=found.whole, deepest=deepest)
        case "normals":
            return normals_fault(middle, negative=found.negative, grey=found.grey)
        case "saliency" if not found.counts[1]:
            return (
                f"nothing is salient in any of {found.files} files: salient are levels of 128 and more; "
                f"maps of 0 and 1 must be stored as 0 and 255"
            )
        case "boundary" if found.counts[1] > found.counts[0]:
            return "more than half of all pixels are boundaries: they look inverted"
        case "boundary" if not found.counts[1]:
            return f"no boundary in any of {found.files} files"
    if spec.num_classes and published and found.files >= _ENOUGH_FILES:
        highest = int(np.flatnonzero(found.counts[:IGNORE])[-1])
        if highest < spec.num_classes - 1:
            return (
                f"class {highest} is the highest of {found.files} files, the data set has classes up to "
                f"{spec.num_classes - 1}: other classes, or an offset of one"
            )
    return None

"""Plausibility of saved predictions against the labels: offsets, units, encodings, axes. Nothing is ever rescaled.

A wrong file scores quietly: classes counted from 1, millimetres, probabilities of 0 and 1 in 8 bits, normals with
other axes. Each check collects a few numbers per image and says in the end what was found and what to do.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import permutations, product
from statistics import median

import numpy as np
from numpy.typing import NDArray

from harness.data.plausibility import levels_fault
from harness.data.transforms import Floats
from harness.problem import TaskSpec
from harness.tasks.base import IGNORE

_SHIFT_GAIN = 2.0
"""Predictions are off by one class where a shift makes this many times as many pixels right."""
_UNIT_RATIOS = ((1000.0, "millimetres, divide by 1000"), (100.0, "centimetres, divide by 100"), (0.001, "kilometres"))
_UNIT_ROOM = 3.0
"""Ratio of medians around a unit's factor that is still taken for it; poor predictions are off by less."""
_AXIS_GAIN = 0.2
"""Mean cosine by which other axes must agree better before they are named."""
_LONGEST = 10.0
"""Median length up to which vectors may be raw outputs of a network, of which direction alone is trained and scored."""


class Check(ABC):
    """Collector of what is implausible about the predictions of one task."""

    @abstractmethod
    def add(self, prediction: Floats, label: Floats) -> None:
        """Look at one image.

        Args:
            prediction: [C, H, W], as it is scored.
            label: [C, H, W], 255 where ignored.
        """

    @abstractmethod
    def faults(self) -> Iterator[str]:
        """Yield what was found and what to do, a line each."""


class Classes(Check):
    """Class indices within the range of the data set, and not off by one."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.files: dict[int, int] = {}  # value outside of the range to files with it
        self.right = dict.fromkeys((-1, 0, 1), 0)

    def add(self, prediction: Floats, label: Floats) -> None:
        """Count values outside of the range, and pixels that are right when they are shifted."""
        outside = np.unique(prediction[(prediction < 0) | (prediction >= self.classes)])
        for value in outside.tolist():
            self.files[int(value)] = self.files.get(int(value), 0) + 1
        valid = label != IGNORE
        for shift in self.right:
            self.right[shift] += int((valid & (prediction + shift == label)).sum())

    def faults(self) -> Iterator[str]:
        """Yield values that are no class, and a shift that fits better."""
        if self.files:
            shown = ", ".join(f"{value} in {files} files" for value, files in sorted(self.files.items())[:3])
            yield f"values outside 0..{self.classes - 1} ({shown}); the classes count from 0"
        best = max(self.right, key=lambda shift: self.right[shift])
        if best != 0 and self.right[best] > _SHIFT_GAIN * max(self.right[0], 1):
            how = "1 is subtracted" if best < 0 else "1 is added"
            yield f"{self.right[best]} pixels are right when {how}, {self.right[0]} as they are: an offset of one"


class Levels(Check):
    """Probabilities stored as 0 to 255, not as 0 and 1."""

    def __init__(self) -> None:
        self.largest = 0.0

    def add(self, prediction: Floats, label: Floats) -> None:
        """Keep the largest 8-bit level."""
        self.largest = max(self.largest, 255 * float(prediction.max(initial=0)))

    def faults(self) -> Iterator[str]:
        """Yield that all levels are 0 or 1."""
        if fault := levels_fault(round(self.largest)):
            yield fault


class Metres(Check):
    """Depth in metres, by the medians of predictions and labels."""

    def __init__(self) -> None:
        self.medians: tuple[list[float], list[float]] = ([], [])
        self.largest = [0.0, 0.0]

    def add(self, prediction: Floats, label: Floats) -> None:
        """Keep the medians of both where the label is valid."""
        valid = (label != IGNORE) & (label > 0)
        if valid.any():
            for number, values in enumerate((prediction[valid], label[valid])):
                self.medians[number].append(float(np.median(values)))
                self.largest[number] = max(self.largest[number], float(values.max()))

    def faults(self) -> Iterator[str]:
        """Yield another unit, or that nothing is deeper than 0 m."""
        if not self.medians[0]:
            return
        ours, theirs = (median(values) for values in self.medians)
        if ours <= 0:
            yield f"half of the predictions are 0 m or less, the labels have a median of {theirs:.3g} m"
            return
        for factor, unit in _UNIT_RATIOS:
            if factor / _UNIT_ROOM <= ours / theirs <= factor * _UNIT_ROOM:
                yield (
                    f"predictions reach {self.largest[0]:.4g} m (median {ours:.4g}), labels {self.largest[1]:.4g} m "
                    f"(median {theirs:.3g}): {unit}?"
                )


class Vectors(Check):
    """Surface normals with the labels' axes and signs, better than one vector for all pixels."""

    def __init__(self) -> None:
        self.products: NDArray[np.float64] = np.zeros((3, 3))  # sum over pixels of prediction x label
        self.labels: NDArray[np.float64] = np.zeros(3)
        self.pixels = 0
        self.lengths: list[float] = []  # median of every image
        self.grey = self.positive = True

    def add(self, prediction: Floats, label: Floats) -> None:
        """Add up the products of all components of predicted and true unit vectors."""
        valid = (label != IGNORE).all(0) & label.any(0)
        ours, theirs = prediction[:, valid].astype(np.float64), label[:, valid].astype(np.float64)  # [3, N]
        if not ours.size:
            return
        self.grey &= bool((ours == ours[:1]).all())
        self.positive &= bool((ours >= 0).all())
        lengths = np.linalg.norm(ours, axis=0)  # [N]
        self.lengths.append(float(np.median(lengths)))
        ours /= lengths.clip(1e-12)
        theirs /= np.linalg.norm(theirs, axis=0).clip(1e-12)
        self.products += ours @ theirs.T
        self.labels += theirs.sum(1)
        self.pixels += ours.shape[1]

    def faults(self) -> Iterator[str]:
        """Yield one channel for three, levels that were not decoded, other axes, and worse than the mean normal."""
        if not self.pixels:
            return
        length = median(self.lengths)
        if length == 0:
            yield "half of the vectors or more are zero, which are scored as 90 degrees off; save a vector everywhere"
            return
        if self.grey:
            yield "x, y and z are equal everywhere: one channel was spread to three; normals need three channels"
            return
        if self.positive:
            yield "no component is negative: they look like (n + 1) / 2 or 8-bit levels that were not decoded"
        if length > _LONGEST:
            yield f"the vectors have a median length of {length:.4g}, not 1; only their direction is scored"
        # The mean cosine under a change of axes is a sum of products that are already added up.
        cosine = np.trace(self.products) / self.pixels
        best = cosine
        axes: tuple[int, ...] = (0, 1, 2)
        signs: tuple[int, ...] = (1, 1, 1)
        for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
            changed = sum(
                sign * self.products[axis, place] for place, (axis, sign) in enumerate(zip(order, flips, strict=True))
            )
            if changed / self.pixels > best:
                best, axes, signs = changed / self.pixels, order, flips
        if best > cosine + _AXIS_GAIN:
            named = ", ".join(f"{'-' if sign < 0 else ''}{'xyz'[axis]}" for axis, sign in zip(axes, signs, strict=True))
            yield f"taken as ({named}) they agree better with the labels (mean cosine {best:.2f}, not {cosine:.2f})"
        elif cosine < (mean := float(np.linalg.norm(self.labels)) / self.pixels):
            yield f"worse than the mean normal everywhere (mean cosine {cosine:.2f}, not {mean:.2f})"


def check_of(spec: TaskSpec) -> Check | None:
    """Return the check of a task; None where nothing is known that could go wrong."""
    if spec.num_classes is not None:
        return Classes(spec.num_classes)
    kinds: dict[str, type[Check]] = {"saliency": Levels, "boundary": Levels, "depth": Metres, "normals": Vectors}
    kind = kinds.get(spec.name)
    return kind() if kind is not None else None

"""ODS and OIS F-measure and average precision from counts (Arbelaez et al., PAMI 2011)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.boundary.counting import Counts
from harness.boundary.rule import BoundaryRule

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """The boundary score of a set of images, as fractions; NaN where there was no image.

    Attributes:
        ods_f: Best F-measure at one threshold for the whole set (optimal data set scale).
        ods_threshold: That threshold.
        ods_precision: Precision at that threshold.
        ods_recall: Recall at that threshold.
        ois_f: F-measure with every image at its own best threshold (optimal image scale).
        ap: Mean precision over the recalls 0, 0.01, ..., 1.
        images: Number of images.
    """

    ods_f: float
    ods_threshold: float
    ods_precision: float
    ods_recall: float
    ois_f: float
    ap: float
    images: int


@dataclass(frozen=True)
class Totals:
    """Totals of a set of images, all that its score needs. Sets merge by adding.

    Attributes:
        pooled: Counts of all images, [thresholds].
        best: Counts of all images, each at its own best threshold, [1].
        images: Number of images.
    """

    pooled: Counts
    best: Counts
    images: int

    @classmethod
    def of(cls, counts: Counts) -> "Totals":
        """Return the totals of one image."""
        # OIS: the image at its own best threshold.
        k = int(np.argmax(f_measure(*precision_recall(counts))))
        at = slice(k, k + 1)
        best = Counts(counts.cnt_r[at], counts.sum_r[at], counts.cnt_p[at], counts.sum_p[at])
        return cls(counts, best, 1)

    def __add__(self, other: "Totals") -> "Totals":
        """Return the totals of both sets."""
        return Totals(self.pooled + other.pooled, self.best + other.best, self.images + other.images)

    def score(self, rule: BoundaryRule) -> Score:
        """Return the score of the set.

        Args:
            rule: The rule the images were counted by; names the thresholds.
        """
        # ODS: one threshold for the whole set, the one with the best F of the pooled counts.
        precision, recall = precision_recall(self.pooled)
        f = f_measure(precision, recall)
        k = int(np.argmax(f))
        return Score(
            ods_f=float(f[k]),
            ods_threshold=rule.thresholds[k],
            ods_precision=float(precision[k]),
            ods_recall=float(recall[k]),
            ois_f=float(f_measure(*precision_recall(self.best))[0]),
            ap=average_precision(precision, recall),
            images=self.images,
        )


def score(counts: Iterable[Counts], rule: BoundaryRule) -> Score:
    """Return the score of a set of images.

    Args:
        counts: Counts of every image.
        rule: The rule the images were counted by; names the thresholds.
    """
    totals: Totals | None = None
    for one in counts:
        totals = Totals.of(one) if totals is None else totals + Totals.of(one)
    if totals is None:
        nan = float("nan")
        return Score(nan, nan, nan, nan, nan, nan, images=0)
    return totals.score(rule)


def precision_recall(counts: Counts) -> tuple[Floats, Floats]:
    """Return precision and recall at every threshold.

    Without a true boundary precision is 0 and recall 1; without a predicted one precision is 1 and recall 0.
    """
    no_truth, no_prediction = counts.sum_r == 0, counts.sum_p == 0
    precision = counts.cnt_p / np.maximum(counts.sum_p, 1)
    recall = counts.cnt_r / np.maximum(counts.sum_r, 1)
    precision = np.where(no_truth, 0.0, np.where(no_prediction, 1.0, precision))
    return precision, np.where(no_truth, 1.0, recall)


def f_measure(precision: Floats, recall: Floats) -> Floats:
    """Return the harmonic mean of precision and recall, 0 where both are 0."""
    total = precision + recall  # F = 2 P R / (P + R)
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def average_precision(precision: Floats, recall: Floats) -> float:
    """Return the mean of the precision interpolated at 101 recalls; recalls out of reach count 0."""
    # The first threshold of each recall has its best precision.
    reached, first = np.unique(recall, return_index=True)
    at = np.interp(np.linspace(0, 1, 101), reached, precision[first], left=0.0, right=0.0)
    return float(at.sum() / 100)

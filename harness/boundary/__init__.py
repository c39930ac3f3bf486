"""The field's boundary score (odsF, oisF, AP), exact and without MATLAB.

Needs no deep-learning library: arrays in, integers out.
"""

from harness.boundary.counting import Counts, count_image
from harness.boundary.matching import GtIndex, greedy, index_gt, match
from harness.boundary.pool import BoundaryPool
from harness.boundary.rule import PLAIN_THRESHOLDS, SEISM_THRESHOLDS, BoundaryRule
from harness.boundary.scoring import Score, Totals, score
from harness.boundary.suppression import orientation, suppress
from harness.boundary.thinning import ground_truth, seg2bmap, thin

__all__ = [
    "PLAIN_THRESHOLDS",
    "SEISM_THRESHOLDS",
    "BoundaryPool",
    "BoundaryRule",
    "Counts",
    "GtIndex",
    "Score",
    "Totals",
    "count_image",
    "greedy",
    "ground_truth",
    "index_gt",
    "match",
    "orientation",
    "score",
    "seg2bmap",
    "suppress",
    "thin",
]

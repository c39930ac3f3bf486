"""The boundary map that predictions are scored against."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.boundary.thinning import thin


def seg2bmap(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the boundaries of a segmentation (Martin's ``seg2bmap``).

    A pixel is a boundary where its label differs from the one to its right, below it or below and right of
    it. The last row compares to the right only, the last column downwards only, the corner not at all.

    Args:
        labels: Label map of any type, [h, w].

    Returns:
        bool [h, w].
    """
    boundary = np.zeros(labels.shape, dtype=bool)
    boundary[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    boundary[:-1, :] |= labels[:-1, :] != labels[1:, :]
    boundary[:-1, :-1] |= labels[:-1, :-1] != labels[1:, 1:]
    return boundary


def ground_truth(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the thinned boundary map of a label map.

    PASCAL-Context hands in its LabelMap. NYUD-v2 hands in its edge picture, which the SEISM tools treat as a
    segmentation of two labels: the line becomes a band of two pixels and is thinned back.

    Args:
        labels: Label map of any type, [h, w], in the original size and without padding.

    Returns:
        bool [h, w].
    """
    return thin(seg2bmap(labels))

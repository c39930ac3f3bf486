"""Maps of the next frame seen from this one, along the motion."""

import torch
from torch import Tensor
from torch.nn import functional as F


def warped(map_: Tensor, flow: Tensor, *, nearest: bool = False) -> Tensor:
    """Return a map of frame t + 1 sampled where the pixels of frame t went.

    Args:
        map_: [C, H, W].
        flow: Motion from t to t + 1 in pixels to the right and down, [H, W, 2].
        nearest: Take the nearest pixel, as for classes; else bilinear.

    Returns:
        [C, H, W]; what went outside has the value of the nearest border.
    """
    height, width = flow.shape[:2]
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=flow.dtype), torch.arange(width, dtype=flow.dtype), indexing="ij"
    )
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    if nearest:
        at = y.round().long().clamp(0, height - 1), x.round().long().clamp(0, width - 1)
        return map_[:, *at]
    # Pixel centres at whole numbers: -1 and 1 are the centres of the first and the last pixel.
    grid = torch.stack((2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), -1)
    sampled = F.grid_sample(map_[None].to(flow.dtype), grid[None], padding_mode="border", align_corners=True)
    return sampled[0]

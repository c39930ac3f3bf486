"""Maps of several resolutions brought together."""

import torch
from torch import Tensor
from torch.nn import functional as F


def at_finest(maps: list[Tensor]) -> Tensor:
    """Concatenate maps of several resolutions along the channels, each enlarged bilinearly to the size of the first."""
    return torch.cat([resize(map_, maps[0]) for map_ in maps], dim=1)


def resize(map_: Tensor, like: Tensor) -> Tensor:
    """Bring a map bilinearly to the height and width of another; one that has them already is returned as it is."""
    size = like.shape[-2:]
    return map_ if map_.shape[-2:] == size else F.interpolate(map_, size=size, mode="bilinear", align_corners=False)

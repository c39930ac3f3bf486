"""Weights of plain vision transformers as they are published, under timm's keys."""

import math

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from harness.backbones.checkpoints import leave_out
from harness.weights.state import Adapted, State

_NO_ENCODER = (
    "head.",
    "pre_logits.",
    "fc_norm.",
    "mask_token",
    "decoder_",
    "input_adapters.",
    "output_adapters.",
)
"""Classifiers, the decoder of MAE, and the adapters of MultiMAE for other inputs and outputs."""

_MULTIVIT_KEYS = {
    "global_tokens": "cls_token",
    "input_adapters.rgb.proj.": "patch_embed.proj.",
    "encoder.": "blocks.",
}
_MULTIVIT_POSITIONS = "input_adapters.rgb.pos_emb"


def adapt_vit(state: State, grid: tuple[int, int], width: int) -> Adapted:
    """Put the weights of a ViT under timm's keys, position embeddings resampled to a grid.

    Understood are timm's own keys, which MAE shares (He et al., CVPR 2022), and those of MultiMAE's MultiViT (Bachmann
    et al., ECCV 2022). MultiViT's global token becomes the class token; it stands last there and first here, which
    attention cannot tell, and it has no position. Entries of an unexpected shape are left to the check that follows.

    Args:
        state: The weights as stored.
        grid: Rows and columns of patches.
        width: Channels of a token.
    """
    stored_grid = None
    if any(key.startswith("input_adapters.rgb.") for key in state):
        state, stored_grid = _from_multivit(state)
    rest = leave_out(state, _NO_ENCODER)
    adapted, notes = rest.state, rest.notes
    if "pos_embed" in adapted:
        adapted["pos_embed"] = _resampled(adapted["pos_embed"], stored_grid, grid)
    if "norm.weight" not in adapted and "norm.bias" not in adapted:
        adapted |= {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
        notes = (*notes, "has no final norm, which starts with weight 1 and bias 0")
    return Adapted(adapted, notes)


def _from_multivit(state: State) -> tuple[State, tuple[int, int] | None]:
    """Return a MultiViT's weights under timm's keys and the grid of its position embeddings."""
    renamed = {_timm_key(key): value for key, value in state.items()}
    positions = state.get(_MULTIVIT_POSITIONS)
    if positions is None or positions.ndim != 4:
        return renamed, None
    del renamed[_MULTIVIT_POSITIONS]
    flat = positions.flatten(2).transpose(1, 2)  # [1, C, h, w] to [1, hw, C]
    renamed["pos_embed"] = torch.cat([torch.zeros_like(flat[:, :1]), flat], dim=1)
    return renamed, (positions.shape[2], positions.shape[3])


def _timm_key(key: str) -> str:
    for theirs, ours in _MULTIVIT_KEYS.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def _resampled(positions: Tensor, stored: tuple[int, int] | None, grid: tuple[int, int]) -> Tensor:
    """Resample position embeddings [1, 1 + hw, C] bicubically without antialias, as the field's code does it.

    A stored grid that is not told is square, or else the one asked for.
    """
    if positions.ndim != 3 or positions.shape[0] != 1 or positions.shape[1] < 2:
        return positions
    if stored is None:
        side = math.isqrt(positions.shape[1] - 1)
        if side * side != positions.shape[1] - 1:
            return positions
        stored = (side, side)
    resampled: Tensor = resample_abs_pos_embed(
        positions, list(grid), list(stored), num_prefix_tokens=1, interpolation="bicubic", antialias=False
    )
    return resampled

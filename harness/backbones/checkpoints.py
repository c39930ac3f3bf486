"""Encoder weights from files, this package and the hub: read, put under the encoder's keys, and checked key by key.

Published files hold more than an encoder (classifiers, decoders, optimisers). What a family of encoders leaves out is
listed by that family and reported; anything else that is missing, left over or of another shape is refused.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from harness.backbones.own_weights import read_own
from harness.backbones.shapes import OWN
from harness.backbones.timm_parts import resample_abs_pos_embed, timm
from harness.errors import MethodError, UsageError
from harness.weights import WeightFile, load_exactly
from harness.weights.state import Adapted, State, read_state


def load_weights(
    module: nn.Module,
    weights: Literal["pretrained"] | WeightFile,
    adapt: Callable[[State], Adapted],
    backbone: str,
    published: str | None,
) -> tuple[str, ...]:
    """Load starting weights into ``module``.

    Args:
        module: The network of an encoder.
        weights: Where to take them from.
        adapt: Puts a file's weights under the keys of ``module``.
        backbone: Name of the encoder, for messages.
        published: timm name of its published weights; None where there are none.

    Returns:
        Notes on the file: what of it was ignored, and what it lacked.

    Raises:
        UsageError: there are no published weights, or the file is unreadable or does not fit.
        MethodError: the published weights could not be fetched.
    """
    if not isinstance(weights, WeightFile):
        if backbone in OWN:
            load_exactly(module, adapt(read_own(backbone)).state, f"own weights of {backbone}", backbone)
            return ()
        load_exactly(module, adapt(_fetch(backbone, published)).state, str(published), backbone)
        return ()
    found = read_state(weights.path)
    adapted = adapt(found.state)
    load_exactly(module, adapted.state, f"weights {weights.path}", backbone)
    return tuple(f"weights {weights.path.name}: {note}" for note in (*found.notes, *adapted.notes))


def leave_out(state: State, prefixes: tuple[str, ...]) -> Adapted:
    """Split off the entries whose keys start with one of ``prefixes``, and say so."""
    ignored = [key for key in state if key.startswith(prefixes)]
    if not ignored:
        return Adapted(dict(state))
    rest = {key: value for key, value in state.items() if not key.startswith(prefixes)}
    # Modules are named by one level of their keys, adapters by two: ``output_adapters.depth``
    levels = [key.split(".")[: 2 if key.split(".")[0].endswith("_adapters") else 1] for key in ignored]
    groups = sorted({".".join(parts) for parts in levels})
    return Adapted(rest, (f"ignored, as no part of the encoder: {', '.join(groups)}",))


def adapt_convolutional(state: State, keys: Iterable[str], classifier: tuple[str, ...]) -> Adapted:
    """Adapt the weights of a convolutional network whose keys are those of its encoder.

    Args:
        state: The weights as stored.
        keys: Keys of the encoder. Batch counters that are missing become zero: files from before torch 0.4.1 have
            none, and batch norms with a momentum never read them.
        classifier: Prefixes of the classification head, which is left out.
    """
    rest = leave_out(state, classifier)
    counters = {key: torch.tensor(0) for key in keys if key.endswith(".num_batches_tracked")}
    return Adapted(counters | rest.state, rest.notes)


def _fetch(backbone: str, published: str | None) -> State:
    if published is None:
        raise UsageError(f"backbone {backbone} has no published weights; use --init random")
    try:
        return dict(timm.create_model(published, pretrained=True, num_classes=0).state_dict())
    except Exception as error:  # the hub client raises errors of many libraries
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MethodError(
            f"backbone {backbone}: the weights {published} could not be fetched ({reason}); "
            f"go online once, or use --init random"
        ) from error


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


def adapt_vit(state: State, grid: tuple[int, int], width: int, learned: tuple[int, int] | None = None) -> Adapted:
    """Put the weights of a ViT under timm's keys, position embeddings resampled to a grid.

    Understood are timm's own keys, which MAE shares (He et al., CVPR 2022), and those of MultiMAE's MultiViT (Bachmann
    et al., ECCV 2022). MultiViT's global token becomes the class token; it stands last there and first here, which
    attention does not depend on, and it has no position. Entries of an unexpected shape are left to the check that
    follows.

    Args:
        state: The weights as stored.
        grid: Rows and columns of patches.
        width: Channels of a token.
        learned: Grid of the stored position embeddings, where it is known; else they are square, or of ``grid``.
    """
    stored_grid = learned
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
    renamed = {}
    for key, value in state.items():
        theirs = next((prefix for prefix in _MULTIVIT_KEYS if key.startswith(prefix)), "")
        renamed[_MULTIVIT_KEYS.get(theirs, "") + key.removeprefix(theirs)] = value
    positions = state.get(_MULTIVIT_POSITIONS)
    if positions is None or positions.ndim != 4:
        return renamed, None
    del renamed[_MULTIVIT_POSITIONS]
    flat = positions.flatten(2).transpose(1, 2)  # [1, C, h, w] to [1, hw, C]
    renamed["pos_embed"] = torch.cat([torch.zeros_like(flat[:, :1]), flat], dim=1)
    return renamed, (positions.shape[2], positions.shape[3])


def _resampled(positions: Tensor, stored: tuple[int, int] | None, grid: tuple[int, int]) -> Tensor:
    """Resample position embeddings [1, 1 + hw, C] bicubically without antialias, as the field's code does it.

    A stored grid that is not given is square, or else the one asked for.
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


_MADE = ("attn_mask", "relative_position_index")
"""Buffers that follow from the sizes of window and map; the encoder makes its own."""

_CLASSIFIER = ("head.",)
_NORM = re.compile(r"norm\d\.")


def adapt_swin(state: State, own: Mapping[str, Tensor]) -> Adapted:
    """Put the weights of a Swin under the authors' keys.

    Understood are those keys, with a classifier's final norm or the norm of every level, timm's and torchvision's. A
    classifier has a norm for its last level alone; it becomes ``norm3``, and the others stay as they are built.

    Args:
        state: The weights as stored.
        own: The encoder's state dict.
    """
    if any(key.startswith("features.") for key in state):
        state = {_from_torchvision(key): value for key, value in state.items()}
    elif "layers.0.downsample.reduction.weight" not in state:
        state = {_from_timm(key): value for key, value in state.items()}
    rest = leave_out({key: value for key, value in state.items() if not key.endswith(_MADE)}, _CLASSIFIER)
    made = {key: value for key, value in own.items() if key.endswith(_MADE)}
    adapted, notes = made | rest.state, rest.notes
    if "norm.weight" in adapted and not any(_NORM.match(key) for key in adapted):
        fresh = {key: value for key, value in own.items() if _NORM.match(key)}
        adapted = fresh | {re.sub(r"^norm\.", "norm3.", key): value for key, value in adapted.items()}
        notes = (*notes, "its final norm is the last level's; those of the other levels start with weight 1 and bias 0")
    return Adapted(adapted, notes)


def _from_timm(key: str) -> str:
    """Move the mergings, which timm has at the start of a stage and the authors at the end of the one before."""
    key = re.sub(r"^head\.fc\.", "head.", key)
    return re.sub(r"^layers\.(\d)\.downsample\.", lambda match: f"layers.{int(match[1]) - 1}.downsample.", key)


def _from_torchvision(key: str) -> str:
    """Take apart the sequence in which torchvision numbers stages and mergings after the patch embedding."""
    key = re.sub(r"^features\.0\.0\.", "patch_embed.proj.", key)
    key = re.sub(r"^features\.0\.2\.", "patch_embed.norm.", key)
    key = re.sub(r"^features\.[1357]\.(\d+)\.", lambda match: f"layers.{int(key[9]) // 2}.blocks.{match[1]}.", key)
    key = re.sub(r"^features\.[246]\.", lambda match: f"layers.{int(key[9]) // 2 - 1}.downsample.", key)
    return key.replace(".mlp.0.", ".mlp.fc1.").replace(".mlp.3.", ".mlp.fc2.")

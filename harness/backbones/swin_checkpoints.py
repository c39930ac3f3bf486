"""Weights of Swin Transformers as they are published, under the authors' keys."""

import re
from collections.abc import Mapping

from torch import Tensor

from harness.backbones.checkpoints import leave_out
from harness.weights.state import Adapted, State

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
        adapted = fresh | {_norm_of_last_level(key): value for key, value in adapted.items()}
        notes = (*notes, "its final norm is the last level's; those of the other levels start with weight 1 and bias 0")
    return Adapted(adapted, notes)


def _norm_of_last_level(key: str) -> str:
    return re.sub(r"^norm\.", "norm3.", key)


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

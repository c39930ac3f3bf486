"""Weights of the small encoders, pretrained by this project on rendered scenes that no benchmark holds.

They lie in `own/` beside this file, one safetensors file an encoder, with a card that says what they saw and how they
were made; `benchmarks/pretrain_encoders.py` makes them.
"""

from functools import cache

import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.backbones.shapes import FOLDER
from harness.files import sha256_of

GRID = (14, 18)
"""Rows and columns of patches that the position embeddings were learned for."""


def read_own(name: str) -> dict[str, Tensor]:
    """Return the weights of an encoder under its keys; numbers that are stored in half precision become float32."""
    state = load_file(FOLDER / f"{name}.safetensors")
    return {key: value.float() if value.dtype == torch.float16 else value for key, value in state.items()}


@cache
def own_sha256(name: str) -> str:
    """Return the sha256 of the file of an encoder."""
    return sha256_of(FOLDER / f"{name}.safetensors")

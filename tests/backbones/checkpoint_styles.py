"""Writes the weights of an encoder the way other projects publish them."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]


def mae(state: State) -> State:
    """MAE: timm's keys, and a decoder."""
    decoder = {"decoder_embed.weight": torch.ones(2, 2), "decoder_blocks.0.norm1.bias": torch.ones(2)}
    return state | {"mask_token": torch.ones(1, 1, 2)} | decoder


def classifier(state: State) -> State:
    """A supervised ViT of timm."""
    return state | {"head.weight": torch.ones(10, 2), "head.bias": torch.ones(10)}


def multivit(state: State, grid: tuple[int, int]) -> State:
    """MultiMAE's MultiViT: a global token without a position, no class token, no final norm."""
    names = {"patch_embed.proj.": "input_adapters.rgb.proj.", "blocks.": "encoder."}
    positions = state["pos_embed"]
    result = {
        "global_tokens": state["cls_token"] + positions[:, :1],
        "input_adapters.rgb.pos_emb": positions[:, 1:].transpose(1, 2).reshape(1, -1, *grid),
    }
    for key, value in state.items():
        for ours, theirs in names.items():
            if key.startswith(ours):
                result[theirs + key.removeprefix(ours)] = value
    return result


def multimae(state: State, grid: tuple[int, int]) -> State:
    """MultiMAE as pre-trained: further inputs, and decoders."""
    return multivit(state, grid) | {
        "input_adapters.depth.proj.weight": torch.ones(2),
        "input_adapters.semseg.class_emb.weight": torch.ones(2),
        "output_adapters.rgb.decoder.0.norm1.weight": torch.ones(2),
        "output_adapters.depth.mask_token": torch.ones(2),
    }


def torchvision_swin(depth: int = 6) -> torch.nn.Module:
    """Swin-T as torchvision has it, or one with another number of blocks in its third stage."""
    return torchvision.models.SwinTransformer([4, 4], 96, [2, 2, depth, 2], [3, 6, 12, 24], [7, 7])


def swin_of_torchvision(state: State) -> State:
    """Swin as its authors publish it, from torchvision's weights: window offsets as a matrix, masks of the shift."""
    names = {"features.0.0": "patch_embed.proj", "features.0.2": "patch_embed.norm"}
    for stage in range(4):
        names[f"features.{2 * stage + 1}"] = f"layers.{stage}.blocks"
        names[f"features.{2 * stage + 2}"] = f"layers.{stage}.downsample"
    result = {}
    for key, value in state.items():
        for theirs, ours in names.items():
            if key.startswith(f"{theirs}."):
                key = ours + key.removeprefix(theirs)
                break
        key = key.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2.")
        result[key] = value.view(49, 49) if key.endswith("relative_position_index") else value
    return result | {"layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}


def swin_of_timm(state: State) -> State:
    """Swin as timm saves it, from the authors' weights."""
    result = {key: value for key, value in state.items() if not key.endswith(("relative_position_index", "attn_mask"))}
    for stage in (2, 1, 0):
        for key in [key for key in result if key.startswith(f"layers.{stage}.downsample.")]:
            result[key.replace(str(stage), str(stage + 1), 1)] = result.pop(key)
    return {re.sub("^head[.]", "head.fc.", key): value for key, value in result.items()}


def plain(state: State, path: Path) -> None:
    torch.save(state, path)


def old_torch(state: State, path: Path) -> None:
    """As torch wrote it before 1.6, in which torchvision's first weights are published."""
    torch.save(state, path, _use_new_zipfile_serialization=False)


def safetensors(state: State, path: Path) -> None:
    save_file({key: value.contiguous() for key, value in state.items()}, path)


def wrapped(key: str, prefix: str = "", **beside: Any) -> Callable[[State, Path], None]:
    def write(state: State, path: Path) -> None:
        torch.save({key: {prefix + name: value for name, value in state.items()}, **beside}, path)

    return write


WRITERS: dict[str, Callable[[State, Path], None]] = {
    "plain.pth": plain,
    "old.pth": old_torch,
    "weights.safetensors": safetensors,
    "model.pth": wrapped("model"),
    "state_dict.pth.tar": wrapped("state_dict"),
    "parallel.pth": wrapped("model", "module."),
    "training.pt": wrapped("model", args=argparse.Namespace(lr=0.1), optimizer={"state": {}}, epoch=3),
}
"""Ways to put a state dict into a file, by a name for it."""


def scrambled(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give every parameter and buffer a value that no other has and that keeps activations in range."""
    generator = torch.Generator().manual_seed(seed)
    for key, value in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            value.fill_(7)
        elif not value.is_floating_point():  # made from sizes alone
            continue
        elif key.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.ndim > 1 and not key.endswith(("pos_embed", "cls_token")):
            value.copy_(torch.randn(value.shape, generator=generator) * value[0].numel() ** -0.5)
        else:
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return module.eval()


def published_network(name: str) -> torch.nn.Module:
    """A network as its authors publish it, classifier and all, with made-up weights."""
    return scrambled(timm.create_model(name))

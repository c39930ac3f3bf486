"""Encoder weights from files and from the hub: read, put under the encoder's keys, and checked key by key.

Published files hold more than an encoder (classifiers, decoders, optimisers). What a family of encoders leaves out is
listed by that family and reported; anything else that is missing, left over or of another shape is refused.
"""

import argparse
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.errors import MethodError, UsageError
from harness.weights import WeightFile, load_exactly

State = dict[str, Tensor]

_WRAPPERS = ("model", "state_dict")
_PARALLEL = "module."


@dataclass(frozen=True)
class Adapted:
    """Weights under the keys of an encoder.

    Attributes:
        state: The weights.
        notes: What was left out or made up, one clause each.
    """

    state: State
    notes: tuple[str, ...] = ()


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
        What a reader of the figures should know of a file: what of it was ignored, what it lacked.

    Raises:
        UsageError: there are no published weights, or the file is unreadable or does not fit.
        MethodError: the published weights could not be fetched.
    """
    if not isinstance(weights, WeightFile):
        load_exactly(module, adapt(_fetch(backbone, published)).state, str(published), backbone)
        return ()
    found = read_state(weights.path)
    adapted = adapt(found.state)
    load_exactly(module, adapted.state, f"weights {weights.path}", backbone)
    return tuple(f"weights {weights.path.name}: {note}" for note in (*found.notes, *adapted.notes))


def read_state(path: Path) -> Adapted:
    """Return the weights in a file, as they are named in it.

    Reads safetensors and torch checkpoints: plain, under ``model`` or ``state_dict``, with or without the prefix
    ``module.``. Nothing but tensors, plain values and `argparse.Namespace` is unpickled; training scripts of the MAE
    line store their arguments so, beside the weights.

    Raises:
        UsageError: the file is damaged, of another format, or holds pickled objects or no weights.
    """
    content = _read(path)
    notes: tuple[str, ...] = ()
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            beside = sorted(str(key) for key in content if key != wrapper)
            notes = (f"ignored beside {wrapper}: {', '.join(beside)}",) if beside else ()
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise UsageError(f"weights {path}: no state dict, neither at the top nor under {' or '.join(_WRAPPERS)}")
    for key, value in content.items():
        if not isinstance(key, str):
            raise UsageError(f"weights {path}: no state dict, {key!r} is no name of a weight")
        if not isinstance(value, Tensor):
            raise UsageError(f"weights {path}: no state dict, {key!r} is of type {type(value).__name__}")
    if all(key.startswith(_PARALLEL) for key in content):
        content = {key.removeprefix(_PARALLEL): value for key, value in content.items()}
    return Adapted(dict(content), notes)


def leave_out(state: State, prefixes: tuple[str, ...]) -> Adapted:
    """Split off the entries whose keys start with one of ``prefixes``, and say so."""
    ignored = [key for key in state if key.startswith(prefixes)]
    if not ignored:
        return Adapted(dict(state))
    rest = {key: value for key, value in state.items() if not key.startswith(prefixes)}
    groups = sorted({_group(key) for key in ignored})
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


def _group(key: str) -> str:
    """Return the module an ignored entry is of: two levels for adapters (``output_adapters.depth``), else one."""
    parts = key.split(".")
    return ".".join(parts[:2]) if parts[0].endswith("_adapters") else parts[0]


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises errors of many kinds, most of them advising to unpickle all the same
        pickled = re.search(r"GLOBAL (\S+)", str(error))
        if pickled:
            reason = f"it holds a pickled {pickled[1]}, and nothing but tensors is unpickled"
        else:
            reason = f"damaged, or neither safetensors nor a torch checkpoint ({type(error).__name__})"
        raise UsageError(f"weights {path} cannot be read: {reason}") from error


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

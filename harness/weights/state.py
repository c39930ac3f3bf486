"""State dicts in files: read without running anything that a file brings."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import UsageError
from harness.weights.pickled import HARMLESS, Array, Dictionary, DType, Ignored, load

State = dict[str, Tensor]

_WRAPPERS = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "weights",
    "checkpoint",
    "module",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "ema",
    "teacher",
)
"""Entries that training scripts keep weights in, the trained ones before their running averages: the first is read."""

_NO_WEIGHTS = ("optim", "sched", "lr_", "scaler", "criterion", "loss", "amp")
"""Beginnings of the names of entries whose tensors are no weights of a network."""

_DEEPEST = 4
"""Wrappers inside each other that are looked through; scripts in use nest two."""

_MOST_PICKLED = 64
"""Kinds of objects that are looked past to find out where the weights are in a file that is refused."""

_MOST_REPEATED = 2**26
"""Bytes that a weight may claim beyond those in the file, by repeating them: a kilobyte could fill the memory."""

_COMPILED = re.compile(r"(^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Levels that `torch.compile`, FSDP and activation checkpointing put around a module, anywhere in a network."""

_PARALLEL = "module."
"""The level that `DataParallel` and running averages put around a network."""

_AVERAGED = "n_averaged"
"""The counter that `torch.optim.swa_utils.AveragedModel` keeps next to its weights."""


@dataclass(frozen=True)
class Adapted:
    """Weights under the keys of a network.

    Attributes:
        state: The weights.
        notes: What was left out or made up, one clause each.
    """

    state: State
    notes: tuple[str, ...] = ()


def read_state(path: Path) -> Adapted:
    """Return the weights in a file, as they are named in it.

    Reads safetensors and torch checkpoints: plain, or inside the entries that training scripts wrap them in, with or
    without the levels that parallel training, compilation and running averages put around a network. Nothing but
    tensors and plain values is unpickled; substitutes that do nothing stand for NumPy's numbers, paths, dates and
    arguments, which scripts store next to the weights.

    Raises:
        UsageError: the file is damaged, of another format, or holds pickled objects or no weights; the message names
            the entries that hold some.
    """
    if not path.is_file():  # a pipe would block for ever
        raise UsageError(f"weights {path}: no such file, or a pipe or socket in its place")
    content = _read(path)
    entries = dict(_entries(content))
    # 1. Weights at the top, or none anywhere: then say why not.
    if () in entries or not entries:
        return Adapted(_unwrapped(_checked(path, content)))
    # 2. Weights inside an entry.
    chosen = _chosen(entries)
    if chosen is None:
        raise UsageError(f"weights {path}: several entries would do; {_alone(entries)}")
    *outer, last = chosen
    # 3. What is left out, next to the entry.
    siblings: Any = content
    for key in outer:
        siblings = siblings[key]
    # Another entry with weights is named as such: it may be the running average that a paper reports
    rivals = {entry[len(outer)] for entry in entries if list(entry[: len(outer)]) == outer}
    ignored = sorted(f"{key} (weights, too)" if key in rivals else str(key) for key in siblings if key != last)
    notes = (f"ignored beside {'.'.join(chosen)}: {', '.join(ignored)}",) if ignored else ()
    return Adapted(_unwrapped(_checked(path, entries[chosen])), notes)


def _entries(content: object, entry: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], State]]:
    """Yield the state dicts inside a file's content by the keys that lead to them."""
    if not isinstance(content, Mapping) or not content or not all(isinstance(key, str) for key in content):
        return
    values = {key: value.tensor() if isinstance(value, Array) else value for key, value in content.items()}
    tensors = {key: value for key, value in values.items() if isinstance(value, Tensor)}
    if len(tensors) == len(values):
        # Tables of results hold tensors, too, but of single numbers
        if not entry or any(value.ndim for value in tensors.values()):
            yield entry, tensors
        return
    if len(entry) < _DEEPEST:
        for key, value in content.items():
            if not key.lower().startswith(_NO_WEIGHTS):
                yield from _entries(value, (*entry, key))


def _chosen(entries: Mapping[tuple[str, ...], State]) -> tuple[str, ...] | None:
    """Return the entry to read: the only one, or the first under the usual names; None where nothing speaks for one."""
    if len(entries) == 1:
        return next(iter(entries))
    # Ranks of the names along the path of an entry; an unusual name disqualifies it
    usual = {entry: [_WRAPPERS.index(key) for key in entry if key in _WRAPPERS] for entry in entries}
    ranked = sorted((ranks, entry) for entry, ranks in usual.items() if len(ranks) == len(entry))
    return ranked[0][1] if ranked else None


def _checked(path: Path, content: object) -> State:
    """Return content that is a state dict, or that wraps one under the usual names.

    Raises:
        UsageError: it is none, or an entry is no plain tensor.
    """
    for _ in range(_DEEPEST):
        inside = [content[name] for name in _WRAPPERS if name in content] if isinstance(content, Mapping) else []
        wrapped = next((entry for entry in inside if isinstance(entry, Mapping)), None)
        if wrapped is None:
            break
        content = wrapped
    if not isinstance(content, Mapping) or not content:
        raise UsageError(f"weights {path}: no state dict, neither at the top nor under {' or '.join(_WRAPPERS[:3])}")
    state: State = {}
    for key, value in content.items():
        if not isinstance(key, str):
            raise UsageError(f"weights {path}: no state dict, {key!r} is no name of a weight")
        weight = value.tensor() if isinstance(value, Array) else value
        if not isinstance(weight, Tensor):
            pickled = isinstance(value, Array | Ignored | DType)
            kind = "a pickled object" if pickled else f"of type {type(value).__name__}"
            raise UsageError(f"weights {path}: no state dict, {key!r} is {kind}")
        if weight.layout != torch.strided or weight.device.type != "cpu":
            raise UsageError(f"weights {path}: {key!r} is a tensor without plain values ({weight.layout})")
        held, claimed = weight.untyped_storage().nbytes(), weight.numel() * weight.element_size()
        if claimed > max(held, _MOST_REPEATED):
            raise UsageError(f"weights {path}: {key!r} of {list(weight.shape)} has values for {held} bytes alone")
        state[key] = weight
    return state


def _unwrapped(state: State) -> State:
    """Return weights without the levels that training puts around a network, unless two would get one name."""
    plain = {_COMPILED.sub(r"\1", key): value for key, value in state.items()}
    if len(plain) < len(state):
        return dict(state)
    while (rest := plain.keys() - {_AVERAGED}) and all(key.startswith(_PARALLEL) for key in rest):
        plain = {key.removeprefix(_PARALLEL): value for key, value in plain.items() if key != _AVERAGED}
    return plain


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return load(path)
    except Exception as error:  # torch.load raises errors of many kinds, most of them advising to unpickle all the same
        pickled = re.search(r"GLOBAL (\S+)", str(error))
        if pickled:
            reason = f"it holds a pickled {pickled[1]}, and only tensors and plain values are unpickled"
            found = _entries_beside(path)
            reason += f"; {_alone(found) if found else 'save the weights alone: torch.save(model.state_dict(), ...)'}"
        elif "TorchScript" in str(error):
            reason = "it is a TorchScript program, not a state dict: save its state_dict()"
        else:
            reason = f"damaged, or neither safetensors nor a torch checkpoint ({type(error).__name__})"
        raise UsageError(f"weights {path} cannot be read: {reason}") from error


def _entries_beside(path: Path) -> list[tuple[str, ...]]:
    """Return the entries with weights in a file that is refused for an object, which substitutes stand for meanwhile.

    Tensors are read without their values. A file with objects of modules that talk to the system has none: torch
    refuses their names whatever stands for them.
    """
    for substitute in (Ignored, Dictionary):
        substitutes = dict(HARMLESS)
        for _ in range(_MOST_PICKLED):
            try:
                return [entry for entry, _ in _entries(load(path, substitutes, "meta")) if entry]
            except Exception as error:  # of many kinds, as in `_read`
                pickled = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
                if pickled is None:
                    break
                name = pickled[1] if "." in pickled[1] else f"builtins.{pickled[1]}"
                if name in substitutes:
                    break
                substitutes[name] = substitute
    return []


def _alone(entries: Collection[tuple[str, ...]]) -> str:
    """Name entries with weights, and say how to save one alone where the file was written."""
    found = [".".join(entry) for entry in entries]
    keys = "".join(f"[{key!r}]" for key in next(iter(entries)))
    save = f"torch.save(content{keys}, 'weights.pth')"
    return f"weights are under {' and '.join(found)}: save them alone where the file is made, with {save}"

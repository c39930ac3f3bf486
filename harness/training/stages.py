"""Equal stages trained once: networks after a stage, kept by content and taken over by other runs.

The base of the sharing method is the segmentation network of the single-task baseline, trained on the same images in
the same order. Whatever a stage depends on is part of its key: the weights it starts from, its recipe, the data, the
seed and the code. What is found under that key is what training would give, bit for bit on the same machine.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from harness.files import digest, write_atomically
from harness.recipe import Stage
from harness.records import StageInfo

FOLDER = "stages"
"""Name of the store in a results folder. It may be deleted at any time: stages are trained again then."""


@dataclass(frozen=True)
class StageStore:
    """Trained networks of stages in a folder, by their keys.

    Attributes:
        folder: Where they lie; made when the first is kept.
        origin: All that a result depends on beside the stage and the weights it starts from, as plain values.
    """

    folder: Path
    origin: Mapping[str, Any]

    def key(self, stage: Stage, model: nn.Module) -> str | None:
        """Return the key of a stage that begins, or None for one that is never shared.

        Args:
            stage: The stage.
            model: With the weights it starts from.
        """
        if not stage.network or stage.weigh or stage.terms or stage.prepare:
            return None  # functions have no identity that a later process could compare
        recipe = asdict(replace(stage, trainable=(), network={}, groups=(), after=None))
        # Prefixes differ between methods: groups by the names that the network has in all of them.
        groups = [
            (sorted(_common(prefix, stage.network) for prefix in group.prefixes), group.lr, group.weight_decay)
            for group in stage.groups
        ]
        frozen = sorted(
            common
            for name, common in _names(model, stage.network).items()
            if not name.startswith(stage.trainable) and name in dict(model.named_parameters())
        )
        weights = hashlib.sha256()
        for common, value in sorted(_state(model, stage.network).items()):
            weights.update(f"{common} {value.dtype} {tuple(value.shape)}\n".encode())
            weights.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest([self.origin, recipe, groups, frozen, weights.hexdigest()])

    def load(self, key: str, stage: Stage, model: nn.Module) -> StageInfo | None:
        """Put the network of an equal stage into the model; return what is known of its training, or None.

        A file that is damaged or does not fit counts as none.
        """
        path = self._path(key)
        own = _state(model, stage.network)
        try:
            with safe_open(path, framework="pt") as file:
                info = StageInfo.model_validate_json((file.metadata() or {})["stage"])
                held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        if {name: value.shape for name, value in held.items()} != {name: value.shape for name, value in own.items()}:
            return None
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(held[name])
        return info.model_copy(update={"reused": True})

    def keep(self, key: str, stage: Stage, model: nn.Module, info: StageInfo) -> None:
        """Write the network of a stage that has ended; a full disk keeps none."""
        # 0-d tensors and views of larger storages are written as tensors of their own.
        state = {name: value.detach().cpu().clone() for name, value in _state(model, stage.network).items()}
        content = save(state, {"stage": info.model_dump_json()})
        with contextlib.suppress(OSError):  # it only saves time
            write_atomically(self._path(key), content)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key[:32]}.safetensors"


def _common(name: str, network: Mapping[str, str]) -> str:
    """Return the name that a parameter, or a prefix of some, has in every method; names of other parts stay."""
    prefix = next((prefix for prefix in network if name.startswith(prefix)), None)
    return name if prefix is None else network[prefix] + name.removeprefix(prefix)


def _names(model: nn.Module, network: Mapping[str, str]) -> dict[str, str]:
    """Return the common name of every tensor of the network."""
    return {name: _common(name, network) for name in model.state_dict() if name.startswith(tuple(network))}


def _state(model: nn.Module, network: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors of the network by their common names, sharing memory with the model."""
    state = model.state_dict()
    return {common: state[name] for name, common in _names(model, network).items() if isinstance(state[name], Tensor)}

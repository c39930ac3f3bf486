"""Starting weights of encoders, and a loader that refuses whatever does not fit exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.errors import UsageError
from harness.files import sha256_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class WeightFile:
    """A file of encoder weights in one of the formats that `harness.backbones` reads.

    Args:
        path: The file.

    Raises:
        UsageError: there is no such file.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise UsageError(f"weights {self.path}: no such file; give random, pretrained or a file of encoder weights")

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the file's bytes, read once."""
        return sha256_of(self.path)


Weights = Literal["pretrained"] | WeightFile | None
"""Start of the encoders: their published weights or those of this project, a file, or random weights."""

Start = Weights | Literal["own"]
"""The same for encoders that are not yet known: those of this project where it has some, else random weights."""


def load_exactly(model: nn.Module, state: Mapping[str, Tensor], source: str, target: str = "this model") -> None:
    """Load ``state`` into ``model``, refusing anything but the very same keys and shapes.

    Args:
        model: What to load into.
        state: Weights by key.
        source: Where they come from, for the message.
        target: What they are loaded into, for the message.

    Raises:
        UsageError: keys are missing or unexpected, or shapes differ, or whole numbers stand for real ones, or values
            are NaN or infinite; the message names the first of each. Real numbers may be of any precision.
    """
    own = model.state_dict()
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": [
            f"{key} {list(state[key].shape)}, not {list(own[key].shape)}"
            for key in sorted(own.keys() & state.keys())
            if own[key].shape != state[key].shape
        ],
        "of another type": [
            f"{key} {state[key].dtype}, not {own[key].dtype}"
            for key in sorted(own.keys() & state.keys())
            if own[key].is_floating_point() != state[key].is_floating_point()
        ],
    }
    if not any(faults.values()):
        # Predictions of such weights would be scored: the largest of several NaN is the first class
        faults["with values that are no finite numbers"] = [
            key for key, value in sorted(state.items()) if value.is_floating_point() and not value.isfinite().all()
        ]
    # All kinds of faults in one line, each with its first key
    found = [f"{len(keys)} {kind} (first: {keys[0]})" for kind, keys in faults.items() if keys]
    if found:
        raise UsageError(f"{source} does not fit {target}: {'; '.join(found)}")
    model.load_state_dict(state)

"""Training checkpoints: enough to go on after a kill as if nothing had happened."""

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from harness.errors import UsageError


@dataclass
class Checkpoint:
    """State of a training run between two iterations.

    Attributes:
        stage: Index of the stage.
        iteration: Iterations of that stage already done.
        state: State dicts by name: ``model``, ``optimizer``, ``scaler``.
        losses: Last loss that was looked at, of this stage and of those before it; None where there was none.
    """

    stage: int
    iteration: int
    state: dict[str, Any]
    losses: list[float | None] = field(default_factory=list)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a reader sees the old file or the new one, never a part."""
    content = {one.name: getattr(checkpoint, one.name) for one in fields(checkpoint)}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint at ``path`` in the memory of the CPU, or None when there is none.

    Nothing but tensors and plain values is unpickled.

    Raises:
        UsageError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(content["stage"], content["iteration"], content["state"], content.get("losses", []))
    except Exception as error:  # torch.load raises errors of many kinds on a damaged file
        # Its first line often advises to unpickle, which would run whatever the file says.
        raise UsageError(
            f"checkpoint {path} is damaged ({type(error).__name__}); delete it, or start afresh with --overwrite always"
        ) from error

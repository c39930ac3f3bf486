"""Training checkpoints: enough to go on after a kill as if nothing had happened."""

import os
from dataclasses import dataclass
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
    """

    stage: int
    iteration: int
    state: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a reader sees the old file or the new one, never a part."""
    content = {"stage": checkpoint.stage, "iteration": checkpoint.iteration, "state": checkpoint.state}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path, device: torch.device) -> Checkpoint | None:
    """Return the checkpoint at ``path``, or None when there is none. Nothing but tensors is unpickled.

    Raises:
        UsageError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        return Checkpoint(content["stage"], content["iteration"], content["state"])
    except Exception as error:  # torch.load raises errors of many kinds on a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"checkpoint {path} cannot be read ({reason}); delete it, or start afresh with --overwrite always"
        ) from error

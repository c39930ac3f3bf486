"""Training checkpoints: enough to go on after a kill as if nothing had happened."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from harness.errors import UsageError
from harness.files import disk_fault, free_space, replacing


@dataclass
class Checkpoint:
    """State of a training run between two iterations.

    Attributes:
        stage: Index of the stage.
        iteration: Iterations of that stage already done.
        state: State dicts by name: ``model``, ``optimizer``, ``scaler``.
        losses: Last loss that was looked at, of this stage and of those before it; None where there was none.
        macs: MACs of the stages before it, None where they are not known.
        counts: MACs of the steps of this stage that were counted.
        reused: Numbers of the stages before it that were taken over from another run.
        key: Under which the network of this stage will be kept for other runs; None for not at all.
    """

    stage: int
    iteration: int
    state: dict[str, Any]
    losses: list[float | None] = field(default_factory=list)
    macs: list[int | None] = field(default_factory=list)
    counts: list[int | None] = field(default_factory=list)
    reused: list[int] = field(default_factory=list)
    key: str | None = None


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a reader sees the old file or the new one, never a part.

    Raises:
        UsageError: the disk is full.
    """
    content = {one.name: getattr(checkpoint, one.name) for one in fields(checkpoint)}
    try:
        with replacing(path) as file:
            torch.save(content, file)
    except Exception as error:  # torch has its own kind of error for a full disk
        if (fault := disk_fault(error)) is None:
            raise
        megabytes = _tensor_bytes(checkpoint.state) / 1e6
        raise UsageError(
            f"{path.parent}: {fault} for a checkpoint of {megabytes:.1f} MB ({free_space(path.parent)}); make room and "
            f"repeat the command to go on"
        ) from error


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return sum(map(_tensor_bytes, values))


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
        later = {key: content[key] for key in ("losses", "macs", "counts", "reused", "key") if key in content}
        return Checkpoint(content["stage"], content["iteration"], content["state"], **later)
    except Exception as error:  # torch.load raises errors of many kinds on a damaged file
        # Its first line often advises to unpickle, which would run whatever the file says.
        raise UsageError(
            f"checkpoint {path} is damaged ({type(error).__name__}); delete it, or start afresh with --overwrite always"
        ) from error

"""Settings that a calibration walked: their costs and losses on training images, in a file beside the record."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from harness.files import write_atomically
from harness.records.metric import Count, Part, Real

CALIBRATION = "calibration.json"
"""Name of the file in the folder of a run."""


class Walked(Part):
    """A setting of a task that calibration looked at."""

    task: str
    title: str = Field(description="The setting in words.")
    macs: Count = Field(description="Multiply-accumulates per image of the task, beside what all settings share.")
    loss: Real | None = Field(
        description="Points of relative accuracy lost against the dearest setting, on training images; null where the "
        "accuracy has no value."
    )
    chosen: bool = Field(description="Whether the setting is in force.")


_LIST: TypeAdapter[list[Walked]] = TypeAdapter(list[Walked])


def write_walk(walk: Sequence[Walked], folder: Path) -> None:
    """Write what a calibration walked into the folder of a run."""
    write_atomically(folder / CALIBRATION, _LIST.dump_json(list(walk), indent=1).decode() + "\n")


def read_walk(folder: Path) -> list[Walked]:
    """Return what the calibration of a run walked; nothing where that is not known or the file is damaged."""
    path = folder / CALIBRATION
    try:
        return _LIST.validate_json(path.read_bytes()) if path.is_file() else []
    except (OSError, ValidationError):
        return []

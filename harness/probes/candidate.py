"""Candidates of a measurement, their images, and the settings they are measured with: the arguments of a probe."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.compute import EAGER, Compute, ExecutionSettings
from harness.data.sample import Batch
from harness.method import Method, MultiTaskModel, load_artifact
from harness.probes.rules import LatencyRules
from harness.records import Record, write_record


def holds(record: Record, probe: str) -> bool:
    """Return whether a record has the value of a probe."""
    if probe == "storage":  # older records have the sizes of the files alone
        return record.storage is not None and record.storage.zipped_bytes is not None
    if probe not in Record.model_fields:
        return probe in record.custom
    return bool(getattr(record, probe))


@dataclass(frozen=True)
class Candidate:
    """One method whose costs are wanted.

    Attributes:
        method: The method, set up.
        artifact: Folder of its export; its model is measured as it is loaded from there.
        tasks: Tasks it serves.
        record: Complete record whose costs are filled.
        folder: Where the record is written.
        probes: Probes that are wanted, in the order in which they run.
    """

    method: Method
    artifact: Path
    tasks: tuple[str, ...]
    record: Record
    folder: Path
    probes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its name in messages."""
        info = self.record.method
        return f"{info.name} ({info.backbone}, {self.record.precision}) on {self.record.dataset.name}"

    def load(self, compute: Compute) -> MultiTaskModel:
        """Return the model as it comes out of its artifact, in evaluation mode."""
        return compute.place(load_artifact(self.method, self.artifact, self.tasks)).eval()

    def lacking(self) -> list[str]:
        """Return the wanted probes whose values the record does not have, in the order in which they run."""
        return [probe for probe in self.probes if not holds(self.record, probe)]

    def write(self) -> None:
        """Write the record as it is now."""
        write_record(self.record, self.folder)


@dataclass(frozen=True)
class Inputs:
    """The images of one data set.

    Attributes:
        images: Returns the normalised images, each [1, 3, H, W]; the same ones in the same order at every call.
        batches: Returns batches of a size as they are loaded for evaluation; None where no data is at hand.
        absence: Why there are no batches; None where there are.
    """

    images: Callable[[], Iterable[Tensor]]
    batches: Callable[[int], Iterable[Batch]] | None = None
    absence: str | None = None

    def first(self) -> Tensor:
        """Return the first image, [1, 3, H, W]."""
        return next(iter(self.images()))

    def batch(self, size: int) -> Tensor:
        """Return the first ``size`` images, [size, 3, H, W]; where there are fewer they start again."""
        return torch.cat(list(itertools.islice(itertools.cycle(self.images()), size)))


@dataclass(frozen=True)
class Setting:
    """Settings of a measurement.

    Attributes:
        compute: Device and arithmetic of the forward passes; the process is set to them already.
        rules: How long is timed.
        batch_sizes: Images per timed forward pass; memory and energy are those of the first.
        execution: Execution of what is timed.
    """

    compute: Compute
    rules: LatencyRules
    batch_sizes: tuple[int, ...] = (1,)
    execution: ExecutionSettings = EAGER

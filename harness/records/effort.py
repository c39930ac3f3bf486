"""Training effort: what a record's model was given per task, and whether its reference was given as much."""

from dataclasses import dataclass
from typing import Literal

from harness.records.schema import Record


@dataclass(frozen=True)
class Effort:
    """Training effort of one task.

    Attributes:
        steps: Optimiser steps that supervised the task.
        images: Images that it was supervised on, repetitions counted.
        macs: Multiply-accumulates of these steps, forward and backward; a stage of several tasks is divided evenly
            between them. None where they were not counted.
    """

    steps: int
    images: int
    macs: float | None


def effort_of(record: Record) -> dict[str, Effort] | None:
    """Return the effort of every task that was trained; None where the record does not say.

    Example:
        >>> from harness.records import StageInfo
        >>> joint = StageInfo(name="s", iterations=5, final_loss=1.0, tasks=["depth", "parts"], batch_size=4, macs=60)
        >>> effort_of(Record.model_construct(training=[joint]))["depth"]
        Effort(steps=5, images=20, macs=30.0)
    """
    found: dict[str, Effort] = {}
    for stage in record.training:
        if stage.tasks is None or stage.batch_size is None:  # of an older record
            return None
        share = None if stage.macs is None else stage.macs / len(stage.tasks)
        for task in stage.tasks:
            before = found.get(task, Effort(0, 0, 0.0))
            found[task] = Effort(
                before.steps + stage.iterations,
                before.images + stage.iterations * stage.batch_size,
                None if before.macs is None or share is None else before.macs + share,
            )
    return found or None


def training_macs(record: Record) -> float | None:
    """Return the multiply-accumulates of the whole training; None where they are not all known."""
    efforts = effort_of(record)
    counts = [effort.macs for effort in efforts.values()] if efforts else [None]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def effort_against(record: Record, reference: Record) -> Literal["equal", "less", "unknown"]:
    """Return whether a reference saw at least as many images of every task that the record was scored on."""
    if record.run_id == reference.run_id:
        return "equal"
    ours, theirs = effort_of(record), effort_of(reference)
    if ours is None or theirs is None or not (ours.keys() & theirs.keys()) >= record.metrics.keys():
        return "unknown"
    fewer = any(theirs[task].images < ours[task].images for task in record.metrics)
    return "less" if fewer else "equal"


def images_seen(record: Record) -> tuple[int, int] | None:
    """Return the fewest and the most images that a task was trained on; None where the record does not say."""
    efforts = effort_of(record)
    if efforts is None:
        return None
    counts = [effort.images for effort in efforts.values()]
    return min(counts), max(counts)

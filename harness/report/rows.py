"""Which records are one row of a table, and what the row is called."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.records import Record


@dataclass(frozen=True)
class Group:
    """The records of one row: the seeds of one method, set up and trained alike.

    Attributes:
        label: Name of the method, with the settings in which it differs from other rows of that name.
        records: One per seed.
        name: What notes call it: the label, with the backbone where rows on several backbones have that label.
    """

    label: str
    records: tuple[Record, ...]
    name: str

    @property
    def first(self) -> Record:
        """The record that stands for what all of them share."""
        return self.records[0]


def groups_of(records: Sequence[Record]) -> list[Group]:
    """Return the rows of records, in the order of their first records.

    Reported figures stand alone. So do records of one seed that differ in something unseen: only seeds are averaged.
    """
    alike: dict[str, list[Record]] = defaultdict(list)
    for record in {record.run_id: record for record in records}.values():
        alike[_setup(record)].append(record)
    rows: list[list[Record]] = []
    for found in alike.values():
        seeds = {record.seed for record in found}
        rows += [found] if len(seeds) == len(found) else [[record] for record in found]
    settings = [_settings(row[0], rows) for row in rows]
    varied = _varied([row[0] for row in rows], settings)
    labels = [_label(row[0].method.name, own, varied) for row, own in zip(rows, settings, strict=True)]
    return [
        Group(label, tuple(row), label if labels.count(label) == 1 else f"{label} ({row[0].method.backbone})")
        for label, row in zip(labels, rows, strict=True)
    ]


def _label(name: str, settings: dict[str, Any], varied: set[tuple[str, str]]) -> str:
    told = [f"{key}={value}" for key, value in settings.items() if key == "run" or (name, key) in varied]
    return " ".join([name, *told])


def _setup(record: Record) -> str:
    """Return what seeds of one method share."""
    method = record.method
    stages = [(stage.name, stage.iterations) for stage in record.training]
    own = record.run_id if record.reported else None
    return str(
        [method.name, method.backbone, method.init, method.options, stages, record.dataset.train_fingerprint, own]
    )


def _settings(record: Record, rows: Sequence[Sequence[Record]]) -> dict[str, Any]:
    """Return what may tell a row from others of the same method."""
    method = record.method
    settings = method.options | {
        "init": method.init,
        "iterations": sum(stage.iterations for stage in record.training),
        "images": record.dataset.n_train,
    }
    alike = [row for row in rows if _setup(row[0]) == _setup(record)]
    return settings | ({"run": record.run_id.rpartition(".")[2]} if len(alike) > 1 else {})


def _varied(firsts: Sequence[Record], settings: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    """Return (method, setting) for all settings in which rows of a method differ."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record, own in zip(firsts, settings, strict=True):
        if record.reported is None:
            for key, value in own.items():
                seen[record.method.name, key].add(str(value))
    return {key for key, values in seen.items() if len(values) > 1}

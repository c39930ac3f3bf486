"""What each task has of its own, in the form of the sharing paper: one row per method and task."""

from collections.abc import Sequence

from harness.records.groups import Group
from harness.report.cells import Cell, Column, pooled
from harness.report.grid import BACKBONE, METHOD, Row, Table, filled
from harness.tasks import TASKS

TASK = Column("task", "Task")
_WEIGHTS = Column("weight_density", "Own weights %", "lower", "fraction", "percent", 100.0)
_ROWS = Column("active_rows", "Active rows %", "lower", "fraction", "percent", 100.0)
_MACS = Column("task_macs", "MACs G", "lower", "MACs", "giga", 1e-9)
_ADDED = Column("added", "Added MB", "lower", "bytes", "mb", 1e-6)
_N = Column("n", "n", unit="seeds", decimals=0)

_MEANING = {
    _WEIGHTS: "own weights: kept for this task, as a share of the encoder's",
    _ROWS: "active rows: computed for this task, as a share of all, mean over the blocks",
    _ADDED: "added MB: what the artifact is larger by than one that serves all other tasks",
    _MACS: "MACs: executed when this task alone is asked for, so what tasks share is in each of them",
}


def sharing_table(groups: Sequence[Group], caption: str, facts: dict[str, object]) -> Table | None:
    """Return the densities, the added bytes and the executed MACs of every task; None where no record tells of them.

    Args:
        groups: The rows of the papers' table.
        caption: Its caption.
        facts: Its conditions.
    """
    rows = [_row(group, task) for group in groups for task in group.first.metrics]
    rows = [row for row in rows if any(row.cells[column.key] is not None for column in _MEANING)]
    if not rows:
        return None
    told = filled(tuple(_MEANING), rows)
    notes = tuple(_MEANING[column] for column in told)
    return Table((METHOD, BACKBONE, TASK, *told, _N), tuple(rows), f"Task by task: {caption}", notes, facts)


def _row(group: Group, task: str) -> Row:
    records = group.records
    held = [record.sparsity[task] for record in records if task in record.sparsity]
    cells: dict[str, Cell] = {
        METHOD.key: group.label,
        BACKBONE.key: group.first.method.backbone,
        TASK.key: TASKS[task].title if task in TASKS else task,
        _WEIGHTS.key: pooled(sparsity.weight_density for sparsity in held),
        _ROWS.key: pooled(sparsity.active_rows for sparsity in held),
        _ADDED.key: pooled(record.storage.marginal_bytes.get(task) for record in records if record.storage),
        _MACS.key: pooled(record.macs.per_task.get(task) for record in records if record.macs),
        _N.key: pooled([len(records)]),
    }
    return Row(cells, facts={"run_ids": [record.run_id for record in records]})

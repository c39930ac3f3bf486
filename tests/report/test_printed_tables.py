"""Tables on a terminal: nothing of a number is lost, however little room there is."""

import io

import pytest
from records import record
from rich.console import Console

from harness.records import StageInfo
from harness.report.table import build_table


@pytest.mark.parametrize("width", [40, 80, 110, 150, 200, 300])
def test_every_number_is_whole_at_any_width(width: int) -> None:
    tasks = ["semseg", "depth", "normals", "boundary"]
    stage = StageInfo(name="joint", iterations=240, final_loss=1.0, tasks=tasks, batch_size=4, macs=10**12)
    records = [
        record(name, values, training=[stage], run_id=f"nyud-synth/{name}")
        for name, values in {"single-task": (0.4913, 0.5574, 20.93, 0.61), "share": (0.48, 0.5966, 22.27, 0.60)}.items()
    ]
    table = build_table(records)
    console = Console(file=io.StringIO(), width=width)
    table.print(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    for row in table.rows:
        [line] = [line for line in text.splitlines() if line.split()[:1] == [row.label()]]
        assert line.split() == " ".join(row.text(column) for column in table.columns).split()

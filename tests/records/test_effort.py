"""Training effort: per task by hand, compared with a reference, chosen among references, shown in tables."""

from typing import Any

import pytest
from records import record

from harness.records import Record, StageInfo
from harness.records.effort import Effort, effort_against, effort_of, images_seen, training_macs
from harness.records.gain import gain_over_one
from harness.report.columns import LESS_EFFORT
from harness.report.formats import markdown
from harness.report.table import build_table

VALUES = (0.5, 0.6, 20.0, 0.7)
TASKS = ["semseg", "depth", "normals", "boundary"]


def stage(tasks: list[str], steps: int, macs: int | None = 100, name: str = "s", batch: int = 4) -> StageInfo:
    return StageInfo(name=name, iterations=steps, final_loss=1.0, tasks=tasks, batch_size=batch, macs=macs)


def alone(steps: int, name: str = "single-task", **changes: Any) -> Record:
    stages = [stage([task], steps, name=task) for task in TASKS]
    return record(name, VALUES, training=stages, **changes)


def joint(steps: int, **changes: Any) -> Record:
    return record("multi-task", VALUES, training=[stage(TASKS, steps)], **changes)


def test_effort_by_hand() -> None:
    subject = record(training=[stage(["semseg"], 3, 90), stage(["semseg", "depth"], 5, 40, "t", batch=2)])
    assert effort_of(subject) == {"semseg": Effort(8, 22, 110.0), "depth": Effort(5, 10, 20.0)}
    assert training_macs(subject) == 130
    assert images_seen(subject) == (10, 22)


def test_macs_that_were_not_counted_are_unknown_and_not_nothing() -> None:
    subject = record(training=[stage(["semseg"], 3, None), stage(["depth"], 3)])
    assert effort_of(subject) == {"semseg": Effort(3, 12, None), "depth": Effort(3, 12, 100.0)}
    assert training_macs(subject) is None


def test_older_records_have_no_effort() -> None:
    old = record(training=[StageInfo(name="joint", iterations=340, final_loss=1.0)])
    for measure in (effort_of, images_seen, training_macs):
        assert measure(old) is None
        assert measure(record()) is None


@pytest.mark.parametrize(("steps", "expected"), [(10, "equal"), (11, "equal"), (9, "less")])
def test_a_reference_needs_as_many_images_of_every_task(steps: int, expected: str) -> None:
    assert effort_against(joint(10), alone(steps)) == expected


def test_one_task_of_less_is_less() -> None:
    stages = [stage([task], 10 if task != "normals" else 9, name=task) for task in TASKS]
    assert effort_against(joint(10), record("single-task", VALUES, training=stages)) == "less"


def test_unknown_effort_is_neither() -> None:
    old = record("single-task", VALUES, training=[StageInfo(name="x", iterations=10, final_loss=None)])
    assert effort_against(joint(10), old) == "unknown"
    assert effort_against(old, old) == "equal", "a record is as much as itself"


def test_of_several_references_the_least_that_is_enough_is_taken() -> None:
    few, enough, many = (alone(steps, run_id=f"nyud-synth/{steps}") for steps in (5, 12, 20))
    assert gain_over_one(joint(10), [many, few, enough]).reference == "nyud-synth/12"
    assert gain_over_one(joint(30), [few, many, enough]).reference == "nyud-synth/20"
    assert gain_over_one(joint(30), [few, many]).effort == "less"
    assert gain_over_one(few, [few, many]).reference == few.run_id, "a reference is its own"


def shown(*records: Record) -> str:
    return markdown.render([build_table(records)])


def test_a_gain_over_a_reference_of_less_effort_is_marked() -> None:
    reference, subject = alone(5), joint(10)
    subject.delta_m, reference.delta_m = gain_over_one(subject, [reference]), gain_over_one(reference, [reference])
    text = shown(reference, subject)
    assert text.count(LESS_EFFORT) == 2, "at the value and at the note"
    assert "saw fewer images of some task" in text
    fair = joint(5)
    fair.delta_m = gain_over_one(fair, [reference])
    assert LESS_EFFORT not in shown(reference, fair)
    assert "every task trained on 20 images" in shown(reference, fair)


def test_tables_show_images_and_training_macs() -> None:
    table = build_table([alone(10), joint(10)])
    titles = [column.title for column in table.columns]
    assert {"Images/task", "Training TMACs"} <= set(titles)
    unequal = record("multi-task", VALUES, training=[stage(["semseg"], 10), stage(TASKS[1:], 20)])
    assert "40–80" in shown(unequal)


def test_tables_of_older_records_say_that_effort_is_unknown() -> None:
    assert "effort unknown" in shown(record("multi-task", VALUES))

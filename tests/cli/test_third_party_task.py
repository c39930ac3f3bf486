"""A task of somebody else: the page's file, given with ``--plugin``, is trained, scored, saved and shown."""

import re
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.records import find_records
from harness.registry.known import GIVEN
from harness.tasks import TASK_FACTS, TASKS, register

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-task.md"
[CODE] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture
def plugin(tmp_path: Path):
    path = tmp_path / "brightness.py"
    path.write_text(CODE)
    yield path
    TASKS.pop("brightness", None)
    TASK_FACTS.pop("brightness", None)
    GIVEN["datasets"].pop("bright-rooms", None)


def test_the_task_of_the_page_runs_from_its_file(harness, plugin: Path, golden: Path) -> None:
    data = ("-d", "bright-rooms", "--data-root", golden / "mini_NYUDv2", "-t", "depth", "-t", "brightness")
    result = harness(
        *("run", "-m", "multi-task", "--plugin", plugin, *data, "--iterations", 3),
        *("--probe", "none", "-o", "out", "--save-predictions", "p"),
    )
    assert result.code == 0, result.err
    assert "Brightness MAE" in result.out
    [record] = find_records(Path("out"))
    assert 0 < record.metrics["brightness"]["mae"].value < 1
    assert (Path("out") / record.run_id / "predictions.png").is_file()
    scored = harness("score", "p", *data[:4], "--plugin", plugin, "-o", "scored")
    assert scored.code == 0, scored.err
    [again] = find_records(Path("scored"))
    assert again.metrics == record.metrics


def test_the_name_of_a_built_in_task_is_refused(harness, plugin: Path) -> None:
    plugin.write_text(CODE.replace('name = "brightness"', 'name = "depth"'))
    result = harness("run", "-m", "multi-task", "-d", "bright-rooms", "--plugin", plugin)
    assert result.code == 2
    assert "'depth' is already taken in tasks" in result.err
    with pytest.raises(UsageError):
        register(TASKS["depth"])

"""A probe that is added by one file, and nothing else."""

import re
from pathlib import Path

import pytest

from harness.probes import catalog
from harness.records import Record, find_records

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-probe.md"
[PROBE] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture
def file(tmp_path: Path):
    """Write the probe; forget it in the end."""
    path = tmp_path / "outputs.py"
    path.write_text(PROBE)
    yield path
    catalog._given.pop("outputs", None)


def test_a_probe_of_one_file_is_measured_and_stored(harness, file: Path) -> None:
    size = ("--input-size", "32x48", "--device", "cpu", "-o", "out")
    result = harness(
        "bench", "-m", "multi-task", "-b", "vit-micro", "-t", "depth", *size, "--plugin", file, "--probe", "outputs"
    )
    assert result.code == 0, result.err
    [record] = find_records(Path("out"))
    assert record.custom == {"outputs": {"values_per_image": 32 * 48}}
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_records_without_such_probes_do_not_show_the_field() -> None:
    assert "custom" not in Record.model_construct(custom={}).model_dump(include={"custom"})


def test_the_name_of_another_probe_is_refused(harness, file: Path) -> None:
    file.write_text(PROBE.replace('"outputs"', '"macs"'))
    result = harness("bench", "-m", "multi-task", "--plugin", file)
    assert result.code == 2
    assert "'macs' is already taken in probes" in result.err

import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError
from records import metric, origin, record

from harness.errors import UsageError
from harness.records import Record, find_records, read_record, write_record
from harness.records.metric import Metric


def test_a_record_survives_the_round_trip_unrounded(tmp_path: Path) -> None:
    value = 0.1 + 0.2 + 1e-16
    written = record(values=(value, 1 / 3, None, 2 / 3))
    write_record(written, tmp_path)
    held = read_record(tmp_path)
    assert held == written
    assert held.metrics["semseg"]["headline"].value == value


def test_nothing_but_the_record_is_left_behind(tmp_path: Path) -> None:
    write_record(record(), tmp_path)
    write_record(record(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_unknown_fields_are_refused(tmp_path: Path) -> None:
    path = write_record(record(), tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"surprise": 1}))
    with pytest.raises(UsageError, match="surprise"):
        read_record(path)


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 2}', "\udcff"])
def test_a_damaged_record_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match="damaged or of another schema version") as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


def test_records_are_found_below_a_folder_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_record(record(name), tmp_path / name)
    assert [held.method.name for held in find_records(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_is_never_nan(value: float) -> None:
    with pytest.raises(ValidationError):
        metric(value, "m", False)
    held = Metric.of(value, unit="m", higher_is_better=False, n=0, protocol="p")
    assert held.value is None
    assert held.reason == "no valid pixel"


def test_a_missing_figure_needs_its_reason() -> None:
    with pytest.raises(ValidationError):
        metric(None, "m", False)
    with pytest.raises(ValidationError):
        metric(1.0, "m", False, reason="because")


@pytest.mark.parametrize("version", [1, 2])
def test_records_of_earlier_schemas_are_read_as_they_are(version: int, tmp_path: Path) -> None:
    path = write_record(record(values=(0.5,)), tmp_path)
    content = json.loads(path.read_text()) | {"schema_version": version}
    for added in ("reported", "sparsity"):
        del content[added]
    path.write_text(json.dumps(content))
    held = read_record(path)
    assert (held.schema_version, held.reported, held.sparsity) == (version, None, {})


@pytest.mark.parametrize("change", [{"source": "reported", "reported": None}, {"reported": origin()}])
def test_a_reported_record_names_its_source_and_a_measured_one_has_none(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="names the document"):
        record(**change)


def test_the_schema_in_the_docs_is_the_records() -> None:
    """Renew it with ``harness show record-schema > docs/record.schema.json``."""
    page = Path(__file__).resolve().parents[2] / "docs" / "record.schema.json"
    assert json.loads(page.read_text(encoding="utf-8")) == Record.model_json_schema()

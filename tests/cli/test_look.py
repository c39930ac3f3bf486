"""``harness ls``, ``show`` and ``env``."""

import json
from pathlib import Path

import pytest

from harness.records import find_records


@pytest.mark.parametrize(
    ("kind", "name"),
    [("methods", "single-task"), ("datasets", "pascal-synth"), ("tasks", "boundary"), ("backbones", "vit-l16")],
)
def test_lists_are_tables_or_json_and_nothing_else(harness, kind: str, name: str) -> None:
    table = harness("ls", kind)
    assert (table.code, table.err) == (0, "")
    assert name in table.out
    rows = json.loads(harness("ls", kind, "-f", "json").out)
    assert name in [row["name"] for row in rows]


def test_results_are_listed_with_unrounded_figures(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", *mini).code == 0
    [row] = json.loads(harness("ls", "results", "-o", "out", "-f", "json").out)
    [record] = find_records(Path("out"))
    assert row["run_id"] == record.run_id
    assert row["depth"] == record.metrics["depth"]["rmse"].value
    assert json.loads(harness("ls", "results", "-o", "nowhere", "-f", "json").out) == []


@pytest.mark.parametrize(
    ("name", "key"),
    [("multi-task", "method"), ("nyud", "dataset"), ("depth", "task"), ("vit-b16", "backbone")],
)
def test_cards_are_json(harness, name: str, key: str) -> None:
    result = harness("show", name)
    assert result.code == 0
    assert json.loads(result.out)[key] == name


def test_records_and_artifacts_are_shown(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", *mini).code == 0
    [record] = find_records(Path("out"))
    folder = Path("out") / record.run_id
    assert json.loads(harness("show", folder).out)["run_id"] == record.run_id
    artifact = json.loads(harness("show", folder / "artifact").out)
    assert artifact["bytes"]["model.safetensors"] == (folder / "artifact" / "model.safetensors").stat().st_size


def test_an_unknown_name_answers_with_the_nearest(harness) -> None:
    result = harness("show", "vit-b61")
    assert result.code == 2
    assert "did you mean" in result.err
    assert "vit-b16" in result.err
    typo = harness("rnu")
    assert typo.code == 2
    assert "did you mean run" in typo.err


def test_the_system_is_shown_as_records_store_it(harness, mini) -> None:
    system = json.loads(harness("env").out)
    assert harness("run", "-m", "multi-task", *mini).code == 0
    [record] = find_records(Path("out"))
    assert record.system_id == system["system_id"]
    assert record.environment["packages"] == system["packages"]

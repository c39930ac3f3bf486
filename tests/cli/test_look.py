"""``harness ls``, ``show`` and ``env``."""

import json
import re
from pathlib import Path

import pytest
from records import record

from harness.protocol import PROFILES
from harness.records import Gain, find_records, write_record


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
    [("share", "method"), ("nyud", "dataset"), ("depth", "task"), ("vit-b16", "backbone"), ("mtinet", "protocol")],
)
def test_cards_are_lines_for_people_or_json(harness, name: str, key: str) -> None:
    card, result = harness("show", name), harness("show", name, "-f", "json")
    assert (card.code, result.code) == (0, 0)
    found = json.loads(result.out)
    assert found[key] == name
    assert card.out.splitlines()[0].strip() == f"{key} {name}"
    words = card.out.split()
    assert all(option in words for option in found.get("options", {}))
    assert not {"anyOf", "title", "{", "[]"} & (set(words) - {"title"} if key in ("dataset", "task") else set(words))


def test_the_card_of_a_method_says_values_defaults_and_meaning(harness) -> None:
    text = " ".join(harness("show", "share").out.split())
    assert "density number > 0 ≤ 1, null 0.08 Largest fraction of the encoder's weights that may differ" in text
    assert "engine paper, tokens, corrections paper Inference of mode gated" in text


def test_protocols_are_listed_with_their_differences(harness) -> None:
    rows = {
        row["name"]: row["differs_from_invpt_in"] for row in json.loads(harness("ls", "protocols", "-f", "json").out)
    }
    assert list(rows) == list(PROFILES)
    assert rows["share"] == "semseg_absent=nanmean, geometry=crop"
    assert (rows["invpt"], "mtinet" in harness("ls", "protocols").out) == (None, True)


def test_results_are_listed_as_tables_round_them(harness, tmp_path: Path) -> None:
    gain = Gain(value=-1.25, reference="nyud/s")
    one = record("multi-task", (0.45678, 0.61234, None, 0.7), run_id="nyud/m", status="partial", delta_m=gain)
    write_record(one, tmp_path / "out" / "nyud" / "m")
    header, line = harness("ls", "results", "out").out.splitlines()
    cells = dict(zip(re.split(r"  +", header), re.split(r"  +", line.strip()), strict=True))
    assert cells.pop("age").endswith(" s")
    assert cells == {
        **{"run_id": "nyud/m", "status": "partial", "stage": "–", "semseg": "45.68", "depth": "0.6123"},
        **{"normals": "–", "boundary": "70.00", "Δm %": "-1.25", "params M": "1.50"},
    }
    nothing = harness("ls", "results", "nowhere")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "harness: no records in nowhere\n")
    refused = harness("ls", "methods", "out")
    assert (refused.code, "belongs to `harness ls results`" in refused.err) == (2, True)


def test_a_table_is_drawn_on_a_terminal_and_markdown_elsewhere(
    harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(record("multi-task", (0.4, 0.6, 20.0, 0.7), run_id="nyud/m"), tmp_path / "out" / "nyud" / "m")
    piped = harness("table", "out").out
    assert piped == harness("table", "out", "-f", "md").out
    assert "|:--" in piped
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    drawn = harness("table", "out").out
    assert "multi-task" in drawn
    assert "|" not in drawn
    assert harness("table", "out", "-f", "md").out == piped


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

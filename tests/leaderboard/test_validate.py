"""Submissions: sound ones pass, and each kind of fault is found, by record, with its level."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from records import record

from harness.cli.main import cli
from harness.errors import UsageError
from harness.leaderboard.validate import to_markdown, validate
from harness.problem import TaskSpec
from harness.protocol import Protocol
from harness.records import Gain, PerImageFile, Record, Software, write_record
from harness.records.costs import Parameters, Storage
from harness.tasks import build_task
from harness.tasks.per_image import PerImage

VALUES = (0.4, 0.6, 20.0, 0.7)
SOUND = {
    "harness": Software(version="1", git_commit="a" * 40, git_dirty=False),
    "environment": {"cpu": "one"},
    "storage": None,
}


def submitted(root: Path, method: str = "multi-task", values: tuple[float, ...] = VALUES, **changes: Any) -> Path:
    """Write a sound record, but for changes; return its folder."""
    one = record(method, values, **({"run_id": f"nyud-synth/{method}.seed0", "config_hash": method} | SOUND | changes))
    one.method.source = "s"
    return write_record(one, root / one.run_id).parent


def found(root: Path) -> list[tuple[str, str, str]]:
    return [(one.check, one.level, one.text) for one in validate(root)[0]]


def test_a_sound_submission_passes(tmp_path: Path) -> None:
    submitted(tmp_path)
    assert validate(tmp_path) == ([], 1)
    done = CliRunner().invoke(cli, ["validate", str(tmp_path)], standalone_mode=False)
    assert (done.return_value, done.stdout) == (0, "1 record: no fault\n")


@pytest.mark.parametrize(
    ("changes", "check", "level", "words"),
    [
        ({"status": "partial"}, "status", "error", "the run is partial"),
        ({"protocol_name": "invtp"}, "protocol", "error", "did you mean invpt"),
        ({"protocol": {"depth_pool": "image"}}, "protocol", "error", "depth_pool is image, invpt has pixel"),
        ({"harness": Software(version="1", git_commit=None, git_dirty=None)}, "provenance", "warning", "the commit"),
        ({"harness": Software(version="1", git_commit="b" * 40, git_dirty=True)}, "provenance", "warning", "bbbbbbbb"),
        ({"command": []}, "provenance", "warning", "missing: the command"),
        ({"created_at": datetime.now(UTC) + timedelta(days=9)}, "values", "error", "ended before it began"),
        ({"parameters": Parameters(total=3, per_part={"a": 4})}, "values", "error", "more parameters than the model"),
        (
            {"storage": Storage(artifact_bytes=5, per_file={"a": 4})},
            "values",
            "error",
            "the artifact has 5 bytes, its files 4",
        ),
        (
            {"delta_m": Gain(value=1.0, reference="nyud-synth/none")},
            "gain",
            "warning",
            "its reference nyud-synth/none is not submitted",
        ),
    ],
)
def test_each_fault_is_found(changes: dict[str, Any], check: str, level: str, words: str, tmp_path: Path) -> None:
    protocol = changes.pop("protocol", Protocol().model_dump(mode="json"))
    submitted(tmp_path, protocol=Protocol().model_dump(mode="json") | protocol, **changes)
    matching = [one for one in found(tmp_path) if one[:2] == (check, level)]
    assert sum(words in text for _, _, text in matching) == 1, found(tmp_path)


def test_records_that_cannot_be_read_or_lie_elsewhere(tmp_path: Path) -> None:
    folder = submitted(tmp_path)
    folder.rename(folder.with_name("other"))
    assert [one[:2] for one in found(tmp_path)] == [("names", "error")]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "record.json").write_text("{}")
    assert ("schema", "error") in [one[:2] for one in found(tmp_path)]
    assert validate(tmp_path)[1] == 2
    with pytest.raises(UsageError, match=r"no record\.json below it"):
        validate(_empty(tmp_path))


def _empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


def test_twins_and_copies_are_found(tmp_path: Path) -> None:
    submitted(tmp_path, "multi-task")
    submitted(tmp_path, "share")  # the same values to the last digit
    submitted(tmp_path, "invpt", (0.5, 0.6, 20.0, 0.7), config_hash="share")
    again = submitted(tmp_path / "again", "invpt", (0.5, 0.6, 20.0, 0.7), config_hash="share")
    assert again.is_dir()
    told = [text for check, _, text in found(tmp_path) if check == "duplicates"]
    assert any("the run nyud-synth/invpt.seed0 is in again/nyud-synth/invpt.seed0 too" in text for text in told)
    assert any("the same setting and seed as" in text for text in told)
    assert any("all metrics are those of nyud-synth/multi-task.seed0, to the last digit" in text for text in told)


def test_a_gain_follows_from_its_reference(tmp_path: Path) -> None:
    submitted(tmp_path, "single-task", (0.4, 0.6, 20.0, 0.7))
    better = (0.44, 0.6, 20.0, 0.7)  # by 10 % on one of four tasks
    right = 100 * ((0.44 - 0.4) / 0.4) / 4
    submitted(tmp_path, "share", better, delta_m=Gain(value=right, reference="nyud-synth/single-task.seed0"))
    assert [one for one in found(tmp_path) if one[0] == "gain"] == []
    submitted(tmp_path, "share", better, delta_m=Gain(value=3.0, reference="nyud-synth/single-task.seed0"))
    [(_, level, text)] = [one for one in found(tmp_path) if one[0] == "gain"]
    assert (level, text) == ("error", f"Δm is 3.0, by nyud-synth/single-task.seed0 it is {right}")


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Path, Callable[[], Record]]:
    """A record of depth alone, with its per-image file."""
    protocol = Protocol()
    spec = TaskSpec("depth")
    meter = build_task(spec).meter(protocol)
    generator = torch.Generator().manual_seed(0)
    target = 1 + torch.rand(3, 1, 8, 8, generator=generator)
    meter.update(target + 0.1 * torch.rand(3, 1, 8, 8, generator=generator), target)
    images = PerImage(protocol, ["a", "b", "c"])
    images.take(spec, meter)
    folder = submitted(tmp_path)
    one = record("multi-task", (), run_id="nyud-synth/multi-task.seed0", **SOUND)
    one.method.source, one.metrics = "s", {"depth": meter.compute()}
    one.dataset = one.dataset.model_copy(update={"n_evaluated": 3, "n_expected": 3})
    one.per_image = images.write(folder)

    def write() -> Record:
        write_record(one, folder)
        return one

    return folder, write


def test_metrics_follow_from_the_per_image_values(scored: tuple[Path, Callable[[], Record]], tmp_path: Path) -> None:
    folder, write = scored
    one = write()
    assert found(tmp_path) == []
    rmse = one.metrics["depth"]["rmse"]
    assert rmse.value is not None
    one.metrics["depth"]["rmse"] = rmse.model_copy(update={"value": rmse.value - 1e-9})
    write()
    [(check, level, text)] = found(tmp_path)
    assert (check, level) == ("files", "error")
    assert text == f"depth rmse: {rmse.value - 1e-9} in the record, {rmse.value} by per-image.parquet"
    assert one.per_image is not None
    one.per_image = PerImageFile(file=one.per_image.file, sha256=hashlib.sha256(b"").hexdigest(), images=3)
    write()
    assert ["its sha256 is not the one" in text for _, _, text in found(tmp_path)] == [True]
    (folder / "per-image.parquet").unlink()
    assert [one[1] for one in found(tmp_path)] == ["warning"]


def test_the_bytes_of_an_artifact_are_those_of_the_record(tmp_path: Path) -> None:
    folder = submitted(tmp_path, storage=Storage(artifact_bytes=3, per_file={"a": 3}))
    (folder / "artifact").mkdir()
    (folder / "artifact" / "a").write_bytes(b"four")
    assert found(tmp_path) == [("files", "error", "artifact/a: 4 bytes, 3 in the record")]


def test_the_outcome_is_a_code_json_and_markdown(tmp_path: Path) -> None:
    submitted(tmp_path / "r", command=[])
    page = tmp_path / "page.md"

    def call(*words: str) -> Any:
        return CliRunner().invoke(cli, ["validate", str(tmp_path / "r"), *words], standalone_mode=False)

    told = call("-f", "md", "--summary", str(page))
    assert (told.return_value, told.stdout) == (0, page.read_text())
    assert told.stdout.startswith("### Submission accepted: 1 record: 0 errors and 1 warning\n\n| record | check |")
    assert call("--strict").return_value == 1
    assert json.loads(call("-f", "json").stdout)["findings"][0]["check"] == "provenance"
    submitted(tmp_path / "r", status="failed", failure="a | b\n<script>")
    refused = call("-f", "md")
    assert refused.return_value == 1
    assert "### Submission refused" in refused.stdout
    assert "a \\| b \\<script\\>" in refused.stdout
    assert "the run is failed" in call().stdout
    assert to_markdown([], 2) == "### Submission accepted: 2 records: no fault\n\n"

"""``harness bench`` as a user runs it; times are never asserted."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch

from harness.records import find_records
from harness.report.table import build_table

QUICK = ("--min-iterations", 1, "--min-seconds", 0.01, "--max-seconds", 0.05)
TINY = ("-d", "nyud", "-b", "vit-micro", "--input-size", "32x48", "--device", "cpu", *QUICK, "-o", "out")

BROKEN = """
from harness.baselines.multi_task import MultiTask, SharedEncoder
from harness.method import Accounting

class NoScales(Accounting):
    def bytes_per_part(self, model, folder):
        raise RuntimeError("no scales at hand\\nsecond line")

class Unweighable(MultiTask):
    name = "unweighable"
    summary = "its storage cannot be split"
    Accounting = NoScales

class Mute(SharedEncoder):
    def forward(self, images, tasks=None):
        raise ValueError("nothing to say")

class Silent(MultiTask):
    name = "silent"
    summary = "does not predict"

    def build(self, problem):
        model = super().build(problem)
        model.__class__ = Mute
        return model

class Unbuilt(MultiTask):
    name = "unbuilt"
    summary = "breaks while it is built"

    def build(self, problem):
        raise ValueError("out of ideas")
"""


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no data set be found."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "nowhere"))


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    source = tmp_path / "broken.py"
    source.write_text(BROKEN)
    return source


def test_a_row_for_each_method_precision_and_batch_size_without_data_or_weights(harness) -> None:
    matrix = ("-m", "single-task", "multi-task", "--precision", "fp32", "bf16", "--batch-size", 1, 2)
    result = harness("bench", *matrix, *TINY, "-f", "json")
    assert result.code == 0, result.err
    rows = json.loads(result.out)
    keys = [(row["method"], row["precision"], row["batch_size"]) for row in rows]
    assert sorted(keys) == sorted(
        (method, precision, size)
        for method in ("single-task", "multi-task")
        for precision in ("fp32", "bf16")
        for size in (1, 2)
    )
    for row in rows:
        assert row["flops"] == 2 * row["macs"] > 0
        assert row["parameters"] > 0
        assert 0 < row["zipped_bytes"] < row["artifact_bytes"]
        assert row["latency_p50_ms"] > 0
        assert row["joules_per_image"] is None
        assert "energy" in row["unmeasured"], "null, and why"
        assert row["floor_multiple"] > 0
        assert row["ratio_to_reference"] == 1 or row["method"] == "multi-task"
        assert row["reference"].startswith("nyud/single-task.vit-micro.bench.")
        assert Path(row["record"]).is_file()
    assert not (Path("nowhere")).exists(), "no data was looked for or cached"


def test_the_records_hold_no_accuracy_and_share_no_table_with_those_that_do(harness, mini) -> None:
    assert harness("bench", "-m", "multi-task", *TINY, "--probe", "macs").code == 0
    assert harness("run", "-m", "multi-task", *mini).code == 0
    costs, scored = sorted(find_records(Path("out")), key=lambda record: record.costs_only, reverse=True)
    assert (costs.status, costs.metrics, costs.budget, costs.method.init) == ("complete", {}, None, "random")
    assert (costs.dataset.fingerprint, costs.dataset.n_evaluated) == (None, 0)
    assert build_table([costs]).frame["MACs G ↓"].item() != "–"
    with pytest.raises(ValueError, match="must share"):
        build_table([costs, scored])
    listed = json.loads(harness("ls", "results", "-o", "out", "-f", "json").out)
    assert {row["run_id"] for row in listed} == {costs.run_id, scored.run_id}


def test_only_the_probes_asked_for_are_measured(harness) -> None:
    result = harness("bench", "-m", "multi-task", *TINY, "--probe", "macs", "storage", "-f", "json")
    assert (result.code, result.err) == (0, "")
    [row] = json.loads(result.out)
    assert row["macs"] > 0
    assert row["artifact_bytes"] > 0
    assert (row["latency_p50_ms"], row["floor_multiple"], row["gpu_peak_bytes"]) == (None, None, None)
    assert row["unmeasured"] == {}


def test_the_same_command_measures_the_same_model_and_replaces_its_record(harness) -> None:
    command = ("bench", "-m", "multi-task", *TINY, "--probe", "macs", "storage")
    assert harness(*command).code == 0
    [first] = find_records(Path("out"))
    assert harness(*command).code == 0
    [second] = find_records(Path("out"))
    assert second.created_at > first.created_at
    assert (second.macs, second.storage) == (first.macs, first.storage)


def test_a_probe_that_fails_is_null_with_the_reason_and_harms_nothing_else(harness, broken: Path) -> None:
    command = ("bench", "-m", "unweighable", "multi-task", "--plugin", broken, *TINY, "--probe", "macs", "storage")
    result = harness(*command, "-f", "json")
    assert result.code == 0
    assert "storage was not measured: RuntimeError: no scales at hand" in result.err
    bad, good = json.loads(result.out)
    assert bad["artifact_bytes"] is None
    assert bad["unmeasured"] == {"storage": "RuntimeError: no scales at hand"}
    assert bad["macs"] == good["macs"]
    assert good["artifact_bytes"] > 0


@pytest.mark.parametrize(("name", "message"), [("silent", "nothing to say"), ("unbuilt", "out of ideas")])
def test_a_method_that_fails_is_exit_code_4_and_the_others_are_kept(harness, broken: Path, name, message) -> None:
    result = harness("bench", "-m", name, "multi-task", "--plugin", broken, *TINY, "-f", "json")
    assert result.code == 4
    assert message in result.err
    assert "Traceback" not in result.err
    assert [row["method"] for row in json.loads(result.out)] == ["multi-task"]
    records = {record.method.name: record for record in find_records(Path("out"))}
    assert {key: record.status for key, record in records.items()} == {name: "failed", "multi-task": "complete"}
    assert message in str(records[name].failure)
    assert records["multi-task"].latency


def test_an_artifact_is_measured_instead_of_random_weights(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", *mini).code == 0
    [trained] = find_records(Path("out"))
    artifact = Path("out") / trained.run_id / "artifact"
    result = harness("bench", "-m", "multi-task", "--checkpoint", artifact, "--probe", "storage", "-o", "costs")
    assert result.code == 0, result.err
    [record] = find_records(Path("costs"))
    assert record.storage == trained.storage
    assert (record.method.init, record.input_size) == ("checkpoint", trained.input_size)
    both = harness("bench", "-m", "multi-task", "--checkpoint", artifact, "-t", "depth")
    assert (both.code, "an artifact brings its own tasks" in both.err) == (2, True)
    other = harness("bench", "-m", "single-task", "--checkpoint", artifact)
    assert (other.code, "is an artifact of multi-task" in other.err) == (2, True)


def test_formats(harness) -> None:
    command = ("bench", "-m", "multi-task", *TINY, "--probe", "macs", "storage")
    table = harness(*command)
    for text in ("MACs G ↓", "Artifact MB ↓", "multi-task", "random images of 32x48"):
        assert text in table.out
    assert "Latency" not in table.out, "no empty columns"
    assert "| multi-task" in harness(*command, "-f", "md").out
    [row] = csv.DictReader(io.StringIO(harness(*command, "-f", "csv").out))
    assert (row["method"], row["batch_size"], row["unmeasured"]) == ("multi-task", "1", "")


def test_a_yaml_file_has_the_flags_as_keys(harness) -> None:
    Path("bench.yaml").write_text(
        "method: [multi-task]\nbackbone: [vit-micro]\ninput-size: 32x48\nprobe: [macs]\noutput: o\nbatch-size: [3]\n"
    )
    assert harness("bench", "-C", "bench.yaml", "-t", "depth", "semseg").code == 0
    [record] = find_records(Path("o"))
    assert record.config["batch_size"] == [3]
    assert record.macs is not None
    assert set(record.macs.per_task) == {"depth", "semseg"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--probe", "latencies"), "did you mean latency"),
        (("-m", "multitask"), "did you mean multi-task"),
        (("-b", "vit-b32"), "did you mean"),
        (("-t", "depht"), "did you mean depth"),
        (("-d", "nyu"), "did you mean nyud"),
        (("--batch-size", "0"), "batch_size"),
        (("--precision", "fp16"), "needs a GPU"),
        (("--cuda-graph",), "needs a GPU"),
        (("--input-size", "50x50"), "patch size 8"),
        (("-m", "multi-task", "multi-task"), "same value twice"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(harness, arguments, message: str) -> None:
    result = harness("bench", "-m", "multi-task", "-b", "vit-micro", "--device", "cpu", *arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert "Traceback" not in result.err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_every_figure_is_there(harness) -> None:
    options = ("--batch-size", 1, 8, "--precision", "bf16", "--cuda-graph", "--channels-last", "-f", "json")
    result = harness("bench", "-m", "single-task", "multi-task", "-b", "vit-t16", "-d", "nyud", *QUICK, *options)
    assert result.code == 0, result.err
    rows = json.loads(result.out)
    assert len(rows) == 4
    for row in rows:
        assert (row["device"], row["threads"], row["cuda_graph"]) == ("cuda", None, True)
        assert row["latency_p50_ms"] > 0
        assert row["floor_multiple"] > 0
        assert (row["batch_size"] != 1) or row["gpu_peak_bytes"] > 0


def test_the_environment_has_the_switches_that_the_precision_set(harness) -> None:
    torch.backends.cuda.matmul.allow_tf32 = True  # left over from other work; the command below switches it off
    result = harness("bench", "-m", "multi-task", *TINY, "--probe", "storage")
    assert result.code == 0, result.err
    [record] = find_records(Path("out"))
    assert record.environment["tf32_matmul"] is False

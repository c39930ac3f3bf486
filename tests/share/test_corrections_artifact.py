"""Artifacts of corrections: what was trained, grown without touching a byte, refused where it does not fit."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from corrected_nets import PROBLEM, corrected, images, method
from safetensors.torch import load_file, save_file
from shared_nets import method as paper
from test_artifact import saved as saved_paper

from harness.errors import UsageError
from harness.method import accounting_of
from harness.methods.share.corrections import CorrectedNets, Setting
from harness.methods.share.corrections.calibration import calibrate
from harness.probes.storage import measure_storage
from harness.records.metric import Metric

NESTED = {"first_block": 2, "rows": 0.25}


def saved(folder: Path, **options: object) -> Path:
    folder.mkdir(exist_ok=True)
    method(**options).save(corrected(**options), folder)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("options", [{}, NESTED, {"first_block": 2, "rows": 1}, {"rank": 0, "detail": "all"}], ids=str)
def test_the_round_trip_is_bit_exact_and_in_parts(options: dict[str, object], tmp_path: Path) -> None:
    nets = corrected(**options)
    artifact = saved(tmp_path / "first", **options)
    loaded = method(**options).load(artifact).eval()
    alone = method(**options).load(artifact, ["normals"]).eval()
    with torch.inference_mode():
        ours, theirs = nets(images()), loaded(images())
        assert torch.equal(
            alone(images())["normals"], method(**options).load(artifact, ["normals"]).eval()(images())["normals"]
        )
    assert all(torch.equal(ours[task], theirs[task]) for task in PROBLEM.names)
    again = tmp_path / "again"
    again.mkdir()
    method(**options).save(loaded, again)
    assert hashes(again) == hashes(artifact)


def test_half_precision_halves_the_bytes_of_a_correction(tmp_path: Path) -> None:
    sizes = {}
    for values in ("fp32", "fp16"):
        artifact = saved(tmp_path / values, values=values)
        model = method(values=values).load(artifact)
        parts = accounting_of(method()).bytes_per_part(model, artifact)
        storage = measure_storage(artifact, parts, PROBLEM.names)
        assert sum(storage.per_part.values()) == storage.artifact_bytes
        sizes[values] = parts["correction/depth"] - (artifact / "depth.task.json").stat().st_size
    values = sum(weight.numel() for weight in corrected().correction("depth").parameters())
    assert sizes == {"fp32": 4 * values, "fp16": 2 * values}


def test_a_task_is_added_with_sizes_of_its_own_and_no_byte_changes(tmp_path: Path) -> None:
    problem = PROBLEM.only(["semseg", "depth", "boundary"])
    first = tmp_path / "first"
    first.mkdir()
    nets = corrected(problem)
    method().save(nets, first)
    before = hashes(first)
    grown = method(rank=8, levels=2).extend(first, PROBLEM).eval()
    second = tmp_path / "second"
    second.mkdir()
    method().save(grown, second)
    for name, digest in before.items():
        assert hashes(second)[name] == digest or name == "boundary.task.json", name  # its position alone
    both = method().load(second).eval()
    assert both.correction("normals").shape.rank == 8
    with torch.inference_mode():
        ours, theirs = nets(images()), both(images())
    for task in problem.names:
        torch.testing.assert_close(theirs[task], ours[task], atol=1e-6, rtol=1e-6)


def score_of(losses: dict[str, float]) -> object:
    def score(asked: CorrectedNets, tasks: list[str]) -> dict[str, Metric]:
        [task] = tasks
        value = 1 - losses[asked.settings[task].title] / 100
        return {task: Metric(value=value, unit="fraction", higher_is_better=True, n=1, protocol="p")}

    return score


def test_calibration_stops_at_the_first_setting_within_the_budget_and_keeps_what_it_walked(tmp_path: Path) -> None:
    nets = corrected(**NESTED)
    losses = {
        "head alone": 9.0,
        "correction": 2.0,
        "correction, 0.125 of the tokens from block 3": 1.2,
        "correction, 0.25 of the tokens from block 3": 0.1,
        "correction, 0.25 of the tokens from block 2": 0.0,
    }
    calibrate(nets, score_of(losses), budget=1.0)  # type: ignore[arg-type]
    # 1 point of the mean over four tasks is 4 / 3 for each of three sub-tasks
    assert nets.settings["depth"] == Setting(True, 3, 0.125)
    assert [round(step.loss or 0, 6) for step in nets.calibrated["depth"]] == [9.0, 2.0, 1.2, 0.0]
    calibrate(nets, score_of(dict.fromkeys(losses, 0.0)), budget=1.0)  # type: ignore[arg-type]
    assert nets.settings["depth"] == Setting(True, 3, 0.125), "what is calibrated stays as it is"
    method(**NESTED).save(nets, tmp_path)
    loaded = method(**NESTED).load(tmp_path)
    assert loaded.settings == nets.settings
    assert loaded.calibrated == nets.calibrated
    overruled = method(accuracy_budget=None, **NESTED).load(tmp_path)
    assert overruled.settings["depth"] == Setting(True, 2, 0.25)
    told = accounting_of(method()).describe(tmp_path)["sub_tasks"]["depth"]
    assert told["settings"][told["chosen"]]["title"] == "correction, 0.125 of the tokens from block 3"
    strict = corrected()
    calibrate(strict, score_of(losses), budget=0.0)  # type: ignore[arg-type]
    assert strict.settings["depth"] == Setting(True)


def test_settings_without_a_value_are_not_chosen() -> None:
    nets = corrected()

    def score(asked: CorrectedNets, tasks: list[str]) -> dict[str, Metric]:
        return {tasks[0]: Metric(value=None, unit="m", higher_is_better=False, n=0, protocol="p", reason="none")}

    calibrate(nets, score, budget=100.0)  # type: ignore[arg-type]
    assert nets.settings["depth"] == Setting(True)
    assert [step.loss for step in nets.calibrated["depth"]] == [None, None]


def edit(artifact: Path, **changes: object) -> None:
    path = artifact / "depth.task.json"
    content = json.loads(path.read_text())
    content["facts"] |= changes
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 10**9},
        {"rank": 0},
        {"chosen": 7},
        {"levels": [0, 99]},
        {"first_block": 99},
        {"settings": []},
        {"settings": [{"corrected": True, "first_block": 1, "fraction": 0.5}]},
        {"settings": [{"corrected": True, "first_block": None, "fraction": 0.5}]},
        {"surprise": 1},
    ],
    ids=str,
)
def test_damaged_facts_are_refused_in_one_line(changes: dict[str, object], tmp_path: Path) -> None:
    artifact = saved(tmp_path)
    edit(artifact, **changes)
    with pytest.raises(UsageError, match="files of depth are damaged") as refused:
        method().load(artifact)
    assert "\n" not in str(refused.value)


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    artifact = saved(tmp_path)
    tensors = load_file(artifact / "depth.safetensors")
    tensors["correction.outward"] = tensors["correction.outward"] * torch.inf
    save_file(tensors, artifact / "depth.safetensors")
    with pytest.raises(UsageError, match="no finite numbers"):
        method().load(artifact)
    del tensors["correction.outward"]
    save_file(tensors, artifact / "depth.safetensors")
    with pytest.raises(UsageError, match=r"missing.*outward|outward.*missing"):
        method().load(artifact)


def test_engines_do_not_read_each_others_sub_tasks(tmp_path: Path) -> None:
    sparse = saved_paper(tmp_path / "sparse")
    with pytest.raises(UsageError, match="sparse difference, which engine=corrections does not run"):
        method().load(sparse)
    own = saved(tmp_path / "own")
    with pytest.raises(UsageError, match="was trained for engine=corrections"):
        paper().load(own)
    with pytest.raises(UsageError, match="mode=dense"):
        method(mode="dense").load(own)
    with pytest.raises(UsageError, match="needs engine=corrections"):
        paper(base_task="auto").build(PROBLEM)

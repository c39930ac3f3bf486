"""The sharing method as a user runs it, on three images in the real layout."""

import hashlib
import json
from pathlib import Path

from harness.records import find_records


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def only_record(folder: str):
    [record] = find_records(Path(folder))
    return record


def test_trains_from_scratch_ships_and_is_evaluated_again_in_every_mode(harness, mini) -> None:
    result = harness("run", "-m", "share", *mini)
    assert result.code == 0, result.err
    record = only_record("out")
    folder = Path("out") / record.run_id
    assert (folder / "layers.png").stat().st_size > 0
    layers = json.loads((folder / "layers.json").read_text())
    assert set(layers["active rows"]) == {"depth", "normals", "boundary"}
    assert record.macs is not None
    assert record.macs.executed.mean <= record.macs.dense.mean
    assert record.macs.simulated is not None
    assert record.storage is not None
    assert record.storage.marginal_bytes["depth"] < record.storage.per_part["base"]
    shown = json.loads(harness("show", folder / "artifact").out)
    assert shown["sub_tasks"]["depth"]["density"] <= 0.08
    assert record.sparsity["depth"].weight_density == shown["sub_tasks"]["depth"]["density"]
    for number, mode in enumerate(("dense", "clamped", "gated")):
        again = harness(
            "run",
            "-m",
            "share",
            *mini[:-1],
            f"again{number}",
            "--checkpoint",
            folder / "artifact",
            "--set",
            f"mode={mode}",
        )
        assert again.code == 0, again.err
        loaded = only_record(f"again{number}")
        assert loaded.metrics["semseg"] == record.metrics["semseg"], "the base is the base in every mode"
    assert loaded.metrics == record.metrics


def test_a_task_added_later_changes_no_byte_of_what_exists(harness, mini) -> None:
    tasks = ("-t", "semseg", "-t", "depth")
    assert harness("run", "-m", "share", *tasks, *mini).code == 0
    first = only_record("out")
    artifact = Path("out") / first.run_id / "artifact"
    before = hashes(artifact)
    result = harness("run", "-m", "share", *tasks, "-t", "normals", *mini[:-1], "grown", "--extend", artifact)
    assert result.code == 0, result.err
    grown = only_record("grown")
    assert [stage.name for stage in grown.training] == [
        "gates/normals",
        "mask/normals",
        "activations/normals",
        "rows/normals",
    ], "one sub-task's training, no more"
    after = hashes(Path("grown") / grown.run_id / "artifact")
    assert hashes(artifact) == before
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"normals.safetensors", "normals.task.json"}
    assert grown.metrics["depth"] == first.metrics["depth"]
    together = harness("run", "-m", "share", *tasks, "-t", "normals", *mini[:-1], "together")
    assert together.code == 0
    record = only_record("together")
    files = hashes(Path("together") / record.run_id / "artifact")
    assert files["normals.safetensors"] == after["normals.safetensors"], "alone or beside others"


def test_bad_wishes_are_one_clear_line(harness, mini) -> None:
    no_base = harness("run", "-m", "share", "-t", "depth", *mini)
    assert (no_base.code, no_base.err.count("\n")) == (2, 1)
    assert "base_task=semseg" in no_base.err
    cnn = harness("run", "-m", "share", "-b", "resnet18", *mini)
    assert cnn.code == 2
    assert "method share: runs on vit-micro, vit-t16, vit-s16, vit-b16, vit-l16, swin-micro, swin-t" in cnn.err
    assert "swin-l, not on resnet18; leave out -b" in cnn.err
    deep = harness("run", "-m", "share", "--set", "shared_blocks=9", *mini)
    assert deep.code == 2
    assert "has 4 blocks" in deep.err
    assert harness("run", "-m", "share", "--set", "density=2", *mini).code == 2


def test_only_methods_that_can_grow_are_extended(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", "-t", "semseg", *mini).code == 0
    artifact = Path("out") / only_record("out").run_id / "artifact"
    refused = harness("run", "-m", "multi-task", "-t", "semseg", "-t", "depth", *mini, "--extend", artifact)
    assert refused.code == 2
    assert "cannot add tasks" in refused.err
    nothing = harness("run", "-m", "multi-task", "-t", "semseg", *mini, "--extend", artifact)
    assert nothing.code == 2
    assert "must hold some of the tasks" in nothing.err


def test_corrections_train_once_ship_grow_and_are_taught(harness, mini) -> None:
    corrections = ("--set", "engine=corrections")
    tasks = ("-t", "semseg", "-t", "boundary")
    result = harness("run", "-m", "share", *tasks, *mini, *corrections)
    assert result.code == 0, result.err
    record = only_record("out")
    assert [stage.name for stage in record.training] == ["semseg", "boundary"], "one stage"
    assert record.macs.executed.mean == record.macs.ideal.mean < record.macs.dense.mean
    assert record.sparsity["boundary"].active_rows == 0
    assert any("none is held out" in line for line in record.warnings)
    folder = Path("out") / record.run_id
    assert set(json.loads((folder / "layers.json").read_text())) == {"weights of their own", "active tokens"}
    shown = json.loads(harness("show", folder / "artifact").out)
    assert shown["sub_tasks"]["boundary"]["engine"] == "corrections"
    again = harness("run", "-m", "share", *mini[:-1], "again", "--checkpoint", folder / "artifact", *tasks)
    assert again.code == 0, again.err
    assert only_record("again").metrics == record.metrics, "the manifest names the engine"
    before = hashes(folder / "artifact")
    # A task is added, taught by its own single network, whose steps count
    assert harness("run", "-m", "single-task", "-t", "normals", *mini[:-1], "single").code == 0
    teacher = Path("single") / only_record("single").run_id / "artifact"
    grown = ("-t", "normals", *mini[:-1], "grown", "--extend", folder / "artifact", "--set", f"teacher={teacher}")
    result = harness("run", "-m", "share", *tasks, *grown)
    assert result.code == 0, result.err
    added = only_record("grown")
    assert [(stage.name, stage.iterations) for stage in added.training] == [("teacher/normals", 3), ("normals", 3)]
    after = hashes(Path("grown") / added.run_id / "artifact")
    assert {name: after[name] for name in before} == before
    assert added.metrics["boundary"] == record.metrics["boundary"]


def test_held_out_images_choose_the_base(harness, mini) -> None:
    options = ("--set", "engine=corrections", "--set", "base_task=auto", "-t", "depth", "-t", "normals")
    result = harness("run", "-m", "share", *options, *mini)
    assert result.code == 0, result.err
    record = only_record("out")
    names = [stage.name for stage in record.training]
    assert names == ["depth", "normals on depth", "normals", "depth on normals"]
    manifest = json.loads((Path("out") / record.run_id / "artifact" / "artifact.json").read_text())
    assert manifest["options"]["base_task"] in ("depth", "normals")


def test_a_swin_trains_and_gates_tokens_in_windows(harness, mini) -> None:
    tasks = ("-t", "semseg", "-t", "normals")
    result = harness("run", "-m", "share", "-b", "swin-micro", *tasks, *mini, "--set", "engine=tokens")
    assert result.code == 0, result.err
    record = only_record("out")
    assert record.macs.executed.mean < record.macs.dense.mean
    layers = json.loads((Path("out") / record.run_id / "layers.json").read_text())
    assert "block 2.1" in layers["active rows"]["normals"]
    again = harness(
        "run", "-m", "share", "-b", "swin-micro", *tasks, *mini[:-1], "again",
        "--checkpoint", Path("out") / record.run_id / "artifact",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert only_record("again").metrics == record.metrics
    refused = harness("run", "-m", "share", "-b", "swin-micro", *tasks, *mini, "--set", "engine=corrections")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "engine=corrections runs on vision transformers, not on swin-micro" in refused.err

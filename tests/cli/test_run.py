"""``harness run`` as a user runs it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.records import find_records, read_record

PLUGIN = """
from harness.baselines.multi_task import MultiTask
from harness.method import MethodOptions

class MineOptions(MethodOptions):
    strength: float = 0.5

class Mine(MultiTask):
    name = "mine"
    summary = "a method from outside the project"
    Options = MineOptions
"""


def test_two_methods_give_one_table_records_artifacts_and_pictures(harness, mini) -> None:
    result = harness("run", "-m", "single-task", "-m", "multi-task", *mini)
    assert result.code == 0, result.err
    table = Path("out/nyud/table.quick.invpt.md").read_text()
    for text in (result.out, table):
        assert "SemSeg mIoU ↑" in text
        assert "Depth RMSE ↓" in text
        assert "single-task" in text
        assert "multi-task" in text
        assert "real images" in text
    records = list(find_records(Path("out")))
    assert [record.method.name for record in records] == ["multi-task", "single-task"]
    for record in records:
        folder = Path("out") / record.run_id
        assert record.status == "complete"
        assert record.storage is not None
        assert record.storage.artifact_bytes == sum(path.stat().st_size for path in (folder / "artifact").iterdir())
        assert record.parameters is not None
        assert record.parameters.total == sum(record.parameters.per_part.values())
        assert (folder / "predictions.png").stat().st_size > 0
        assert not (folder / "checkpoint.pt").exists()
    lines = result.err.splitlines()
    assert all(line.startswith("harness: ") for line in lines), "log lines where there is no terminal"
    assert f"runs in out/{records[-1].run_id}" in result.log[0]
    assert f"is complete in out/{records[0].run_id}" in result.log[-1]


def test_pascal_context_runs_through_on_its_three_images(harness, golden: Path) -> None:
    root = golden / "mini_PASCALContext"
    data = ("-d", "pascal-context", "--data-root", root)
    result = harness("run", "-m", "multi-task", *data, "--iterations", 2, "--probe", "none", "-o", "o")
    assert result.code == 0, result.err
    for column in ("SemSeg", "Parsing", "Saliency", "Normals", "Boundary"):
        assert column in result.out


def test_a_complete_run_is_not_repeated(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", *mini).code == 0
    [before] = find_records(Path("out"))
    assert harness("run", "-m", "multi-task", *mini).code == 0
    [after] = find_records(Path("out"))
    assert after == before
    assert harness("run", "-m", "multi-task", *mini, "--overwrite", "always").code == 0
    [again] = find_records(Path("out"))
    assert again.created_at > before.created_at
    assert again.metrics == before.metrics, "the same seed gives the same figures"
    refused = harness("run", "-m", "multi-task", *mini, "--overwrite", "never")
    assert refused.code == 2
    assert "--overwrite is never" in refused.err


def test_an_artifact_gives_the_same_figures_as_the_run_that_made_it(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", *mini).code == 0
    [trained] = find_records(Path("out"))
    artifact = Path("out") / trained.run_id / "artifact"
    result = harness("run", "-m", "multi-task", *mini[:-1], "loaded", "--checkpoint", artifact)
    assert result.code == 0, result.err
    [loaded] = find_records(Path("loaded"))
    assert loaded.metrics == trained.metrics
    assert loaded.method.init == "checkpoint"
    assert loaded.training == []


def test_a_method_from_a_file_outside_the_project_is_listed_and_runs(harness, mini, tmp_path: Path) -> None:
    source = tmp_path / "my_method.py"
    source.write_text(PLUGIN)
    listed = harness("ls", "methods", "--plugin", source, "-f", "json")
    assert "mine" in [row["name"] for row in json.loads(listed.out)]
    result = harness("run", "-m", "mine", "--plugin", source, "--set", "strength=0.7", *mini)
    assert result.code == 0, result.err
    [record] = find_records(Path("out"))
    assert record.method.options == {"strength": 0.7}


def test_seeds_become_mean_and_deviation_with_their_number(harness, mini) -> None:
    result = harness("run", "-m", "multi-task", "--seed", 0, "--seed", 1, *mini)
    assert result.code == 0, result.err
    assert len(list(find_records(Path("out")))) == 2
    assert "±" in result.out


def test_a_yaml_file_has_the_flags_as_keys(harness, mini, golden: Path) -> None:
    Path("run.yaml").write_text(
        f"method: [multi-task]\ndataset: [nyud]\ndata-root: {golden / 'mini_NYUDv2'}\niterations: 2\nprobe: [none]\n"
        "output: o\n"
    )
    assert harness("run", "-C", "run.yaml", "--seed", 5).code == 0
    [record] = find_records(Path("o"))
    assert (record.seed, record.config["iterations"]) == (5, 2)


def test_tasks_can_be_chosen(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", "-t", "depth", "-t", "semseg", *mini).code == 0
    [record] = find_records(Path("out"))
    assert list(record.metrics) == ["semseg", "depth"], "in the order of the papers' tables"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "singletask"), "did you mean single-task"),
        (("-m", "multi-task", "-d", "nyu"), "did you mean nyud"),
        (("-m", "multi-task", "-b", "vit-b32"), "did you mean"),
        (("-m", "multi-task", "-t", "semsegg"), "did you mean semseg"),
        (("-m", "multi-task", "--protocol", "invptt"), "did you mean invpt"),
        (("-m", "multi-task", "--protocol-set", "depth_pool=median"), "depth_pool"),
        (("-m", "multi-task", "--set", "strength=1"), "no options"),
        (("-m", "multi-task", "--limit", "0"), "limit"),
        (("-m", "multi-task", "--device", "warp"), "--device warp"),
        (("-m", "multi-task", "--precision", "fp16", "--device", "cpu"), "needs a GPU"),
        (("-m", "multi-task", "--input-size", "50x50"), "patch size 8"),
        (("-m", "multi-task", "--input-size", "big"), "input_size"),
        (("-m", "multi-task", "--plugin", "absent.py"), "no such file"),
        (("-m", "multi-task", "--checkpoint", "absent"), "no such file or folder"),
        (("-m", "multi-task", "-C", "absent.yaml"), "No such file"),
        ((), "method"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(harness, mini, arguments, message: str) -> None:
    result = harness("run", *mini, *arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert len(result.err.strip().splitlines()) == 1
    assert result.out == ""


def test_missing_data_is_exit_code_3_with_all_that_is_needed_to_go_on(harness, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "nowhere"))
    result = harness("run", "-m", "multi-task", "-d", "nyud")
    assert result.code == 3
    for needed in (str(tmp_path / "nowhere"), "--data-root", "gt_sets", "harness data fetch", "erms", "nyud-synth"):
        assert needed in result.err
    assert not list(tmp_path.iterdir()), "nothing was written, nothing fell back"


def test_a_truncated_image_is_exit_code_3_and_names_the_file(harness, golden: Path, tmp_path: Path) -> None:
    root = tmp_path / "broken"
    shutil.copytree(golden / "mini_NYUDv2", root)
    image = root / "images" / "0009.png"
    image.chmod(0o644)
    image.write_bytes(image.read_bytes()[:200])
    result = harness("run", "-m", "multi-task", "-d", "nyud", "--data-root", root, "--iterations", 1)
    assert result.code == 3
    assert "0009.png" in result.err
    assert "Traceback" not in result.err


FAILING = """
from harness.baselines.multi_task import MultiTask

class Failing(MultiTask):
    name = "failing"
    summary = "breaks while it is built"

    def build(self, problem):
        raise ValueError("out of ideas")
"""


def test_a_failing_method_is_exit_code_4_and_the_others_are_kept(harness, mini, tmp_path: Path) -> None:
    source = tmp_path / "failing.py"
    source.write_text(FAILING)
    result = harness("run", "-m", "failing", "-m", "multi-task", "--plugin", source, *mini)
    assert result.code == 4
    assert "out of ideas" in result.err
    assert "Traceback" not in result.err
    assert "multi-task" in result.out, "the table of what worked is printed"
    status = {record.method.name: record.status for record in find_records(Path("out"))}
    assert status == {"failing": "failed", "multi-task": "complete"}


def break_manifest(artifact: Path) -> None:
    (artifact / "artifact.json").write_text("{")


def break_weights(artifact: Path) -> None:
    path = artifact / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def drop_a_key(artifact: Path) -> None:
    path = artifact / "model.safetensors"
    state = load_file(path)
    del state["decoders.depth.predict.bias"]
    save_file(state, path)


def smuggle_a_pickle(artifact: Path) -> None:
    torch.save({"x": torch.ones(1)}, artifact / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_manifest, "artifact.json is damaged"),
        (break_weights, "cannot be read"),
        (drop_a_key, "1 missing (first: decoders.depth.predict.bias)"),
        (smuggle_a_pickle, "cannot be read"),
    ],
)
def test_a_damaged_artifact_is_refused(harness, mini, damage, message: str) -> None:
    assert harness("run", "-m", "multi-task", *mini).code == 0
    [record] = find_records(Path("out"))
    artifact = Path("copy")
    shutil.copytree(Path("out") / record.run_id / "artifact", artifact)
    damage(artifact)
    result = harness("run", "-m", "multi-task", *mini[:-1], "loaded", "--checkpoint", artifact)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_an_artifact_of_another_method_or_data_set_is_refused(harness, mini, golden: Path) -> None:
    assert harness("run", "-m", "multi-task", *mini).code == 0
    [record] = find_records(Path("out"))
    artifact = Path("out") / record.run_id / "artifact"
    other = harness("run", "-m", "single-task", *mini, "--checkpoint", artifact)
    assert (other.code, "is an artifact of multi-task" in other.err) == (2, True)
    root = golden / "mini_PASCALContext"
    data = harness("run", "-m", "multi-task", "-d", "pascal-context", "--data-root", root, "--checkpoint", artifact)
    assert data.code == 2
    assert "has no semseg with 21 channels" in data.err


def test_a_damaged_record_is_named_and_not_overwritten(harness, mini) -> None:
    assert harness("run", "-m", "multi-task", *mini).code == 0
    path = next(Path("out").rglob("record.json"))
    path.write_text("{")
    result = harness("run", "-m", "multi-task", *mini)
    assert result.code == 2
    assert str(path) in result.err
    assert path.read_text() == "{"
    assert harness("run", "-m", "multi-task", *mini, "--overwrite", "always").code == 0
    assert read_record(path).status == "complete"

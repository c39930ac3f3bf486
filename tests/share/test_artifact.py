"""The artifact: bit for bit what was trained, read in parts, and grown without a change to what exists."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from shared_nets import PROBLEM, differing, images, method

from harness.errors import UsageError
from harness.method import accounting_of
from harness.methods.share.execution import TokenGate
from harness.probes.storage import measure_storage


def saved(folder: Path, **options: object) -> Path:
    folder.mkdir(exist_ok=True)
    method(**options).save(differing(**options), folder)
    return folder


@pytest.mark.parametrize("granularity", ["element", "channel"])
@pytest.mark.parametrize("values", ["fp32", "fp16"])
def test_the_round_trip_is_bit_exact(granularity: str, values: str, tmp_path: Path) -> None:
    options = {"granularity": granularity, "values": values}
    trained = differing(**options)
    loaded = method(**options).load(saved(tmp_path, **options)).eval()
    for task in trained.deltas:
        for (name, ours), (other, theirs) in zip(
            trained.delta(task).differences(), loaded.delta(task).differences(), strict=True
        ):
            assert name == other
            assert torch.equal(ours, theirs)
    with torch.inference_mode():
        ours, theirs = trained(images()), loaded(images())
    assert all(torch.equal(ours[task], theirs[task]) for task in PROBLEM.names)


def test_what_is_loaded_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    first = saved(tmp_path / "first")
    second = tmp_path / "second"
    second.mkdir()
    method().save(method().load(first), second)
    assert hashes(first) == hashes(second)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_only_the_files_of_the_tasks_asked_for_are_read(tmp_path: Path) -> None:
    artifact = saved(tmp_path)
    (artifact / "normals.safetensors").write_bytes(b"not read")
    model = method().load(artifact, ["semseg", "depth"]).eval()
    with torch.inference_mode():
        assert set(model(images())) == {"semseg", "depth"}
    alone = method().load(artifact, ["depth"]).eval()
    with torch.inference_mode():
        assert set(alone(images())) == {"depth"}
    assert "head/semseg" not in alone.parts()
    with pytest.raises(UsageError, match=r"normals\.safetensors cannot be read"):
        method().load(artifact)


def damage_table(artifact: Path) -> None:
    path = artifact / "depth.task.json"
    content = json.loads(path.read_text())
    content["facts"]["tensors"][0]["code_bytes"] += 1
    path.write_text(json.dumps(content))


def damage_code(artifact: Path) -> None:
    path = artifact / "depth.safetensors"
    tensors = load_file(path)
    tensors["delta.code"] = torch.zeros_like(tensors["delta.code"])
    save_file(tensors, path)


def remove_base(artifact: Path) -> None:
    (artifact / "base.safetensors").unlink()


@pytest.mark.parametrize(
    ("fault", "message"),
    [(damage_table, "files of depth are damaged"), (damage_code, "files of depth"), (remove_base, "base.safetensors")],
)
def test_damaged_artifacts_are_refused(fault: object, message: str, tmp_path: Path) -> None:
    artifact = saved(tmp_path)
    fault(artifact)  # type: ignore[operator]
    with pytest.raises(UsageError, match=message):
        method().load(artifact)


def test_calibrated_gates_are_shipped_and_can_be_overruled(tmp_path: Path) -> None:
    model = differing()
    gate = TokenGate(0.7, (0.1, 0.2, 0.3))
    model.gates["depth"][1] = gate
    model.calibrated.add("depth")
    method().save(model, tmp_path)
    assert method().load(tmp_path).gates["depth"][1] == gate
    assert method(accuracy_budget=None, rows=0.4).load(tmp_path).gates["depth"][1].fraction == 0.4


def test_sizes_are_split_by_part_and_task(tmp_path: Path) -> None:
    artifact = saved(tmp_path)
    model = method().load(artifact)
    parts = accounting_of(method()).bytes_per_part(model, artifact)
    storage = measure_storage(artifact, parts, PROBLEM.names)
    assert sum(storage.per_part.values()) == storage.artifact_bytes
    files = storage.per_file
    assert storage.marginal_bytes["depth"] == files["depth.safetensors"] + files["depth.task.json"]
    nonzero = sum(sparse.index.numel() for sparse in model.delta("depth").sparse().values())
    assert nonzero * 4 < parts["delta/depth"] < nonzero * 4 + nonzero * 2 + 10_000


def test_describe_tells_densities_and_bytes_by_encoding(tmp_path: Path) -> None:
    told = accounting_of(method()).describe(saved(tmp_path))["sub_tasks"]["depth"]
    model = method().load(tmp_path)
    nonzero = sum(sparse.index.numel() for sparse in model.delta("depth").sparse().values())
    assert told["density"] == nonzero / model.countable
    assert set(told["density_by_layer"]) == {"embedding", "block 0", "block 1", "block 2", "block 3", "norm"}
    assert sum(told["bytes_by_encoding"].values()) > 4 * nonzero

"""Training in several processes: the same gradients and losses as in one, and equal states everywhere."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from processes import IN_FOUR
from torch import Tensor, nn

from harness.errors import MethodError, UsageError
from harness.method import Stage
from harness.problem import TaskSpec
from harness.registry import names
from harness.tasks import TASKS, build_task
from harness.training import parallel
from harness.training.losses import check_parts
from harness.training.synchronised import Rows, drop_path, noise_like, whole_batch

PROGRAM = Path(__file__).with_name("processes.py")
Found = Mapping[int, list[dict[str, Tensor]]]

of_processes = pytest.mark.xdist_group("processes")  # they share what takes a minute to compute


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def found(folder: Path, case: str) -> Found:
    """Return what each process of each world wrote."""
    return {world: [torch.load(folder / f"{case}.{world}.{rank}.pt") for rank in range(world)] for world in (1, 2, 4)}


@of_processes
def test_the_first_gradient_is_that_of_one_process(folder: Path) -> None:
    results = found(folder, "gradients")
    for world in (2, 4):
        distances = {key: float(value) for key, value in results[world][0].items() if "digest" not in key}
        assert {key.split()[0] for key in distances} == set(names("methods") if world == 2 else IN_FOUR)
        assert {key: distance for key, distance in distances.items() if distance > 1e-6} == {}


@of_processes
def test_metrics_and_per_image_values_are_the_same_to_the_last_bit(folder: Path) -> None:
    results = found(folder, "evaluation")
    [alone] = results[1]
    assert len(alone) == 2 * 3 * 4, "three protocols, four splits, one with more processes than batches"
    for world in (2, 4):
        for rank, result in enumerate(results[world]):
            held = {key for key in alone if rank == 0 or "per image" not in key}
            assert {key: int(result[key]) for key in held} == {key: int(alone[key]) for key in held}


@of_processes
def test_all_processes_hold_the_same_bits(folder: Path) -> None:
    for case in ("gradients", "curve"):
        for results in found(folder, case).values():
            for other in results[1:]:
                assert all(torch.equal(value, results[0][key]) for key, value in other.items())


@of_processes
def test_losses_and_running_statistics_of_20_steps_with_drawn_noise(folder: Path) -> None:
    results = found(folder, "curve")
    [alone] = results[1]
    assert len(alone["losses"]) == 20
    for world in (2, 4):
        for key, expected in alone.items():
            torch.testing.assert_close(results[world][0][key], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_the_loss_of_parts_is_that_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sum of a part goes through ``total``: played with the sums of the other part, recorded before."""
    spec = TaskSpec(name, 5) if name in ("semseg", "parts") else TaskSpec(name, tolerance=0.01)
    generator = torch.Generator().manual_seed(1)
    prediction = torch.randn(3, spec.channels, 4, 5, generator=generator)
    target = torch.randint(2, (3, 3 if name == "normals" else 1, 4, 5), generator=generator).float()
    target[0, :, 1:] = 255
    task = build_task(spec)
    parts = [(prediction[rows], target[rows]) for rows in (slice(0, 1), slice(1, 3))]

    def total(part: int, sums: list[list[Tensor]]) -> list[Tensor]:
        mine: list[Tensor] = []

        def add(value: Tensor) -> Tensor:
            mine.append(value)
            other = sums[1 - part]
            return value + (other[len(mine) - 1] if len(mine) <= len(other) else 0)

        losses[part] = task.loss(*parts[part], add)
        return mine

    # Later sums depend on the totals of earlier ones (saliency weighs by the whole batch's share): settle them in turn.
    losses, sums = [torch.tensor(0.0)] * 2, [[], []]
    for _ in range(4):
        sums = [total(part, sums) for part in (0, 1)]
    whole = task.loss(prediction, target)
    for loss in losses:
        torch.testing.assert_close(loss, whole)


def test_more_processes_than_images_and_a_loss_without_sums_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign:
        def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
            raise NotImplementedError

    tasks = {"glow": Foreign()}
    stage = Stage("s", ("glow",), iterations=1, batch_size=2)
    check_parts([stage], tasks)  # type: ignore[arg-type]  # alone, anything goes
    monkeypatch.setattr(parallel, "_processes", parallel.Processes(0, 4))
    with pytest.raises(UsageError, match="4 processes cannot share batches of 2 images"):
        check_parts([stage], tasks)  # type: ignore[arg-type]
    monkeypatch.setattr(parallel, "_processes", parallel.Processes(0, 2))
    with pytest.raises(MethodError, match="task glow: its loss takes no `total`"):
        check_parts([stage], tasks)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [4, 6, 7])
def test_every_image_of_a_batch_has_one_process(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for rank in range(4):
        monkeypatch.setattr(parallel, "_processes", parallel.Processes(rank, 4))
        rows.append(Rows.of(batch))
    assert [image for part in rows for image in range(part.first, part.stop)] == list(range(batch))
    assert sum(part.fraction for part in rows) == pytest.approx(1)


def test_noise_is_that_of_the_own_rows_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(rank: int, x: Tensor, world: int = 3) -> Tensor:
        monkeypatch.setattr(parallel, "_processes", parallel.Processes(rank, world))
        torch.manual_seed(0)
        with whole_batch(nn.Identity(), Rows.of(7)):
            return noise_like(x)

    for parts in (1, 2):  # rows of each image, side by side
        whole = drawn(0, torch.empty(7 * parts, 5), world=1)
        own = [drawn(rank, torch.empty(images * parts, 5)) for rank, images in enumerate((2, 2, 3))]
        assert torch.equal(torch.cat(own), whole)


def test_in_one_process_nothing_is_replaced_and_nothing_exchanged() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with parallel.joined(), whole_batch(model, Rows.of(3)):
        assert "forward" not in vars(model[1])
        value = torch.ones(2, requires_grad=True)
        assert parallel.summed(value) is value
        assert parallel.led(lambda: "here") == "here"
        assert parallel.gathered("here") == ["here"]
        assert parallel.described() == {}
        assert not parallel.average_gradients(model.parameters())
    torch.manual_seed(0)
    own = drop_path(torch.ones(8, 2), 0.5, training=True)
    assert set(own.unique().tolist()) <= {0.0, 2.0}


def test_launcher_variables_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "3", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"RANK=3 .*start them with torchrun"), parallel.joined("cpu"):
        pass

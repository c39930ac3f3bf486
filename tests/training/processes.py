"""A program that trains the same steps in 1, 2 and 4 processes and writes what each came to; `test_parallel` reads it.

The processes are forked from one that has imported everything and started no thread, for imports take longest.
"""

import os
import socket
import sys
import traceback
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from harness.compute import Compute, seed_everything
from harness.data.loading import collate
from harness.data.transforms import Item
from harness.method import MultiTaskModel, Stage, accounting_of
from harness.problem import Problem, TaskSpec
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.records.metric import Metric
from harness.registry import load_method, names
from harness.run.evaluate import evaluate
from harness.tasks import build_task
from harness.tasks.base import IGNORE, Meter
from harness.tasks.depth import Depth
from harness.tasks.per_image import PerImage
from harness.training import loop, parallel
from harness.training.loop import TrainingSetup, train
from harness.training.synchronised import drop_path

WORLDS = (1, 2, 4)
CPU = torch.device("cpu")
PROBLEM = Problem(
    (
        TaskSpec("semseg", 21),
        TaskSpec("parts", 7),
        TaskSpec("saliency"),
        TaskSpec("normals"),
        TaskSpec("depth"),
        TaskSpec("boundary", tolerance=0.011),
    ),
    (32, 48),
)
IMAGES = 8


def scenes(images: type = np.float64) -> list[Item]:
    """Return images of noise; parts are in few of them, and the fourth has no valid pixel of any task."""
    rng = np.random.default_rng(0)
    size = PROBLEM.input_size
    items = []
    for number in range(IMAGES):
        normals = rng.normal(size=(3, *size))
        labels = {
            "semseg": rng.integers(0, 21, (1, *size)),
            "parts": rng.integers(0, 7, (1, *size)) if number in (0, 5) else np.full((1, *size), IGNORE),
            "saliency": rng.random((1, *size)) < (number + 1) / 10,
            "normals": normals / np.linalg.norm(normals, axis=0),
            "depth": rng.uniform(0.5, 9, (1, *size)),
            "boundary": rng.random((1, *size)) < 0.1,
        }
        labels = {task: label.astype(np.float32) for task, label in labels.items()}
        for label in labels.values():
            label[:, : 4 * number] = IGNORE  # from image to image fewer valid pixels, in the last ones none
        if number == 3:
            labels = {task: np.full_like(label, IGNORE) for task, label in labels.items()}
        items.append(Item(str(number), rng.normal(size=(3, *size)).astype(images), labels, size))
    return items


def setup(folder: Path, images: type = np.float64) -> TrainingSetup:
    return TrainingSetup(
        scenes=scenes(images),  # type: ignore[arg-type]
        tasks={spec.name: build_task(spec) for spec in PROBLEM},
        transform=lambda stage: lambda item, rng: item,  # type: ignore[arg-type, return-value]
        compute=Compute(CPU),
        seed=0,
        workers=0,
        checkpoint=folder / "checkpoint.pt",
        save_every=1e9,
        progress=RunProgress(quiet=True),
    )


def subject(name: str) -> tuple[MultiTaskModel, list[Stage]]:
    """Return a model with something to learn in every stage, and its stages: the weights stay, for only gradients are
    compared, and an optimiser's first step depends on the sign of the smallest of them."""
    cls = load_method(name)
    method = cls(cls.Options(), cls.default_backbone["quick"])
    seed_everything(0)
    # In double precision, so that the order of sums does not hide an error of the formula.
    model = accounting_of(method).untrained(PROBLEM).double()
    for delta in getattr(model, "deltas", {}).values():
        delta.phase = "gates"
    recipe = method.stages(PROBLEM, "quick")
    if name in ("cross-stitch", "nddr-cnn"):  # before the last come the stages of single-task
        recipe = recipe[-1:]
    if name == "share":  # all phases of two tasks
        recipe = [stage for stage in recipe if stage.tasks[0] in ("semseg", "parts", "normals")]
    stages = [
        replace(stage, iterations=1, clip_norm=None, groups=(), optimizer=replace(stage.optimizer, lr=0.0))
        for stage in recipe
    ]
    return model, stages


IN_FOUR = ("multi-task", "share", "mtformer", "mtan", "atrc", "mlore", "sak")
"""Methods compared in four processes, too: with auxiliary losses, learned weights of the losses, batch norms, and
routers that draw noise."""

SUBJECTS: dict[str, tuple[MultiTaskModel, list[Stage]]] = {}
"""Built before the processes are forked, which have copies."""


def gradients(folder: Path) -> dict[str, torch.Tensor]:
    """Return, of every stage of every method, how far its first gradient and loss are from those of one process,
    relative L2, and their digest."""
    found: dict[str, torch.Tensor] = {}
    original = loop._StageRun._look

    for name, (model, stages) in SUBJECTS.items():
        if parallel.world() == 4 and name not in IN_FOUR:
            continue

        def look(self: loop._StageRun, loss: torch.Tensor, iteration: int, name: str = name) -> float:
            key = f"{name} {self.stage.name}"
            parts = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
            values = torch.cat([*parts, loss.double()[None]])
            reference = folder / f"{key.replace('/', ' ')}.pt"
            if parallel.world() == 1:
                torch.save(values, reference)
            if parallel.leading():
                expected = torch.load(reference)  # of another size where another set of parameters has a gradient
                found[key] = (values - expected).norm() / expected.norm().clamp(min=1e-12)
            digest = zlib.crc32(values.numpy().tobytes())
            found[f"digest {key}"] = torch.tensor([digest, len(parts)])
            return original(self, loss, iteration)

        loop._StageRun._look = look  # type: ignore[method-assign]
        for stage in stages:
            train(model, [stage], setup(folder))
    loop._StageRun._look = original  # type: ignore[method-assign]
    return found


class Noisy(MultiTaskModel):
    """Every layer that looks at a whole batch, or draws noise for it."""

    def __init__(self) -> None:
        super().__init__(Problem((TaskSpec("depth"),), PROBLEM.input_size))
        # No bias before a norm: its gradient is zero but for rounding, of which Adam makes whole steps.
        norms = nn.BatchNorm2d(8), nn.BatchNorm2d(8, momentum=None, affine=False)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), norms[0], nn.ReLU(), nn.Dropout(0.2))
        self.second = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), norms[1], nn.Dropout2d(0.2))
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, images: torch.Tensor, tasks: object = None) -> dict[str, torch.Tensor]:
        x = self.first(nn.functional.pad(images, (1, 1, 1, 1)))
        return {"depth": self.last(x + drop_path(self.second(x), 0.5, self.training))}


def curve(folder: Path) -> dict[str, torch.Tensor]:
    """Return the losses of 20 steps of a model with norms, dropout and stochastic depth, and its final state."""
    seed_everything(1)
    model, losses = Noisy(), []
    stage = replace(load_stage(), iterations=20)
    original = loop._StageRun._step

    def step(self: loop._StageRun, *arguments: object) -> torch.Tensor:
        losses.append(original(self, *arguments))  # type: ignore[arg-type]
        return losses[-1]

    loop._StageRun._step = step  # type: ignore[method-assign]
    train(model, [stage], setup(folder, np.float32))
    loop._StageRun._step = original  # type: ignore[method-assign]
    return {"losses": torch.stack(losses)} | {f"state {key}": value for key, value in model.state_dict().items()}


def load_stage() -> Stage:
    return Stage("curve", ("depth",), iterations=20, batch_size=6)


class Fixed(MultiTaskModel):
    """Maps that follow from the pixels, of all tasks."""

    def forward(self, images: torch.Tensor, tasks: object = None) -> dict[str, torch.Tensor]:
        channels = {spec.name: spec.channels for spec in self.problem}
        return {name: torch.cat([images[:, :1] * (1 + n) for n in range(count)], 1) for name, count in channels.items()}


class OrderedMeter(Meter):
    """A meter of somebody else, whose sum of floats depends on the order."""

    headline = "sum"

    def update(self, prediction: torch.Tensor, target: torch.Tensor) -> None:
        self.add(total=(prediction / 3).sum())

    def compute(self) -> dict[str, Metric]:
        total = float(self.sums["total"])
        return {"sum": Metric.of(total, unit="m", higher_is_better=True, n=1, protocol="foreign.sum")}


class Foreign(Depth):
    """The task of that meter."""

    def meter(self, protocol: Protocol) -> OrderedMeter:  # type: ignore[override]
        return OrderedMeter()


def evaluation(folder: Path) -> dict[str, torch.Tensor]:
    """Return a digest of metrics and per-image values, by protocol, number of images and size of batches."""
    found = {}
    items = scenes(np.float32)
    for item in items:
        item.labels["boundary-truth"] = item.labels["boundary"]
    tasks = {spec.name: build_task(spec) for spec in PROBLEM}
    tasks["depth"] = Foreign(PROBLEM.task("depth"))
    rank, world = parallel.rank(), parallel.world()
    for name in ("invpt", "astmt", "mtinet"):
        protocol = Protocol.profile(name)
        for count, size in ((8, 3), (7, 2), (2, 2), (5, 1)):
            batches = [collate(items[first : min(first + size, count)]) for first in range(0, count, size)]
            kept = PerImage(protocol)
            arguments = tasks, protocol, Compute(CPU), RunProgress(quiet=True), None, kept
            metrics = evaluate(Fixed(PROBLEM), batches[rank::world], count, *arguments, shared=True)
            content = repr(metrics).encode()
            key = f"{name} {count} {size}"
            found[key] = torch.tensor(zlib.crc32(content))
            if parallel.leading():
                assert kept.ids == [str(number) for number in range(count)]
                found[f"per image {key}"] = torch.tensor(zlib.crc32(kept.to_parquet()))
    return found


def main(folder: Path, cases: dict[str, Callable[[Path], dict[str, torch.Tensor]]]) -> None:
    torch.set_num_threads(1)
    loop.save_checkpoint = lambda path, checkpoint: None  # each waits for the disk
    SUBJECTS.update({name: subject(name) for name in names("methods")})
    for world in WORLDS:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = []
        for rank in range(world):
            if (child := os.fork()) == 0:
                os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "HARNESS_PROCESS_TIMEOUT": "60"}
                code = 1
                try:
                    with parallel.joined("cpu"):
                        for name, case in cases.items():
                            torch.save(case(folder), folder / f"{name}.{world}.{rank}.pt")
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes == [0] * world, codes


if __name__ == "__main__":
    cases = {"evaluation": evaluation, "gradients": gradients, "curve": curve}
    main(Path(sys.argv[1]), {name: case for name, case in cases.items() if name in (sys.argv[2:] or cases)})

"""Set-up of a training in a test: on the CPU, in this process, without saving on the way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.compute import Compute
from harness.data.augment import TrainTransform
from harness.data.open import OpenedData
from harness.progress import RunProgress
from harness.tasks import build_task
from harness.training.loop import TrainingSetup


def training_setup(data: OpenedData, folder: Path, **changes: Any) -> TrainingSetup:
    """Return the set-up for opened data, with some fields changed."""
    assert data.train is not None
    setup = TrainingSetup(
        scenes=data.train,
        tasks={spec.name: build_task(spec) for spec in data.problem},
        transform=lambda stage: TrainTransform(data.problem.input_size, stage.augmentation, stage.tasks),
        compute=Compute(torch.device("cpu")),
        seed=0,
        workers=0,
        checkpoint=folder / "checkpoint.pt",
        save_every=1e9,
        progress=RunProgress(quiet=True),
    )
    return replace(setup, **changes)

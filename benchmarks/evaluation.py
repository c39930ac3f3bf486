"""How much loading and scoring add to the forward pass of an evaluation.

Evaluates the shared-encoder baseline with random weights on rendered rooms at the real size and prints, per image:
the forward pass alone, the whole evaluation, and what loading and meters add in per cent.

Usage: python benchmarks/evaluation.py [--backbone vit-b16] [--images 8] [--batch-size 2] [--device cpu]
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from harness.compute import Compute
from harness.data.dataset import SyntheticDataset
from harness.data.loading import eval_batches
from harness.data.open import OpenedData, open_data
from harness.progress import RunProgress
from harness.protocol import Protocol
from harness.registry import load_dataset, load_method
from harness.run.evaluate import evaluate
from harness.tasks import build_task


class TimedModel(torch.nn.Module):
    """Runs a model and adds up how long its forward passes take."""

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        super().__init__()
        self.model, self.device, self.seconds = model, device, 0.0

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Predict and add the time."""
        start = time.perf_counter()
        predictions: dict[str, torch.Tensor] = self.model(images)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - start
        return predictions


def rooms(folder: Path, images: int) -> OpenedData:
    """Render rooms at 425x560 and open them."""
    dataset = load_dataset("nyud-synth")
    assert isinstance(dataset, SyntheticDataset)
    dataset.write(folder / "rooms", seed=0, train=1, val=images, size=(425, 560))
    return open_data(dataset, folder / "rooms", (), Protocol(), None, training=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit-b16")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    with TemporaryDirectory() as folder:
        data = rooms(Path(folder), options.images)
        cls = load_method("multi-task")
        method = cls(cls.Options(), options.backbone)
        model = TimedModel(method.build(data.problem), device).to(device)
        tasks = {spec.name: build_task(spec) for spec in data.problem}

        def whole() -> float:
            model.seconds = 0.0
            start = time.perf_counter()
            batches = eval_batches(data.val, data.transform, options.batch_size)
            evaluate(model, batches, len(data.val), tasks, Protocol(), Compute(device), RunProgress(quiet=True))  # type: ignore[arg-type]
            return time.perf_counter() - start

        whole()  # warm-up: kernels, page cache, worker processes
        total, forward = whole(), model.seconds
    height, width = data.problem.input_size
    print(f"{options.backbone}, {height}x{width}, {options.images} images, {torch.get_num_threads()} threads, {device}")
    print(f"forward            {1000 * forward / options.images:8.1f} ms per image")
    print(f"whole evaluation   {1000 * total / options.images:8.1f} ms per image")
    print(f"loading and meters {100 * (total - forward) / forward:8.1f} % on top of the forward pass")


if __name__ == "__main__":
    main()

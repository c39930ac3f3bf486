"""Time of the meters per image, beside the same formulas written straightforwardly in NumPy.

The NumPy side is written as the field's evaluators are: one pass per class for IoU, one per threshold for
saliency, boolean masks for normals and depth. ``--bincount`` gives its IoU one histogram instead.

    python benchmarks/meters.py [--images 20] [--threads 2]
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.problem import TaskSpec
from harness.protocol import Protocol
from harness.tasks import build_task

Map = NDArray[np.float32]

SETTINGS = {
    "NYUD-v2 448x576": (
        (448, 576),
        (TaskSpec("semseg", 40), TaskSpec("depth"), TaskSpec("normals"), TaskSpec("boundary")),
    ),
    "PASCAL-Context 512x512": (
        (512, 512),
        (
            TaskSpec("semseg", 21),
            TaskSpec("parts", 7),
            TaskSpec("saliency"),
            TaskSpec("normals"),
            TaskSpec("boundary"),
        ),
    ),
}


def numpy_classes(scores: Map, label: Map) -> None:
    """True positives, false positives and false negatives of every class."""
    predicted, valid = scores.argmax(0), label[0] != 255
    for index in range(scores.shape[0]):
        hit, wanted = predicted == index, label[0] == index
        (hit & wanted & valid).sum()
        (hit & ~wanted & valid).sum()
        (~hit & wanted & valid).sum()


def numpy_classes_bincount(scores: Map, label: Map) -> None:
    """The confusion matrix of the valid pixels."""
    classes, valid = scores.shape[0], label[0] != 255
    codes = label[0][valid].astype(np.int64) * classes + scores.argmax(0)[valid]
    np.bincount(codes, minlength=classes * classes)


def numpy_saliency(logits: Map, label: Map) -> None:
    """Counts at 19 thresholds of the probability and of its sigmoid."""
    exponent = np.exp(logits - logits.max(0))
    probability = exponent[1] / exponent.sum(0)
    valid = label[0] != 255
    salient = label[0][valid] == 1
    for score in (probability[valid], 1 / (1 + np.exp(-probability[valid]))):
        for threshold in np.arange(0.05, 1, 0.05, dtype=np.float32):
            called = score >= threshold
            (called & salient).sum()
            called.sum()


def numpy_normals(vectors: Map, label: Map) -> None:
    """Sum of the angles in degrees."""
    valid = (label != 255).all(0)
    p = vectors / np.maximum(np.linalg.norm(vectors, axis=0), 1e-12)
    g = label / np.maximum(np.linalg.norm(label, axis=0), 1e-12)
    angle = 2 * np.arctan2(np.linalg.norm(p - g, axis=0), np.linalg.norm(p + g, axis=0))
    np.degrees(angle[valid]).sum(dtype=np.float64)


def numpy_depth(depth: Map, label: Map) -> None:
    """Sums of the four errors."""
    valid = (label > 0) & (label < 80)
    p, g = np.maximum(depth[valid], 1e-9), label[valid]
    ((p - g) ** 2).sum(dtype=np.float64)
    ((np.log(p) - np.log(g)) ** 2).sum(dtype=np.float64)
    (np.abs(p - g) / g).sum(dtype=np.float64)
    ((p - g) ** 2 / g).sum(dtype=np.float64)


def example(spec: TaskSpec, size: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a raw prediction and a label with a padded rim of 255 and, in label maps, patches of classes."""
    height, width = size
    prediction = torch.randn(1, spec.channels, height, width, generator=generator)
    if spec.name == "normals":
        label = torch.randn(1, 3, height, width, generator=generator)
    elif spec.name == "depth":
        prediction = prediction.abs() * 3 + 0.5
        label = torch.rand(1, 1, height, width, generator=generator) * 9 + 0.5
    else:
        classes = spec.num_classes or 2
        patches = torch.randint(classes, (1, 1, height // 32, width // 32), generator=generator)
        label = patches.float().repeat_interleave(32, 2).repeat_interleave(32, 3)
    label[:, :, :11] = label[:, :, -12:] = label[..., :8] = label[..., -8:] = 255
    return prediction, label


def milliseconds(work: Callable[[], None], repeats: int) -> float:
    """Return the shortest time of one call, which other work on the machine disturbs least."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def main() -> None:
    """Print a table per data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20, help="repeats of each timing (default 20)")
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: as it would use)")
    parser.add_argument("--bincount", action="store_true", help="let NumPy's IoU use one histogram")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    classes = numpy_classes_bincount if arguments.bincount else numpy_classes
    plain = {
        "semseg": classes,
        "parts": classes,
        "saliency": numpy_saliency,
        "normals": numpy_normals,
        "depth": numpy_depth,
    }
    for title, (size, specs) in SETTINGS.items():
        print(f"{title}, ms per image\n{'task':10} {'meter':>8} {'numpy':>8} {'ratio':>6}")
        generator = torch.Generator().manual_seed(0)
        ours_total = theirs_total = 0.0
        for spec in specs:
            if spec.name not in plain:
                print(f"{spec.name:10} {'-':>8} {'-':>8} {'-':>6}  (has its own benchmark)")
                continue
            prediction, label = example(spec, size, generator)
            meter = build_task(spec).meter(Protocol.profile())
            ours = milliseconds(partial(meter.update, prediction, label), arguments.images)
            counterpart = partial(plain[spec.name], prediction[0].numpy(), label[0].numpy())
            theirs = milliseconds(counterpart, arguments.images)
            print(f"{spec.name:10} {ours:8.2f} {theirs:8.2f} {theirs / ours:6.1f}")
            ours_total, theirs_total = ours_total + ours, theirs_total + theirs
        print(f"{'all':10} {ours_total:8.2f} {theirs_total:8.2f} {theirs_total / ours_total:6.1f}\n")


if __name__ == "__main__":
    main()

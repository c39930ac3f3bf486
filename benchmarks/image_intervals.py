"""Coverage of the intervals over images, on simulated data sets of which the truth is known.

A population of 6 000 images is simulated: each has a difficulty that all tasks and methods share, classes that are
present with a frequency from 0.9 down to --rare, and errors of its own; two methods differ by less than images do. From
it, samples of 40 to 300 images are drawn, and of each the intervals are taken as `harness table --ci` takes them.
Printed is how often they cover the values of the whole population: of the headline metric of each task, of the paired
difference of the two methods in semseg, and of the gain of one over the other.

Usage: python benchmarks/image_intervals.py [--samples 1000] [--draws 1000] [--rare 0.1]
"""

import argparse
import warnings
from collections import defaultdict

import numpy as np
from scipy import stats

from harness.boundary import BoundaryRule
from harness.tasks import bootstrap
from harness.tasks.boundary import BoundaryMeter
from harness.tasks.confusion import ConfusionMeter
from harness.tasks.depth import DepthMeter
from harness.tasks.fmeasure import FMeasureMeter
from harness.tasks.images import ImageMeter, Whole
from harness.tasks.normals import AngleMeter

IMAGES, CLASSES = 6_000, 20
METERS: dict[str, ImageMeter] = {
    "semseg": ConfusionMeter("semseg", CLASSES, "zero"),
    "depth": DepthMeter("pixel", "finite"),
    "normals": AngleMeter("atan2"),
    "boundary": BoundaryMeter(BoundaryRule(0.011), "simulated"),
    "saliency": FMeasureMeter(lambda raw: raw, "double-sigmoid", "ignored"),
}
SIGNS = {"semseg": 1, "depth": -1, "normals": -1, "boundary": 1, "saliency": 1}
Split = dict[str, dict[str, np.ndarray]]


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Return the logistic function."""
    return 1 / (1 + np.exp(-values))


def whole(values: np.ndarray) -> np.ndarray:
    """Return the nearest whole numbers."""
    return np.rint(values).astype(np.int64)


def population(generator: np.random.Generator, rare: float) -> list[Split]:
    """Return the statistics of all images for two methods, the second a little better."""
    normal = generator.normal
    frequency = np.geomspace(0.9, rare, CLASSES)
    present = generator.random((IMAGES, CLASSES)) < frequency
    present[:, 0] = True
    area = present * generator.lognormal(0, 1, (IMAGES, CLASSES))
    area /= area.sum(1, keepdims=True)
    pixels = generator.integers(150_000, 230_000, IMAGES)
    # What makes an image hard is the same for both methods, in all and in each task.
    hard, of_class, of_task = normal(size=IMAGES), normal(size=(IMAGES, CLASSES)), normal(size=(IMAGES, 3))
    ease = normal(0.8, 0.8, CLASSES)
    mistaken = 0.3 / CLASSES + 0.7 * frequency / frequency.sum()
    mistaken /= mistaken.sum()
    salient, truth = generator.beta(2, 6, IMAGES), generator.lognormal(7.3, 0.4, IMAGES)[:, None]
    thresholds, edges = np.arange(101) / 100, METERS["saliency"].edges.numpy()  # type: ignore[attr-defined]
    bins = np.maximum.accumulate(np.concatenate([[0], edges, [1]]).clip(0, 1))
    found = []
    for better in (0.0, 0.25):
        own = normal(size=(IMAGES, CLASSES))
        right = sigmoid(ease + better - 0.6 * hard[:, None] + 0.7 * of_class + 0.5 * own)[:, :, None]
        table = (pixels[:, None] * area)[:, :, None] * (right * np.eye(CLASSES) + (1 - right) * mistaken)
        squared = np.exp(-1.2 - 0.1 * better + 0.5 * hard + 0.5 * of_task[:, 0] + 0.3 * normal(size=IMAGES))
        degrees = np.exp(3 - 0.2 * better + 0.2 * hard + 0.25 * of_task[:, 1] + 0.1 * normal(size=IMAGES))
        shift = (0.2 * hard + 0.4 * of_task[:, 2] + 0.2 * normal(size=IMAGES) - better / 2)[:, None]
        matched = whole(sigmoid(2.2 - shift - 5 * thresholds) * truth)
        predicted = whole(matched / sigmoid(-0.9 - shift + 3.2 * thresholds))
        sharp = np.exp(0.8 + 0.3 * better - 0.4 * hard + 0.3 * normal(size=IMAGES))[:, None]
        positive = np.diff(stats.beta.cdf(bins, sharp, 1), axis=1) * (pixels * salient)[:, None]
        negative = np.diff(stats.beta.cdf(bins, 1, sharp), axis=1) * (pixels * (1 - salient))[:, None]
        found.append(
            {
                "semseg": {"confusion": np.pad(whole(table), ((0, 0), (0, 1), (0, 1)))},
                "depth": {"pixels": pixels, "errors": np.stack([squared * pixels] * 4, 1)},
                "normals": {"pixels": pixels, "degrees": degrees * pixels},
                "boundary": {
                    "images": np.ones(IMAGES, np.int64),
                    "counts": np.stack([matched, np.broadcast_to(whole(truth), matched.shape), matched, predicted], 1),
                },
                "saliency": {"negative": whole(negative), "positive": whole(positive), "void": 0 * whole(positive)},
            }
        )
    return found


def values_of(splits: list[Split], draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Return the quantities of two methods on all images, or on each of some draws."""
    found = []
    for split in splits:
        metrics = {}
        for task, statistics in split.items():
            meter = METERS[task]
            values = meter.values(Whole(statistics)) if draws is None else bootstrap.resampled(meter, statistics, draws)
            metrics[task] = np.asarray(values[meter.headline])
        found.append(metrics)
    one, other = found
    gains = [SIGNS[task] * (other[task] - one[task]) / one[task] for task in one]
    return one | {"difference": other["semseg"] - one["semseg"], "delta_m": 100 * np.mean(gains, 0)}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000, help="samples per size (default 1000)")
    parser.add_argument("--draws", type=int, default=1000, help="draws per sample (default 1000)")
    parser.add_argument("--rare", type=float, default=0.1, help="frequency of the rarest class (default 0.1)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[40, 100, 200, 300], help="images per sample")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    generator = np.random.default_rng(0)
    images = population(generator, options.rare)
    truth = values_of(images)
    print("images  " + "".join(f"{name:>22}" for name in truth) + "   (coverage, half width)")
    for size in options.sizes:
        draws = bootstrap.draws_of(size, options.draws)
        covered, width = defaultdict[str, float](float), defaultdict[str, float](float)
        for _ in range(options.samples):
            at = generator.integers(0, IMAGES, size)
            sample = [
                {task: {name: rows[at] for name, rows in named.items()} for task, named in split.items()}
                for split in images
            ]
            estimates, resampled = values_of(sample), values_of(sample, draws)
            for name, value in truth.items():
                found = bootstrap.interval(float(estimates[name]), resampled[name], size)
                assert found is not None
                covered[name] += found.holds(float(value)) / options.samples
                width[name] += found.half / options.samples
        print(f"{size:6d}  " + "".join(f"{covered[name]:13.3f} {width[name]:8.4f}" for name in truth), flush=True)


if __name__ == "__main__":
    main()

"""Time of the boundary score per image and core, its scaling over processes and its memory.

Synthetic pictures: wavy Voronoi scenes, and predictions made from their boundaries by blur, uneven contrast and
correlated noise, as 8-bit pictures. Run with ``python benchmarks/boundary.py [--images 20]``.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from harness.boundary import (
    BoundaryPool,
    BoundaryRule,
    count_image,
    ground_truth,
    score,
    seg2bmap,
)

Picture = NDArray[np.uint8]
Truth = NDArray[np.bool_]

SETS = {
    # name: size, scene cells, tolerance
    "NYUD 425x560": ((425, 560), 120, 0.011),
    "PASCAL 375x500": ((375, 500), 40, 0.0075),
}


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> NDArray[np.float64]:
    """Return Gaussian noise of unit variance that varies over ``sigma`` pixels."""
    noise = gaussian_filter(rng.normal(size=shape), sigma)
    return np.asarray(noise / noise.std())


def picture(seed: int, shape: tuple[int, int], cells: int) -> tuple[Picture, Truth]:
    """Return a predicted boundary picture and the thinned true boundaries."""
    rng = np.random.default_rng(seed)
    waves = np.stack([smooth_noise(rng, shape, 12) for _ in range(2)], axis=-1)
    centres = rng.uniform((0, 0), shape, (cells, 2))
    labels = np.asarray(cKDTree(centres).query(np.indices(shape).transpose(1, 2, 0) + 3 * waves)[1])
    ridge = 4 * gaussian_filter(seg2bmap(labels).astype(float), 1.5) * (1 + 0.5 * smooth_noise(rng, shape, 20))
    logit = 5 * ridge - 3 + 1.2 * smooth_noise(rng, shape, 1.5)
    return np.floor(255 / (1 + np.exp(-logit))).astype(np.uint8), ground_truth(labels)


def extremes(shape: tuple[int, int]) -> dict[str, tuple[Picture, Truth]]:
    """Return pictures that no network makes, to look for thresholds that take for ever."""
    rng = np.random.default_rng(0)
    usual, truth = picture(0, shape, 120)
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    y, x = np.mgrid[: shape[0], : shape[1]]
    stripes = (y % 6 == 0) | (x % 6 == 0)
    return {
        "white noise": (noise, truth),
        "fine noise": (np.clip(128 + 60 * smooth_noise(rng, shape, 0.8), 0, 255).astype(np.uint8), truth),
        "noise, every third pixel true": (noise, rng.random(shape) < 1 / 3),
        "usual, truth shifted by a radius": (usual, np.roll(truth, (5, 5), (0, 1))),
        "grid against shifted grid": (np.roll(stripes, (3, 3), (0, 1)) * noise, stripes),
    }


def seconds_per_image(images: list[tuple[Picture, Truth]], rule: BoundaryRule) -> NDArray[np.float64]:
    """Return the core time of each image; one thread, so the same as the time on an idle machine."""
    times = []
    for predicted, truth in images:
        began = time.process_time()
        count_image(predicted, truth, rule)
        times.append(time.process_time() - began)
    return np.array(times)


def seconds_of_pool(images: list[tuple[Picture, Truth]], rule: BoundaryRule, processes: int) -> tuple[float, float]:
    """Return the time on the clock of all images in a pool whose workers are up, and the caller's core time."""
    with BoundaryPool(rule, processes) as pool:
        for _ in range(2 * processes):
            pool.submit("warm-up", *images[0])
        list(pool.results())
        began, busy = time.perf_counter(), time.process_time()
        for k, (predicted, truth) in enumerate(images):
            pool.submit(str(k), predicted, truth)
        list(pool.results())
        return time.perf_counter() - began, time.process_time() - busy


def report(name: str, n: int) -> None:
    """Print the figures of one set."""
    shape, cells, max_dist = SETS[name]
    rule = BoundaryRule(max_dist)
    images = [picture(seed, shape, cells) for seed in range(n)]
    counts = [count_image(*image, rule) for image in images]
    truth = np.median([one.sum_r[0] for one in counts])
    predicted = np.median([one.sum_p for one in counts], axis=0)
    print(f"\n{name}, {n} images, radius {rule.radius(shape):.2f} px, odsF {score(counts, rule).ods_f:.3f}")
    print(f"  true pixels {truth:.0f}; predicted {predicted[0]:.0f} (lowest threshold), {predicted[51]:.0f} (0.51)")
    for label, variant in {
        "exact, 101 thresholds": rule,
        "exact, no NMS, 99 thresholds": BoundaryRule.plain(max_dist),
        "greedy, 21 thresholds": BoundaryRule.quick(max_dist),
    }.items():
        times = seconds_per_image(images, variant)
        print(
            f"  {label:32} median {np.median(times):.3f} s  p95 {np.quantile(times, 0.95):.3f} s  "
            f"max {times.max():.3f} s  (max/median {times.max() / np.median(times):.2f})"
        )
    (one, _), (two, busy) = (seconds_of_pool(images, rule, processes) for processes in (1, 2))
    print(f"  pool: 1 process {one / n:.3f} s/image, 2 processes {two / n:.3f} s/image, speed-up {one / two:.2f}")
    print(f"  core time of the process that feeds them: {busy / n:.4f} s/image")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    n = parser.parse_args().images
    began = time.perf_counter()
    count_image(*picture(0, (64, 80), 10), BoundaryRule(0.011))
    print(f"first image, compiling or loading the compiled code: {time.perf_counter() - began:.2f} s")
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import harness.boundary"], check=True)
    print(f"import harness.boundary in a fresh interpreter: {time.perf_counter() - began:.2f} s")
    for name in SETS:
        report(name, n)
    print("\nExtremes at 425x560, radius 7.73 px, 101 thresholds")
    for name, image in extremes((425, 560)).items():
        print(f"  {name:34} {seconds_per_image([image], BoundaryRule(0.011))[0]:.3f} s")
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(f"\npeak memory of a process: {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()

"""Random predictions and labels of every task, for tests of meters and of their statistics."""

import torch
from torch import Tensor

from harness.problem import TaskSpec
from harness.protocol import Protocol
from harness.tasks import build_task
from harness.tasks.images import ImageMeter
from harness.tasks.per_image import PerImage

SPECS = {
    "semseg": TaskSpec("semseg", 17),
    "parts": TaskSpec("parts", 7),
    "saliency": TaskSpec("saliency"),
    "normals": TaskSpec("normals"),
    "depth": TaskSpec("depth"),
    "boundary": TaskSpec("boundary", tolerance=0.05),
}


def scene(spec: TaskSpec, seed: int, size: tuple[int, int] = (20, 24), images: int = 1) -> tuple[Tensor, Tensor]:
    """Return raw maps and labels; three rows of the labels are ignored."""
    generator = torch.Generator().manual_seed(seed)
    raw = 3 * torch.randn(images, spec.channels, *size, generator=generator)
    if spec.num_classes:
        label = torch.randint(spec.num_classes, (images, 1, *size), generator=generator).float()
    elif spec.name in ("saliency", "boundary"):
        label = (torch.rand(images, 1, *size, generator=generator) > 0.7).float()
    else:
        label = torch.rand(images, spec.channels, *size, generator=generator) + 0.1
    label[:, :, :3] = 255
    return raw, label


def meter_of(name: str, protocol: Protocol) -> ImageMeter:
    meter = build_task(SPECS[name]).meter(protocol)
    assert isinstance(meter, ImageMeter)
    return meter


def counted(name: str, protocol: Protocol, seeds: list[int]) -> ImageMeter:
    """Return a meter that has seen a scene per seed; that of a negative seed has no valid pixel."""
    meter = meter_of(name, protocol)
    for seed in seeds:
        raw, label = scene(SPECS[name], abs(seed))
        meter.update(raw, torch.full_like(label, 255) if seed < 0 else label)
    return meter


def per_image(meters: dict[str, ImageMeter], protocol: Protocol, images: int) -> PerImage:
    """Return the per-image values of some meters."""
    found = PerImage(protocol, [f"{place:04d}" for place in range(images)])
    for name, meter in meters.items():
        found.take(SPECS[name], meter)
    return found

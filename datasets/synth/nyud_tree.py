"""Rendered rooms in the layout of NYUDv2 (the PNG build of ATRC, Bruggemann et al., ICCV 2021)."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.parallel import mapped
from harness.datasets.synth import GENERATOR_VERSION
from harness.datasets.synth.clips import write_clip
from harness.datasets.synth.files import new_folder, write_json, write_npy, write_png, write_text
from harness.datasets.synth.labels import boundaries, class_map, encode_normals, instance_numbers, unlabelled
from harness.datasets.synth.render import Frame, Scene, render
from harness.datasets.synth.room import room_scene

SIZE = (106, 140)
"""A quarter of NYUD-v2's 425x560, for CPUs."""

DEPTH_RANGE = (0.5, 9.9)
"""Metres that the sensor can measure."""

FIRST_ID = {"train": 1, "val": 5001}
"""Number of the first image of each split; far enough apart that neither split moves the other."""


def write_nyud(
    root: Path,
    class_names: tuple[str, ...],
    *,
    seed: int,
    train: int,
    val: int,
    size: tuple[int, int] = SIZE,
    clips: int = 0,
    depth_holes: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set; see `harness.data.dataset.SyntheticDataset.write`.

    Args:
        root: Folder to write.
        class_names: NYU-40 names in label order.
        seed: Everything follows from it.
        train: Images of the training split.
        val: Images of the validation split.
        size: (height, width).
        clips: Video clips; see `harness.datasets.synth.clips`.
        depth_holes: Store depth 0 (unknown) in a few discs per image, as raw Kinect frames have them.
        progress: Called with (done, total) after each image or clip.
    """
    numbers = {name: k for k, name in enumerate(class_names, start=1)}
    scenes = [(split, k) for split, count in (("train", train), ("val", val)) for k in range(count)]
    with new_folder(root) as draft:
        with mapped(partial(_write_room, draft, numbers, seed, size, depth_holes), scenes) as written:
            for done, _ in enumerate(written, start=1):
                if progress:
                    progress(done, train + val + clips)
        for split in ("train", "val"):
            ids = "".join(f"{_image_id(split, k)}\n" for name, k in scenes if name == split)
            write_text(draft / "gt_sets" / f"{split}.txt", ids)
        for k in range(clips):
            write_clip(draft / "video", k, numbers, size, scene_rng(seed, "clip", k))
            if progress:
                progress(train + val + k + 1, train + val + clips)
        write_json(draft / "meta.json", {"generator": GENERATOR_VERSION, "seed": seed, "size": size})


def _image_id(split: str, index: int) -> str:
    return f"{FIRST_ID[split] + index:04d}"


def _write_room(
    root: Path,
    numbers: Mapping[str, int],
    seed: int,
    size: tuple[int, int],
    depth_holes: bool,
    which: tuple[str, int],
) -> None:
    """Render and write one image with its labels."""
    split, index = which
    rng = scene_rng(seed, split, index)
    scene = room_scene(index, rng)
    frame = render(scene, size, rng)
    image_id = _image_id(split, index)
    write_labels(root, image_id, scene, frame, numbers, rng, depth_holes=depth_holes)
    write_png(root / "images" / f"{image_id}.png", frame.image)


def scene_rng(seed: int, split: str, index: int) -> np.random.Generator:
    """Return the random numbers of one scene: no other scene and no count has a say in them."""
    return np.random.default_rng([seed, ("train", "val", "clip").index(split), index])


def write_labels(
    root: Path,
    image_id: str,
    scene: Scene,
    frame: Frame,
    numbers: Mapping[str, int],
    rng: np.random.Generator,
    *,
    depth_holes: bool = False,
) -> None:
    """Write the four labels of one image."""
    write_png(root / "edge" / f"{image_id}.png", boundaries(frame))
    write_png(root / "segmentation" / f"{image_id}.png", segmentation(scene, frame, numbers, rng))
    write_png(root / "normals" / f"{image_id}.png", encode_normals(frame.normals))
    depth = frame.depth.clip(*DEPTH_RANGE)
    if depth_holes:
        depth[unlabelled(np.zeros_like(frame.shape), rng)] = 0
    write_npy(root / "depth" / f"{image_id}.npy", depth)


def segmentation(scene: Scene, frame: Frame, numbers: Mapping[str, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return NYU-40 labels plus one, 0 where unlabelled, [H, W]."""
    labels = class_map(frame, scene.shapes, numbers, sky=0)
    labels[unlabelled(instance_numbers(scene.shapes)[frame.shape], rng)] = 0
    return labels.astype(np.uint8)

"""Rendered snapshots in the layout of PASCALContext (the build of ASTMT, Maninis et al., CVPR 2019)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from harness.data.parallel import mapped
from harness.datasets.synth import GENERATOR_VERSION
from harness.datasets.synth.files import (
    new_folder,
    write_jpeg,
    write_json,
    write_mat,
    write_palette_png,
    write_png,
    write_text,
)
from harness.datasets.synth.labels import class_map, encode_normals, instance_numbers
from harness.datasets.synth.nyud_tree import scene_rng
from harness.datasets.synth.render import OVERSAMPLING, Frame, Scene, render
from harness.datasets.synth.snapshot import snapshot_scene
from harness.errors import UsageError

LONGEST = 125
"""Longest side: a quarter of VOC's 500, for CPUs."""

LIMIT = 512
"""Longest side that the protocol's padded input holds."""

SHAPES = ((0.75, 1.0), (1.0, 0.666), (0.732, 1.0), (1.0, 0.75), (0.666, 1.0), (0.807, 0.933))
"""Sides of the pictures, which take turns, as fractions of the longest."""

LABEL_MAP_IDS = {
    # Ids that also decide which normals count: these classes are known to be trusted there.
    "person": 284,
    "wall": 440,
    "floor": 158,
    "ceiling": 68,
    "cat": 65,
    "dog": 113,
    "chair": 72,
    "sofa": 368,
    "diningtable": 397,
    "window": 454,
    "door": 115,
    "tvmonitor": 427,
    # Trusted by their number; the names are placeholders of this generator.
    "bicycle": 23,
    "bottle": 34,
    "car": 59,
    "pottedplant": 293,
    "cabinet": 46,
    "curtain": 105,
    "picture": 286,
    # Not trusted by their number; the names are placeholders of this generator.
    "aeroplane": 2,
    "bird": 25,
    "boat": 31,
    "bus": 45,
    "building": 44,
    "cow": 98,
    "grass": 187,
    "ground": 189,
    "horse": 207,
    "motorbike": 258,
    "road": 324,
    "sheep": 347,
    "sky": 360,
    "train": 416,
    "tree": 420,
    "water": 445,
}
"""Class name to the id stored in LabelMap."""

PERSON = 15
HEAD_START = {"train": "2008", "val": "2009"}
"""Years that begin the ids of each split."""


@dataclass(frozen=True)
class Thing:
    """One visible thing of a VOC class.

    Attributes:
        name: Class name.
        number: VOC label.
        mask: Its pixels, bool [H, W].
        parts: Name of a visible part to its pixels.
    """

    name: str
    number: int
    mask: NDArray[np.bool_]
    parts: Mapping[str, NDArray[np.bool_]]


def write_pascal(
    root: Path,
    class_names: tuple[str, ...],
    *,
    seed: int,
    train: int,
    val: int,
    longest: int = LONGEST,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set; see `harness.data.dataset.SyntheticDataset.write`.

    Args:
        root: Folder to write.
        class_names: VOC names in label order, background first.
        seed: Everything follows from it.
        train: Images of the training split.
        val: Images of the validation split.
        longest: Longest side of the pictures, pixels.
        progress: Called with (done, total) after each image.

    Raises:
        UsageError: the pictures would be larger than `LIMIT`, or `root` is not empty.
    """
    if longest > LIMIT:
        raise UsageError(f"pictures of {longest} pixels do not fit PASCAL-Context's input; ask for {LIMIT} or less")
    numbers = {name: k for k, name in enumerate(class_names)}
    scenes = [(split, k) for split, count in (("train", train), ("val", val)) for k in range(count)]
    found: dict[str, dict[str, list[int]]] = {"train": {}, "val": {}}
    with new_folder(root) as draft:
        with mapped(partial(_write_image, draft, numbers, seed, longest), scenes) as written:
            for done, ((split, k), classes) in enumerate(zip(scenes, written, strict=True), start=1):
                found[split][_image_id(split, k)] = classes
                if progress:
                    progress(done, train + val)
        for split, classes_of in found.items():
            write_text(draft / "ImageSets" / "Context" / f"{split}.txt", "".join(f"{k}\n" for k in classes_of))
            # The classes of the objects of every image, as the reference loader caches them.
            rows = ",\n".join(f'\t"{image_id}": {json.dumps(classes)}' for image_id, classes in classes_of.items())
            write_text(draft / "ImageSets" / "Parts" / f"{split}.txt", "{\n" + rows + "\n}\n")
        write_json(draft / "meta.json", {"generator": GENERATOR_VERSION, "seed": seed, "longest": longest})


def _image_id(split: str, index: int) -> str:
    return f"{HEAD_START[split]}_{index + 1:06d}"


def _write_image(root: Path, numbers: Mapping[str, int], seed: int, longest: int, which: tuple[str, int]) -> list[int]:
    """Render and write one image with its labels; return the classes of its objects."""
    split, index = which
    rng, image_id = scene_rng(seed, split, index), _image_id(split, index)
    height, width = (round(longest * share) for share in SHAPES[index % len(SHAPES)])
    scene = snapshot_scene(index, (height, width), rng)
    frame = render(scene, (height, width), rng)
    objects = visible_things(scene, frame, numbers)
    write_jpeg(root / "JPEGImages" / f"{image_id}.jpg", frame.image)
    label_map = class_map(frame, scene.shapes, LABEL_MAP_IDS, LABEL_MAP_IDS["sky"])
    write_mat(root / "pascal-context" / "trainval" / f"{image_id}.mat", {"LabelMap": label_map.astype(np.uint16)})
    labels = semantic_labels(objects, (height, width))
    if index % 2 == 0:
        write_palette_png(root / "semseg" / "VOC12" / f"{image_id}.png", with_void_rings(labels, objects, longest))
    else:
        write_png(root / "semseg" / "pascal-context" / f"{image_id}.png", labels)
    drop_parts = rng.random() < 0.05
    write_mat(root / "human_parts" / f"{image_id}.mat", {"anno": annotation(image_id, objects, drop_parts=drop_parts)})
    write_png(root / "normals_distill" / f"{image_id}.png", encode_normals(frame.normals))
    write_png(root / "sal_distill" / f"{image_id}.png", saliency(scene, frame, numbers))
    return [thing.number for thing in objects]


def visible_things(scene: Scene, frame: Frame, numbers: Mapping[str, int]) -> list[Thing]:
    """Return the things of VOC classes that cover at least one pixel, in the order of their instance numbers."""
    instance_of = instance_numbers(scene.shapes)
    instances = instance_of[frame.shape]
    found = []
    for instance in np.unique(instances):
        members = np.flatnonzero(instance_of[:-1] == instance)
        name = _label_of(scene, instance_of, int(instance))
        if numbers.get(name, 0) == 0:
            continue
        parts: dict[str, NDArray[np.bool_]] = {}
        for member in members.tolist():
            part, pixels = scene.shapes[member].part, frame.shape == member
            if part and pixels.any():
                parts[part] = parts.get(part, np.zeros_like(pixels)) | pixels
        found.append(Thing(name, numbers[name], instances == instance, parts))
    return found


def semantic_labels(objects: list[Thing], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return VOC labels, background 0, [H, W]."""
    labels = np.zeros(size, np.uint8)
    for thing in objects:
        labels[thing.mask] = thing.number
    return labels


def with_void_rings(labels: NDArray[np.uint8], objects: list[Thing], longest: int) -> NDArray[np.uint8]:
    """Return the labels with the 255 rings around every object that VOC's annotators left (5 pixels of 500)."""
    ringed = labels.copy()
    reach = max(1, round(longest / 250))
    for thing in objects:
        outer = binary_dilation(thing.mask, iterations=reach)
        # Small pictures keep every pixel of their things; on large ones the ring straddles the outline.
        inner = thing.mask if reach == 1 else ~binary_dilation(~thing.mask, iterations=reach)
        ringed[outer & ~inner] = 255
    return ringed


def annotation(image_id: str, objects: list[Thing], *, drop_parts: bool) -> NDArray[np.void]:
    """Return the struct `anno` of PASCAL-Part: image name, and per object class, label, mask and parts.

    Args:
        image_id: Name of the image.
        objects: The objects in file order.
        drop_parts: Leave every `parts` empty, as for objects that nobody annotated further.
    """
    entries = _struct("class", "class_ind", "mask", "parts", rows=len(objects))
    for entry, thing in zip(entries[0], objects, strict=True):
        parts: Any = np.zeros((0, 0))
        if thing.parts and not drop_parts:
            parts = _struct("part_name", "mask", rows=len(thing.parts))
            for slot, (name, mask) in zip(parts[0], sorted(thing.parts.items()), strict=True):
                slot["part_name"], slot["mask"] = name, mask.astype(np.uint8)
        entry["class"], entry["class_ind"] = thing.name, np.array([[thing.number]], np.uint8)
        entry["mask"], entry["parts"] = thing.mask.astype(np.uint8), parts
    anno = _struct("imname", "objects", rows=1)
    anno[0, 0]["imname"], anno[0, 0]["objects"] = image_id, entries
    return anno


def _struct(*fields: str, rows: int) -> NDArray[np.void]:
    """Return an empty 1 x rows MATLAB struct array."""
    return np.zeros((1, rows), [(field, object) for field in fields])


def saliency(scene: Scene, frame: Frame, numbers: Mapping[str, int]) -> NDArray[np.uint8]:
    """Return the soft mask of the thing that stands out: large and near the middle, 8-bit [H, W].

    The rim is antialiased, so that values just below and above the threshold of 128 occur.
    """
    instance_of = instance_numbers(scene.shapes)
    fine = instance_of[frame.fine_shape]
    candidates = [i for i in np.unique(fine) if numbers.get(_label_of(scene, instance_of, int(i)), 0)]
    if not candidates:
        return np.zeros(frame.shape.shape, np.uint8)
    height, width = fine.shape
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    weight = np.exp(-(rows**2 + columns**2) / 0.5)
    standing_out = max(candidates, key=lambda i: float(weight[fine == i].sum()))
    k = OVERSAMPLING
    mask = (fine == standing_out).astype(np.float32)
    mask = gaussian_filter(mask, 1.0).reshape(height // k, k, width // k, k).mean((1, 3))
    soft: NDArray[np.uint8] = np.rint(255 * mask).astype(np.uint8)
    return soft


def _label_of(scene: Scene, instance_of: NDArray[np.int32], instance: int) -> str:
    """Return the class name of an instance, empty for the sky."""
    members = np.flatnonzero(instance_of[:-1] == instance).tolist()
    return scene.shapes[members[0]].label if members else ""

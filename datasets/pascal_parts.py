"""Human parts from the annotations of PASCAL-Part (Chen et al., CVPR 2014), merged to six as in ASTMT (2019)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.files import read_mat
from harness.data.labels import check_size
from harness.data.sample import Array
from harness.errors import DataError

_PERSON = 15
"""Number of the class in PASCAL VOC."""

_GROUPS = (
    ("hair", "head", "lear", "rear", "lebrow", "rebrow", "leye", "reye", "mouth", "nose"),
    ("neck", "torso"),
    ("luarm", "ruarm"),
    ("llarm", "rlarm", "lhand", "rhand"),
    ("luleg", "ruleg"),
    ("llleg", "rlleg", "lfoot", "rfoot"),
)
_PART_LABEL = {name: label for label, names in enumerate(_GROUPS, start=1) for name in names}


def draw_parts(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the part map of one image.

    Parts of all persons are drawn in file order, later ones over earlier ones. An image without a visible
    person or without annotated parts gives zeros.

    Args:
        path: Annotation file with the struct ``anno``.
        size: (height, width) of the image.

    Returns:
        uint8 [H, W]: 0 background, 1 head, 2 torso, 3 upper arm, 4 lower arm, 5 upper leg, 6 lower leg.

    Raises:
        DataError: the file is missing or malformed, a mask has another size, or a part is unknown.
    """
    anno = read_mat(path, "anno")
    try:
        # In file order, as the published loaders draw them: later parts cover earlier ones.
        objects = _structs(_field(anno.flat[0], "objects"))
        persons = [obj for obj in objects if int(_field(obj, "class_ind").flat[0]) == _PERSON]
        visible = any(_field(person, "mask").any() for person in persons)
        structs = [part for person in persons for part in _structs(_field(person, "parts"))] if visible else []
        parts = [(str(_field(part, "part_name").flat[0]), _field(part, "mask")) for part in structs]
        for _, mask in parts:
            if mask.ndim != 2 or mask.dtype.kind not in "buif":
                raise ValueError(f"a mask of shape {mask.shape}")
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: `anno` is not the struct that PASCAL-Part defines ({error})") from error
    # [H, W], 0 where no part is drawn.
    label = np.zeros(size, np.uint8)
    for name, mask in parts:
        if name not in _PART_LABEL:
            raise DataError(f"{path}: {name!r} is no part of a person")
        check_size(mask, size, path)
        label[mask.astype(bool)] = _PART_LABEL[name]
    return label


def _field(struct: np.void, name: str) -> Array:
    value: Array = struct[name]
    return value


def _structs(array: Array) -> Iterator[np.void]:
    """Iterate over a MATLAB struct array; an empty one is stored as an empty matrix of numbers."""
    yield from array.flat

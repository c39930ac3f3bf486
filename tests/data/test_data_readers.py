"""Builds are told apart and read alike; whatever is broken is named."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import convolve

from harness.data.card import Card, id_list_md5, load_card
from harness.data.locate import find_root
from harness.datasets.nyud import NYUD, NYUDReader, nyud_input_size
from harness.datasets.pascal_context import PascalContext, PascalContextReader, boundaries
from harness.datasets.pascal_parts import draw_parts
from harness.errors import DataError

IDS = ("0001", "0002")


def write_nyud(root: Path, family: str, size: tuple[int, int] = (20, 26), seed: int = 0) -> dict[str, dict]:
    """Write one build of the same random scenes and return what its labels must be."""
    for folder in ("images", "segmentation", "depth", "normals", "edge", "gt_sets"):
        (root / folder).mkdir(parents=True)
    rng, expected = np.random.default_rng(seed), {}
    for image_id in IDS:
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        semseg = rng.integers(0, 41, size).astype(np.uint8)
        depth = rng.uniform(0.5, 9, size).astype(np.float32)
        normals = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        edge = rng.integers(0, 2, size).astype(np.uint8)
        vectors = (2 * normals.astype(np.float32) / 255 - 1).astype(np.float32)
        if family == "npy":
            vectors[:3] = 0
        save = lambda array, folder, suffix, name=image_id: Image.fromarray(array).save(  # noqa: E731
            root / folder / f"{name}{suffix}", quality=95
        )
        save(image, "images", ".png" if family == "png" else ".jpg")
        if family == "mat":
            scipy.io.savemat(root / "segmentation" / f"{image_id}.mat", {"segmentation": semseg})
            scipy.io.savemat(root / "depth" / f"{image_id}.mat", {"depth": depth})
            flat = np.full((*size, 3), (128, 128, 255), np.uint8)  # JPEG keeps a flat colour
            save(flat, "normals", ".jpg")
            vectors = 2 * flat.astype(np.float32) / 255 - 1
        else:
            save(semseg, "segmentation", ".png")
            np.save(root / "depth" / f"{image_id}.npy", depth if family == "png" else depth[..., None])
        if family == "npy":
            np.save(root / "normals" / f"{image_id}.npy", vectors)
            np.save(root / "edge" / f"{image_id}.npy", edge)
        else:
            save(edge * 255, "edge", ".png")
        if family == "png":
            save(normals, "normals", ".png")
        semseg = np.where(semseg == 0, 255, semseg.astype(int) - 1)
        expected[image_id] = {"semseg": semseg, "depth": depth, "normals": vectors, "boundary": edge}
    for split in ("train", "val"):
        (root / "gt_sets" / f"{split}.txt").write_text("\n".join(IDS) + "\n\n")
    return expected


@pytest.mark.parametrize(
    ("family", "size", "build"),
    [
        ("png", (20, 26), "png-20x26"),
        ("png", (425, 560), "png-425x560"),
        ("npy", (480, 640), "npy-480x640"),
        ("npy", (20, 26), "npy-20x26"),
        ("mat", (20, 26), "mat"),
    ],
)
def test_every_build_is_recognised_and_read_alike(tmp_path, family, size, build):
    expected = write_nyud(tmp_path, family, size)
    reader = NYUDReader(tmp_path, "val")
    assert reader.build == build
    assert reader.ids == IDS
    for image_id, labels in expected.items():
        for task, label in labels.items():
            tolerance = 1.5 * 2 / 255 if (family, task) == ("mat", "normals") else 0
            np.testing.assert_allclose(reader.label(image_id, task), label, rtol=0, atol=tolerance)


def test_input_sizes_follow_the_published_models():
    assert nyud_input_size((425, 560)) == (448, 576) == NYUD.nominal_input_size
    assert nyud_input_size((480, 640)) == (480, 640)
    assert nyud_input_size((106, 140)) == (112, 144)
    assert nyud_input_size((32, 48)) == (32, 48)


def test_pascal_input_is_512_once_an_image_needs_more_than_256(pascal_root):
    Image.new("RGB", (257, 20)).save(pascal_root / "JPEGImages" / "2008_000003.jpg")
    dataset = PascalContext()
    assert dataset.input_size(dataset.reader(pascal_root, "val")) == (512, 512)
    assert dataset.input_size(dataset.reader(pascal_root, "train")) == (48, 48)


def test_a_mixture_of_builds_is_refused(nyud_root):
    for path in (nyud_root / "edge").iterdir():
        np.save(path.with_suffix(".npy"), np.zeros((34, 45)))
        path.unlink()
    with pytest.raises(DataError, match=r"no known build.*edge/\*\.npy"):
        NYUDReader(nyud_root, "val")


def test_images_of_two_sizes_are_refused(nyud_root):
    Image.new("RGB", (64, 48)).save(nyud_root / "images" / "0009.png")
    with pytest.raises(DataError, match=r"0009\.png: is 48x64"):
        NYUDReader(nyud_root, "val").image("0009")


def test_voc12_semantics_win(pascal_root):
    Image.fromarray(np.full((32, 44), 7, np.uint8)).save(pascal_root / "semseg/pascal-context/2008_000001.png")
    held = np.asarray(Image.open(pascal_root / "semseg/VOC12/2008_000001.png"))
    np.testing.assert_array_equal(PascalContextReader(pascal_root, "val").label("2008_000001", "semseg"), held)


def test_saliency_starts_at_128(pascal_root):
    ramp = np.resize(np.arange(256, dtype=np.uint8), (32, 44))
    Image.fromarray(ramp).save(pascal_root / "sal_distill/2008_000001.png")
    label = PascalContextReader(pascal_root, "val").label("2008_000001", "saliency")
    np.testing.assert_array_equal(label, ramp > 127)


def test_a_palette_is_not_applied_to_labels(pascal_root):
    path = pascal_root / "semseg/VOC12/2008_000001.png"
    indices = np.asarray(Image.open(path)).copy()
    coloured = Image.fromarray(indices, "P")
    coloured.putpalette([255 - i // 3 for i in range(768)])
    coloured.save(path)
    np.testing.assert_array_equal(PascalContextReader(pascal_root, "val").label("2008_000001", "semseg"), indices)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12))
def test_boundaries_lie_where_the_laplacian_is_not_zero(seed, height, width):
    label_map = np.random.default_rng(seed).integers(0, 3, (height, width)) * 200
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    laplacian = convolve(np.pad(label_map, 1, mode="reflect"), kernel)[1:-1, 1:-1]
    edges = boundaries(label_map)
    assert edges.dtype == np.uint8
    assert not (edges.astype(bool) & (laplacian == 0)).any()
    assert edges.any() == (laplacian != 0).any()


def person(mask, parts=(), class_ind=15):
    held = np.zeros((1, len(parts)), [("part_name", "O"), ("mask", "O")]) if parts else np.zeros((0, 0))
    for k, (name, part_mask) in enumerate(parts):
        held[0, k] = (name, part_mask)
    return ("object", np.array([[class_ind]], np.uint8), mask, held)


def save_anno(path, objects):
    held = np.zeros((1, len(objects)), [("class", "O"), ("class_ind", "O"), ("mask", "O"), ("parts", "O")])
    for k, fields in enumerate(objects):
        held[0, k] = fields
    scipy.io.savemat(path, {"anno": {"imname": "x", "objects": held}})


def box(top, bottom):
    mask = np.zeros((6, 5), np.uint8)
    mask[top:bottom] = 1
    return mask


def test_parts_of_all_persons_are_drawn_in_file_order(tmp_path):
    save_anno(
        tmp_path / "a.mat",
        [
            person(box(0, 6), [("lhand", box(0, 3)), ("hair", box(2, 4))]),
            person(box(0, 6), [("head", box(0, 6))], class_ind=12),
            person(box(0, 0), [("rfoot", box(3, 5))]),
        ],
    )
    label = draw_parts(tmp_path / "a.mat", (6, 5))
    assert label[:, 0].tolist() == [4, 4, 1, 6, 6, 0]


@pytest.mark.parametrize(
    "objects",
    [
        [person(box(0, 0), [("head", box(0, 3))])],  # the only person covers no pixel
        [person(box(0, 6))],
        [person(box(0, 6), [("head", box(0, 6))], class_ind=8)],
        [],
    ],
)
def test_no_visible_person_with_parts_gives_an_empty_map(tmp_path, objects):
    save_anno(tmp_path / "a.mat", objects)
    assert not draw_parts(tmp_path / "a.mat", (6, 5)).any()


def test_unknown_parts_and_foreign_masks_are_named(tmp_path):
    save_anno(tmp_path / "a.mat", [person(box(0, 6), [("tail", box(0, 3))])])
    with pytest.raises(DataError, match="'tail' is no part"):
        draw_parts(tmp_path / "a.mat", (6, 5))
    save_anno(tmp_path / "b.mat", [person(box(0, 6), [("head", box(0, 3))])])
    with pytest.raises(DataError, match="is 6x5 but"):
        draw_parts(tmp_path / "b.mat", (7, 5))


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("file", "task", "damage", "message"),
    [
        ("images/0002.png", None, lambda b: b[: len(b) // 2], "broken image"),
        ("images/0002.png", None, None, "missing"),
        ("edge/0002.png", "boundary", lambda b: b"not a png", "broken image"),
        ("depth/0002.npy", "depth", lambda b: b[:200], "broken .npy"),
        ("depth/0002.npy", "depth", None, "missing"),
    ],
)
def test_damaged_nyud_files_are_named(nyud_root, file, task, damage, message):
    reader = NYUDReader(nyud_root, "val")
    if damage is None:
        (nyud_root / file).unlink()
    else:
        rewrite(nyud_root / file, damage)
    with pytest.raises(DataError, match=f"{file}: .*{message}"):
        reader.image("0002") if task is None else reader.label("0002", task)


@pytest.mark.parametrize(
    ("task", "file", "values", "message"),
    [
        ("semseg", "segmentation/0002.png", np.full((34, 45), 41, np.uint8), "41 is out of range"),
        ("semseg", "segmentation/0002.png", np.zeros((34, 44), np.uint8), "34x44 but its image"),
        ("semseg", "segmentation/0002.png", np.zeros((34, 45, 3), np.uint8), "one channel"),
        ("boundary", "edge/0002.png", np.full((34, 45), 7, np.uint8), "7 is out of range"),
        ("depth", "depth/0002.npy", np.full((34, 45), -1.0), "not negative"),
        ("depth", "depth/0002.npy", np.full((34, 45), np.nan), "finite"),
        ("depth", "depth/0002.npy", np.zeros((34, 45, 2)), "one number per pixel"),
        ("normals", "normals/0002.png", np.zeros((33, 45, 3), np.uint8), "33x45 but its image"),
    ],
)
def test_wrong_nyud_labels_are_named(nyud_root, task, file, values, message):
    path = nyud_root / file
    np.save(path, values) if path.suffix == ".npy" else Image.fromarray(values).save(path)
    with pytest.raises(DataError, match=message):
        NYUDReader(nyud_root, "val").label("0002", task)


def test_pickled_arrays_are_never_loaded(nyud_root):
    class Bomb:
        def __reduce__(self):
            return exec, ("raise SystemExit('unpickled')",)

    np.save(nyud_root / "depth/0002.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"broken \.npy"):
        NYUDReader(nyud_root, "val").label("0002", "depth")


@pytest.mark.parametrize(
    ("task", "file", "content", "message"),
    [
        ("boundary", "pascal-context/trainval/2008_000001.mat", b"junk" * 50, "broken .mat"),
        ("boundary", "pascal-context/trainval/2008_000001.mat", b"", "broken .mat"),
        ("normals", "pascal-context/trainval/2008_000001.mat", {"Other": np.zeros((2, 2))}, "no variable 'LabelMap'"),
        ("normals", "pascal-context/trainval/2008_000001.mat", {"LabelMap": np.full((32, 44), 460)}, "460 is out of"),
        ("normals", "pascal-context/trainval/2008_000001.mat", {"LabelMap": np.zeros((9, 9))}, "9x9 but its image"),
        ("parts", "human_parts/2008_000001.mat", {"anno": np.zeros((3, 3))}, "not the struct"),
        ("parts", "human_parts/2008_000001.mat", {"anno": {"objects": "text"}}, "not the struct"),
        ("semseg", "semseg/VOC12/2008_000001.png", np.full((32, 44), 21, np.uint8), "21 is out of range"),
        ("saliency", "sal_distill/2008_000001.png", np.zeros((32, 43), np.uint8), "32x43 but its image"),
    ],
)
def test_wrong_pascal_files_are_named(pascal_root, task, file, content, message):
    path = pascal_root / file
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        scipy.io.savemat(path, content)
    else:
        Image.fromarray(content).save(path)
    with pytest.raises(DataError, match=message) as caught:
        PascalContextReader(pascal_root, "val").label("2008_000001", task)
    assert file in str(caught.value)


def test_a_truncated_mat_is_named_at_any_length(pascal_root):
    path = pascal_root / "human_parts/2008_000001.mat"
    whole = path.read_bytes()
    reader = PascalContextReader(pascal_root, "val")
    for length in range(0, len(whole) - 200, max(1, len(whole) // 25)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"2008_000001\.mat"):
            reader.label("2008_000001", "parts")


@pytest.mark.parametrize("content", ["", "\n  \n", "0001\n0001\n", "../0001\n"])
def test_malformed_split_lists_are_named(nyud_root, content):
    (nyud_root / "gt_sets/val.txt").write_text(content)
    with pytest.raises(DataError, match=r"gt_sets/val\.txt"):
        NYUDReader(nyud_root, "val")


def test_a_missing_folder_is_named(pascal_root):
    (pascal_root / "sal_distill").rename(pascal_root / "elsewhere")
    reader = PascalContextReader(pascal_root, "val")
    with pytest.raises(DataError, match="sal_distill/ is missing"):
        reader.label("2008_000001", "saliency")
    assert reader.absent(["semseg", "saliency"]).keys() == {"saliency"}
    (pascal_root / "JPEGImages").rename(pascal_root / "images")
    with pytest.raises(DataError, match="JPEGImages/ is missing"):
        PascalContextReader(pascal_root, "val")


@pytest.mark.parametrize("name", ["nyud", "pascal-context", "nyud-synth", "pascal-synth"])
def test_cards_are_complete(name):
    card = load_card(name)
    assert card.name == name
    assert Card.model_validate(card.model_dump()) == card
    real = load_card({"nyud-synth": "nyud", "pascal-synth": "pascal-context"}.get(name, name))
    assert card.tasks == real.tasks
    assert card.marker == real.marker


def test_class_counts_and_table_order():
    assert [(t.name, t.num_classes) for t in NYUD.tasks] == [
        ("semseg", 40), ("depth", None), ("normals", None), ("boundary", None)
    ]  # fmt: skip
    assert [(t.name, t.num_classes) for t in PascalContext.tasks] == [
        ("semseg", 21), ("parts", 7), ("saliency", None), ("normals", None), ("boundary", None)
    ]  # fmt: skip


def test_id_list_digest():
    assert id_list_md5(["0001", "0002"]) == hashlib.md5(b"0001\n0002\n").hexdigest()


@pytest.mark.parametrize("name", ["NYUDv2", "NYUD_MT"])
def test_the_folder_is_found_by_itself_and_below_a_parent(nyud_root, monkeypatch, name):
    place = nyud_root.rename(nyud_root.with_name(name))
    card = load_card("nyud")
    assert find_root(card, place) == place
    assert find_root(card, place.parent) == place
    monkeypatch.setenv("HARNESS_DATA", str(place.parent))
    assert find_root(card, None) == place


def test_the_default_place_is_below_the_cache(private_cache, nyud_root):
    place = private_cache / "data" / "NYUDv2"
    place.parent.mkdir(parents=True)
    nyud_root.rename(place)
    assert NYUD().root(None) == place


def test_missing_data_says_everything_at_once(tmp_path):
    with pytest.raises(DataError) as caught:
        PascalContext().root(tmp_path / "nowhere")
    message = str(caught.value)
    for part in (
        "nowhere/PASCAL_MT",
        "JPEGImages/<id>.jpg",
        "harness data fetch pascal-context",
        "https://",
        "CC BY-NC",
    ):
        assert part in message
    assert "nyud-synth" in message
    assert "pascal-synth" in message
    assert caught.value.exit_code == 3

"""Files that are damaged, hostile or no files at all are named in one line, without a hang or a crash."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from harness.data.files import read_ids, read_indices, read_mat, read_npy, read_rgb
from harness.data.photographs import read_photograph
from harness.errors import DataError

READERS = [read_rgb, read_indices, read_npy, read_ids, read_photograph, lambda path: read_mat(path, "anno")]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_folders_and_devices_are_never_opened(tmp_path, read, make):
    make(tmp_path / "file")
    with pytest.raises(DataError, match="no regular file"):
        read(tmp_path / "file")


def npy(path: Path, header: str, data: bytes = b"") -> Path:
    text = header.encode().ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + data)
    return path


HEAD = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }"


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
        HEAD % ("<f4", False, (100000, 100000)),
        HEAD % ("<f4", False, (2**62, 2**62)),
        HEAD % ("<f4", False, (0, 0)),
        HEAD % ("<f4", False, (-1, -4)),
        HEAD % ("<f4", 3, (1, 1)),
        HEAD % ("|O", False, (1, 1)),
        HEAD % ("<U4", False, (1, 1)),
        HEAD % ("<f4", False, "((1, 1), 1)"),
        HEAD % ("<f4", False, (1,) * 40),
        "(" * 117,
        "",
    ],
)
def test_lying_npy_headers_are_named(tmp_path, header):
    with pytest.raises(DataError, match=r"a\.npy"):
        read_npy(npy(tmp_path / "a.npy", header, b"\0" * 16))


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<u2", "|b1", "|u1", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files_are_read_as_numpy_reads_them(tmp_path, dtype, order):
    array = np.asarray(np.arange(24).reshape(4, 6), dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    read = read_npy(tmp_path / "a.npy")
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_an_image_bomb_is_refused_by_its_header(tmp_path):
    header = struct.pack(">IIBBBBB", 60000, 60000, 1, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") * 2)
    Image.new("1", (5000, 5000)).save(tmp_path / "b.png")
    for read in (read_rgb, read_indices):
        for name in ("a.png", "b.png"):
            with pytest.raises(DataError, match=name):
                read(tmp_path / name)
    with pytest.raises(DataError, match=r"a\.png"):
        read_photograph(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "WEBP", "PPM", "EPS"])
def test_only_png_and_jpeg_decoders_see_images(tmp_path, form):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", form)
    for read in (read_rgb, read_photograph):
        with pytest.raises(DataError, match=r"a\.png"):
            read(tmp_path / "a.png")


ANNO = {"imname": "x", "objects": np.array([(np.ones((3, 4), np.uint8), "name")], [("mask", "O"), ("class", "O")])}


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_files_are_read_as_scipy_reads_them(tmp_path, compressed):
    arrays = {"anno": ANNO, "label": np.arange(12, dtype=np.uint16).reshape(3, 4), "c": np.array([1j])}
    scipy.io.savemat(tmp_path / "a.mat", arrays, do_compression=compressed)
    wanted = scipy.io.loadmat(tmp_path / "a.mat")
    for name in arrays:
        assert repr(read_mat(tmp_path / "a.mat", name)) == repr(wanted[name])
    with pytest.raises(DataError, match="no variable 'other'"):
        read_mat(tmp_path / "a.mat", "other")
    scipy.io.savemat(tmp_path / "4.mat", {"label": arrays["label"]}, format="4")
    np.testing.assert_array_equal(read_mat(tmp_path / "4.mat", "label"), arrays["label"])


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


def matrix(kind: int, shape: tuple[int, ...], *parts: bytes, name: bytes = b"anno") -> bytes:
    flags = element(6, struct.pack("<II", kind, 0))
    sides = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, flags + sides + element(1, name) + b"".join(parts))


def mat(path: Path, variable: bytes, version: bytes = b"\0\1") -> Path:
    path.write_bytes(b"MATLAB 5.0".ljust(124) + version + b"IM" + variable)
    return path


def nested(depth: int) -> bytes:
    held = matrix(4, (1, 1), element(16, b"x"), name=b"")
    for _ in range(depth):
        held = matrix(1, (1, 1), held, name=b"")
    return matrix(1, (1, 1), held)


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        (matrix(4, (1, 2), element(0, b"ab")), "no text"),
        (matrix(4, (1, 2), element(200, b"ab")), "no text"),
        (matrix(6, (1, 1), element(77, b"\0" * 8)), "no numbers"),
        (matrix(6, (1, 1)), "no numbers"),
        (matrix(99, (1, 1), element(9, b"\0" * 8)), "class 99"),
        (matrix(5, (3, 3), element(5, b"\0" * 8)), "class 5"),
        (matrix(6, (1 << 30, 1 << 30), element(9, b"\0" * 8)), "values in"),
        (matrix(6, (-1, 1), element(9, b"\0" * 8)), "negative side"),
        (matrix(2, (1, 1), element(5, struct.pack("<i", 0)), element(1, b"a")), "field names of 0"),
        (matrix(1, (1, 1), element(6, b"\0" * 8)), "no array"),
        (nested(5000), "levels of structs"),
        (struct.pack("<II", 14, 1 << 31) + b"\0" * 64, "are left"),
        (element(15, zlib.compress(b"\0" * (300 << 20))), "MiB"),
        (element(15, zlib.compress(matrix(6, (1, 1), element(9, b"\0" * 8)))[:-9]), "cut off"),
    ],
)
def test_damaged_mat_files_are_named_and_never_reach_the_compiled_reader(tmp_path, variable, words):
    with pytest.raises(DataError, match=words) as caught:
        read_mat(mat(tmp_path / "a.mat", variable), "anno")
    assert "a.mat" in str(caught.value)


def test_mat_7_3_files_are_named(tmp_path):
    with pytest.raises(DataError, match="-v7"):
        read_mat(mat(tmp_path / "a.mat", b"", version=b"\0\2"), "anno")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("images\\5001\n", "names a folder"),
        ("images/5001\n", "names a folder"),
        ("5001.png\n", "suffix"),
        ("5001.JPG\n", "suffix"),
        ("..\n", "is a folder"),
        ("a" * 300 + "\n", "longer than 200"),
        ("a\x07b\n", "invisible"),
        ("a\u200bb\n", "invisible"),
        ("0001 \t1\n", "invisible"),
        ("a\nb\na\n", "'a' is listed twice"),
    ],
)
def test_lines_that_are_no_ids_are_named_with_an_example(tmp_path, text, words):
    (tmp_path / "val.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words) as caught:
        read_ids(tmp_path / "val.txt")
    assert "listed twice" in str(caught.value) or "0001" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_of_other_systems_are_no_part_of_an_id(tmp_path, encoding, ending):
    (tmp_path / "val.txt").write_bytes(ending.join(["5001", " 5002 ", ""]).encode(encoding))
    assert read_ids(tmp_path / "val.txt") == ("5001", "5002")


def test_a_list_that_is_no_text_is_named(tmp_path):
    (tmp_path / "val.txt").write_bytes(b"\xff\x00\xfa")
    with pytest.raises(DataError, match=r"val\.txt"):
        read_ids(tmp_path / "val.txt")


def test_a_duplicate_in_a_long_list_is_found_at_once(tmp_path):
    ids = [f"{k:06d}" for k in range(200_000)]
    (tmp_path / "val.txt").write_text("\n".join([*ids, ids[-1]]))
    with pytest.raises(DataError, match="'199999' is listed twice"):
        read_ids(tmp_path / "val.txt")


def test_a_file_of_another_spelling_is_pointed_at(tmp_path):
    (tmp_path / "5001.PNG").touch()
    with pytest.raises(DataError, match=r"5001\.png: the file is missing, but 5001\.PNG is there"):
        read_rgb(tmp_path / "5001.png")


def test_one_channel_is_refused_where_three_are_needed(tmp_path):
    Image.new("L", (3, 2)).save(tmp_path / "a.png")
    assert read_rgb(tmp_path / "a.png").shape == (2, 3, 3)
    with pytest.raises(DataError, match="three"):
        read_rgb(tmp_path / "a.png", three_channels=True)

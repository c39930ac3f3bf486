"""Images from anywhere: every mode and size, and the way into a model's input and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.geometry import Fit, Pad
from harness.data.photographs import LARGEST, find_photographs, read_photograph
from harness.data.sample import Sample
from harness.errors import DataError

ROW = [0, 51, 102, 255]


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_images_of_every_mode_become_the_same_rgb(tmp_path: Path) -> None:
    grey = np.array([ROW], np.uint8)
    wanted = np.repeat(grey[:, :, None], 3, axis=2)
    images = {
        "grey.png": Image.fromarray(grey),
        "sixteen.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "palette.png": Image.fromarray(wanted).quantize(8),
        "rgb.png": Image.fromarray(wanted),
    }
    for name, image in images.items():
        np.testing.assert_array_equal(read_photograph(saved(image, tmp_path / name)), wanted, err_msg=name)
    bits = saved(Image.fromarray(np.array([[True, False]])), tmp_path / "bits.png")
    assert read_photograph(bits)[0, :, 1].tolist() == [255, 0]
    assert read_photograph(saved(Image.new("CMYK", (2, 2), "red"), tmp_path / "cmyk.jpg")).shape == (2, 2, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(tmp_path: Path, mode: str) -> None:
    rgba = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    rgba.putpixel((1, 0), (80, 80, 80, 255))
    path = saved(rgba.convert(mode), tmp_path / "a.png")
    assert read_photograph(path).tolist() == [[[255] * 3, [80] * 3]]


def test_the_orientation_of_the_camera_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    upright = read_photograph(
        saved(Image.fromarray(np.array([ROW], np.uint8)), tmp_path / "turned.png", exif=exif.tobytes())
    )
    assert upright[:, 0, 0].tolist() == ROW


def test_only_the_largest_images_are_reduced(tmp_path: Path) -> None:
    assert read_photograph(saved(Image.new("RGB", (LARGEST, 3)), tmp_path / "a.png")).shape == (3, LARGEST, 3)
    assert read_photograph(saved(Image.new("RGB", (2 * LARGEST, 300)), tmp_path / "b.png")).shape == (150, LARGEST, 3)


def test_what_is_no_image_is_named_in_one_line(tmp_path: Path) -> None:
    whole = saved(Image.effect_noise((64, 64), 50), tmp_path / "whole.png").read_bytes()
    cases = {"cut.png": whole[: len(whole) // 2], "text.jpg": b"hello", "empty.png": b"", "other.png": b"BM" * 50}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match="damaged or no image") as caught:
            read_photograph(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_folders_give_their_images_by_name_and_files_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    for name in ("b.PNG", "a.jpg", "notes.txt", "._a.jpg"):
        (folder / name).touch()
    odd = tmp_path / "odd.xyz"
    odd.touch()
    assert find_photographs([odd, folder, folder / "a.jpg"]) == [odd, folder / "a.jpg", folder / "b.PNG"]
    with pytest.raises(DataError, match="no image"):
        find_photographs([folder / "below"])
    with pytest.raises(DataError, match="no such file"):
        find_photographs([tmp_path / "gone.png"])


def test_an_image_that_fits_is_prepared_as_for_scoring() -> None:
    image = np.random.default_rng(0).integers(0, 256, (31, 45, 3), np.uint8)
    scored = Pad((48, 64))(Sample("a", image, {})).image
    np.testing.assert_array_equal(Fit((48, 64))(image), scored)


@pytest.mark.parametrize("size", [(48, 64), (31, 45), (1, 1), (97, 201), (300, 7), (1, 1000), (49, 64)])
def test_maps_come_back_at_the_size_of_the_image(size: tuple[int, int]) -> None:
    fit = Fit((48, 64))
    ramp = np.linspace(0, 255, size[1]).astype(np.uint8)
    planes = torch.from_numpy(fit(np.broadcast_to(ramp[None, :, None], (*size, 3)).copy()))
    assert planes.shape == (3, 48, 64)
    back = fit.restore(planes, size)
    assert back.shape == (3, *size)
    red = back[0] * 0.229 + 0.485
    shown = torch.from_numpy(ramp).float() / 255
    allowed = 0 if fit.fitted(size) == size else 2 / min(size[1], fit.fitted(size)[1])
    torch.testing.assert_close(red, shown.expand(size), atol=allowed + 1e-6, rtol=0)


def test_the_padding_never_comes_back() -> None:
    fit = Fit((48, 64))
    planes = torch.full((1, 48, 64), -1.0)
    height, width = fit.fitted((99, 50))
    assert (height, width) == (48, 24)
    planes[:, :, 20:44] = 7
    assert (fit.restore(planes, (99, 50)) == 7).all()

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.data.images import MAX_PIXELS, Fit, check_size, sheet, square, to_bytes, to_float, to_picture
from ctfgan.data.sources.encoded import read_image

SIZE = (20, 12)


def palette(*, transparent: bool) -> Image.Image:
    image = Image.new("P", SIZE, 1)
    image.putpalette([255, 0, 0, 10, 20, 30])
    if transparent:
        image.info["transparency"] = 1
    return image


def sixteen_bit(level: int) -> Image.Image:
    return Image.fromarray(np.full(SIZE[::-1], level, dtype=np.uint16))


ONE_COLOUR = {
    "1": (Image.new("1", SIZE, 1), (255, 255, 255)),
    "L": (Image.new("L", SIZE, 100), (100, 100, 100)),
    "LA": (Image.new("LA", SIZE, (100, 51)), (224, 224, 224)),  # a fifth of 100 and four fifths of white
    "P": (palette(transparent=False), (10, 20, 30)),
    "P, transparent": (palette(transparent=True), (255, 255, 255)),
    "RGB": (Image.new("RGB", SIZE, (10, 20, 30)), (10, 20, 30)),
    "RGBA": (Image.new("RGBA", SIZE, (0, 0, 255, 255)), (0, 0, 255)),
    "RGBA, half": (Image.new("RGBA", SIZE, (0, 0, 255, 51)), (204, 204, 255)),
    "RGBA, none": (Image.new("RGBA", SIZE, (0, 0, 255, 0)), (255, 255, 255)),
    "CMYK": (Image.new("CMYK", SIZE, (0, 255, 255, 0)), (255, 0, 0)),
    "I;16": (sixteen_bit(100 * 257), (100, 100, 100)),
    "I;16, brightest": (sixteen_bit(65_535), (255, 255, 255)),
    "F": (Image.new("F", SIZE, 100.0), (100, 100, 100)),
}


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ONE_COLOUR)
def test_an_image_of_one_colour_stays_so_in_every_mode(name: str, channels: int, fit: Fit) -> None:
    image, colour = ONE_COLOUR[name]
    result = square(image, 8, channels, fit)
    red, green, blue = colour
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert result.shape == (8, 8, channels)
    assert result.dtype == np.uint8
    assert np.abs(result - (np.array(colour) if channels == 3 else luma)).max() <= 1


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, -1), (3, 2), (8, 1)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_rotation_is_applied(tmp_path: Path, suffix: str, orientation: int, turns: int) -> None:
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[:, 4:] = 120
    pixels[4:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / f"x.{suffix}", exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
    result = square(read_image(tmp_path / f"x.{suffix}"), 8, 1, "crop")[:, :, 0].astype(int)
    assert np.abs(result - np.rot90(pixels, turns)).max() <= 3


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\xff", b"Exif\0\0"])
def test_damaged_exif_is_no_reason_to_lose_an_image(tmp_path: Path, exif: bytes) -> None:
    Image.new("L", (8, 8), 50).save(tmp_path / "x.jpg", exif=exif)
    assert (square(read_image(tmp_path / "x.jpg"), 8, 1, "crop") == 50).all()


def test_crop_keeps_the_middle() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 24, 3), dtype=np.uint8)
    assert np.array_equal(square(Image.fromarray(pixels), 8, 3, "crop"), pixels[:, 8:16])


def test_pad_keeps_everything_and_fills_with_the_mean() -> None:
    pixels = np.zeros((8, 24), dtype=np.uint8)
    pixels[:, 12:] = 200
    result = square(Image.fromarray(pixels), 24, 1, "pad")[:, :, 0]
    assert np.array_equal(result[8:16], pixels)
    assert np.abs(np.delete(result, np.s_[8:16], axis=0).astype(int) - 100).max() <= 1


def test_stretch_squeezes_the_longer_side() -> None:
    pixels = np.zeros((8, 32), dtype=np.uint8)
    pixels[:, 16:] = 255
    result = square(Image.fromarray(pixels), 8, 1, "stretch")[:, :, 0]
    assert (result[:, :3] < 20).all()
    assert (result[:, 5:] > 235).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_shrinking_averages_instead_of_skipping(fit: Fit) -> None:
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    result = square(Image.fromarray(checkers), 8, 1, fit).astype(int)
    assert np.abs(result - 127).max() <= 3


def test_every_grey_level_survives_the_way_to_floats_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1).repeat(3, axis=3)
    levels[..., 1] = 255 - levels[..., 1]
    floats = to_float(levels)
    assert floats.shape == (4, 3, 8, 8)
    assert (floats.min().item(), floats.max().item()) == (-1, 1)
    assert floats[1, 1, 2, 3].item() == pytest.approx(levels[1, 2, 3, 1] / 127.5 - 1)
    assert np.array_equal(to_bytes(floats), levels)


def test_floats_outside_the_range_are_clipped() -> None:
    assert to_bytes(torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0]).reshape(5, 1, 1, 1)).ravel().tolist() == [
        0, 0, 128, 255, 255,
    ]  # fmt: skip


@pytest.mark.parametrize("size", [(1, 1), (3, 100), (100, 3), (0, 5), (20_000, 20_000), (8_000, 8_001)])
def test_images_too_small_or_too_large_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=f"{size[0]}x{size[1]} pixels"):
        check_size(size)


@pytest.mark.parametrize("size", [(4, 4), (8_000, 8_000), (MAX_PIXELS // 4, 4)])
def test_images_at_the_limits_are_accepted(size: tuple[int, int]) -> None:
    check_size(size)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_has_a_row_for_every_so_many_images_and_shows_each_at_its_place(channels: int) -> None:
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * 40 + np.zeros((6, 8, 8, channels), dtype=np.uint8)
    page = sheet(images, 3, ["A", "a very long name", "C"], scale=2)
    cell, heading = 8 * 2 + 2, 22
    assert page.size == (3 * cell, heading + 2 * cell)
    for number in range(6):
        middle = (number % 3 * cell + cell // 2, heading + number // 3 * cell + cell // 2)
        assert page.getpixel(middle) == (40 * number,) * 3


def test_a_picture_is_grey_or_coloured_by_its_channels() -> None:
    assert to_picture(np.zeros((4, 4, 1), dtype=np.uint8)).mode == "L"
    assert to_picture(np.zeros((4, 4, 3), dtype=np.uint8)).mode == "RGB"

"""Colour profiles. The expected colours are published corner values and the formula of sRGB; none is ImageCms' own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from ctfgan.data.color_profiles import profile_of
from ctfgan.data.images import square
from ctfgan.data.inspection import inspect
from ctfgan.data.pack import pack
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.encoded import read_image
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.tree import FolderTree
from tests.unit.data.icc import ADOBE_RGB, SRGB, cmyk_profile, grey_profile, rgb_profile

ADOBE = rgb_profile("Adobe RGB (1998)", ADOBE_RGB, 563 / 256)
CORNERS = [((219, 0, 0), (255, 0, 0)), ((144, 255, 60), (0, 255, 0)), ((0, 0, 250), (0, 0, 255))]
"""The same colour in Adobe RGB and in sRGB."""


def colour_of(image: Image.Image, form: str, content: bytes | None, **options: object) -> list[int]:
    file = io.BytesIO()
    image.save(file, form, icc_profile=content, **options)
    return square(read_image(file.getvalue()), 4, 3, "crop")[0, 0].tolist()


def srgb_level(light: float) -> float:
    """The level of an amount of light in [0, 1], by the standard's formula above its dark end."""
    return 255 * (1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("adobe", "srgb"), CORNERS)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_colours_of_adobe_rgb_become_those_of_srgb(
    form: str, adobe: tuple[int, int, int], srgb: tuple[int, int, int]
) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    assert np.abs(np.subtract(colour_of(Image.new("RGB", (8, 8), adobe), form, ADOBE, **options), srgb)).max() <= 1


def test_the_greys_of_a_linear_profile_become_those_of_srgb() -> None:
    for level in (20, 55, 128, 255):
        found = colour_of(Image.new("L", (8, 8), level), "PNG", grey_profile("linear grey", 1.0))
        assert found == pytest.approx([srgb_level(level / 255)] * 3, abs=1)


def test_a_sixteen_bit_image_has_its_profile_applied_too() -> None:
    image = Image.fromarray(np.full((8, 8), 128 * 257, np.uint16))
    assert colour_of(image, "PNG", grey_profile("linear grey", 1.0)) == pytest.approx(
        [srgb_level(128 / 255)] * 3, abs=1
    )


def test_transparency_survives_the_conversion() -> None:
    image = Image.new("RGBA", (8, 8), (144, 255, 60, 51))  # green, a fifth of it over white
    assert colour_of(image, "PNG", ADOBE) == pytest.approx([204, 255, 204], abs=1)


def test_a_palette_has_the_colours_of_its_profile() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([144, 255, 60])
    assert colour_of(image, "PNG", ADOBE) == pytest.approx([0, 255, 0], abs=1)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_inks_become_the_colours_that_their_profile_prints(form: str) -> None:
    def lightness(corner: tuple[int, ...]) -> float:
        return 0.5 if corner == (1, 0, 0, 0) else float(not any(corner))

    press, options = cmyk_profile("a press", lightness), {"quality": 100} if form == "JPEG" else {}
    half = ((50 * 128 / 127.5 + 16) / 116) ** 3  # the light of L* = 50, which is byte 128
    for inks, grey in (((255, 0, 0, 0), srgb_level(half)), ((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0)):
        assert colour_of(Image.new("CMYK", (8, 8), inks), form, press, **options) == pytest.approx([grey] * 3, abs=2)


def test_inks_without_a_profile_are_as_they_were() -> None:
    assert colour_of(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF", None) == [255, 0, 0]


def own_srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(own_srgb(), id="sRGB"),
        pytest.param(rgb_profile("sRGB IEC61966-2.1", SRGB, 2.2), id="says sRGB"),
        pytest.param(b"no profile" * 30, id="damaged"),
        pytest.param(ADOBE[:200], id="cut off"),
        pytest.param(grey_profile("linear grey", 1.0), id="of another kind of colour"),
    ],
)
def test_pixels_of_srgb_or_of_a_profile_that_means_nothing_lie_as_they_are(content: bytes) -> None:
    assert colour_of(Image.new("RGB", (8, 8), (144, 250, 60)), "PNG", content) == [144, 250, 60]


def test_what_was_done_about_profiles_is_said_in_a_line_each(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a").mkdir()
    profiles = [ADOBE, ADOBE, rgb_profile("wide", ADOBE_RGB, 1.8), b"damaged" * 40, own_srgb(), None]
    for number, content in enumerate(profiles):
        pixels = np.arange(256 * 3, dtype=np.uint16).reshape(16, 16, 3) % 251 + number
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a" / f"{number}.png", icc_profile=content)
    source = TreeSource(FolderTree(tmp_path))
    notes = pack(source, scan_headers(source), 16, 3, "crop").survey.notes
    assert notes == (
        "3 images were converted to sRGB from the colour profile in the file (Adobe RGB (1998) 2, wide 1)",
        "1 image carries a colour profile that is damaged or of another kind of colour; the pixels are used as they "
        "lie, save them in sRGB to be sure of their colours",
    )
    assert inspect(source).survey.notes == notes


def test_a_profile_of_greys_that_a_sixteen_bit_image_carries_counts_as_used(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a").mkdir()
    linear = grey_profile("linear grey", 1.0)
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257).save(
        tmp_path / "a" / "0.png", icc_profile=linear
    )
    source = TreeSource(FolderTree(tmp_path))
    notes = pack(source, scan_headers(source), 16, 1, "crop").survey.notes
    assert notes == ("1 image was converted to sRGB from the colour profile in the file (linear grey 1)",)
    assert inspect(source).survey.notes == notes


def test_the_profile_of_an_image_of_lab_colours_says_nothing_more() -> None:
    pixels = Image.new("LAB", (8, 8), (128, 128, 128))
    pixels.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert profile_of(pixels) is None

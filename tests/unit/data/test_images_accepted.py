"""docs/images-accepted.md, row by row."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.data.images import square
from ctfgan.data.sources.encoded import SUFFIXES, read_image
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.tree import FolderTree
from tests.unit.data.icc import ADOBE_RGB, cmyk_profile, grey_profile, rgb_profile

PAGE = (Path(__file__).parents[3] / "docs/images-accepted.md").read_text(encoding="utf-8")
SIZE = (20, 12)
RED, BLUE = (200, 30, 40), (10, 20, 220)


def flat(colour: tuple[int, ...] | int = RED, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, SIZE, colour)


def written(image: Image.Image, form: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def chunked(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of chunks with right checksums."""
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def grey_png(
    width: int, height: int, *more: tuple[bytes, bytes], depth: int = 8, kind: int = 0, row: bytes = b""
) -> bytes:
    """A PNG of that size, with one row of pixels for each of its lines, or none at all."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return chunked(
        (b"IHDR", head), *more, (b"IDAT", zlib.compress((b"\0" + row) * height if row else b"")), (b"IEND", b"")
    )


def frames(form: str, **options: object) -> bytes:
    return written(flat(), form, save_all=True, append_images=[flat(BLUE)], **options)


def turned() -> bytes:
    image = flat(BLUE)
    image.paste(RED, (0, 0, 20, 6))  # red above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right: red on the right
    return written(image, "PNG", exif=exif)


def see_through(mode: str) -> bytes:
    return written(Image.new(mode, SIZE, {"LA": (100, 51), "RGBA": (0, 0, 255, 51)}[mode]), "PNG")


def transparent_palette() -> bytes:
    image = Image.new("P", SIZE, 1)
    image.putpalette([255, 0, 0, 10, 20, 30])
    return written(image, "PNG", transparency=1)


def wide(dtype: type[np.generic], *levels: float, **options: object) -> bytes:
    """A TIFF with one pixel of each level but the last, which fills it."""
    pixels = np.full(SIZE[::-1], levels[-1], dtype=dtype)
    pixels[0, : len(levels) - 1] = levels[:-1]
    return written(Image.fromarray(pixels), "TIFF", **options)


def twelve_bits() -> bytes:
    pixels = np.full(SIZE[::-1], 100 * 16 + 9, dtype=np.uint16)
    pixels[0, 0] = 4_031
    return written(Image.fromarray(pixels), "PNG")


def white_press(corner: tuple[int, ...]) -> float:
    """Cyan prints a middle grey, everything else black."""
    return 0.5 if corner == (1, 0, 0, 0) else float(not any(corner))


def packed(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
DEEP = np.full(SIZE[::-1], 100 * 257 + 200, dtype=np.uint16)
FLOATS = np.full(SIZE[::-1], 77.0, dtype=np.float32)
FLOATS[0, 0] = np.nan
ADOBE = rgb_profile("Adobe RGB (1998)", ADOBE_RGB, 563 / 256)
ADOBE_GREEN, GREEN = (144, 255, 60), (0, 255, 0)
ROW = bytes([100]) * 20

USED: dict[str, tuple[Callable[[], bytes], tuple[int, ...]]] = {
    "progressive JPEG": (lambda: written(flat(), "JPEG", progressive=True, quality=100), RED),
    "JPEG with bytes behind its end": (lambda: written(flat(), "JPEG", quality=100) + b"PK\3\4" * 100, RED),
    "MPO (JPEG with more pictures behind it)": (lambda: frames("MPO", quality=100), RED),
    "animated GIF": (lambda: frames("GIF"), RED),
    "animated WebP": (lambda: frames("WEBP", lossless=True), RED),
    "animated PNG": (lambda: frames("PNG"), RED),
    "TIFF of many pages": (lambda: written(flat(), "TIFF", save_all=True, append_images=[flat(BLUE)] * 300), RED),
    "CMYK JPEG": (lambda: written(flat((0, 255, 255, 0), "CMYK"), "JPEG", quality=100), (255, 0, 0)),
    "CMYK JPEG with a colour profile": (
        lambda: written(
            flat((255, 0, 0, 0), "CMYK"), "JPEG", quality=100, icc_profile=cmyk_profile("press", white_press)
        ),
        (119, 119, 119),
    ),
    "colour or grey with a colour profile": (lambda: written(flat(ADOBE_GREEN), "PNG", icc_profile=ADOBE), GREEN),
    "damaged colour profile": (lambda: written(flat(), "PNG", icc_profile=ADOBE[:99]), RED),
    "colour profile of another kind of colour": (
        lambda: written(flat(), "PNG", icc_profile=grey_profile("linear", 1.0)),
        RED,
    ),
    "12-bit grey in a 16-bit PNG": (twelve_bits, (100, 100, 100)),
    "16-bit grey PNG with a transparent level": (
        lambda: written(Image.fromarray(DEEP), "PNG", transparency=int(DEEP[0, 0])),
        (255, 255, 255),
    ),
    "16-bit TIFF that counts from white": (lambda: wide(np.uint16, 65_535, 257, tiffinfo={262: 0}), (254, 254, 254)),
    "32-bit TIFF of bytes": (lambda: wide(np.int32, 255, 0, 99), (99, 99, 99)),
    "float TIFF from 0 to 1": (lambda: wide(np.float32, 0, 1, 0.4), (102, 102, 102)),
    "float TIFF from -1 to 1": (lambda: wide(np.float32, -1, 1, 0.6), (204, 204, 204)),
    "float TIFF of 16 bits": (lambda: wide(np.float32, 0, 65_535, 51 * 257), (51, 51, 51)),
    "16-bit grey PNG": (lambda: written(Image.fromarray(DEEP), "PNG"), (100, 100, 100)),
    "16-bit colour PNG": (lambda: grey_png(20, 12, depth=16, kind=2, row=bytes([200, 9, 30, 9, 40, 9]) * 20), RED),
    "32-bit float TIFF": (lambda: written(Image.fromarray(FLOATS), "TIFF"), (77, 77, 77)),
    "1-bit PNG": (lambda: written(Image.new("1", SIZE, 1), "PNG"), (255, 255, 255)),
    "palette with a transparent colour": (transparent_palette, (255, 255, 255)),
    "grey with transparency": (lambda: see_through("LA"), (224, 224, 224)),
    "colour with transparency": (lambda: see_through("RGBA"), (204, 204, 255)),
    "damaged EXIF": (lambda: written(flat(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff", quality=100), RED),
    "image under another image's suffix": (lambda: written(flat(), "GIF"), RED),
    "4 x 10,000 pixels": (lambda: written(Image.new("RGB", (4, 10_000), RED), "PNG"), RED),
}

PASSED_OVER: dict[str, Callable[[], bytes]] = {
    "zero bytes": lambda: b"",
    "text called .png": lambda: b"Dear diary,\n",
    "PNG that claims 50,000 x 50,000 pixels": lambda: grey_png(50_000, 50_000),
    "PNG that claims 9,000 x 9,000 pixels": lambda: grey_png(9_000, 9_000),
    "PNG that claims 0 x 5 pixels": lambda: grey_png(0, 5),
    "PNG with a text that unpacks to 100 MB": lambda: grey_png(20, 12, (b"zTXt", b"a\0\0" + packed(10**8)), row=ROW),
    "PNG with a colour profile that unpacks to 100 MB": lambda: grey_png(
        20, 12, (b"iCCP", b"a\0\0" + packed(10**8)), row=ROW
    ),
    "1 x 1 pixel": lambda: written(Image.new("L", (1, 1)), "PNG"),
    "1 x 10,000 pixels": lambda: written(Image.new("L", (1, 10_000)), "PNG"),
    "TIFF with whole numbers below 0": lambda: wide(np.int32, -1_000, 400),
    "float TIFF from -2 to 3": lambda: wide(np.float32, -2, 3),
    "float TIFF of not-a-numbers": lambda: wide(np.float32, np.nan),
    "ICO called .png": lambda: written(flat(), "ICO"),
    "EPS called .png": lambda: written(flat(), "EPS"),
    "SVG called .png": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "HEIC called .jpg": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
}


def rows(heading: str) -> dict[str, str]:
    """The two columns of the table below a heading."""
    table = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (.+?) \| (.+?) \|$", table, flags=re.MULTILINE)
    return dict(cells[1:])


OTHERWISE = {
    "PNG, JPEG, WebP, BMP, GIF, TIFF, PPM, TGA, JPEG 2000, AVIF",
    "arithmetic-coded JPEG",
    "EXIF rotation",
    "link to an image",
    "name that is no UTF-8",
    "PNG cut off in its header",
    "PNG cut off in its pixels",
    "JPEG cut off in its header",
    "JPEG cut off in its pixels",
    "broken link",
    "link in a circle",
    "file that may not be read",
    "pipe called x.png",
}
"""Rows with tests of their own below, or elsewhere (every form: test_sources_folder.py)."""


def test_every_row_of_the_page_is_tested() -> None:
    assert {*rows("Used"), *rows("Passed over")} == {*USED, *PASSED_OVER, *OTHERWISE}
    assert set(PAGE.partition("(`.png")[2].partition("`)")[0].split()) | {".png"} == SUFFIXES


@pytest.mark.parametrize("name", USED)
def test_what_is_used_of_an_image(name: str) -> None:
    make, colour = USED[name]
    pixels = square(read_image(make()), 8, 3, "crop").astype(int)[4:]
    assert np.abs(pixels - np.array(colour)).max() <= 2


@pytest.mark.parametrize("name", PASSED_OVER)
def test_what_is_said_of_an_image_that_is_passed_over(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(PASSED_OVER[name]())
    with pytest.raises(DataError) as error:
        square(TreeSource(FolderTree(tmp_path)).read(0), 8, 3, "crop")
    assert f"`{error.value}`" == rows("Passed over")[name]


@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_file_that_is_cut_off_anywhere_is_passed_over(form: str, tenths: int) -> None:
    whole = written(NOISE, form)
    with pytest.raises(DataError) as error:
        read_image(whole[: len(whole) * tenths // 10])
    table = rows("Passed over")
    said = [table[f"{form} cut off in its {part}"].strip("`") for part in ("header", "pixels")]
    assert any(str(error.value).startswith(reason.rstrip(")")) for reason in said)


def test_an_image_is_turned_as_its_exif_says() -> None:
    upright = square(read_image(turned()), 12, 3, "stretch").astype(int)
    assert np.abs(upright[:, 8:] - np.array(RED)).max() <= 60
    assert np.abs(upright[:, :4] - np.array(BLUE)).max() <= 60


def test_an_arithmetic_coded_jpeg_is_read() -> None:
    content = bytearray(written(flat(100, "L"), "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 1] = 0xC9  # the same frame, arithmetic coding; without tables for it the scan means nothing
    try:
        assert read_image(bytes(content)).size == SIZE
    except DataError as error:  # a libjpeg without arithmetic coding
        assert str(error).startswith("damaged")  # noqa: PT017  either may happen


def test_links_pipes_and_names_that_are_no_text(tmp_path: Path) -> None:
    image = written(flat(), "PNG")
    folder = tmp_path / "a"
    folder.mkdir()
    (tmp_path / "elsewhere").write_bytes(image)
    (folder / "broken.png").symlink_to("nowhere")
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe.png")
    (folder / os.fsdecode(b"\xe9.png")).write_bytes(image)
    (folder / "folder.png").mkdir()
    (folder / "folder.png" / "x.png").write_bytes(image)
    source, said = TreeSource(FolderTree(tmp_path)), {}
    for index in range(len(source.labels)):
        name = Path(source.name(index)).name
        try:
            said[name] = str(source.read(index).size)
        except DataError as error:
            said[name] = f"`{error}`"
    table = rows("Passed over")
    assert said == {
        "broken.png": table["broken link"],
        "circle.png": table["link in a circle"],
        "pipe.png": table["pipe called x.png"],
        "link.png": str(SIZE),
        "x.png": str(SIZE),
        "\ufffd.png": str(SIZE),
    }
    assert source.classes == ("a", "a/folder.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(written(flat(), "PNG"))
    (tmp_path / "x.png").chmod(0)
    with pytest.raises(DataError, match=r"^cannot be opened \(Permission denied\)$"):
        read_image(tmp_path / "x.png")


def test_an_image_comes_from_a_path_or_from_bytes_under_a_limit(tmp_path: Path) -> None:
    content = written(flat(), "PNG")
    (tmp_path / "x.png").write_bytes(content)
    for file in (tmp_path / "x.png", content):
        assert read_image(file).getpixel((0, 0)) == RED
        with pytest.raises(DataError, match="20x12 pixels; more than 239 are not decoded"):
            read_image(file, most_pixels=239)
    with pytest.raises(DataError, match="zero bytes"):
        read_image(b"")


def test_reading_images_leaves_pillows_own_limit_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    read_image(written(flat(), "PNG"))
    assert before == Image.MAX_IMAGE_PIXELS is not None

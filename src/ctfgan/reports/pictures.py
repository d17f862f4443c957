"""Pictures of a report, small enough to stand in its page: images, maps of numbers in colours, sample sheets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ctfgan.data.images import Bytes, png, to_picture
from ctfgan.reports.document import Embedded, Tile

LARGEST = 128  # pixels of an image in a table
SMALLEST = 48  # CSS pixels that it is shown at, at least
SHEET_NAME = re.compile(r"(\d+)-(.+)-(\d+)")
"""Stage number, stage and step of a sheet."""
WIDEST = 1_600  # pixels of a sheet on a page
READABLE = 800  # CSS pixels that a sheet keeps on a narrow screen
UNCHANGED = 300_000  # bytes up to which a sheet stays the PNG that it is


def image_tile(image: Bytes, alt: str, width: int | None = None) -> Tile:
    """An image ``(R, R, K)``; None shows it at whole multiples of its own size, about 64 CSS pixels wide."""
    picture = to_picture(image)
    side = picture.width
    if side > LARGEST:
        picture = picture.resize((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return Tile(_encode(picture), alt, width or min(LARGEST, side * max(1, -(-SMALLEST // side))))


def map_tile(values: NDArray[np.floating], alt: str, width: int, *, signed: bool, most: float | None = None) -> Tile:
    """Numbers ``(H, W)`` in colours.

    Args:
        values: of each pixel.
        alt: what the picture shows.
        width: in CSS pixels.
        signed: red above 0, blue below; else from black (0) to light yellow.
        most: the magnitude in full colour; None for the largest one.
    """
    scaled = values / (most or float(np.abs(values).max()) or 1.0)
    colours = matplotlib.colormaps["RdBu_r"]((scaled + 1) / 2) if signed else matplotlib.colormaps["magma"](scaled)
    return Tile(_encode(Image.fromarray((colours[..., :3] * 255).round().astype(np.uint8))), alt, width)


def sheets_of(run: Path) -> list[Path]:
    """The sample sheets of a run, in the order in which they were drawn."""
    named = [(SHEET_NAME.fullmatch(path.stem), path) for path in (run / "sheets").glob("*.png")]
    return [path for _, _, path in sorted((int(name[1]), int(name[3]), path) for name, path in named if name)]


def spread_over_time(sheets: Sequence[Path], most: int) -> list[Path]:
    """At most so many of some sheets: the first, the last, and evenly spaced ones between them."""
    chosen = np.linspace(0, len(sheets) - 1, min(most, len(sheets))).round().astype(int)
    return [sheets[index] for index in chosen]


def embedded_sheet(sheet: Path, by_class: bool) -> Embedded | None:
    """A sheet as a part of a page, a large one as a WebP of at most 1,600 pixels; None if the file is no image.

    Args:
        sheet: the file.
        by_class: whether its columns are classes.
    """
    name = SHEET_NAME.fullmatch(sheet.stem)
    assert name is not None, f"{sheet} is no sheet"
    caption = f"stage {name[2]}, step {int(name[3]):,}"
    columns = "one class a column, the same noise as in every other sheet" if by_class else "images without a class"
    try:
        content = sheet.read_bytes()
        picture: Image.Image = Image.open(BytesIO(content))
        if len(content) > UNCHANGED:
            picture = picture.convert("RGB")
            picture.thumbnail((WIDEST, 4 * WIDEST), Image.Resampling.LANCZOS)
            content = _webp(picture, quality=80)
    except (OSError, UnidentifiedImageError):
        return None
    alt = f"sheet of generated images, {caption}: {columns}"
    return Embedded(content, alt, caption, least_width=min(READABLE, picture.width))


def _encode(picture: Image.Image) -> bytes:
    """The picture as a PNG, or as WebP where that is smaller and colours make it large."""
    content = png(picture)
    if picture.mode == "L" or len(content) < 2_000:
        return content
    return min(content, _webp(picture, quality=85), key=len)


def _webp(picture: Image.Image, quality: int) -> bytes:
    content = BytesIO()
    picture.save(content, format="WEBP", quality=quality)
    return content.getvalue()

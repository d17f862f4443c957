"""Small pictures for the cells of tables: images as they are, maps of numbers in colours."""

from __future__ import annotations

from io import BytesIO

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctfgan.data.images import Bytes, to_picture
from ctfgan.reports.page_blocks import Tile

LARGEST = 128  # pixels of an image in a table
SMALLEST = 48  # CSS pixels that it is shown at, at least


def image_tile(image: Bytes, alt: str, width: int | None = None) -> Tile:
    """An image ``(R, R, K)``; None shows it at whole multiples of its own size, about 64 CSS pixels wide."""
    picture = to_picture(image)
    side = picture.width
    if side > LARGEST:
        picture = picture.resize((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return Tile(_encoded(picture), alt, width or min(LARGEST, side * max(1, -(-SMALLEST // side))))


def map_tile(values: NDArray[np.floating], alt: str, width: int, *, signed: bool, most: float | None = None) -> Tile:
    """Numbers ``(H, W)`` in colours.

    Args:
        values: what is shown.
        alt: what it shows.
        width: in CSS pixels.
        signed: red above 0, blue below; else from black (0) to light yellow.
        most: the magnitude in full colour; None for the largest one.
    """
    most = most or float(np.abs(values).max()) or 1.0
    shown = values / most
    colours = matplotlib.colormaps["RdBu_r"]((shown + 1) / 2) if signed else matplotlib.colormaps["magma"](shown)
    return Tile(_encoded(Image.fromarray((colours[..., :3] * 255).round().astype(np.uint8))), alt, width)


def _encoded(picture: Image.Image) -> bytes:
    """The picture as a PNG, or as WebP where that is smaller and colours make it large."""
    png = BytesIO()
    picture.save(png, format="PNG", optimize=True)
    if picture.mode == "L" or len(png.getvalue()) < 2_000:
        return png.getvalue()
    webp = BytesIO()
    picture.save(webp, format="WEBP", quality=85)
    return min(png.getvalue(), webp.getvalue(), key=len)

"""Many images as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from PIL import Image

from ctfgan.core.errors import ConfigError
from ctfgan.data.images import MAX_PIXELS, Bytes, sheet, sheet_page, to_picture, zoom_for

SHEET_COLUMNS = 32
MOST_PIXELS = MAX_PIXELS
"""Of a sheet: no more than we would read back."""


def sheet_of_columns(images: Bytes, count: int, headings: Sequence[str]) -> Image.Image:
    """One column of ``count`` images under each heading; further columns follow below.

    Args:
        images: uint8 ``(len(headings) * count, R, R, K)``, column by column.
        count: images in a column.
        headings: one text for each column.
    """
    pages = []
    for columns in _pages(len(headings)):
        chosen, start = list(headings[columns.start : columns.stop]), columns.start
        block = images[start * count : (start + len(chosen)) * count]
        rows = block.reshape(len(chosen), count, *block.shape[1:]).swapaxes(0, 1).reshape(block.shape)
        pages.append(sheet(rows, len(chosen), chosen, zoom_for(images.shape[1], len(chosen))))
    return _stacked(pages)


def sheet_size(columns: int, count: int, side: int) -> tuple[int, int]:
    """Width and height of what :func:`sheet_of_columns` draws of images of ``side`` pixels."""
    sizes = [sheet_page(len(page), count, side, zoom_for(side, len(page))) for page in _pages(columns)]
    return max(width for width, _ in sizes), sum(height for _, height in sizes)


def columns_that_fit(most: int, count: int, side: int) -> int:
    """As many columns, at most ``most``, as a sheet can have; one at least."""
    fitting = (columns for columns in range(most, 1, -1) if prod(sheet_size(columns, count, side)) <= MOST_PIXELS)
    return next(fitting, 1)


def check_sheet(columns: int, count: int, side: int) -> None:
    """Refuse a sheet that would take the memory of the machine, and that nobody could open.

    Raises:
        ConfigError: more than 64 million pixels.
    """
    width, height = sheet_size(columns, count, side)
    if width * height > MOST_PIXELS:
        raise ConfigError(
            f"a sheet of {columns:,} x {count:,} images has {width:,} x {height:,} pixels; at most {MOST_PIXELS:,} "
            "are drawn, ask for fewer images, or for a folder with --out DIR"
        )


def enlarged(images: Bytes, side: int) -> Bytes:
    """Images ``(N, r, r, K)`` as ``(N, side, side, K)``, nearest neighbour: what is coarse stays so."""
    pictures = [to_picture(image).resize((side, side), Image.Resampling.NEAREST) for image in images]
    return np.stack([np.asarray(picture) for picture in pictures]).reshape(len(images), side, side, images.shape[3])


def _pages(columns: int) -> list[range]:
    """The columns of each part of a sheet."""
    return [range(start, min(start + SHEET_COLUMNS, columns)) for start in range(0, columns, SHEET_COLUMNS)]


def _stacked(pages: list[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (max(page.width for page in pages), sum(page.height for page in pages)), "white")
    top = 0
    for page in pages:
        whole.paste(page, (0, top))
        top += page.height
    return whole

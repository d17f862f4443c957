"""Many images as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from ctfgan.data.images import Bytes, sheet, to_picture, zoom_for

SHEET_COLUMNS = 32


def sheet_of_columns(images: Bytes, count: int, headings: Sequence[str]) -> Image.Image:
    """One column of ``count`` images under each heading; further columns follow below.

    Args:
        images: uint8 ``(len(headings) * count, R, R, K)``, column by column.
        count: images in a column.
        headings: one text for each column.
    """
    pages = []
    for start in range(0, len(headings), SHEET_COLUMNS):
        chosen = list(headings[start : start + SHEET_COLUMNS])
        block = images[start * count : (start + len(chosen)) * count]
        rows = block.reshape(len(chosen), count, *block.shape[1:]).swapaxes(0, 1).reshape(block.shape)
        pages.append(sheet(rows, len(chosen), chosen, zoom_for(images.shape[1], len(chosen))))
    return _stacked(pages)


def enlarged(images: Bytes, side: int) -> Bytes:
    """Images ``(N, r, r, K)`` as ``(N, side, side, K)``, nearest neighbour: what is coarse stays so."""
    pictures = [to_picture(image).resize((side, side), Image.Resampling.NEAREST) for image in images]
    return np.stack([np.asarray(picture) for picture in pictures]).reshape(len(images), side, side, images.shape[3])


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    content = BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()


def _stacked(pages: list[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (max(page.width for page in pages), sum(page.height for page in pages)), "white")
    top = 0
    for page in pages:
        whole.paste(page, (0, top))
        top += page.height
    return whole

"""Images that are encoded files (PNG, JPEG, ...), on disk or inside something larger."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from io import BytesIO
from pathlib import Path

from PIL import Image

from ctfgan.data.images import MAX_PIXELS, check_size
from ctfgan.errors import DataError

SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".pgm",
        ".ppm",
        ".pbm",
        ".pnm",
        ".tga",
        ".jp2",
        ".avif",
    ]
)


class EncodedSource(ABC):
    """The part of an :class:`~ctfgan.data.sources.base.ImageSource` that all sources of encoded files share."""

    @abstractmethod
    def content(self, index: int) -> Path | bytes:
        """The encoded image; raises DataError or OSError if it is not there."""

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        with open_image(self.content(index)) as image:
            return image.mode, image.size

    def read(self, index: int) -> Image.Image:
        return read_image(self.content(index))


def read_image(
    content: Path | bytes, *, formats: tuple[str, ...] | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode one image file.

    Args:
        content: the file or what is in it.
        formats: Pillow's names of the formats that are tried; None for all.
        max_pixels: that are decoded; the header is asked before.

    Raises:
        DataError: too small, too large, empty, truncated or not an image; the message does not name the file.
    """
    with open_image(content, formats=formats, max_pixels=max_pixels) as image:
        try:
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                image.load()
        except Exception as error:  # each of Pillow's decoders raises what it likes
            raise DataError(f"damaged ({error})") from error
        return image.copy()


def open_image(
    content: Path | bytes, *, formats: tuple[str, ...] | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Read the header of one image file, not its pixels; arguments as :func:`read_image` takes them.

    Raises:
        DataError: too small, too large, empty or not an image; the message does not name the file.
    """
    if (content.stat().st_size if isinstance(content, Path) else len(content)) == 0:
        raise DataError("zero bytes")
    # Pillow warns of large images before we can look at the size; our own limit follows at once.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of damaged metadata
            image = Image.open(content if isinstance(content, Path) else BytesIO(content), formats=formats)
    except Exception as error:  # each of Pillow's formats raises what it likes
        raise DataError("not an image that Pillow can read") from error
    try:
        check_size(image.size, max_pixels)
    except DataError:
        image.close()
        raise
    return image

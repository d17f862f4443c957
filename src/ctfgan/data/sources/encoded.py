"""Images that are encoded files (PNG, JPEG, ...), on disk or inside something larger."""

from __future__ import annotations

import importlib
import stat
import warnings
from abc import abstractmethod
from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt
from ctfgan.data.images import MAX_PIXELS, TooManyPixels, check_size
from ctfgan.data.levels import MIN_IS_WHITE, kind_of
from ctfgan.data.sources.base import ImageSource

SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"}
    | {".pbm", ".pnm", ".tga", ".jp2", ".avif"}
)
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""What telephones write; images where Pillow's plug-in for them is installed."""
HEIF_PLUGIN = "pillow_heif"
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF", "TGA")
"""What files of these suffixes hold, whatever they are called. Pillow's other decoders see no bytes: one of them would
start another program. TGA is the last since it has no mark of its own."""
LARGEST_FILE = 1 << 29
"""Bytes of an encoded image in an archive: more than the largest image that is decoded has unpacked."""
HEADER_BYTES = 1 << 16
"""Enough of an encoded image to know its size, unless its metadata are unusually long."""


class EncodedSource(ImageSource):
    """Images that are encoded files, wherever these lie."""

    is_concurrent = True

    @abstractmethod
    def content(self, index: int) -> Path | bytes:
        """The encoded image; raises DataError or OSError if it is not there."""

    def beginning(self, index: int) -> Path | bytes:
        """As much of the encoded image as is easily had; mostly enough to know its size."""
        return self.content(index)

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        try:
            with open_image(self.beginning(index)) as image:
                return image.mode, image.size
        except DataError:
            with open_image(self.content(index)) as image:
                return image.mode, image.size

    def read(self, index: int) -> Image.Image:
        return read_image(self.content(index))


def is_image_name(name: str) -> bool:
    """Whether a file of this name counts as an image, by its suffix."""
    suffix = suffix_of(name)
    return suffix in SUFFIXES or (suffix in HEIF_SUFFIXES and reads_heif())


def suffix_of(name: str) -> str:
    """The suffix of a file's name or path, such as ``.png``, in lower case; empty if it has none."""
    stem, dot, end = name.rpartition("/")[2].rpartition(".")
    return f"{dot}{end}".lower() if stem and end else ""


@cache
def reads_heif() -> bool:
    """Whether Pillow's plug-in for HEIC and HEIF is installed; if so, Pillow knows it from now on."""
    try:
        importlib.import_module(HEIF_PLUGIN).register_heif_opener()
    except ImportError:
        return False
    return True


def read_image(file: Path | bytes, most_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one image file, given by its path or its content; of several frames or pages the first one.

    Raises:
        DataError: too small, more than ``most_pixels``, empty, truncated or not an image; the message does not name the
            file.
    """
    with open_image(file, most_pixels) as image:
        try:
            with warnings.catch_warnings(action="ignore"):
                image.load()
        except Exception as error:  # each of Pillow's decoders raises what it likes
            raise DataError(f"damaged ({excerpt(error)})") from error
        check_size(image.size, most_pixels)  # some formats tell their true size only now
        pixels = image.copy()
        if kind_of(image.mode) and _min_is_white(image):
            pixels.info[MIN_IS_WHITE] = True
        return pixels


def open_image(file: Path | bytes, most_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read the header of one image file, not its pixels.

    Raises:
        DataError: too small, too large, empty or not an image; the message does not name the file.
    """
    if _size(file) == 0:
        raise DataError("zero bytes")
    try:
        with warnings.catch_warnings(action="ignore"):  # of damaged metadata, of sizes that we look at ourselves
            image = Image.open(BytesIO(file) if isinstance(file, bytes) else file, formats=known_formats())
    except Image.DecompressionBombError as error:
        raise TooManyPixels(f"more pixels than the {most_pixels:,} that are decoded; shrink the image first") from error
    except Exception as error:  # each of Pillow's formats raises what it likes
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"cannot be opened ({error.strerror})") from error
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({excerpt(error)})"
        raise DataError(f"not an image that Pillow can read{reason}") from error
    try:
        check_size(image.size, most_pixels)
    except DataError:
        image.close()
        raise
    return image


def _min_is_white(image: Image.Image) -> bool:
    """Whether a TIFF counts its levels from white, as scanners and X-rays do."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0


@cache
def known_formats() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that this Pillow was built with, or has a plug-in for."""
    Image.init()
    reads_heif()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _size(file: Path | bytes) -> int:
    """Bytes of a file, which must be one: whoever opens a pipe would block until somebody writes to it."""
    if isinstance(file, bytes):
        return len(file)
    try:
        status = file.stat()
    except (OSError, ValueError) as error:  # a path in a table may hold a zero byte
        raise DataError(f"cannot be opened ({excerpt(getattr(error, 'strerror', None) or error)})") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError("a folder, a pipe or a device, no file")
    return status.st_size

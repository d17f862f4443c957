"""Between files, uint8 arrays and tensors: conversion, squaring, resizing, contact sheets."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ctfgan.core.errors import DataError
from ctfgan.data.color_profiles import in_srgb, is_transparent
from ctfgan.data.levels import Levels, eight_bit, kind_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
MIN_SIDE = 4
MAX_PIXELS = 64_000_000
HEADING_HEIGHT = 22
MAX_ZOOM = 8

Fit = Literal["crop", "pad", "stretch"]
Bytes = NDArray[np.uint8]


class WrongSize(DataError):
    """An image too small or too large to be used."""


class TooManyPixels(WrongSize):
    """An image so large that its pixels are not decoded."""


def check_size(size: tuple[int, int], most_pixels: int = MAX_PIXELS) -> None:
    """Refuse an image too small to hold anything or large enough to exhaust memory.

    Raises:
        WrongSize: a side below 4 pixels.
        TooManyPixels: more than ``most_pixels``.
    """
    width, height = size
    if min(size) < MIN_SIDE:
        raise WrongSize(f"{width}x{height} pixels; each side must have at least {MIN_SIDE}")
    if width * height > most_pixels:
        raise TooManyPixels(
            f"{width}x{height} pixels; more than {most_pixels:,} are not decoded, shrink the image first"
        )


def square(image: Image.Image, size: int, channels: int, fit: Fit, levels: Levels | None = None) -> Bytes:
    """An image of any mode and shape as ``(size, size, channels)`` uint8; shrinking is anti-aliased.

    For what happens before see :func:`plain`, which takes ``levels`` and says what it raises.
    """
    image = plain(image, channels, levels)
    if fit == "stretch":
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    elif fit == "crop":
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    else:
        image = ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color=_mean_colour(image))
    return np.asarray(image, dtype=np.uint8).reshape(size, size, channels)


def _mean_colour(image: Image.Image) -> tuple[int, ...]:
    levels = np.asarray(image, dtype=np.float64).reshape(image.height * image.width, -1).mean(axis=0)
    return tuple(round(level) for level in levels)


def plain(image: Image.Image, channels: int, levels: Levels | None = None) -> Image.Image:
    """An image of any mode as upright 8-bit grey (1 channel) or sRGB (3), transparency laid over white.

    Args:
        image: may carry EXIF rotation and a colour profile.
        channels: 1 or 3.
        levels: what the levels of images that are no bytes mean in its set; without, such an image is judged by itself.

    Raises:
        DataError: levels whose meaning is not plain.
    """
    image = _upright(image)
    if kind_of(image.mode):
        image = eight_bit(image, levels)
    image = in_srgb(image)
    if is_transparent(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises all sorts; damaged EXIF says nothing about the pixels
        return image


def to_float(images: Bytes, device: torch.device | str = "cpu") -> Tensor:
    """uint8 ``(N, R, R, K)`` to float32 ``(N, K, R, R)`` in [-1, 1] on a device."""
    import torch  # here, because formats are told apart and names listed without it

    return normalised(torch.from_numpy(np.ascontiguousarray(images)).to(device))


def normalised(images: Tensor) -> Tensor:
    """The same on any device, of a contiguous tensor; the result is in channels-last order."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_bytes(images: Tensor) -> Bytes:
    """Float ``(N, K, R, R)`` in [-1, 1] to uint8 ``(N, R, R, K)``, rounded to nearest."""
    levels = images.detach().float().add(1).mul(127.5).round_().clamp_(0, 255).byte()
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def to_picture(image: Bytes) -> Image.Image:
    """One uint8 image ``(R, R, K)`` as a Pillow image."""
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file."""
    content = BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()


def zoom_for(side: int, columns: int) -> int:
    """Integer zoom that makes a sheet of ``columns`` images about as wide as a screen, at most 8."""
    return max(1, min(MAX_ZOOM, 1_600 // (side * columns)))


def sheet(images: Bytes, columns: int, headings: list[str], scale: int = 2) -> Image.Image:
    """Contact sheet of uint8 images ``(N, R, R, K)``, filled row by row, with a heading over each column.

    Args:
        images: N a multiple of ``columns``.
        columns: images in a row.
        headings: ``columns`` texts; of a long one the end stays, behind an ellipsis, and characters that DejaVu Sans
            lacks become their code points.
        scale: integer zoom, nearest neighbour.
    """
    side = images.shape[1]
    cell = side * scale + 2
    font = heading_font(max(10, min(16, cell // 3)))
    page = Image.new("RGB", sheet_page(columns, len(images) // columns, side, scale), "white")
    draw = ImageDraw.Draw(page)
    for column, heading in enumerate(headings):
        text, fitted = _fitting(heading, cell - 2, font)
        draw.text((column * cell + cell // 2, HEADING_HEIGHT // 2), text, fill="black", font=fitted, anchor="mm")
    for index, image in enumerate(images):
        tile = to_picture(image).resize((side * scale, side * scale), Image.Resampling.NEAREST)
        page.paste(tile, (index % columns * cell + 1, HEADING_HEIGHT + index // columns * cell + 1))
    return page


def sheet_page(columns: int, rows: int, side: int, scale: int) -> tuple[int, int]:
    """Width and height of what :func:`sheet` draws of images of ``side`` pixels."""
    cell = side * scale + 2
    return columns * cell, HEADING_HEIGHT + rows * cell


def _fitting(heading: str, width: int, font: ImageFont.FreeTypeFont) -> tuple[str, ImageFont.FreeTypeFont]:
    """A heading, or an ellipsis and the end of it that fits, since class names often begin alike; and its font."""
    letters = drawable(heading, font)
    if len(letters) == 1 and len(letters[0]) > 1:
        font = font.font_variant(size=8)  # a code point is worth nothing if it is cut
    whole = "".join(letters)
    if font.getlength(whole) <= width or len(whole) == 1:
        return whole, font
    ends = (f"\N{HORIZONTAL ELLIPSIS}{whole[start:]}" for start in range(1, len(whole)))
    shortest = f"\N{HORIZONTAL ELLIPSIS}{whole[-1]}"
    return next((text for text in ends if font.getlength(text) <= width), shortest), font


def heading_font(size: int = 10) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    import matplotlib  # here, because it takes half a second, and nothing is drawn where formats are told apart

    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def drawable(text: str, font: ImageFont.FreeTypeFont | None = None) -> list[str]:
    """The letters of a text, those that DejaVu Sans lacks as their code points."""
    font = font or heading_font()
    return [letter if _can_draw(letter, font) else f"{ord(letter):X}" for letter in text]


def _can_draw(character: str, font: ImageFont.FreeTypeFont) -> bool:
    return bytes(font.getmask(character)) != bytes(font.getmask("\uffff"))

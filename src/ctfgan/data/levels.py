"""Images whose levels are no bytes: which level is black and which is white."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.text import plural

WIDTHS = (*range(8, 31, 2), 31)
"""Bits that whole numbers may be meant to have; Pillow reads none above 2^31 - 1."""
OVERSHOOT = 0.05
"""Part of the range that floats may lie outside it, as a sharp filter leaves them."""
LARGEST_FLOAT = 2**16 - 1
MIN_IS_WHITE = "min_is_white"
"""Entry of an image's ``info`` if its lowest level is meant to be white; Pillow turns bytes alone around."""
BAND = 1 << 20
WAY_OUT = "save it with 8 bits, or with levels from 0 (black) to 1, 255 or 65,535 (white)"

Kind = Literal["whole", "floating-point"]
SMALLEST_WHITE: dict[Kind, float] = {"whole": 255, "floating-point": 1}
"""Of all scales of a kind."""


@dataclass(frozen=True)
class Scale:
    """What levels mean."""

    black: float
    white: float

    @property
    def bits(self) -> int:
        """How many bits hold the levels up to white, of whole numbers."""
        return int(self.white).bit_length()


Levels = Mapping[str, Scale]
"""The scale of each kind of wide images that a set holds."""


def kind_of(mode: str) -> Kind | None:
    """Which numbers the pixels of a Pillow mode are; None if they are bytes."""
    if mode == "F":
        return "floating-point"
    return "whole" if mode == "I" or mode.startswith("I;") else None


def range_of(image: Image.Image) -> tuple[float, float]:
    """Lowest and highest level of a wide image; what is no number, or infinite, does not count.

    Raises:
        DataError: no pixel is a number, or no :class:`Scale` is plain.
    """
    kind = kind_of(image.mode)
    assert kind is not None, "an image of bytes has one scale"
    values = np.asarray(image)
    is_finite = np.isfinite(values)
    if not is_finite.any():
        raise DataError(f"none of its levels is a finite number; {WAY_OUT}")
    some = values.flat[int(is_finite.argmax())]
    low, high = (float(end(values, where=is_finite, initial=some)) for end in (np.min, np.max))
    scale_of(kind, low, high)
    return low, high


def scale_of(kind: str, low: float, high: float) -> Scale:
    """The scale of levels from ``low`` to ``high``.

    Whole numbers have the fewest bits that hold them. Floats lie in [0, 1], [-1, 1] or [0, 255], or are taken as whole
    numbers of at most 16 bits.

    Raises:
        DataError: none of these.
    """
    if kind == "whole":
        if low < 0:
            raise DataError(f"its levels go from {low:,.0f} to {high:,.0f}, and none below 0 is plain; {WAY_OUT}")
        return Scale(0, _white(high))
    if high <= 1 + OVERSHOOT:
        if low >= -OVERSHOOT:
            return Scale(0, 1)
        if low >= -1 - OVERSHOOT:
            return Scale(-1, 1)
    elif low >= -OVERSHOOT * high and high <= (1 + OVERSHOOT) * LARGEST_FLOAT:
        return Scale(0, _white(min(high / (1 + OVERSHOOT), LARGEST_FLOAT)))
    raise DataError(f"its levels go from {low:,.6g} to {high:,.6g}, which is no plain range; {WAY_OUT}")


def _white(high: float) -> float:
    return float(next(2**bits - 1 for bits in WIDTHS if high < 2**bits))


def eight_bit(image: Image.Image, levels: Levels | None = None) -> Image.Image:
    """A wide image in 256 greys; what lies outside its scale is clipped, and what is no number is black.

    Args:
        image: of a mode with a :func:`kind_of`.
        levels: scales of the set that it belongs to; without, or without one of its kind, it is judged by itself.

    Raises:
        DataError: no scale is plain.
    """
    kind = kind_of(image.mode)
    assert kind is not None, "an image of bytes stays as it is"
    low, high = range_of(image)
    scale = (levels or {}).get(kind) or scale_of(kind, low, high)
    values = np.asarray(image)
    grey = np.empty(values.shape, dtype=np.uint8)
    for rows, out in _bands(values, grey):  # there may be 64 million pixels
        out[:] = _greys(rows, scale, is_whole=kind == "whole")
    if image.info.get(MIN_IS_WHITE):
        np.subtract(255, grey, out=grey)
    if kind == "whole" and isinstance(transparent := image.info.get("transparency"), int):
        grey[values == transparent] = 255
    converted = Image.fromarray(grey)
    converted.info = {name: value for name, value in image.info.items() if name == "icc_profile"}
    return converted


def _greys(values: NDArray[np.generic], scale: Scale, *, is_whole: bool) -> NDArray[np.uint8]:
    levels = (values.astype(np.float64) - scale.black) * 255 / (scale.white - scale.black)
    # Of whole numbers the lower bits fall away; floats may be bytes that were divided, and rounding gives them back.
    levels = np.floor(levels) if is_whole else np.rint(levels)
    return np.nan_to_num(levels, nan=0, posinf=255, neginf=0).clip(0, 255).astype(np.uint8)


def _bands(
    values: NDArray[np.generic], grey: NDArray[np.uint8]
) -> Iterable[tuple[NDArray[np.generic], NDArray[np.uint8]]]:
    values, grey = values.reshape(-1), grey.reshape(-1)
    for start in range(0, len(values), BAND):
        yield values[start : start + BAND], grey[start : start + BAND]


def words(kind: str, count: int, low: float, high: float, scale: Scale) -> str:
    """One sentence about the scale of some images of a set; empty for the 16 bits that such images mostly have."""
    if kind == "whole" and scale.bits == 16:
        return ""
    some = f"{plural(count, 'image')} of more than 8 bits" if kind == "whole" else plural(count, "floating-point image")
    number = ",.0f" if kind == "whole" else ",.6g"
    meaning = f"{scale.bits} bits, " if scale.white > 1 else ""
    return (
        f"{some} with levels from {low:{number}} to {high:{number}}; read as {meaning}{scale.black:,.0f} black and "
        f"{scale.white:,.0f} white (save them with 8 bits if they mean something else)"
    )


LITTLE = 26
"""A tenth of the 256 levels; images and sets of a smaller span have little contrast."""
LOWEST, HIGHEST, SPAN = range(3)

Extents = NDArray[np.uint8]
"""``(N, 3)``: of each image the lowest and the highest level, and the span of the channel where it is largest."""


def extent(image: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Lowest and highest level of one image ``(H, W, K)``, and the span of the channel where it is largest."""
    ends = [(int(image[..., channel].min()), int(image[..., channel].max())) for channel in range(image.shape[-1])]
    return min(low for low, _ in ends), max(high for _, high in ends), max(high - low for low, high in ends)


def faint_set(extents: Extents) -> str:
    """A sentence if a whole set has little contrast; empty if it has some.

    A few odd images change nothing about it. Patches of different single colours are what somebody wanted to have.
    """
    low, high = np.percentile(extents[:, LOWEST], 1), np.percentile(extents[:, HIGHEST], 99)
    way_out = "check what the levels mean, and save the images with levels from 0 to 255"
    if high - low < LITTLE:
        return f"all levels lie between {low:.0f} and {high:.0f} of 255, so that there is little to see; {way_out}"
    span = np.median(extents[:, SPAN])
    if 0 < span < LITTLE:
        return f"half of the images use no more than {span:.0f} of 255 levels each; {way_out}"
    return ""


def faint_images(extents: Extents) -> NDArray[np.int64]:
    """Places of images that have little contrast in a set where at least half have some."""
    is_faint = extents[:, SPAN] < LITTLE
    return np.flatnonzero(is_faint) if 2 * is_faint.sum() <= len(extents) else np.empty(0, dtype=np.int64)


def faint_sentence(count: int, total: int) -> str:
    """How many images of a set have little contrast."""
    are = "is" if count == 1 else "are"
    return f"{count:,} of {total:,} images {are} a single colour or nearly; if these are no pictures, take them out"


def contrast_notes(extents: Extents, name: Callable[[int], str]) -> tuple[str, ...]:
    """What to say of the contrast of a set, one sentence each.

    Args:
        extents: of N images, which may be none.
        name: how to call the image of a place among them.
    """
    if not len(extents):
        return ()
    whole, some = faint_set(extents), faint_images(extents)
    if whole or not len(some):
        return (whole,) if whole else ()
    return (f"{faint_sentence(len(some), len(extents))} (first: {name(int(some[0]))})",)

"""Whether images have contrast: what was scaled wrongly, or is no picture, is nearly one level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ctfgan.data.images import Bytes

LITTLE = 26
"""A tenth of the 256 levels; images and sets of a smaller span have little contrast."""
LOWEST, HIGHEST, SPAN = range(3)

Extents = NDArray[np.uint8]
"""``(N, 3)``: of each image the lowest and the highest level, and the span of the channel where it is largest."""


def extent(image: Bytes) -> tuple[int, int, int]:
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
    """Places of images that have little contrast in a set where most have some."""
    is_faint = extents[:, SPAN] < LITTLE
    return np.flatnonzero(is_faint) if 2 * is_faint.sum() < len(extents) else np.empty(0, dtype=np.int64)


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

"""Colour profiles that image files carry (ICC): their pixels in sRGB, which is what every other image is taken for."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from ctfgan.core.text import excerpt
from ctfgan.data.levels import kind_of

SAYS_SRGB = re.compile(r"sRGB( IEC ?61966-2[-.]1.*| built-in| v4.*)?", re.IGNORECASE)
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for pixels of a profile's kind of colour."""
GREYS = frozenset({"1", "L", "LA", "La"})
PROFILES_KEPT = 64
NAMES_SHOWN = 3


@dataclass(frozen=True)
class ColorProfile:
    """What a profile asks for."""

    name: str
    mode: str
    """Of the pixels that it speaks of."""
    to_srgb: ImageCms.ImageCmsTransform | None
    """None for a profile that is damaged or of another kind of colour than the image."""

    @property
    def outcome(self) -> tuple[str, bool]:
        """Its name, and whether it can be used."""
        return self.name, self.to_srgb is not None


def profile_of(image: Image.Image) -> ColorProfile | None:
    """The colour profile of an image, which speaks of its levels in 8 bits; None without one, or if it means sRGB."""
    content = image.info.get("icc_profile")
    if not isinstance(content, bytes) or not content or image.mode == "LAB":  # whose levels say their colours
        return None
    mode = "L" if image.mode in GREYS or kind_of(image.mode) else image.mode if image.mode == "CMYK" else "RGB"
    return _read(content, mode)


def in_srgb(image: Image.Image) -> Image.Image:
    """An image of 8-bit levels with the colours that its profile means; transparency stays.

    An image without a profile that can be used stays as it is.
    """
    profile = profile_of(image)
    if profile is None or profile.to_srgb is None:
        return image
    alpha = image.convert("RGBA").getchannel("A") if is_transparent(image) else None
    converted = profile.to_srgb.apply(image.convert(profile.mode))
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def is_transparent(image: Image.Image) -> bool:
    """Whether some pixels may be transparent."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def profile_notes(profiles: Counter[tuple[str, bool]]) -> tuple[str, ...]:
    """What was done about the profiles of a set, one sentence each.

    Args:
        profiles: how many images had a profile of that name, and whether it could be used.
    """
    used = Counter({name: count for (name, is_used), count in profiles.items() if is_used})
    left = profiles.total() - used.total()
    notes = []
    if used:
        names = ", ".join(f"{name} {count:,}" for name, count in used.most_common(NAMES_SHOWN))
        more = f", and {len(used) - NAMES_SHOWN:,} more" if len(used) > NAMES_SHOWN else ""
        were = "image was" if used.total() == 1 else "images were"
        notes.append(f"{used.total():,} {were} converted to sRGB from the colour profile in the file ({names}{more})")
    if left:
        carry = "image carries" if left == 1 else "images carry"
        notes.append(
            f"{left:,} {carry} a colour profile that is damaged or of another kind of colour; the pixels are used as "
            "they lie, save them in sRGB to be sure of their colours"
        )
    return tuple(notes)


@lru_cache(PROFILES_KEPT)
def _read(content: bytes, mode: str) -> ColorProfile | None:
    """The profile in some bytes for pixels of a mode; a set has few different ones."""
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(content))
        name = excerpt(ImageCms.getProfileDescription(opened), 60)
        if SAYS_SRGB.fullmatch(name):
            return None
        if MODES.get(opened.profile.xcolor_space.strip()) != mode:
            return ColorProfile(name, mode, None)
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        transform = ImageCms.ImageCmsTransform(opened, srgb, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
    except Exception:  # each part of lcms raises what it likes; a damaged profile says nothing about the pixels
        return ColorProfile("damaged", mode, None)
    return None if mode != "CMYK" and _changes_nothing(transform, mode) else ColorProfile(name, mode, transform)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a profile is sRGB under another name: a step of rounding apart on a grid of colours."""
    if mode == "L":
        before = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    else:
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        before = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(before)
    after = np.asarray(transform.apply(probe.convert(mode)))
    return int(np.abs(after.astype(int) - before).max()) <= 1

"""Colour profiles written by hand, byte by byte, from the numbers of the ICC's format and of the colour spaces."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

D50 = (0.9642, 1.0, 0.8249)
ADOBE_RGB = {
    "rXYZ": (0.60974, 0.31111, 0.01947),
    "gXYZ": (0.20528, 0.62567, 0.06087),
    "bXYZ": (0.14919, 0.06322, 0.74457),
}
SRGB = {"rXYZ": (0.43607, 0.22249, 0.01392), "gXYZ": (0.38515, 0.71687, 0.09708), "bXYZ": (0.14307, 0.06061, 0.71410)}


def profile(space: bytes, connection: bytes, kind: bytes, name: str, tags: dict[str, bytes]) -> bytes:
    """A version 2 profile of some tags."""
    tags = {"desc": _description(name), "cprt": b"text\0\0\0\0none\0", "wtpt": _xyz(D50), **tags}
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for key, value in tags.items():
        value += bytes(-len(value) % 4)
        table += key.encode() + struct.pack(">II", at + len(body), len(value))
        body += value
    content = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(
        ">I4sI4s4s4s12s4s", 128 + len(content), b"none", 0x02400000, kind, space, connection, bytes(12), b"acsp"
    )
    return (head + bytes(28) + _s15(D50)).ljust(128, b"\0") + content


def rgb_profile(name: str, primaries: dict[str, tuple[float, float, float]], gamma: float) -> bytes:
    curves = {key: _gamma(gamma) for key in ("rTRC", "gTRC", "bTRC")}
    return profile(b"RGB ", b"XYZ ", b"mntr", name, {**{k: _xyz(v) for k, v in primaries.items()}, **curves})


def grey_profile(name: str, gamma: float) -> bytes:
    return profile(b"GRAY", b"XYZ ", b"mntr", name, {"kTRC": _gamma(gamma)})


def cmyk_profile(name: str, lightness: Callable[[tuple[int, ...]], float]) -> bytes:
    """Greys of a lightness in [0, 1] for each of the 16 corners, linear between them."""
    corners = itertools.product((0, 1), repeat=4)
    cube = b"".join(bytes([round(255 * lightness(corner)), 128, 128]) for corner in corners)
    matrix = _s15((1, 0, 0, 0, 1, 0, 0, 0, 1))
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + 4 * ramp + cube + 3 * ramp
    return profile(b"CMYK", b"Lab ", b"prtr", name, {"A2B0": table})


def _s15(numbers: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65_536)) for number in numbers)


def _xyz(numbers: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + _s15(numbers)


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _description(name: str) -> bytes:
    text = name.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(8 + 3 + 67)

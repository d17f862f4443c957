"""CASIA-HWDB's .gnt files."""

from __future__ import annotations

import struct
from random import Random

import numpy as np

from ctfgan.data.sources.registry import open_source
from fuzz.changes import changed_bytes, number
from fuzz.judging import Reader, check
from fuzz.places import look_at, put


def seeds() -> list[bytes]:
    """Files of a few characters, one of them empty ground for splicing."""
    rng = np.random.default_rng(0)
    files = []
    for text, sides in (("A一乙", (5, 7)), ("丁七万丈三", (4, 4)), ("zZ9", (12, 9))):
        files.append(b"".join(_record(letter, rng.bytes(sides[0] * sides[1]), *sides) for letter in text))
    return files


def change(content: bytes, rng: Random) -> bytes:
    """A field of a record's header set, or bytes changed."""
    starts = [0]
    while (size := int.from_bytes(content[starts[-1] : starts[-1] + 4], "little")) and len(starts) < 50:
        starts.append(starts[-1] + size)
    if rng.random() < 0.4:
        return changed_bytes(content, rng)
    at = rng.choice(starts[:-1] or [0])
    offset, width = rng.choice(((0, 4), (4, 2), (6, 2), (8, 2)))
    value = rng.randbytes(2) if offset == 4 else (number(rng) % 256**width).to_bytes(width, "little")
    return content[: at + offset] + value + content[at + offset + width :]


def one_input(content: bytes) -> None:
    """Compare with records taken apart by hand."""
    source = open_source(str(put("x.gnt", content)))
    found, at = [], 0
    while at + 10 <= len(content):
        size, width, height = (int.from_bytes(content[at + a : at + b], "little") for a, b in ((0, 4), (6, 8), (8, 10)))
        if size != 10 + width * height or at + size > len(content):
            break
        found.append((_letter(content[at + 4 : at + 6]), width, height, content[at + 10 : at + size]))
        at += size
    known = [record for record in found if record[0]] or found
    check(len(source.labels) == len(known), "another number of records")
    check((at == len(content)) != any("damaged at byte" in note for note in source.notes), "damage without a note")
    for index, (letter, width, height, pixels) in enumerate(known[:3]):
        check(not letter or source.classes[source.labels[index]] == letter, "another character")
        if min(width, height) >= 4:
            check(source.read(index).tobytes() == pixels, "other pixels")
    look_at(source)


def _record(letter: str, pixels: bytes, width: int, height: int) -> bytes:
    return struct.pack("<I2sHH", 10 + len(pixels), letter.encode("gbk").ljust(2, b"\0"), width, height) + pixels


def _letter(code: bytes) -> str:
    try:
        text = code.decode("gbk")
    except UnicodeDecodeError:
        return ""
    text = text[:-1] if text.endswith("\0") else text
    return text if len(text) == 1 and text.isprintable() and text.strip() else ""


READER = Reader("gnt", seeds, change, one_input)

"""CASIA-HWDB's ``.gnt`` files: handwritten characters, one grey bitmap each, of its own size.

A record, little endian: u32 size of the whole record, the character as 2 bytes of GBK text (ASCII ends in a zero byte),
u16 width, u16 height, then width x height bytes, row by row, 255 for paper.
"""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.text import plural
from ctfgan.data.images import check_size
from ctfgan.data.sources.base import ImageSource, file_identity

HEADER = struct.Struct("<I2sHH")


class GntSource(ImageSource):
    """All records of some files; opening reads headers only, bitmaps are read one by one.

    A class is a character, in the order of the GBK codes. What lies behind the first damage of a file is left out.
    Opened, a record takes 20 bytes of memory.

    Raises:
        DataError: no record that is whole.
    """

    def __init__(self, location: str, files: list[Path]) -> None:
        self.location = location
        self._files = files
        scans = [_scan(file) for file in files]
        self._starts = np.cumsum([0, *(len(records) for records, _ in scans)])
        records = np.concatenate([records for records, _ in scans])
        self.notes = tuple(note for _, note in scans if note)
        if not len(records):
            why = "".join(f" ({note})" for note in self.notes[:1])
            raise DataError(f"{location} holds no characters{why}; fetch it again")
        self._offsets = records[:, 0].copy()
        self._sizes = records[:, 2:].astype(np.uint16)
        codes, numbers = np.unique(records[:, 1], return_inverse=True)
        characters = [_character(int(code)) for code in codes]
        self.classes = tuple(dict.fromkeys(filter(None, characters)))
        position = {character: index for index, character in enumerate(self.classes)}
        self.labels = np.array([position.get(name, -1) for name in characters], dtype=np.int64)[numbers]
        unknown = np.flatnonzero(self.labels < 0)
        if len(unknown):
            code = int(codes[numbers[unknown[0]]]).to_bytes(2).hex(" ")
            have = plural(len(unknown), "record has", "records have")
            self.notes += (f"{have} no GBK character (first: {self.name(unknown[0])}: {code})",)

    def identity(self) -> str:
        return file_identity(self._files)

    def name(self, index: int) -> str:
        return f"{self._file(index)} at byte {self._offsets[index]}"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        width, height = self._sizes[index].tolist()
        check_size((width, height))
        return "L", (width, height)

    def read(self, index: int) -> Image.Image:
        _, (width, height) = self.header(index)
        start = int(self._offsets[index]) + HEADER.size
        pixels = np.fromfile(self._file(index), dtype=np.uint8, count=width * height, offset=start)
        return Image.fromarray(pixels.reshape(height, width))

    def _file(self, index: int) -> Path:
        return self._files[int(np.searchsorted(self._starts, index, side="right")) - 1]


def _scan(file: Path) -> tuple[NDArray[np.int64], str]:
    """Offset, GBK code, width and height of each whole record, ``(N, 4)``, and a sentence about damage, if any."""
    records, damage = array("q"), ""
    offset, end = 0, file.stat().st_size
    with file.open("rb", buffering=0) as handle:
        while offset < end and not damage:
            handle.seek(offset)
            header = handle.read(HEADER.size)
            if len(header) < HEADER.size:
                damage = f"{len(header)} bytes are no header"
                continue
            size, code, width, height = HEADER.unpack(header)
            if size != HEADER.size + width * height:
                damage = f"a record of {size:,} bytes cannot hold {width}x{height} pixels"
            elif size > end - offset:
                damage = f"{end - offset:,} bytes are left of a record of {size:,}"
            else:
                records.extend((offset, int.from_bytes(code), width, height))
                offset += size
    whole = np.array(records, dtype=np.int64).reshape(-1, 4)
    note = f"{file} is damaged at byte {offset:,} ({damage}); the {len(whole):,} records before it are used"
    return whole, note if damage else ""


def _character(code: int) -> str:
    """The character of a GBK code; empty if it is none."""
    try:
        text = code.to_bytes(2).decode("gbk").removesuffix("\0")
    except UnicodeDecodeError:
        return ""
    return text if len(text) == 1 and text.isprintable() and not text.isspace() else ""

"""Fonts that were drawn by hand in pixels: PCF and BDF files, as X11 has them."""

from __future__ import annotations

import gzip
import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from bdffont import BdfFont
from numpy.typing import NDArray
from pcffont import PcfFont, PcfMetric, PcfMetrics, PcfTableType
from pcffont.header import PcfHeader
from pcffont.tables.factory import TABLE_TYPE_REGISTRY
from pcffont.utils.stream import Stream
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.files import expanded
from ctfgan.core.progress import Progress, silent
from ctfgan.core.text import a_few
from ctfgan.data.fonts import (
    OUTLINE_SUFFIXES,
    Drawing,
    FaceDrawings,
    FontKind,
    cached_faces,
    first_unreadable,
    font_files,
    left_out,
)
from ctfgan.data.sources.base import Groups, ImageSource

# By the registry that a font names: the codec that gives a character's two bytes there.
CODECS = {
    "JISX0208": "euc_jp",
    "JISX0213.2000-1": "euc_jisx0213",
    "JISX0213.2004-1": "euc_jis_2004",
    "KSC5601.1987-0": "euc_kr",
    "GB2312.1980-0": "gb2312",
    "BIG5": "big5",
}
UNICODE = "ISO10646"
MOST_PIXELS = 256  # side of a cell beyond which a font is no font of pixels


@dataclass(frozen=True)
class _Glyph:
    pixels: NDArray[np.uint8]
    """``(h, w)``, 1 is ink."""
    left: int
    """Columns from the pen to the first one."""
    ascent: int
    """Rows above the baseline."""
    advance: int


@dataclass(frozen=True)
class _Strike:
    """One bitmap font: PCF and BDF files say the same."""

    foundry: str
    family: str
    size: int
    style: str
    charset: str
    ascent: int
    descent: int
    glyphs: Mapping[str, _Glyph]


def read_bitmaps(file: Path, characters: str) -> list[FaceDrawings]:
    """The face of a PCF or BDF file, gzipped or not; none if its coding has none of the characters.

    Every drawing is as large as the face's own square cell, ink is 255.

    Raises:
        Exception: whatever a damaged file makes its reader raise.
    """
    content = file.read_bytes()
    name = file.name.lower()
    if name.endswith(".gz"):
        content, name = gzip.decompress(content), name.removesuffix(".gz")
    strike = _of_pcf(content, characters) if name.endswith(".pcf") else _of_bdf(content, characters)
    drawings = _in_cells(strike)
    family = " ".join(part for part in (strike.foundry, strike.family) if part) or file.name.split(".")[0]
    title = f"{family} {strike.size}" + (f" {strike.style}" if strike.style else "")
    # Each size is drawn anew; the weights and slants of one size are made from each other.
    return [FaceDrawings(0, f"{title} ({file.name})", f"{family} {strike.size}", drawings)]


BITMAPS = FontKind((".pcf", ".pcf.gz", ".bdf", ".bdf.gz"), read_bitmaps, keeps_drawings=True, version="bitmaps-1")


class BitmapSource(ImageSource):
    """Characters as fonts of pixels have them, one image for each face and character: dark on white, never scaled.

    Args:
        characters: the classes.
        folders: of PCF and BDF fonts.
        progress: shows a first look at the fonts.

    Raises:
        DataError: a folder is missing, or no face in it shows any of the characters.
    """

    def __init__(self, characters: tuple[str, ...], folders: tuple[str, ...], progress: Progress = silent) -> None:
        self.location = f"bitmap fonts ({', '.join(folders)})"
        self.classes = characters
        whole = "".join(characters)
        places = [expanded(folder) for folder in folders]
        fonts, self._folder = cached_faces(BITMAPS, whole, font_files(places, BITMAPS.suffixes), progress)
        self._numbers = [number for number, face in enumerate(fonts.faces) if face.twin is None]
        self._faces = [fonts.faces[number] for number in self._numbers]
        if not self._faces:
            raise DataError(
                f"no bitmap font in {', '.join(folders)} shows any of the {len(characters):,} characters"
                f"{first_unreadable(fonts)}; give a folder with .pcf or .bdf fonts of them with --lq-fonts DIR"
            )
        shown = set().union(*(face.characters for face in self._faces))
        missing = [character for character in characters if character not in shown]
        if missing:
            raise DataError(
                f"no bitmap font in {', '.join(folders)} shows {len(missing):,} of the {len(characters):,} characters "
                f"({a_few(missing)}); add fonts that do with --lq-fonts DIR, or leave these out of --characters"
            )
        self._starts = [0, *itertools.accumulate(len(face.characters) for face in self._faces)]
        label = {character: number for number, character in enumerate(characters)}
        self.labels = np.array([label[c] for face in self._faces for c in face.characters], dtype=np.int64)
        names = sorted({face.family for face in self._faces})
        numbers = [names.index(face.family) for face in self._faces]
        self.groups = Groups(np.repeat(numbers, np.diff(self._starts)), tuple(names))
        sides = sorted({face.side for face in self._faces})
        outlines = len(font_files(places, OUTLINE_SUFFIXES))
        self.notes = (
            f"drawn by {len(self._faces)} bitmap faces of {', '.join(map(str, sides))} pixels",
            *left_out(fonts, self._faces, "bitmap"),
            *([f"left out: {outlines} outline fonts; only fonts of pixels are low-quality"] if outlines else []),
        )

    def identity(self) -> str:
        return f"{self._folder.name} bitmap faces"  # a hash of the fonts and of the characters

    def name(self, index: int) -> str:
        number, place = self._place(index)
        return f"glyph {self._faces[number].characters[place]!r} of {self._faces[number].name}"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        side = self._faces[self._place(index)[0]].side
        return "L", (side, side)

    def read(self, index: int) -> Image.Image:
        number, place = self._place(index)
        return Image.fromarray(255 - _drawings(self._folder / f"{self._numbers[number]}.npy")[place])

    def _place(self, index: int) -> tuple[int, int]:
        """Which face an image is of, and which of its characters it shows."""
        number = bisect_right(self._starts, index) - 1
        return number, index - self._starts[number]


@lru_cache(maxsize=2)
def _drawings(file: Path) -> NDArray[np.uint8]:
    drawings: NDArray[np.uint8] = np.load(file)
    return drawings


def _of_pcf(content: bytes, characters: str) -> _Strike:
    stream = Stream(content)
    headers = {header.table_type: header for header in PcfHeader.parse(stream)}

    def table(kind: PcfTableType, font: PcfFont) -> Any:
        return TABLE_TYPE_REGISTRY[kind].parse(stream, headers[kind], font)

    font = PcfFont()
    properties, codes = table(PcfTableType.PROPERTIES, font), table(PcfTableType.BDF_ENCODINGS, font)
    charset = f"{properties.charset_registry or ''}-{properties.charset_encoding or ''}".upper()
    numbers = {character: codes[code] for character, code in _codes(characters, charset).items() if code in codes}
    if not numbers:
        return _Strike(*_names(properties), charset, 0, 0, {})
    metrics = table(PcfTableType.METRICS, font)
    # Pixels are unpacked one by one, a minute for all of Unicode: those of no character here are made empty first.
    wanted, nothing = set(numbers.values()), PcfMetric(0, 0, 0, 0, 0)
    font.metrics = PcfMetrics(box if number in wanted else nothing for number, box in enumerate(metrics))
    bitmaps = table(PcfTableType.BITMAPS, font)
    glyphs = {}
    for character, number in numbers.items():
        pixels, box = np.array(bitmaps[number], dtype=np.uint8), metrics[number]
        if pixels.size:
            glyphs[character] = _Glyph(pixels, box.left_side_bearing, box.ascent, box.character_width)
    kind = PcfTableType.BDF_ACCELERATORS if PcfTableType.BDF_ACCELERATORS in headers else PcfTableType.ACCELERATORS
    lines = table(kind, font)
    return _Strike(*_names(properties), charset, lines.font_ascent, lines.font_descent, glyphs)


def _of_bdf(content: bytes, characters: str) -> _Strike:
    font = BdfFont.parse(content.decode("latin-1"))
    properties = font.properties
    registry, encoding = properties.charset_registry, properties.charset_encoding
    if registry is None:  # the last two parts of an X11 name say it, too
        registry, encoding = (["", "", *font.name.split("-")])[-2:]
    charset = f"{registry}-{encoding or ''}".upper()
    by_code = {glyph.encoding: glyph for glyph in font.glyphs}
    glyphs = {}
    for character, code in _codes(characters, charset).items():
        glyph = by_code.get(code)
        if glyph is not None and glyph.bitmap and glyph.width:
            pixels = np.array(glyph.bitmap, dtype=np.uint8)
            glyphs[character] = _Glyph(pixels, glyph.offset_x, glyph.height + glyph.offset_y, glyph.device_width_x)
    ascent = int(properties.get("FONT_ASCENT", font.height + font.offset_y))
    descent = int(properties.get("FONT_DESCENT", -font.offset_y))
    return _Strike(*_names(properties), charset, ascent, descent, glyphs)


def _names(properties: Mapping[str, object]) -> tuple[str, str, int, str]:
    """Foundry, family, size in pixels and style."""
    foundry, family = str(properties.get("FOUNDRY") or ""), str(properties.get("FAMILY_NAME") or "")
    weight, slant = str(properties.get("WEIGHT_NAME") or ""), str(properties.get("SLANT") or "")
    size = properties.get("PIXEL_SIZE")
    style = " ".join(part for part, usual in ((weight, "Medium"), (slant, "R")) if part not in (usual, ""))
    return foundry, family, size if isinstance(size, int) else 0, style


def _codes(characters: str, charset: str) -> dict[str, int]:
    """The code of each character that a font's coding has, as fonts have it: with the high bits off, but for Big5."""
    if charset.startswith(UNICODE):
        return {character: ord(character) for character in characters}
    codec = next((codec for registry, codec in CODECS.items() if charset.startswith(registry)), None)
    if codec is None:
        return {}
    encoded = {character: character.encode(codec, "ignore") for character in characters}
    mask = 0xFFFF if codec == "big5" else 0x7F7F
    return {
        character: int.from_bytes(code, "big") & mask
        for character, code in encoded.items()
        if len(code) == 2  # not ASCII, and not EUC's third set
    }


def _in_cells(strike: _Strike) -> dict[str, Drawing]:
    """Each glyph in the square cell of its font, centred by its advance; what leans over the edge is moved in."""
    if not strike.glyphs:
        return {}
    # The usual advance: a few wide ones would shrink all others.
    usual = Counter(glyph.advance for glyph in strike.glyphs.values()).most_common(1)[0][0]
    height = strike.ascent + strike.descent
    side = max(height, usual)
    if not 1 <= side <= MOST_PIXELS:
        raise ValueError(f"a cell of {side} pixels")
    top = (side - height) // 2 + strike.ascent
    drawings = {}
    for character, glyph in strike.glyphs.items():
        x = _within((side - glyph.advance) // 2 + glyph.left, glyph.pixels.shape[1], side)
        y = _within(top - glyph.ascent, glyph.pixels.shape[0], side)
        cell = np.zeros((side, side), dtype=np.uint8)
        pixels = glyph.pixels[max(0, -y) :, max(0, -x) :][: side - max(0, y), : side - max(0, x)]
        cell[max(0, y) :, max(0, x) :][: pixels.shape[0], : pixels.shape[1]] = pixels * 255
        drawings[character] = cell
    return drawings


def _within(start: int, length: int, side: int) -> int:
    """Where ``length`` pixels begin so that they lie in ``side``; what is longer is centred."""
    return (side - length) // 2 if length > side else min(max(start, 0), side - length)

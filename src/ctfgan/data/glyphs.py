"""The embedded data set: characters in several faces with seeded jitter, rendered at run time (no image is shipped)."""

from __future__ import annotations

import difflib
import hashlib
import math
import string
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from fontTools.ttLib import TTCollection, TTFont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctfgan.data.settings import GlyphSettings
from ctfgan.data.sources.base import Labels
from ctfgan.errors import DataError

RENDER_SCALE = 3  # supersampling: jitter is applied at this multiple of the final size
FACES_PER_CHARACTER = 2
# Matplotlib's TeX faces claim ASCII, but "1" is an infinity sign in cmsy10 and a bracket in cmex10; the others have
# only letters and digits where Unicode has them. LastResort draws a box for everything.
NO_FACES = ("LastResort", "cmsy10", "cmex10")
LETTERS_ONLY = ("cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10")


def gb2312_level_1() -> str:
    """The 3,755 most frequent Chinese characters: rows 16 to 55 of GB2312, the last one with 89 cells."""
    cells = [(row, cell) for row in range(16, 56) for cell in range(1, 95 if row < 55 else 90)]
    return bytes(byte + 0xA0 for pair in cells for byte in pair).decode("gb2312")


NAMED_SETS = {
    "alphanumeric": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "digits": string.digits,
    "gb2312-level-1": gb2312_level_1(),
}


class GlyphSource:
    """Renderings of a set of characters: image i of a character uses its face ``i mod faces``.

    Args:
        settings: which characters and fonts, how many renderings.
        resolution: side of the final image in pixels.
        seed: seed of the jitter; every image has its own random stream.

    Raises:
        DataError: a character without enough faces, or given twice.
    """

    def __init__(self, settings: GlyphSettings, resolution: int, seed: int) -> None:
        characters = NAMED_SETS.get(settings.characters, settings.characters)
        near = difflib.get_close_matches(settings.characters, NAMED_SETS, n=1, cutoff=0.5)
        if near and settings.characters not in NAMED_SETS:
            raise DataError(f"Unknown character set {settings.characters!r}. Did you mean {near[0]!r}?")
        repeated = sorted({character for character in characters if characters.count(character) > 1})
        if repeated:
            raise DataError(f"the characters {''.join(repeated)!r} are given more than once; each is one class")
        self.location = f"glyphs ({settings.characters if settings.characters in NAMED_SETS else 'own set'})"
        self.classes: tuple[str, ...] = tuple(characters)
        self.labels: Labels = np.repeat(np.arange(len(characters)), settings.images_per_class)
        self._per_class = settings.images_per_class
        self._size = resolution * RENDER_SCALE
        self._seed = seed
        self._faces = faces_of(characters, settings.font_folders)
        used = {face for faces in self._faces for face in faces}
        self.notes: tuple[str, ...] = (f"rendered from {len(used)} faces",)

    def identity(self) -> str:
        fonts = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path, _ in set().union(*self._faces)}
        return f"{sorted(fonts.items())} {self.classes} {self._per_class} {self._size} {self._seed} rendering-1"

    def name(self, index: int) -> str:
        return f"glyph {self.classes[self.labels[index]]!r} number {index % self._per_class}"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        return "L", (self._size, self._size)

    def read(self, index: int) -> Image.Image:
        label, number = divmod(index, self._per_class)
        faces = self._faces[label]
        rng = np.random.default_rng((self._seed, index))
        return render(self.classes[label], faces[number % len(faces)], self._size, rng)


Face = tuple[Path, int]
"""A font file and the index of the face in it."""


def render(character: str, face: Face, size: int, rng: np.random.Generator) -> Image.Image:
    """One dark glyph on white, ``size`` x ``size``: turned, sheared, scaled and moved a little at random."""
    wide = unicode_is_wide(character)
    font = _font(face, round(size * (0.84 if wide else 0.88)))
    image = Image.new("L", (size, size), 255)
    # Latin letters stand on a common baseline, so that case shows in height; ideographs are centred.
    place, anchor = ((size / 2, size / 2), "mm") if wide else ((size / 2, size * 0.78), "ms")
    ImageDraw.Draw(image).text(place, character, fill=0, font=font, anchor=anchor)
    angle = math.radians(rng.uniform(-7, 7))
    shear = rng.uniform(-0.12, 0.12)
    scale_x, scale_y = rng.uniform(0.9, 1.1, 2)
    shift_x, shift_y = rng.uniform(-0.05, 0.05, 2) * size
    # Pillow wants the map from output to input; only its randomness matters, so we draw that one.
    a, b = math.cos(angle) / scale_x, math.sin(angle) / scale_x + shear
    d, e = -math.sin(angle) / scale_y, math.cos(angle) / scale_y
    centre = size / 2
    c = centre - a * (centre + shift_x) - b * (centre + shift_y)
    f = centre - d * (centre + shift_x) - e * (centre + shift_y)
    return image.transform(
        (size, size), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR, fillcolor=255
    )


def unicode_is_wide(character: str) -> bool:
    """Whether a character fills its square, as ideographs, kana and hangul do."""
    return ord(character) >= 0x2E80


def faces_of(characters: str, font_folders: tuple[str, ...]) -> list[list[Face]]:
    """For each character the faces that show it: mapped, not blank, and not drawn like the missing-glyph box.

    For a set that some faces cover whole, only these are used, so that no class differs from another by its faces.
    """
    folders = [Path(matplotlib.get_data_path(), "fonts", "ttf"), *(Path(name).expanduser() for name in font_folders)]
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"font folder {folder} does not exist; give a folder with .ttf, .otf or .ttc files")
    files = sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix.lower() in {".ttf", ".otf", ".ttc"} and not path.name.startswith(NO_FACES)
    )
    maps = {(file, index): codes for file in files for index, codes in enumerate(_character_maps(file))}
    showing = {face: _shown(characters, face, codes) for face, codes in maps.items()}
    whole = [face for face, shown in showing.items() if len(shown) == len(characters)]
    if len(whole) >= FACES_PER_CHARACTER:
        return [whole] * len(characters)
    by_character = [[face for face, shown in showing.items() if c in shown] for c in characters]
    missing = "".join(c for c, faces in zip(characters, by_character, strict=True) if len(faces) < FACES_PER_CHARACTER)
    if missing:
        shown = missing[:20] + ("..." if len(missing) > 20 else "")
        raise DataError(
            f"{len(missing)} characters have fewer than {FACES_PER_CHARACTER} faces ({shown}); "
            "add a font folder that has them with --fonts DIR"
        )
    return by_character


def _character_maps(file: Path) -> list[set[int]]:
    """The code points of each face in a font file."""
    try:
        with file.open("rb") as handle:
            is_collection = file.suffix.lower() == ".ttc"
            fonts = TTCollection(handle, lazy=True).fonts if is_collection else [TTFont(handle, lazy=True)]
            maps = [set(font.getBestCmap() or ()) for font in fonts]
    except Exception as error:  # fontTools and struct raise what a damaged table makes them
        raise _unreadable(file, error) from error
    if file.name.startswith(LETTERS_ONLY):
        return [codes & {ord(c) for c in string.ascii_letters + string.digits} for codes in maps]
    return maps


def _shown(characters: str, face: Face, codes: set[int]) -> set[str]:
    try:
        return {c for c in characters if ord(c) in codes and _is_drawn(c, face)}
    except OSError as error:  # FreeType
        raise _unreadable(face[0], error) from error


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"font file {file} cannot be read ({error}); take it out of the font folder")


def _is_drawn(character: str, face: Face) -> bool:
    pixels = _small_drawing(character, face)
    return bool(pixels.any()) and not np.array_equal(pixels, _small_drawing("\uffff", face))


def _small_drawing(character: str, face: Face) -> NDArray[np.uint8]:
    image = Image.new("L", (24, 24), 0)
    ImageDraw.Draw(image).text((12, 12), character, fill=255, font=_font(face, 16), anchor="mm")
    return np.asarray(image)


@lru_cache(maxsize=256)
def _font(face: Face, size: int) -> ImageFont.FreeTypeFont:
    path, index = face
    return ImageFont.truetype(str(path), size, index=index)

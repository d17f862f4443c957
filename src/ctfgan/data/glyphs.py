"""The embedded data set: characters in several faces with seeded jitter, rendered at run time (no image is shipped)."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import logging
import math
import string
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from fontTools.ttLib import TTCollection, TTFont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctfgan.core.errors import DataError, suggestion
from ctfgan.core.files import expanded, sha256
from ctfgan.core.progress import Progress, silent
from ctfgan.data.fonts import (
    OUTLINE_SUFFIXES,
    FaceDrawings,
    FontFace,
    FontFaces,
    FontKind,
    cached_faces,
    find_faces,
    first_unreadable,
    font_files,
    left_out,
)
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS, GlyphSettings
from ctfgan.data.sources.base import Groups, ImageSource

RENDER_SCALE = 3  # supersampling: jitter is applied at this multiple of the final size
FACES_PER_CHARACTER = 2
IMAGES_PER_CLASS = 200
NEARLY_WHOLE = 0.95  # of the characters: a face that shows so many is used for these where faces are held out
# Matplotlib's TeX faces claim ASCII, but "1" is an infinity sign in cmsy10 and a bracket in cmex10; the others have
# only letters and digits where Unicode has them. LastResort draws a box for everything.
NO_FACES = ("LastResort", "cmsy10", "cmex10")
LETTERS_ONLY = ("cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10")


class GlyphSource(ImageSource):
    """Renderings of a set of characters: image i of a character uses its face ``i mod faces``.

    Where faces are held out and images are fewer than faces, each class uses other ones of its faces.

    Args:
        settings: which characters and fonts, how many renderings.
        resolution: side of the final image in pixels.
        seed: seed of the jitter; every image has its own random stream.
        progress: shows a first look at the fonts.

    Raises:
        DataError: an unknown set, a character without enough faces, or one that is given twice.
    """

    def __init__(self, settings: GlyphSettings, resolution: int, seed: int, progress: Progress = silent) -> None:
        characters = _characters(settings.characters)
        self.location = f"glyphs ({settings.characters if is_named(settings.characters) else 'own set'})"
        self.classes = tuple(characters)
        self._size = resolution * RENDER_SCALE
        self._seed = seed
        self._by_face = settings.by_face
        fonts = _look_at_outlines(characters, settings.font_folders, progress)
        self._faces = _chosen(characters, fonts, by_face=self._by_face)
        self._counts = [_images(settings, len(faces)) for faces in self._faces]
        self._starts = [0, *itertools.accumulate(self._counts)]
        self.labels = np.repeat(np.arange(len(characters)), self._counts)
        used = sorted({face for faces in self._faces for face in faces}, key=lambda face: (face.file, face.index))
        self.groups = self._groups(used) if self._by_face else None
        self.notes = (f"rendered from {len(used)} faces", *left_out(fonts, used, "outline"))

    def identity(self) -> str:
        fonts = {face.file: sha256(Path(face.file)) for face in set(itertools.chain(*self._faces))}
        if self.groups is None:
            counts: object = self._counts[0]
        else:
            counts = hashlib.sha256(repr((self._counts, self.groups.names)).encode() + self.groups.numbers.tobytes())
            counts = counts.hexdigest()
        return f"{sorted(fonts.items())} {self.classes} {counts} {self._size} {self._seed} rendering-1"

    def name(self, index: int) -> str:
        label, number = self._place(index)
        return f"glyph {self.classes[label]!r} number {number}"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        return "L", (self._size, self._size)

    def read(self, index: int) -> Image.Image:
        label, number = self._place(index)
        face = self._faces[label][self._face_numbers(label)[number]]
        rng = np.random.default_rng((self._seed, index))
        return render(self.classes[label], _face(face), self._size, rng)

    def _place(self, index: int) -> tuple[int, int]:
        """Class of an image, and which one of the class it is."""
        label = bisect_right(self._starts, index) - 1
        return label, index - self._starts[label]

    def _groups(self, used: list[FontFace]) -> Groups:
        names = sorted({face.family for face in used})
        number = {name: place for place, name in enumerate(names)}
        of_faces = [np.array([number[face.family] for face in faces]) for faces in self._faces]
        by_class = [numbers[self._face_numbers(label)] for label, numbers in enumerate(of_faces)]
        return Groups(np.concatenate(by_class), tuple(names))

    def _face_numbers(self, label: int) -> NDArray[np.int64]:
        """Which of its faces each image of a class uses, ``(images,)``."""
        faces, images = len(self._faces[label]), np.arange(self._counts[label])
        if not self._by_face or len(images) >= faces:
            return images % faces
        # Each class has other ones, spread over all: every face is used, and held out with as many classes.
        return (images * faces // len(images) + label) % faces


def _characters(text: str) -> str:
    """The characters of a named set, or those that are given."""
    if is_named(text):
        return named_characters(text)
    names = text.split("+")
    unknown = [name for name in names if name not in NAMED_SETS]
    near = difflib.get_close_matches(unknown[0], NAMED_SETS, n=1, cutoff=0.5)
    if near or len(unknown) < len(names):
        raise DataError(f"Unknown character set {unknown[0]!r}. {suggestion(unknown[0], list(NAMED_SETS))}")
    repeated = sorted({character for character in text if text.count(character) > 1})
    if repeated:
        raise DataError(f"the characters {''.join(repeated)!r} are given more than once; each is one class")
    return text


def _images(settings: GlyphSettings, faces: int) -> int:
    """How many renderings of a character that has so many faces."""
    if settings.images_per_class is not None:
        return settings.images_per_class
    return max(faces, MIN_IMAGES_PER_CLASS) if settings.by_face else IMAGES_PER_CLASS


Face = tuple[Path, int]
"""A font file and the index of the face in it."""


def _face(face: FontFace) -> Face:
    return Path(face.file), face.index


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
    fonts = find_faces(OUTLINES, characters, _outline_files(font_folders))
    return [[_face(face) for face in faces] for faces in _chosen(characters, fonts, by_face=False)]


def _outline_files(font_folders: tuple[str, ...]) -> list[Path]:
    """Matplotlib's fonts, and those of other folders."""
    folders = [Path(matplotlib.get_data_path(), "fonts", "ttf"), *(expanded(name) for name in font_folders)]
    return [file for file in font_files(folders, OUTLINES.suffixes) if not file.name.startswith(NO_FACES)]


def _look_at_outlines(characters: str, font_folders: tuple[str, ...], progress: Progress) -> FontFaces:
    return cached_faces(OUTLINES, characters, _outline_files(font_folders), progress)[0]


def _chosen(characters: str, fonts: FontFaces, *, by_face: bool) -> list[list[FontFace]]:
    """The faces of each character."""
    faces = [face for face in fonts.faces if face.twin is None] if by_face else list(fonts.faces)
    enough = math.ceil(len(characters) * (NEARLY_WHOLE if by_face else 1))
    by_character = _showing(characters, [face for face in faces if len(face.characters) >= enough])
    if min(map(len, by_character)) >= FACES_PER_CHARACTER:
        return by_character
    by_character = _showing(characters, faces)
    missing = "".join(c for c, own in zip(characters, by_character, strict=True) if len(own) < FACES_PER_CHARACTER)
    if missing:
        shown = missing[:20] + ("..." if len(missing) > 20 else "")
        raise DataError(
            f"{len(missing)} characters have fewer than {FACES_PER_CHARACTER} faces ({shown})"
            f"{first_unreadable(fonts)}; add a font folder that has them with --fonts DIR"
        )
    return by_character


def _showing(characters: str, faces: list[FontFace]) -> list[list[FontFace]]:
    shown = [frozenset(face.characters) for face in faces]
    return [[face for face, own in zip(faces, shown, strict=True) if character in own] for character in characters]


def _read_outlines(file: Path, characters: str) -> list[FaceDrawings]:
    """The faces of an outline font, each with small drawings of the characters that it maps."""
    faces = []
    for index, (codes, name, family) in enumerate(_character_maps(file)):
        face = file, index
        mapped = [character for character in characters if ord(character) in codes]
        drawings = {character: _small_drawing(character, face) for character in mapped}
        if mapped:
            box = _small_drawing("\uffff", face).tobytes()
            drawings = {character: drawing for character, drawing in drawings.items() if drawing.tobytes() != box}
        faces.append(FaceDrawings(index, name, family, drawings))
    return faces


OUTLINES = FontKind(OUTLINE_SUFFIXES, _read_outlines, keeps_drawings=False, version="outlines-2")


def _character_maps(file: Path) -> list[tuple[set[int], str, str]]:
    """The code points, name and family of each face in a font file."""
    # It warns of names of glyphs, which nobody here asks for.
    logging.getLogger("fontTools.ttLib").setLevel(logging.ERROR)
    with file.open("rb") as handle:
        is_collection = file.suffix.lower() == ".ttc"
        fonts = TTCollection(handle, lazy=True).fonts if is_collection else [TTFont(handle, lazy=True)]
        maps = [(set(font.getBestCmap() or ()), *_names(font, file)) for font in fonts]
    if file.name.startswith(LETTERS_ONLY):
        letters = {ord(c) for c in string.ascii_letters + string.digits}
        return [(codes & letters, name, family) for codes, name, family in maps]
    return maps


def _names(font: TTFont, file: Path) -> tuple[str, str]:
    """Name and family of a face; those of the file if it has none."""
    names = font.get("name")
    family = (names and names.getBestFamilyName()) or file.stem
    style = (names and names.getBestSubFamilyName()) or ""
    return (family if style in ("", "Regular") else f"{family} {style}"), family


def _small_drawing(character: str, face: Face) -> NDArray[np.uint8]:
    image = Image.new("L", (24, 24), 0)
    ImageDraw.Draw(image).text((12, 12), character, fill=255, font=_font(face, 16), anchor="mm")
    return np.asarray(image)


@lru_cache(maxsize=256)
def _font(face: Face, size: int) -> ImageFont.FreeTypeFont:
    path, index = face
    return ImageFont.truetype(str(path), size, index=index)


def _rows(codec: str, rows: range) -> str:
    """The characters of some rows of 94 cells of a double-byte set; empty cells are passed over."""
    cells = (bytes([0xA0 + row, 0xA0 + cell]) for row in rows for cell in range(1, 95))
    return "".join(cell.decode(codec, "ignore") for cell in cells)


NAMED_SETS = {
    "alphanumeric": string.digits + string.ascii_uppercase + string.ascii_lowercase,
    "digits": string.digits,
    "gb2312-level-1": _rows("gb2312", range(16, 56)),  # the 3,755 most frequent Chinese characters
    "jis-level-1": _rows("euc_jp", range(16, 48)),  # of JIS X 0208: 2,965 kanji
    "jis-level-2": _rows("euc_jp", range(48, 85)),  # 3,390 more
    "hangul": _rows("euc_kr", range(16, 41)),  # the 2,350 syllables of KS X 1001
    "hangul-all": "".join(map(chr, range(0xAC00, 0xD7A4))),  # all 11,172
}


def named_characters(text: str) -> str:
    """The characters of a named set, or of several joined by ``+``, each once: ``jis-level-1+jis-level-2``."""
    return "".join(dict.fromkeys("".join(NAMED_SETS[name] for name in text.split("+"))))


def is_named(text: str) -> bool:
    """Whether a text is the name of a set, or several of them joined by ``+``."""
    return all(name in NAMED_SETS for name in text.split("+"))

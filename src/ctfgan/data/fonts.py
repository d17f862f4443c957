"""Which faces of the fonts in some folders show which of the characters that are asked for."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctfgan.core.errors import DataError
from ctfgan.core.files import cache_folder, new_folder, read_json, sha256
from ctfgan.core.progress import Progress, silent
from ctfgan.core.settings import Settings
from ctfgan.core.text import excerpt, json_bytes
from ctfgan.data.sources.tree import stray_part

Drawing = NDArray[np.uint8]
"""``(H, W)``, 0 where there is no ink."""

OUTLINE_SUFFIXES = (".ttf", ".otf", ".ttc")
FACES = "faces.json"
EXAMPLES = 5  # names in a note
SAMPLE = 64  # characters by which two faces are compared
ALIKE = 0.9  # share of these that are drawn the same by what is one face under two names
OFTEN = 0.01  # a drawing that so many of the characters share is a box or a row of dots, not a character


@dataclass(frozen=True)
class FaceDrawings:
    """One face of a font file, read."""

    index: int
    """Of the face in its file."""
    name: str
    family: str
    """Faces of one family are one hand's: its weights and slants."""
    drawings: Mapping[str, Drawing]
    """Of the characters that it claims to have."""


@dataclass(frozen=True)
class FontKind:
    """A kind of font files, and how they are read."""

    suffixes: tuple[str, ...]
    read: Callable[[Path, str], list[FaceDrawings]]
    """The faces of a file, for some characters; raises whatever a damaged file makes its reader raise."""
    keeps_drawings: bool
    """Whether what was drawn is what an image shows, so that it is kept."""
    version: str
    """Changes whenever the reader sees something else in the same file."""


class FontFace(Settings):
    """A face that shows some of the characters."""

    file: str
    index: int
    name: str
    family: str
    side: int
    """Of its drawings in pixels."""
    characters: str
    """The characters that it shows, in the order of the set."""
    twin: str | None
    """The face before it that it draws the same characters as; None if there is none."""


class FontFaces(Settings):
    """All faces that show any of the characters, by file and index."""

    faces: tuple[FontFace, ...]
    empty: int
    """How many others show none of them."""
    unreadable: tuple[tuple[str, str], ...]
    """File and reason."""


def font_files(folders: Sequence[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """The font files in folders and below, by path.

    Raises:
        DataError: a folder is missing.
    """
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"font folder {folder} does not exist; give a folder with {_in_words(suffixes)} files")
    return sorted(
        {
            path
            for folder in folders
            for path in folder.rglob("*")
            if path.name.lower().endswith(suffixes) and stray_part(path.relative_to(folder).as_posix()) is None
        }
    )


def find_faces(
    kind: FontKind,
    characters: str,
    files: Sequence[Path],
    progress: Progress = silent,
    keep: Callable[[int, NDArray[np.uint8]], None] | None = None,
) -> FontFaces:
    """Read fonts and see which characters they show: not blank, not a box, and no face twice.

    Args:
        kind: of the files.
        characters: that are looked for.
        files: to read; unreadable ones are listed.
        progress: shows the pass.
        keep: gets the number of each face and its drawings ``(M, S, S)``, one of each character shown.
    """
    sample = set(characters[:: math.ceil(len(characters) / SAMPLE)])
    faces: list[FontFace] = []
    samples: list[dict[str, bytes]] = []
    unreadable: list[tuple[str, str]] = []
    empty = 0
    for number in progress(range(len(files)), len(files), "looking at fonts"):
        file = files[number]
        try:
            read = kind.read(file, characters)
        except Exception as error:  # readers and struct raise what a damaged table makes them
            unreadable.append((str(file), excerpt(error) or type(error).__name__))
            continue
        for face in read:
            drawings = _without_boxes(face.drawings, len(characters))
            if not drawings:
                empty += 1
                continue
            outlines = {character: _outline(drawings[character]) for character in sample & drawings.keys()}
            known = zip(faces, samples, strict=True)
            twin = next((before.name for before, others in known if _is_twin(outlines, others)), None)
            own = "".join(character for character in characters if character in drawings)
            if keep is not None:
                keep(len(faces), np.stack([drawings[character] for character in own]))
            side = len(drawings[own[0]])
            faces.append(
                FontFace(
                    file=str(file),
                    index=face.index,
                    name=face.name,
                    family=face.family,
                    side=side,
                    characters=own,
                    twin=twin,
                )
            )
            samples.append(outlines)
    return FontFaces(faces=tuple(faces), empty=empty, unreadable=tuple(unreadable))


def cached_faces(
    kind: FontKind, characters: str, files: Sequence[Path], progress: Progress = silent
) -> tuple[FontFaces, Path]:
    """What :func:`find_faces` finds, from the cache if the same files were looked at for the same characters.

    Returns:
        The faces, and the folder that has the drawings of face i in ``i.npy`` if the kind keeps them.

    Raises:
        DataError: what the cache has is damaged.
    """
    content = "\n".join(f"{file}\0{sha256(file)}" for file in files)
    key = hashlib.sha256(f"{kind.version}\n{characters}\n{content}".encode(errors="surrogateescape")).hexdigest()[:24]
    folder = cache_folder() / "faces" / key
    if not (folder / FACES).is_file():
        with new_folder(folder, unless=FACES) as partial:

            def keep(number: int, drawings: NDArray[np.uint8]) -> None:
                np.save(partial / f"{number}.npy", drawings)

            fonts = find_faces(kind, characters, files, progress, keep if kind.keeps_drawings else None)
            (partial / FACES).write_bytes(json_bytes(fonts.model_dump(), indent=None))
    try:
        return FontFaces.model_validate(read_json(folder / FACES)), folder
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / FACES} is damaged ({excerpt(error)}); delete the folder {folder}") from error


def first_unreadable(fonts: FontFaces) -> str:
    """In brackets for a message, if any file could not be read."""
    if not fonts.unreadable:
        return ""
    file, reason = fonts.unreadable[0]
    return f" ({len(fonts.unreadable)} font files cannot be read, such as {file}: {reason})"


def left_out(fonts: FontFaces, used: list[FontFace], what: str) -> list[str]:
    """One sentence about what fonts have and is not used, if anything."""
    twins = [f"{face.name} = {face.twin}" for face in fonts.faces if face.twin is not None and face not in used]
    partial = [face.name for face in fonts.faces if face.twin is None and face not in used]
    files = [f"{Path(file).name}: {reason}" for file, reason in fonts.unreadable]
    parts = [
        f"{len(names)} {reason} ({', '.join(names[:EXAMPLES])}{', ...' * (len(names) > EXAMPLES)})"
        for names, reason in (
            (twins, "that draw what another one draws"),
            (partial, "that lack too many of the characters"),
            (files, "files that cannot be read"),
        )
        if names
    ]
    return [f"left out of the {what} faces: {'; '.join(parts)}"] if parts else []


def _without_boxes(drawings: Mapping[str, Drawing], total: int) -> dict[str, Drawing]:
    """The drawings that have ink and are not, as the box of a missing glyph is, those of many characters."""
    contents = {character: drawing.tobytes() for character, drawing in drawings.items() if drawing.any()}
    often = max(3, round(total * OFTEN))
    boxes = {content for content, count in Counter(contents.values()).items() if count > often}
    return {character: drawings[character] for character, content in contents.items() if content not in boxes}


def _outline(drawing: Drawing) -> bytes:
    """A drawing without the space around it: the same glyphs are set elsewhere in proportional faces."""
    rows, columns = np.flatnonzero(drawing.any(axis=1)), np.flatnonzero(drawing.any(axis=0))
    ink = drawing[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return hashlib.blake2b(repr(ink.shape).encode() + ink.tobytes(), digest_size=8).digest()


def _is_twin(own: Mapping[str, bytes], other: Mapping[str, bytes]) -> bool:
    """Whether a face shows nearly nothing that another one does not show, and draws nearly all of it the same."""
    both = own.keys() & other.keys()
    same = sum(own[character] == other[character] for character in both)
    return 0 < ALIKE * len(own) <= len(both) and same >= ALIKE * len(both)


def _in_words(suffixes: tuple[str, ...]) -> str:
    return f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"

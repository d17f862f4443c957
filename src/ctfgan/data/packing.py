"""Decode a source once into one memory-mapped array, kept in the cache; say what was found."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ctfgan.data.images import GREY_MODES, Bytes, Fit, square
from ctfgan.data.sources.base import ImageSource, Labels
from ctfgan.errors import DataError
from ctfgan.files import new_folder
from ctfgan.progress import Progress, silent

CONTENT = "content.json"


@dataclass(frozen=True)
class Survey:
    """What the headers of a source say."""

    location: str
    images: int
    sides: tuple[int, int, int]
    """Smallest, median and largest shorter side in pixels."""
    modes: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    """Name and reason of each image that was skipped."""
    notes: tuple[str, ...]

    @property
    def is_grey(self) -> bool:
        """Whether no image has colour."""
        return set(self.modes) <= GREY_MODES


@dataclass(frozen=True)
class PackedImages:
    """Decoded images of one size, on disk."""

    images: Bytes
    """Memory-mapped uint8 ``(N, R, R, K)``."""
    labels: Labels
    """``(N,)`` int64; -1 without a label."""
    classes: tuple[str, ...]
    survey: Survey
    fingerprint: str
    """SHA-256 of pixels, labels and class names."""

    def __len__(self) -> int:
        return len(self.labels)


def cache_folder() -> Path:
    """Where packed images and recognisers are kept: ``$CTFGAN_CACHE``, else the user's cache folder."""
    if "CTFGAN_CACHE" in os.environ:
        return Path(os.environ["CTFGAN_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ctfgan"


def look(source: ImageSource) -> Survey:
    """Read every header; unreadable images are listed, not raised."""
    modes: Counter[str] = Counter()
    sides = []
    unreadable = []
    for index in range(len(source.labels)):
        try:
            mode, size = source.header(index)
        except (DataError, OSError) as error:
            unreadable.append((source.name(index), str(error)))
            continue
        modes[mode] += 1
        sides.append(min(size))
    if not sides:
        name, reason = unreadable[0]
        raise DataError(f"{source.location}: none of {len(unreadable)} images can be read (first: {name}: {reason})")
    spread = (min(sides), int(np.median(sides)), max(sides))
    return Survey(source.location, len(sides), spread, dict(modes.most_common()), tuple(unreadable), source.notes)


def pack(
    source: ImageSource,
    survey: Survey,
    size: int,
    channels: Literal[1, 3],
    fit: Fit,
    progress: Progress = silent,
) -> PackedImages:
    """All readable images of a source as ``(N, size, size, channels)`` uint8, from the cache if it has them.

    Images that turn out damaged while decoding are left out and added to the survey's list.
    """
    recipe = f"{source.identity()} {size} {channels} {fit} pack-1"
    folder = cache_folder() / "images" / hashlib.sha256(recipe.encode()).hexdigest()[:24]
    if not (folder / CONTENT).is_file():
        with new_folder(folder) as partial:
            _decode(source, survey, size, channels, fit, progress, partial)
    content = json.loads((folder / CONTENT).read_text())
    found = content["survey"]
    return PackedImages(
        images=np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False),
        labels=np.load(folder / "labels.npy", allow_pickle=False),
        classes=tuple(content["classes"]),
        survey=Survey(
            source.location,
            found["images"],
            tuple(found["sides"]),
            found["modes"],
            tuple((name, reason) for name, reason in found["unreadable"]),
            tuple(found["notes"]),
        ),
        fingerprint=content["fingerprint"],
    )


def _decode(
    source: ImageSource, survey: Survey, size: int, channels: int, fit: Fit, progress: Progress, folder: Path
) -> None:
    skipped = dict(survey.unreadable)
    rows = [index for index in range(len(source.labels)) if source.name(index) not in skipped]
    images = np.lib.format.open_memmap(
        folder / "images.npy", mode="w+", dtype=np.uint8, shape=(len(rows), size, size, channels)
    )
    _reserve(folder / "images.npy")
    kept: list[int] = []
    for index in progress(rows, len(rows), f"reading {source.location}"):
        try:
            images[len(kept)] = square(source.read(index), size, channels, fit)
        except (DataError, OSError, ValueError) as error:
            skipped[source.name(index)] = str(error)
            continue
        kept.append(index)
    images.flush()
    if len(kept) < len(rows):
        del images
        _cut(folder / "images.npy", len(kept))
        images = np.load(folder / "images.npy", mmap_mode="r")
    labels = source.labels[kept]
    np.save(folder / "labels.npy", labels)
    digest = hashlib.sha256(images.data if images.flags.c_contiguous else images.tobytes())
    digest.update(labels.tobytes() + "\0".join(source.classes).encode())
    final = Survey(survey.location, len(kept), survey.sides, survey.modes, tuple(skipped.items()), survey.notes)
    content = {"classes": source.classes, "survey": asdict(final), "fingerprint": digest.hexdigest()}
    (folder / CONTENT).write_text(json.dumps(content, ensure_ascii=False))


def _reserve(path: Path) -> None:
    """Take the disk space of a file now: a full disk would kill the program in the middle of writing to its map."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _cut(path: Path, count: int) -> None:
    """Keep the first ``count`` images of an ``.npy`` file, in place: the array may be larger than memory."""
    with path.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        file.seek(0)
        header = {"descr": dtype.str, "fortran_order": False, "shape": (count, *shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
        assert file.tell() == start, "numpy leaves room in a header for every length of the first axis"
        file.truncate(start + count * int(np.prod(shape[1:])))

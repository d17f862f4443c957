"""Decode a source once into one memory-mapped array, in the cache or in a folder of the user's; say what was found."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ctfgan.data.images import Fit, square
from ctfgan.data.leakage import digest
from ctfgan.data.manifest import write_manifest
from ctfgan.data.packed import (
    CONTENT,
    DIGESTS,
    FORMAT,
    GROUPS,
    IMAGES,
    PackedImages,
    Survey,
    fingerprint_of,
    open_packed,
)
from ctfgan.data.sources.base import ImageSource, groups_of
from ctfgan.data.sources.packed import PackedSource
from ctfgan.errors import DataError
from ctfgan.files import cache_folder, is_taken, new_folder
from ctfgan.progress import Progress, silent


def look(source: ImageSource) -> Survey:
    """Read every header; unreadable images are listed, not raised."""
    if isinstance(source, PackedSource):
        return source.survey()
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

    Images that turn out damaged while decoding are left out and added to the survey's list. Packed images of that
    size and colour are used where they are; they are square already, so ``fit`` changes nothing about them.
    """
    if isinstance(source, PackedSource) and source.packed.images.shape[1:] == (size, size, channels):
        return source.packed
    recipe = f"{source.identity()} {size} {channels} {fit} pack-{FORMAT}"
    folder = cache_folder() / "images" / hashlib.sha256(recipe.encode()).hexdigest()[:24]
    if not (folder / CONTENT).is_file():
        with new_folder(folder, unless=CONTENT) as partial:
            _decode(source, survey, size, channels, fit, progress, partial)
    packed = open_packed(folder)
    return replace(packed, survey=replace(packed.survey, location=source.location))


def check_free(out: Path) -> None:
    """Refuse to build where something is.

    Raises:
        DataError: ``out`` exists and is no empty folder.
    """
    if is_taken(out):
        raise DataError(f"{out} exists already and is no empty folder; choose another one, or move it away")


def build(
    source: ImageSource,
    survey: Survey,
    size: int,
    channels: Literal[1, 3],
    fit: Fit,
    out: Path,
    progress: Progress = silent,
) -> PackedImages:
    """Decode a source into a folder of its own, which appears whole or not at all; rows keep the source's order.

    Raises:
        DataError: ``out`` is taken, or no image can be decoded.
    """
    check_free(out)
    with new_folder(out) as partial:
        _decode(source, survey, size, channels, fit, progress, partial)
        packed = open_packed(partial)
        if len(packed) == 0:
            name, reason = packed.survey.unreadable[0]
            raise DataError(f"{source.location}: no image can be decoded (first: {name}: {reason})")
        del packed
    return open_packed(out)


def _decode(
    source: ImageSource, survey: Survey, size: int, channels: int, fit: Fit, progress: Progress, folder: Path
) -> None:
    skipped = dict(survey.unreadable)
    rows = [index for index in range(len(source.labels)) if source.name(index) not in skipped]
    images = np.lib.format.open_memmap(
        folder / IMAGES, mode="w+", dtype=np.uint8, shape=(len(rows), size, size, channels)
    )
    _reserve(folder / IMAGES)
    digests = np.empty(len(rows), dtype=np.uint64)
    kept: list[int] = []
    for index in progress(rows, len(rows), f"reading {source.location}"):
        try:
            image = square(source.read(index), size, channels, fit)
        except (DataError, OSError, ValueError) as error:
            skipped[source.name(index)] = str(error)
            continue
        images[len(kept)], digests[len(kept)] = image, digest(image)
        kept.append(index)
    images.flush()
    if len(kept) < len(rows):
        del images
        _cut(folder / IMAGES, len(kept))
        images = np.load(folder / IMAGES, mmap_mode="r")
    np.save(folder / DIGESTS, digests[: len(kept)])
    groups = groups_of(source)
    if groups is not None:
        np.save(folder / GROUPS, groups.numbers[kept])
    labels = source.labels[kept]
    write_manifest(folder, labels, source.classes)
    final = replace(
        survey, images=len(kept), unreadable=tuple(skipped.items()), groups=() if groups is None else groups.names
    )
    content = {
        "format": FORMAT,
        "shape": images.shape,
        "classes": len(source.classes),
        "fit": fit,
        "survey": asdict(final),
        "fingerprint": fingerprint_of(images, labels, source.classes),
    }
    (folder / CONTENT).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


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

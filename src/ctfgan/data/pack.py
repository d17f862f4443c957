"""Decode a source once into one memory-mapped array, in the cache or in a folder of the user's; say what was found."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.files import cache_folder, new_folder, require_free
from ctfgan.core.progress import Progress, silent
from ctfgan.core.text import json_bytes, utf8
from ctfgan.data.images import Bytes, Fit, square
from ctfgan.data.levels import Levels, contrast_notes, extent
from ctfgan.data.packed import (
    CONTENT,
    DIGESTS,
    FORMAT,
    GROUPS,
    IMAGES,
    PackedImages,
    SourceSummary,
    fingerprint_of,
    open_packed,
    write_labels,
)
from ctfgan.data.scan import PixelPass, keep_summary, kept_summary, of_source, own_summary
from ctfgan.data.sources.base import ImageSource
from ctfgan.data.sources.packed_set import PackedSource
from ctfgan.data.splits import digest


def pack(
    source: ImageSource,
    survey: SourceSummary,
    size: int,
    channels: Literal[1, 3],
    fit: Fit,
    progress: Progress = silent,
    levels: Levels | None = None,
) -> PackedImages:
    """All readable images of a source as ``(N, size, size, channels)`` uint8, from the cache if it has them.

    Images that turn out damaged while decoding are left out and added to the survey's. Packed images of that
    size and colour are used where they are; they are square already, so ``fit`` changes nothing about them.
    ``levels`` say what those of another set mean that this one is compared with; without, its own count.
    """
    if isinstance(source, PackedSource) and source.packed.images.shape[1:] == (size, size, channels):
        return source.packed
    identity = source.identity()
    here = _compared_with(survey, levels or {})
    meaning = "".join(f" {kind} {scale.black} {scale.white}" for kind, scale in sorted(here.levels.items()))
    recipe = f"{identity} {size} {channels} {fit} packed-{FORMAT}{meaning}"
    folder = cache_folder() / "images" / hashlib.sha256(utf8(recipe)).hexdigest()[:24]
    if not (folder / CONTENT).is_file():
        with new_folder(folder, unless=CONTENT) as partial:
            _decode(source, own_summary(source, here), size, channels, fit, progress, partial)
    if source.is_concurrent and kept_summary(source, identity) is None:
        keep_summary(source, identity, survey)
    packed = open_packed(folder)
    return replace(packed, survey=of_source(source, packed.survey))


def _compared_with(survey: SourceSummary, levels: Levels) -> SourceSummary:
    """A survey with the levels of another set in the place of its own, where it has images of that kind."""
    others = {kind: scale for kind, scale in levels.items() if survey.levels.get(kind, scale) != scale}
    notes = tuple(
        f"their levels are read as those of the training images, {scale.black:,.0f} black and {scale.white:,.0f} white"
        for scale in others.values()
    )
    return replace(survey, levels={**survey.levels, **others}, notes=survey.notes + notes)


def build(
    source: ImageSource,
    survey: SourceSummary,
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
    require_free(out, "folder")
    with new_folder(out) as partial:
        _decode(source, survey, size, channels, fit, progress, partial)
        packed = open_packed(partial)
        if len(packed) == 0:
            name, reason = packed.survey.unreadable[0]
            raise DataError(f"{source.location}: no image can be decoded (first: {name}: {reason})")
        del packed
    return open_packed(out)


def _decode(
    source: ImageSource, survey: SourceSummary, size: int, channels: int, fit: Fit, progress: Progress, folder: Path
) -> None:
    def one(image: Image.Image) -> tuple[Bytes, np.uint64, tuple[int, int, int]]:
        squared = square(image, size, channels, fit, survey.levels)
        return squared, digest(squared), extent(squared)

    rows = range(len(source.labels))
    images = np.lib.format.open_memmap(
        folder / IMAGES, mode="w+", dtype=np.uint8, shape=(len(rows), size, size, channels)
    )
    _reserve(folder / IMAGES)
    digests, extents = np.empty(len(rows), dtype=np.uint64), np.empty((len(rows), 3), dtype=np.uint8)
    kept: list[int] = []
    pixels = PixelPass(source, survey)
    for index, result in pixels.results(one, progress, f"reading {source.location}"):
        place = len(kept)
        images[place], digests[place], extents[place] = result
        kept.append(index)
    images.flush()
    if len(kept) < len(rows):
        del images
        _cut(folder / IMAGES, len(kept))
        images = np.load(folder / IMAGES, mmap_mode="r")
    np.save(folder / DIGESTS, digests[: len(kept)])
    groups = source.groups
    if groups is not None:
        np.save(folder / GROUPS, groups.numbers[kept])
    labels = source.labels[kept]
    write_labels(folder, labels, source.classes)
    survey = pixels.summary()
    contrast = contrast_notes(extents[: len(kept)], lambda place: source.name(kept[place]))
    survey = replace(survey, notes=survey.notes + contrast, groups=() if groups is None else groups.names)
    content = {
        "format": FORMAT,
        "shape": images.shape,
        "classes": len(source.classes),
        "fit": fit,
        "survey": asdict(survey),
        "fingerprint": fingerprint_of(images, labels, source.classes),
    }
    (folder / CONTENT).write_bytes(json_bytes(content, indent=None))


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

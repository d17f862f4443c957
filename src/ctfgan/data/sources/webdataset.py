"""WebDataset shards: tar files in which the files of one sample share a name, such as ``7.jpg`` and ``7.cls``.

The name ends at its first dot, as WebDataset has it; where that leaves no image (``scan.v2.jpg``), at its last.
Tar files without any label whose images lie in folders are archives of class folders, and read as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ctfgan.core.errors import DataError
from ctfgan.core.text import a_few, excerpt, plural, printable
from ctfgan.data.sources.base import file_identity
from ctfgan.data.sources.columns import LABEL_NAMES, LABEL_SETTING, Columns, Value, numbered, text_labels, whole_labels
from ctfgan.data.sources.encoded import HEADER_BYTES, EncodedSource, is_image_name, open_image
from ctfgan.data.sources.layout import TreeSource, tree_parts
from ctfgan.data.sources.metadata import tables_in
from ctfgan.data.sources.published_splits import Opener, by_split, part_location
from ctfgan.data.sources.strays import is_stray, stray_part
from ctfgan.data.sources.tars import Member, Scan, TarTree, scan

LONGEST_LABEL = 1 << 20
"""Bytes of a file with a label; a .json may describe the image at length."""
LABEL_KINDS = ("cls", "json")
MOST_ENTRIES = 50
"""Of a .json or kinds of files that are kept, to be named where there is no label."""


def tar_parts(root: Path, files: Iterable[Path], columns: Columns) -> dict[str, Opener]:
    """The parts of tar files: those that file names speak of, such as ``imagenet-train-000000.tar``, or those that the
    folders in an archive of class folders are called by.

    Raises:
        DataError: a file that had to be looked at is no tar file.
    """
    groups, known = by_split(root, files), dict[Path, Scan]()
    is_of_folders = _is_of_folders(_looked_at([file for group in groups.values() for file in group], known), columns)
    if not is_of_folders:
        return {
            split: partial(TarSource, part_location(root, split), group, columns, known)
            for split, group in groups.items()
        }
    trees = {
        split: TarTree(part_location(root, split), [known[file] for file in group]) for split, group in groups.items()
    }
    if len(trees) == 1:
        return tree_parts(next(iter(trees.values())), columns)
    return {split: partial(TreeSource, tree, None, columns) for split, tree in trees.items()}


def _looked_at(files: Iterable[Path], known: dict[Path, Scan]) -> Iterator[Scan]:
    """What tar files hold, kept in ``known``; those that nobody asks for are not opened."""
    for file in files:
        known[file] = scan(file)
        yield known[file]


def _is_of_folders(scans: Iterable[Scan], columns: Columns) -> bool:
    """Whether tar files are archives of class folders, or of images with a table: no sample in any of them has a label.

    The first with a label ends the look.
    """
    folders, has_table = set[str](), False
    for one in scans:
        if any(sample.label is not None for sample in _samples(one, columns, {})):
            return False
        tree = TarTree("", [one])
        images = {path.rpartition("/")[0] for path in tree.listing.images}
        tables = {path.rpartition("/")[0] for path in tables_in(tree.listing.others)} if images else set[str]()
        has_table = has_table or any(map(tree.base.startswith, tables))
        folders |= images
    in_folders = bool(folders) and ("" not in folders or len(folders) > 2)  # beside several, one may lie in none
    return has_table or (in_folders and columns.label is None)


@dataclass(slots=True)
class _Sample:
    """One sample of a shard."""

    image: Member | None
    label: Value = None


class TarSource(EncodedSource):
    """The images of some shards, by their place in them; nothing is unpacked.

    A label is the text of ``.cls`` (a number or a class name) or the entry ``label`` of ``.json``, or what the user
    named. Of a shard that is cut off, what lies before is used.

    Args:
        location: what the user called it.
        shards: tar files.
        columns: what the user named.
        known: of some of them, what they hold.

    Raises:
        DataError: a file that is no tar or one with holes, a label that is none, or no image.
    """

    def __init__(
        self, location: str, shards: Sequence[Path], columns: Columns, known: Mapping[Path, Scan] | None = None
    ) -> None:
        self.location = location
        self._scans = [(known or {}).get(shard) or scan(shard) for shard in shards]
        others: dict[str, None] = {}
        taken = [[*_samples(one, columns, others)] for one in self._scans]
        images = [[sample.image for sample in samples if sample.image is not None] for samples in taken]
        self._starts = np.cumsum([0, *map(len, images)])
        self._names = [image.name for of_shard in images for image in of_shard]
        self._places = np.array([(image.offset, image.size) for found in images for image in found], dtype=np.int64)
        without = sum(map(len, taken)) - len(self._names)
        self.notes: tuple[str, ...] = tuple(one.damage for one in self._scans if one.damage)
        if without:
            self.notes += (f"{plural(without, 'sample without an image is', 'samples without an image are')} unused",)
        if not self._names:
            why = "".join(f" ({note})" for note in self.notes[:1])
            raise DataError(f"{location} holds no images{why}; give shards of image files")
        labels = [sample.label for samples in taken for sample in samples if sample.image is not None]
        texts = text_labels([None if label is None else str(label) for label in labels])
        self.classes, self.labels = numbered(texts, None, location)
        if not self.classes and columns.label is not None:
            raise DataError(
                f"{location}: no sample has a file .{columns.label} or an entry {columns.label!r} of a .json, which "
                f"{LABEL_SETTING} must name; there are {excerpt(a_few([*others])) or 'none'}"
            )
        if not self.classes and others:
            self.notes += (
                printable(
                    f"{location}: no sample has a .cls or an entry 'label' of a .json, so the images have no labels "
                    f"(there are {excerpt(a_few([*others]))}); {LABEL_SETTING} names another"
                ),
            )

    def identity(self) -> str:
        return file_identity(one.shard for one in self._scans)

    def name(self, index: int) -> str:
        return printable(f"{self._scan(index).shard}:{self._names[index]}")

    def content(self, index: int) -> bytes:
        return self._bytes(index, int(self._places[index, 1]))

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        beginning = self._bytes(index, min(int(self._places[index, 1]), HEADER_BYTES))
        try:
            with open_image(beginning) as image:
                return image.mode, image.size
        except DataError:
            return super().header(index)

    def _bytes(self, index: int, count: int) -> bytes:
        with self._scan(index).plain.open("rb") as file:
            file.seek(int(self._places[index, 0]))
            return file.read(count)

    def _scan(self, index: int) -> Scan:
        return self._scans[int(np.searchsorted(self._starts, index, side="right")) - 1]


def _samples(shard: Scan, columns: Columns, seen: dict[str, None]) -> Iterator[_Sample]:
    """The samples of a shard in order; where labels are looked for in vain, what else there is goes into ``seen``."""
    groups: dict[str, list[tuple[str, Member]]] = {}
    for member in shard.members:
        folder, _, name = member.name.rpartition("/")
        key, _, kind = name.partition(".")
        if key and not is_stray(name) and (not folder or stray_part(folder.removeprefix("./")) is None):
            groups.setdefault(f"{folder}/{key}", []).append((kind, member))
    for group in groups.values():
        for image, labels in _divided(group):
            sample = _Sample(image)
            for kind, member in labels if image is not None else ():
                if sample.label is None:
                    sample.label = _label(shard, member, kind.lower(), columns.label, seen)
            yield sample


def _divided(group: list[tuple[str, Member]]) -> list[tuple[Member | None, list[tuple[str, Member]]]]:
    """The samples among files whose names agree up to the first dot: image, and the files that may hold its label.

    They are one sample, unless names with more dots have an image and a label of their own, or nothing else has one.
    """
    plain = next((member for kind, member in group if "." not in kind and is_image_name(f"x.{kind}")), None)
    own: dict[str, list[tuple[str, Member]]] = {}
    for kind, member in group:
        stem, dot, end = kind.rpartition(".")
        if dot:
            own.setdefault(stem, []).append((end, member))
    shared = [(kind, member) for kind, member in group if "." not in kind]
    divided: list[tuple[Member | None, list[tuple[str, Member]]]] = []
    for files in own.values():
        image = next((member for end, member in files if is_image_name(f"x.{end}")), None)
        labels = [(end, member) for end, member in files if end.lower() in LABEL_KINDS]
        if image is not None and (plain is None or labels):
            divided.append((image, labels or shared))
    if plain is not None or not divided:
        divided.insert(0, (plain, shared))
    return divided


def _label(shard: Scan, member: Member, kind: str, asked: str | None, seen: dict[str, None]) -> Value:
    """What one file of a sample says of its label; what it says instead goes into ``seen``."""
    name = f"{shard.shard}:{member.name}"
    is_text = kind == ("cls" if asked is None else asked.lower().removeprefix("."))
    if not is_text and kind != "json":
        if not is_image_name(f"x.{kind}") and len(seen) < MOST_ENTRIES:
            seen[f".{kind}"] = None
        return None
    if member.size > LONGEST_LABEL:
        raise DataError(f"{name} has {member.size:,} bytes; a label must have at most {LONGEST_LABEL:,}")
    try:
        text = shard.read(member).decode()
        label = text.strip() if is_text else _entry(json.loads(text), asked, seen)
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{name} is no label ({excerpt(error)}); a .cls holds a number or a name, a .json an entry 'label'"
        ) from error
    if isinstance(label, float | list):
        with suppress(ValueError):  # what it is then, is said below
            label = whole_labels([label])[0]
    if label is not None and (isinstance(label, bool) or not isinstance(label, int | str) or label == ""):
        raise DataError(f"{name} holds the label {excerpt(repr(label), 60)}; it must be a whole number or a name")
    return label


def _entry(described: dict[str, Any], asked: str | None, seen: dict[str, None]) -> Any:
    """The label among what a .json says: what was named, else ``label``, else the only entry called like one."""
    label = described.get(asked or "label")
    if label is None and asked is None:
        likely = [name for name in described if name.lower() in LABEL_NAMES]
        label = described[likely[0]] if len(likely) == 1 else None
    if label is None:
        seen.update(dict.fromkeys(f".json {name}" for name in list(described)[: MOST_ENTRIES - len(seen)]))
    return label

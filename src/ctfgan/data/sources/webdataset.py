"""WebDataset shards: tar files in which the files of one sample share a name, such as ``7.jpg`` and ``7.cls``.

The name ends at its first dot, as WebDataset has it; where that leaves no image (``scan.v2.jpg``), at its last.
Tar files without any label whose images lie in folders are archives of class folders, and read as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ctfgan.core.errors import DataError
from ctfgan.core.text import a_few, excerpt, plural, printable
from ctfgan.data.sources.archives import TarContent, TarMember, tar_content, tar_tree
from ctfgan.data.sources.base import Opener, by_split, file_identity, part_location
from ctfgan.data.sources.columns import (
    LABEL_NAMES,
    LABEL_SETTING,
    Columns,
    LabelValue,
    numbered,
    text_labels,
    whole_labels,
)
from ctfgan.data.sources.encoded import HEADER_BYTES, EncodedSource, is_image_name
from ctfgan.data.sources.layout import TreeSource, tree_parts
from ctfgan.data.sources.metadata import tables_in
from ctfgan.data.sources.tree import Tree, is_stray, stray_part

LONGEST_LABEL = 1 << 20
"""Bytes of a file with a label; a .json may describe the image at length."""
LABEL_KINDS = ("cls", "json")
MOST_ENTRIES = 50
"""Of a .json or kinds of files that are kept, to be named where there is no label."""

_File = tuple[str, TarMember]
"""A file of a sample, behind what follows the sample's name and its dot, such as ``jpg``."""


def tar_parts(root: Path, files: Iterable[Path], columns: Columns) -> dict[str, Opener]:
    """The parts of tar files: those that file names speak of, such as ``imagenet-train-000000.tar``, or those that the
    folders in an archive of class folders are called by.

    The first file with a label tells that all are shards; those behind it are left to the opener of their part.

    Raises:
        DataError: one of the files looked at is no tar file.
    """
    groups, known = by_split(root, files), dict[Path, TarContent]()
    shards: dict[str, Opener] = {
        split: partial(_open_shards, part_location(root, split), group, known, columns)
        for split, group in groups.items()
    }
    for file in chain.from_iterable(groups.values()):
        known[file] = tar_content(file)
        if any(sample.label is not None for sample in _samples(known[file], columns, {})):
            return shards
    trees = {
        split: tar_tree(part_location(root, split), [known[file] for file in group]) for split, group in groups.items()
    }
    if not _are_of_folders([*trees.values()], columns):
        return shards
    if len(trees) == 1:
        return tree_parts(next(iter(trees.values())), columns)
    return {split: partial(TreeSource, tree, None, columns) for split, tree in trees.items()}


def _are_of_folders(trees: Sequence[Tree], columns: Columns) -> bool:
    """Whether tar files without labels are archives of class folders, or of images with a table."""
    folders = {path.rpartition("/")[0] for tree in trees for path in tree.listing.images}
    in_folders = bool(folders) and ("" not in folders or len(folders) > 2)  # beside several, one may lie in none
    has_table = any(
        tree.base.startswith(path.rpartition("/")[0])
        for tree in trees
        for path in tables_in(tree.listing.others)
        if tree.listing.images
    )
    return has_table or (in_folders and columns.label is None)


class _Sample(NamedTuple):
    image: TarMember | None
    label: LabelValue = None


def _open_shards(
    location: str, files: Sequence[Path], known: Mapping[Path, TarContent], columns: Columns
) -> ShardSource:
    return ShardSource(location, [known.get(file) or tar_content(file) for file in files], columns)


class ShardSource(EncodedSource):
    """The images of some shards, by their place in them.

    A label is the text of ``.cls`` (a number or a class name) or the entry ``label`` of ``.json``, or what the user
    named. Of a shard that is cut off, what lies before is used.

    Raises:
        DataError: a label that is none, or no image.
    """

    def __init__(self, location: str, shards: Sequence[TarContent], columns: Columns) -> None:
        self.location = location
        self._archives = [shard.archive for shard in shards]
        others: dict[str, None] = {}
        samples = [sample for shard in shards for sample in _samples(shard, columns, others)]
        self._images = [sample.image for sample in samples if sample.image is not None]
        self.notes = tuple(note for shard in shards for note in shard.notes)
        without = len(samples) - len(self._images)
        if without:
            self.notes += (f"{plural(without, 'sample without an image is', 'samples without an image are')} unused",)
        if not self._images:
            why = "".join(f" ({note})" for note in self.notes[:1])
            raise DataError(f"{location} holds no images{why}; give shards of image files")
        labels = [sample.label for sample in samples if sample.image is not None]
        texts = text_labels([None if label is None else str(label) for label in labels])
        self.classes, self.labels = numbered(texts, None, location)
        there_are = f"there are {excerpt(a_few([*others])) or 'none'}"
        if not self.classes and columns.label is not None:
            raise DataError(
                f"{location}: no sample has a file .{columns.label} or an entry {columns.label!r} of a .json, which "
                f"{LABEL_SETTING} must name; {there_are}"
            )
        if not self.classes and others:
            note = (
                f"{location}: no sample has a .cls or an entry 'label' of a .json, so the images have no labels "
                f"({there_are}); {LABEL_SETTING} names another"
            )
            self.notes += (printable(note),)

    def identity(self) -> str:
        return file_identity(self._archives)

    def name(self, index: int) -> str:
        return printable(f"{self._images[index].archive}:{self._images[index].name}")

    def content(self, index: int) -> bytes:
        return self._images[index].read()

    def beginning(self, index: int) -> bytes:
        return self._images[index].read(HEADER_BYTES)


def _samples(content: TarContent, columns: Columns, others: dict[str, None]) -> Iterator[_Sample]:
    """The samples of a shard in order; where labels are looked for in vain, what else there is goes into ``others``."""
    groups: dict[str, list[_File]] = {}
    for member in content.members:
        folder, _, name = member.name.rpartition("/")
        key, _, kind = name.partition(".")
        if key and not is_stray(name) and (not folder or stray_part(folder.removeprefix("./")) is None):
            groups.setdefault(f"{folder}/{key}", []).append((kind, member))
    for group in groups.values():
        for image, files in _divided(group):
            label: LabelValue = None
            for kind, member in files if image is not None else ():
                if label is None:
                    label = _label(member, kind.lower(), columns.label, others)
            yield _Sample(image, label)


def _divided(group: list[_File]) -> list[tuple[TarMember | None, list[_File]]]:
    """The samples among files whose names agree up to the first dot: image, and the files that may hold its label.

    They are one sample, unless names with more dots have an image and a label of their own, or nothing else has one.
    """
    shared = [(kind, member) for kind, member in group if "." not in kind]
    plain = _first_image(shared)
    own: dict[str, list[_File]] = {}
    for kind, member in group:
        stem, dot, end = kind.rpartition(".")
        if dot:
            own.setdefault(stem, []).append((end, member))
    divided: list[tuple[TarMember | None, list[_File]]] = []
    for files in own.values():
        image = _first_image(files)
        labels = [(end, member) for end, member in files if end.lower() in LABEL_KINDS]
        if image is not None and (plain is None or labels):
            divided.append((image, labels or shared))
    if plain is not None or not divided:
        divided.insert(0, (plain, shared))
    return divided


def _first_image(files: Iterable[_File]) -> TarMember | None:
    return next((member for kind, member in files if is_image_name(f"x.{kind}")), None)


def _label(member: TarMember, kind: str, name: str | None, others: dict[str, None]) -> LabelValue:
    """What one file of a sample says of its label, which the user may have named; what else it says goes into
    ``others``.
    """
    place = f"{member.archive}:{member.name}"
    is_text = kind == ("cls" if name is None else name.lower().removeprefix("."))
    if not is_text and kind != "json":
        if not is_image_name(f"x.{kind}") and len(others) < MOST_ENTRIES:
            others[f".{kind}"] = None
        return None
    if member.size > LONGEST_LABEL:
        raise DataError(f"{place} has {member.size:,} bytes; a label must have at most {LONGEST_LABEL:,}")
    try:
        text = member.read().decode()
        label = text.strip() if is_text else _entry(json.loads(text), name, others)
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{place} is no label ({excerpt(error)}); a .cls holds a number or a name, a .json an entry 'label'"
        ) from error
    if isinstance(label, float | list):
        with suppress(ValueError):  # what it is then, is said below
            label = whole_labels([label])[0]
    if label is not None and (isinstance(label, bool) or not isinstance(label, int | str) or label == ""):
        raise DataError(f"{place} holds the label {excerpt(repr(label), 60)}; it must be a whole number or a name")
    return label


def _entry(described: dict[str, Any], name: str | None, others: dict[str, None]) -> Any:
    """The label among what a .json says: what was named, else ``label``, else the only entry called like one."""
    label = described.get(name or "label")
    if label is None and name is None:
        likely = [entry for entry in described if entry.lower() in LABEL_NAMES]
        label = described[likely[0]] if len(likely) == 1 else None
    if label is None:
        others.update(dict.fromkeys(f".json {entry}" for entry in list(described)[: MOST_ENTRIES - len(others)]))
    return label

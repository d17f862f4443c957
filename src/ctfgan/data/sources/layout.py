"""What the layout of image files in folders means, on disk and in archives.

Labels come from a table beside the images (metadata.py), else from the folders: a class is a folder that directly
holds images, named by its path below the root, unless ``class_level`` names another folder on the way. One rule covers
plain class folders, Omniglot's alphabet/character folders, and unlabelled folders (images directly in the root). A root
chosen one level too high shows in the class names instead of silently mislabelling everything. Folders called like the
parts of a data set (``train/<class>`` beside ``val/<class>``, or ``train/`` and ``test/`` with tables) are its parts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

from ctfgan.core.errors import DataError
from ctfgan.core.text import MOST_LISTED, a_few, excerpt, plural, printable
from ctfgan.data.sources.archives import COMPRESSED, TAR, ZIP
from ctfgan.data.sources.base import TEST, TRAIN, VALIDATION, WHOLE, Opener, label_identity
from ctfgan.data.sources.columns import LABEL_SETTING, Columns, LabelValue, numbered
from ctfgan.data.sources.encoded import HEIF_SUFFIXES, EncodedSource, suffix_of
from ctfgan.data.sources.metadata import CSV, FILE_NAME, JSONL, TableLabels, labels_in_tables, tables_in
from ctfgan.data.sources.sample_set import SET_MANIFEST
from ctfgan.data.sources.tree import Tree, folders_around, readable

SPLIT_FOLDERS = {
    word + end: split
    for words, split in (
        (("train", "training"), TRAIN),
        (("val", "valid", "validation", "validate", "dev"), VALIDATION),
        (("test", "testing"), TEST),
    )
    for word in words
    for end in ("", "set", "_set", "-set", " set", "_data", "-data", " data")
}
_STYLEGAN_IMAGE = re.compile(r"[0-9]{5}/img[0-9]{8}\.[a-z]+")
LABEL_FILES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".mat"})
ARCHIVES = (ZIP, TAR, *COMPRESSED, ".npz", ".7z", ".rar")


class TreeSource(EncodedSource):
    """Images of a tree, in its order.

    Args:
        tree: where they are.
        base: only what lies in this folder counts, and names of classes begin below it, with ``/`` behind it; None is
            the tree's own.
        columns: what the user named.
        class_of_folder: class names where the tree itself says which folder holds which class.
        notes: to put before those of the source.

    Raises:
        DataError: no images, class names that cannot be written down, or a damaged table.
    """

    def __init__(
        self,
        tree: Tree,
        base: str | None = None,
        columns: Columns | None = None,
        class_of_folder: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._tree = tree
        self._base = base = tree.base if base is None else base
        self.location = tree.location if base == tree.base else tree.place(base[:-1])
        self._images = [path for path in tree.listing.images if path.startswith(base)]
        if not self._images:
            raise DataError(
                f"{self.location} holds no images{_unread(tree, base)}; put one subfolder per class in it, with images "
                "inside"
            )
        columns, class_of_folder = columns or Columns(), class_of_folder or {}
        if base == tree.base:
            notes = tree.strays_note() + notes
        tables = TableLabels(None, (), frozenset())
        if columns.class_level is None and not class_of_folder:
            tables = self._by_tables(columns)
        values: Sequence[LabelValue] | None = tables.values
        folder_notes: tuple[str, ...] = ()
        if values is None and columns.class_level is not None:
            values, folder_notes = self._by_level(columns.class_level)
        elif values is None:
            values, folder_notes = self._by_folders(class_of_folder, has_table=bool(tables.paths))
        self.classes, self.labels = numbered(values, None, self.location)
        for name in self.classes if tables.values is None else ():  # check_names looks at names in tables
            if readable(name) != name:
                raise DataError(
                    f"the folder name {readable(name)!r} in {self.location} is not valid UTF-8, or holds characters "
                    "that control a terminal; rename the folder"
                )
        self._has_plain_labels = tables.values is None and columns.class_level is None and not class_of_folder
        used = tables.paths | ({SET_MANIFEST} if class_of_folder else frozenset())
        self.notes = notes + tables.notes + folder_notes + tree.damage + _passed_over(tree, base, used)
        if not self.classes and not tables.paths:
            self.notes += _tables_unread(tree, base)

    def identity(self) -> str:
        return self._identity

    @cached_property
    def _identity(self) -> str:
        """Of the files as they were when it was first asked for: a start asks several times, and they may be many."""
        identity = self._tree.identity(self._images)
        return identity if self._has_plain_labels else f"{identity} {label_identity(self.labels, self.classes)}"

    def name(self, index: int) -> str:
        return self._tree.place(self._images[index])

    def content(self, index: int) -> Path | bytes:
        return self._tree.content(self._images[index])

    def beginning(self, index: int) -> Path | bytes:
        return self._tree.beginning(self._images[index])

    def _folders(self) -> list[str]:
        """The folder of each image, by its path below the base."""
        return [path[len(self._base) :].rpartition("/")[0] for path in self._images]

    def _by_tables(self, columns: Columns) -> TableLabels:
        """What tables say; where folders may be classes, they are, unless a whole table names most of the images."""
        folders = {*self._folders()}
        may_be_classes = "" not in folders and len(folders) > 1 and not all(map(_is_no_class, folders))
        is_second = columns.label is None and may_be_classes
        try:
            tables = labels_in_tables(self._tree, self._images, columns, self._base)
        except DataError as error:
            if not is_second:
                raise
            return TableLabels(None, (f"{error}; until then the folders are the classes",), frozenset())
        if is_second and tables.values is not None and 2 * tables.named <= len(self._images):
            names = a_few([self._tree.place(path) for path in sorted(tables.paths)])
            note = printable(
                f"{names}: labels for {tables.named:,} of {len(self._images):,} images, so the folders are the "
                f"classes; a table that names most images, or {LABEL_SETTING}, goes before them"
            )
            return TableLabels(None, (note,), tables.paths)
        return tables

    def _by_folders(
        self, class_of_folder: Mapping[str, str], *, has_table: bool
    ) -> tuple[Sequence[LabelValue], tuple[str, ...]]:
        """The class of each image by the folder it lies in, and what must be said of them."""
        names = [class_of_folder.get(folder, folder) for folder in self._folders()]
        classes = {*names}
        if len(classes) == 1 and (has_table or "" in classes):
            return [None] * len(names), ()
        if "" in classes:
            first = self._images[names.index("")].rpartition("/")[2]
            have = plural(names.count(""), "image beside the class folders has", "images beside the class folders have")
            return [name or None for name in names], (f"{have} no label (first: {readable(first)})",)
        if all(map(_STYLEGAN_IMAGE.fullmatch, (path[len(self._base) :] for path in self._images))):
            return names, (
                f"the classes are called {' and '.join(map(repr, sorted(classes)[:2]))} ..., as StyleGAN's tools "
                "number folders of a thousand images each; if they are that, put the images into one folder, or add "
                "their dataset.json",
            )
        if all(name.lower() in SPLIT_FOLDERS for name in classes):
            return names, (
                f"the classes are called {' and '.join(map(repr, sorted(classes)))}; if these are parts of a set "
                "without labels, put their images into one folder, or add a metadata.csv with the columns file_name "
                "and label",
            )
        return names, ()

    def _by_level(self, level: int) -> tuple[Sequence[LabelValue], tuple[str, ...]]:
        """The same by the folder of one level on the way to it, 1 the outermost."""
        folders = [folder.split("/") if folder else [] for folder in self._folders()]
        names = [parts[level - 1] if len(parts) >= level else None for parts in folders]
        outside = names.count(None)
        if outside == len(names):
            raise DataError(
                f"data.class_level is {level}, but the images in {self.location} lie at most {max(map(len, folders))} "
                "folders deep; it must be a level that they have (data.low_quality_class_level, --class-level)"
            )
        if not outside:
            return names, ()
        first = readable(self._images[names.index(None)])
        have = plural(outside, "image has", "images have")
        return names, (f"{have} no folder of level {level}, and no label (first: {first})",)


def _is_no_class(folder: str) -> bool:
    """Whether a folder is called like a part of a data set, or as StyleGAN numbers those of a thousand images each."""
    return folder.lower() in SPLIT_FOLDERS or re.fullmatch("[0-9]{5}", folder) is not None


def tree_parts(tree: Tree, columns: Columns, class_of_folder: Mapping[str, str] | None = None) -> dict[str, Opener]:
    """The published parts of a tree; of most, one whole.

    All folders with images are called like parts, train among them; those of train lie in folders themselves, which are
    classes, or there are tables of labels. Images beside these folders are of no part.
    """
    base = tree.base
    below = [path[len(base) :] for path in tree.listing.images if path.startswith(base)]
    holding = sorted({path.partition("/")[0] for path in below if "/" in path})
    split_folders = [name for name in holding if name.lower() in SPLIT_FOLDERS]
    splits = {SPLIT_FOLDERS[name.lower()]: name for name in split_folders}
    whole: dict[str, Opener] = {WHOLE: partial(TreeSource, tree, base, columns, class_of_folder)}
    if class_of_folder or TRAIN not in splits or len(splits) != len(split_folders) or len(splits) < 2:
        return whole
    train = f"{splits[TRAIN]}/"
    around = (base[:-1], f"{base}{train}"[:-1])
    has_tables = columns.class_level is None and any(
        path.rpartition("/")[0] in around for path in tables_in(tree.listing.others)
    )
    if not has_tables and any(path.startswith(train) and path.count("/") == 1 for path in below):
        return whole
    if len(split_folders) < len(holding):
        tests = [name for split, name in splits.items() if split != TRAIN]
        note = readable(
            f"{' and '.join(map(repr, [splits[TRAIN], *tests]))} look like parts of a set; if they are, take "
            f"{a_few([repr(name) for name in holding if name not in split_folders])} away, or give {splits[TRAIN]!r} "
            f"alone, and {tests[0]!r} as data.reference"
        )
        return {WHOLE: partial(TreeSource, tree, base, columns, class_of_folder, (note,))}
    notes = tree.strays_note()
    loose = [path for path in below if "/" not in path]
    if loose:
        are = plural(len(loose), "image beside the parts of the set is", "images beside the parts of the set are")
        notes += (readable(f"{are} in none of them, and unused (first: {loose[0]})"),)
    inside = tuple(f"{base}{name}/" for name in holding)
    notes += _folders_note(tree, base, [path for path in _without_images(tree) if not path.startswith(inside)])
    return {
        split: partial(TreeSource, tree, f"{base}{name}/", columns, None, notes if split == TRAIN else ())
        for split, name in splits.items()
    }


def _passed_over(tree: Tree, base: str, used: frozenset[str]) -> tuple[str, ...]:
    """What of a folder is not used: folders without images, files of other kinds; a sentence each."""
    inside = "" if base == tree.base else base  # an archive may hold more beside the folder around its images
    notes = [*_folders_note(tree, base, [path for path in _without_images(tree) if path.startswith(inside)])]
    others = [path for path in tree.listing.others if path.startswith(inside) and path not in used]
    heif = [path for path in others if suffix_of(path) in HEIF_SUFFIXES]
    if heif:
        notes.append(
            f"{plural(len(heif), 'HEIC image is', 'HEIC images are')} not read (first: {readable(heif[0])}); what "
            "reads HEIC is installed by: pip install pillow-heif"
        )
    kinds = _kinds(path for path in others if suffix_of(path) not in HEIF_SUFFIXES)
    if kinds:
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        were = plural(kinds.total(), "file that is no image was", "files that are no images were")
        notes.append(readable(f"{were} ignored ({named})"))
    return tuple(notes)


def _without_images(tree: Tree) -> list[str]:
    """The outermost folders without an image in or below them, and links and folders that cannot be opened."""
    holding = {"", *folders_around(tree.listing.images)}
    places = [*tree.listing.folders, *tree.listing.unusable]
    return sorted({path for path in places if path not in holding and path.rpartition("/")[0] in holding})


def _folders_note(tree: Tree, base: str, folders: Sequence[str]) -> tuple[str, ...]:
    """A sentence about folders without images: what they hold instead."""
    if not folders:
        return ()
    names = [f"{folder.removeprefix(base)} ({_content(tree, folder)})" for folder in folders[:MOST_LISTED]]
    are = plural(len(folders), "folder without images is no class", "folders without images are no classes")
    return (readable(f"{are}: {a_few([*names, *folders[MOST_LISTED:]])}"),)


def _content(tree: Tree, folder: str) -> str:
    """What a folder without images holds, in a few words."""
    kinds = _kinds(path for path in tree.listing.others if path.startswith(f"{folder}/"))
    content = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3)) or "empty"
    return tree.listing.unusable.get(folder, content)


def _kinds(paths: Iterable[str]) -> Counter[str]:
    return Counter(suffix_of(path) or "no suffix" for path in paths)


def _tables_unread(tree: Tree, base: str) -> tuple[str, ...]:
    """A sentence about files beside unlabelled images that may hold their labels."""
    likely = [
        name
        for path in tree.listing.others
        if path.startswith(base) and "/" not in (name := path[len(base) :]) and suffix_of(name) in LABEL_FILES
    ]
    if not likely:
        return ()
    rule = "a table of labels must be called metadata.csv, with the columns file_name and label"
    well_called = [name for name in likely if name.lower() in (CSV, JSONL)]
    if well_called:
        likely, rule = well_called, f"it needs the columns file_name and label, and no row has a {FILE_NAME}"
    are = "is" if len(likely) == 1 else "are"
    return (printable(f"the images have no labels, and {readable(a_few(likely))} {are} not read; {rule}"),)


def _unread(tree: Tree, base: str) -> str:
    """What a folder without images holds that could be images, in parentheses."""
    others = [path for path in tree.listing.others if path.startswith(base)]
    archives = [path for path in others if path.lower().endswith(ARCHIVES)]
    if archives:
        return f" (but the archive {excerpt(readable(archives[0]), 100)}: give that, or unpack it)"
    heif = sum(suffix_of(path) in HEIF_SUFFIXES for path in others)
    if heif:
        return f" (but {plural(heif, 'HEIC file')}: pip install pillow-heif)"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in _kinds(others).most_common(3))
    return f" (but files of kinds that are not read: {readable(kinds)})" if kinds else ""

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
from ctfgan.core.text import a_few, excerpt, plural, printable
from ctfgan.data.sources.base import label_identity
from ctfgan.data.sources.columns import LABEL_SETTING, Columns, Value, numbered
from ctfgan.data.sources.encoded import HEIF_SUFFIXES, EncodedSource, open_image, suffix_of
from ctfgan.data.sources.metadata import CSV, FILE_NAME, JSONL, Beside, labels_beside, tables_in
from ctfgan.data.sources.published_splits import TEST, TRAIN, VALIDATION, WHOLE, Opener
from ctfgan.data.sources.sample_set import SET_MANIFEST
from ctfgan.data.sources.tree import Tree, readable

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
LABEL_TABLES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".mat"})
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".npz", ".7z", ".rar")
DATA_OF_SETS = "put one subfolder per class in it, with images inside"


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
        asked, self._tree = columns or Columns(), tree
        base = tree.base if base is None else base
        self.location = tree.location if base == tree.base else tree.place(base[:-1])
        self._images = [path for path in tree.listing.images if path.startswith(base)]
        if not self._images:
            raise DataError(f"{self.location} holds no images{_unread(tree, base)}; {DATA_OF_SETS}")
        given = class_of_folder or {}
        beside = Beside(None, (), frozenset())
        if asked.class_level is None and not given:
            folders_tell = asked.label is None and _are_in_class_folders(path[len(base) :] for path in self._images)
            try:
                beside = labels_beside(tree, self._images, asked, base)
            except DataError as error:
                if not folders_tell:
                    raise
                notes += (f"{error}; until then the folders are the classes",)
            if folders_tell and beside.values is not None and 2 * beside.named <= len(self._images):
                beside = Beside(None, (_few_named(tree, beside, len(self._images)),), beside.tables)
        notes += beside.notes
        values: Sequence[Value] | None = beside.values
        if values is None:
            values, told = self._by_folders(base, asked.class_level, given, has_table=bool(beside.tables))
            notes += told
        self.classes, self.labels = numbered(values, None, self.location)
        for name in self.classes if beside.values is None else ():  # names in tables are looked at by check_names
            if readable(name) != name:
                raise DataError(
                    f"the folder name {readable(name)!r} in {self.location} is not valid UTF-8, or holds characters "
                    "that control a terminal; rename the folder"
                )
        self._is_plain = beside.values is None and asked.class_level is None and not given
        used = beside.tables | ({SET_MANIFEST} if given else frozenset())
        self.notes: tuple[str, ...] = notes + tree.damage + _passed_over(tree, base, used)
        if not self.classes and not beside.tables:
            self.notes += _tables_unread(tree, base)

    def identity(self) -> str:
        return self._identity

    @cached_property
    def _identity(self) -> str:
        """Of the files as they were when it was first asked for: a start asks several times, and they may be many."""
        identity = self._tree.identity(self._images)
        return identity if self._is_plain else f"{identity} {label_identity(self.labels, self.classes)}"

    def name(self, index: int) -> str:
        return self._tree.place(self._images[index])

    def content(self, index: int) -> Path | bytes:
        return self._tree.content(self._images[index])

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        try:
            with open_image(self._tree.beginning(self._images[index])) as image:
                return image.mode, image.size
        except DataError:
            return super().header(index)

    def _by_folders(
        self, base: str, level: int | None, given: Mapping[str, str], *, has_table: bool
    ) -> tuple[Sequence[Value], tuple[str, ...]]:
        """The class of each image by the folders it lies in, and what must be said of them."""
        folders = [path[len(base) :].rpartition("/")[0] for path in self._images]
        if level is not None:
            return self._by_level([folder.split("/") if folder else [] for folder in folders], level)
        names = [given.get(folder, folder) for folder in folders]
        classes = {*names}
        if len(classes) == 1 and (has_table or "" in classes):
            return [None] * len(names), ()
        if "" in classes:
            first = self._images[names.index("")].rpartition("/")[2]
            have = plural(names.count(""), "image beside the class folders has", "images beside the class folders have")
            beside = f"{have} no label (first: {readable(first)})"
            return [name or None for name in names], (beside,)
        if all(name.lower() in SPLIT_FOLDERS for name in classes):
            called = " and ".join(map(repr, sorted(classes)))
            return names, (
                f"the classes are called {called}; if these are parts of a set without labels, put their images into "
                "one folder, or add a metadata.csv with the columns file_name and label",
            )
        return names, ()

    def _by_level(self, folders: list[list[str]], level: int) -> tuple[Sequence[Value], tuple[str, ...]]:
        names = [parts[level - 1] if len(parts) >= level else None for parts in folders]
        outside = [path for path, name in zip(self._images, names, strict=True) if name is None]
        if len(outside) == len(names):
            deepest = max(map(len, folders))
            raise DataError(
                f"data.class_level is {level}, but the images in {self.location} lie at most {deepest} folders deep; "
                "it must be a level that they have (data.low_quality_class_level, --class-level)"
            )
        if not outside:
            return names, ()
        first = readable(outside[0])
        have = plural(len(outside), "image has", "images have")
        return names, (f"{have} no folder of level {level}, and no label (first: {first})",)


def _are_in_class_folders(paths: Iterable[str]) -> bool:
    """Whether all of some images lie in folders, of which several may be classes."""
    folders = {path.rpartition("/")[0] for path in paths}
    return "" not in folders and len(folders) > 1 and not all(map(_is_no_class, folders))


def _few_named(tree: Tree, beside: Beside, count: int) -> str:
    """A sentence about tables that tell too few labels to go before class folders."""
    tables = a_few([tree.place(path) for path in sorted(beside.tables)])
    return printable(
        f"{tables}: labels for {beside.named:,} of {count:,} images, so "
        f"the folders are the classes; a table that names most images, or {LABEL_SETTING}, goes before them"
    )


def _is_no_class(folder: str) -> bool:
    """Whether a folder is called like a part of a data set, or as StyleGAN numbers those of a thousand images each."""
    return folder.lower() in SPLIT_FOLDERS or re.fullmatch("[0-9]{5}", folder) is not None


def tree_parts(tree: Tree, columns: Columns, class_of_folder: Mapping[str, str] | None = None) -> dict[str, Opener]:
    """The published parts of a tree; of most, one whole.

    All folders with images are called like parts, train among them; those of train lie in folders themselves, which are
    classes, or there are tables of labels. (Vehicles may be trains, too.) Images beside these folders are of no part.

    Args:
        tree: where the images are.
        columns: what the user named.
        class_of_folder: see :class:`TreeSource`.
    """
    base, strays = tree.base, strays_note(tree)
    whole: dict[str, Opener] = {WHOLE: partial(TreeSource, tree, base, columns, class_of_folder, strays)}
    below = [path[len(base) :] for path in tree.listing.images if path.startswith(base)]
    loose = [path for path in below if "/" not in path]
    holding = sorted({path.partition("/")[0] for path in below if "/" in path})
    called = [name for name in holding if name.lower() in SPLIT_FOLDERS]
    splits = {SPLIT_FOLDERS[name.lower()]: name for name in called}
    if class_of_folder or TRAIN not in splits or len(splits) != len(called) or len(splits) < 2:
        return whole
    train = f"{splits[TRAIN]}/"
    has_tables = columns.class_level is None and bool(_tables_around(tree, base, base + train))
    if not has_tables and any(path.startswith(train) and path.count("/") == 1 for path in below):
        return whole
    if len(called) < len(holding):
        note = _parts_note(splits, [name for name in holding if name not in called])
        return {WHOLE: partial(TreeSource, tree, base, columns, class_of_folder, (*strays, note))}
    outside = [
        path for path in _without_images(tree) if not path.startswith(tuple(f"{base}{name}/" for name in holding))
    ]
    notes = {TRAIN: strays + _loose_note(loose) + _folders_note(tree, base, outside)}
    return {
        split: partial(TreeSource, tree, f"{base}{name}/", columns, None, notes.get(split, ()))
        for split, name in splits.items()
    }


def _parts_note(splits: Mapping[str, str], others: Sequence[str]) -> str:
    """A sentence about folders that are parts of a set if the others beside them are taken away."""
    train, tests = splits[TRAIN], [name for split, name in splits.items() if split != TRAIN]
    called = " and ".join(map(repr, [train, *tests]))
    return readable(
        f"{called} look like parts of a set; if they are, take {a_few([*map(repr, others)])} away, or give {train!r} "
        f"alone, and {tests[0]!r} as data.reference"
    )


def _loose_note(loose: Sequence[str]) -> tuple[str, ...]:
    """A sentence about images beside the folders that are parts, if there are any."""
    if not loose:
        return ()
    are = plural(len(loose), "image beside the parts of the set is", "images beside the parts of the set are")
    return (readable(f"{are} in none of them, and unused (first: {loose[0]})"),)


def _tables_around(tree: Tree, base: str, folder: str) -> list[str]:
    """Tables that may speak of a folder: in it, or in ``base``, which holds it."""
    return [path for path in tables_in(tree.listing.others) if path.rpartition("/")[0] in (base[:-1], folder[:-1])]


def strays_note(tree: Tree) -> tuple[str, ...]:
    """A sentence about images that are nobody's data, if there are any."""
    strays = tree.listing.strays
    if not strays:
        return ()
    names = a_few([f"{readable(name)}: {count:,}" for name, count in strays.most_common()])
    were = plural(
        strays.total(),
        "image that is hidden or in a system folder was",
        "images that are hidden or in system folders were",
    )
    return (f"{were} passed over ({names})",)


def _passed_over(tree: Tree, base: str, used: frozenset[str]) -> tuple[str, ...]:
    """What of a folder is not used: folders without images, files of other kinds; a sentence each."""
    notes = [*_folders_note(tree, base, [path for path in _without_images(tree) if path.startswith(base)])]
    others = [path for path in tree.listing.others if path.startswith(base) and path not in used]
    heif = [path for path in others if suffix_of(path) in HEIF_SUFFIXES]
    if heif:
        notes.append(
            f"{plural(len(heif), 'HEIC image is', 'HEIC images are')} not read (first: {readable(heif[0])}); what "
            "reads HEIC is installed by: pip install pillow-heif"
        )
    kinds = Counter(suffix_of(path) or "no suffix" for path in others if suffix_of(path) not in HEIF_SUFFIXES)
    if kinds:
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        were = plural(kinds.total(), "file that is no image was", "files that are no images were")
        notes.append(readable(f"{were} ignored ({named})"))
    return tuple(notes)


def _without_images(tree: Tree) -> list[str]:
    """The outermost folders without an image in or below them, and links and folders that cannot be opened."""
    holding = {""}
    for path in tree.listing.images:
        folder = path.rpartition("/")[0]
        while folder not in holding:
            holding.add(folder)
            folder = folder.rpartition("/")[0]
    places = [*tree.listing.folders, *tree.listing.unusable]
    return sorted({path for path in places if path not in holding and path.rpartition("/")[0] in holding})


def _folders_note(tree: Tree, base: str, folders: Sequence[str]) -> tuple[str, ...]:
    """A sentence about folders without images: what they hold instead."""
    if not folders:
        return ()
    kinds: dict[str, Counter[str]] = {folder: Counter() for folder in folders}
    for path in tree.listing.others:
        at = path.find("/", len(base))
        while at >= 0 and path[:at] not in kinds:
            at = path.find("/", at + 1)
        if at >= 0:
            kinds[path[:at]][suffix_of(path) or "no suffix"] += 1
    said = []
    for folder, held in kinds.items():
        what = ", ".join(f"{count} {kind}" for kind, count in held.most_common(3)) or "empty"
        said.append(f"{folder[len(base) :]} ({tree.listing.unusable.get(folder, what)})")
    are = plural(len(said), "folder without images is no class", "folders without images are no classes")
    return (readable(f"{are}: {a_few(said)}"),)


def _tables_unread(tree: Tree, base: str) -> tuple[str, ...]:
    """A sentence about files beside unlabelled images that may hold their labels."""
    likely = [
        name
        for path in tree.listing.others
        if path.startswith(base) and "/" not in (name := path[len(base) :]) and suffix_of(name) in LABEL_TABLES
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
    return f" (but {plural(heif, 'HEIC file')}: pip install pillow-heif)" if heif else ""

"""Tables of labels that lie beside image files: metadata.csv and .jsonl of Hugging Face's imagefolder, and StyleGAN's
dataset.json.

The paths in them are relative to the folder that a table lies in. Nothing outside the listed images is ever opened.
"""

from __future__ import annotations

import codecs
import csv
import json
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from typing import Any

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt, plural, printable
from ctfgan.data.sources.columns import (
    LABEL_SETTING,
    Columns,
    Holds,
    LabelValue,
    TableColumn,
    choose_label,
    text_labels,
    whole_labels,
)
from ctfgan.data.sources.tree import Tree, readable

CSV, JSONL, STYLEGAN = "metadata.csv", "metadata.jsonl", "dataset.json"
FILE_NAME = "file_name"
LONGEST_TABLE = 1 << 28
"""Bytes; some millions of images."""
LONGEST_ROW = 1 << 20
MOST_COLUMNS = 1_000
DELIMITERS = ",;\t|"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class TableLabels:
    """What tables say of some images."""

    values: list[LabelValue] | None
    """Label of each image, None for one without; None if the tables tell no labels."""
    notes: tuple[str, ...]
    paths: frozenset[str]
    """Of the tables."""
    named: int = 0
    """How many of the images the tables with labels name."""


class _Names:
    """Finds the image that a table means; where none is called so, the only one whose name differs in case or Unicode
    form alone.

    Args:
        images: those that labels are wanted for.
        every: all images there are.
    """

    def __init__(self, images: Sequence[str], every: Sequence[str]) -> None:
        self.images, self._every = frozenset(images), frozenset(every)
        self._by_fold: dict[str, str | None] = {}
        for image in every:
            fold = _folded(image)
            self._by_fold[fold] = None if fold in self._by_fold else image

    def __getitem__(self, path: str) -> str | None:
        return path if path in self._every else self._by_fold.get(_folded(path))


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


@dataclass(frozen=True)
class _Table:
    """One of them, read."""

    note: str
    values: dict[str, Any] | None = None
    """By the path of the image; None if it tells no labels."""
    is_text: bool = False
    """Whether its values are texts, whatever they mean."""


def tables_in(listing: Iterable[str]) -> list[str]:
    """The files of a listing that may be such tables."""
    return [path for path in listing if path.rpartition("/")[2].lower() in (CSV, JSONL, STYLEGAN)]


def labels_in_tables(tree: Tree, images: Sequence[str], columns: Columns, base: str) -> TableLabels:
    """What the tables of a tree say of some of its images.

    Args:
        tree: where all is.
        images: paths of those that labels are wanted for.
        columns: what the user named.
        base: the folder that holds these images, with ``/`` behind it; only tables in it, around it or below count.

    Raises:
        DataError: a damaged table, one without the column that the user named, or labels that are none.
    """
    known, tables = _Names(images, tree.listing.images), dict[str, _Table]()
    for path in tables_in(tree.listing.others):
        folder = path[: len(path) - len(path.rpartition("/")[2])]
        if folder.startswith(base) or base.startswith(folder):
            table = _read(tree, path, folder, known, columns)
            if table is not None:
                tables[path] = table
    notes = tuple(printable(f"{tree.place(path)}: {table.note}") for path, table in tables.items())
    labelled = [table for table in tables.values() if table.values is not None]
    if not labelled:
        return TableLabels(None, notes, frozenset(tables))
    by_image = {image: value for table in labelled for image, value in (table.values or {}).items()}
    as_labels = text_labels if labelled[0].is_text else whole_labels
    try:
        values = as_labels([by_image.get(image) for image in images])
    except ValueError as error:
        raise DataError(
            f"{tree.place(min(tables))}: the labels are of no use ({error}); name another column with {LABEL_SETTING}, "
            "or take the table away"
        ) from error
    return TableLabels(values, notes, frozenset(tables), sum(image in by_image for image in images))


def _read(tree: Tree, path: str, folder: str, known: _Names, columns: Columns) -> _Table | None:
    """One table; None for a file that is only called like one."""
    try:
        content = tree.small(path, LONGEST_TABLE)
        name = path.rpartition("/")[2].lower()
        if name == STYLEGAN:
            return _stylegan(content, folder, known)
        if content.startswith(_UTF_16):
            content = content.decode("utf-16").encode()
        if FILE_NAME.encode() not in content[:LONGEST_ROW].lower():
            return None
        return _imagefolder(content, tree.place(path), folder, known, columns, is_csv=name == CSV)
    except (ValueError, csv.Error, RecursionError) as error:
        raise DataError(
            f"{tree.place(path)} is no readable table ({excerpt(error)}); mend it, or take it away"
        ) from error


def _imagefolder(
    content: bytes, place: str, folder: str, known: _Names, columns: Columns, *, is_csv: bool
) -> _Table | None:
    rows = _csv_rows if is_csv else _json_rows
    first_values = _first_values(rows(content))
    in_any_case = next((name for name in first_values if name.lower() == FILE_NAME), None)
    of_files = FILE_NAME if FILE_NAME in first_values else in_any_case
    if of_files is None:
        return None
    others = [
        TableColumn(name, "text" if is_csv else _holds(value))
        for name, value in first_values.items()
        if name != of_files
    ]
    label = choose_label(place, others, columns.label)
    found = _Found(known)
    for row in rows(content):
        found.add(_inside(folder, row.get(of_files)), None if label is None else row.get(label.name))
    values = found.values
    if not values:
        return _Table(f"names none of the images in {FILE_NAME}, so it is not used; it must name them")
    if label is None:
        names = excerpt(", ".join(column.name for column in others) or "none")
        return _Table(f"no column is known as the label (columns: {names}); {LABEL_SETTING} names one")
    note = f"labels are read from its column {excerpt(label.name, 60)!r}{found.words()}"
    return _Table(note, values, is_text=is_csv)


def _stylegan(content: bytes, folder: str, known: _Names) -> _Table | None:
    if b'"labels"' not in content:
        return None
    table = json.loads(content)
    if not isinstance(table, dict) or "labels" not in table:
        return None
    pairs = table["labels"]
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if pairs is None:
        return _Table("it has no labels, so the images have none", dict.fromkeys(known.images))
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return None
    found = _Found(known)
    for name, value in pairs:
        found.add(_inside(folder, name), value)
    return _Table(f"labels are read from it{found.words()}", found.values) if found.values else None


class _Found:
    """The labels of a table's rows, as they are read."""

    def __init__(self, known: _Names) -> None:
        self.values: dict[str, Any] = {}
        self._known, self._missing, self._unlike = known, 0, dict[str, None]()

    def add(self, path: str, value: Any) -> None:
        """Take the label of a path; of several for one image the last."""
        image = self._known[path]
        if image is None:
            self._missing += 1
        elif image in self._known.images:  # others are of another part of the set
            if self.values.get(image, value) != value:
                self._unlike[image] = None
            self.values[image] = value

    def words(self) -> str:
        """What must be said of the rows."""
        words = ""
        if self._missing:
            words += f"; {plural(self._missing, 'file that it names is', 'files that it names are')} not there"
        if self._unlike:
            have = plural(len(self._unlike), "image has", "images have")
            words += (
                f"; {have} several labels in it, of which the last counts (first: {readable(next(iter(self._unlike)))})"
            )
        return words


def _inside(folder: str, name: object) -> str:
    """The path below the root that a table means; empty for what is no relative path, ``../x`` leads nowhere listed."""
    return posixpath.normpath(folder + name.replace("\\", "/")) if isinstance(name, str) and name[:1] != "/" else ""


def _holds(value: object) -> Holds:
    """What a column of JSON holds, by its first value."""
    if isinstance(value, bool):
        return "flags"
    if isinstance(value, int):
        return "numbers"
    if isinstance(value, float):
        return "floats"
    return "lists" if isinstance(value, list) else "text" if isinstance(value, str) or value is None else "other"


def _first_values(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The names of all columns, with the first value of each that is one: JSON may leave out what is empty."""
    values: dict[str, Any] = {}
    for row in rows:
        for name, value in row.items():
            if values.get(name) is None and (name in values or len(values) < MOST_COLUMNS):
                values[name] = value
    return values


def _csv_rows(content: bytes) -> Iterator[dict[str, Any]]:
    """Rows of a CSV, of which none may be endless; a cell that is missing is None."""
    beginning = "".join(content[:LONGEST_ROW].decode("utf-8-sig", errors="replace").splitlines()[:1]).lower()
    likely = [
        mark
        for mark in DELIMITERS
        if FILE_NAME in map(str.strip, next(csv.reader([beginning], delimiter=mark, skipinitialspace=True), []))
    ]
    letters = 0

    def bounded_lines() -> Iterator[str]:
        nonlocal letters
        for line in TextIOWrapper(BytesIO(content), "utf-8-sig", newline=None):
            letters += len(line)
            if letters > LONGEST_ROW:
                raise ValueError(f"a row of more than {LONGEST_ROW:,} letters")
            yield line

    rows = csv.reader(bounded_lines(), delimiter=(likely or [","])[0], skipinitialspace=True)
    names = [name.strip() for name in next(rows, [])]
    letters = 0
    for row in rows:
        letters = 0
        if row:  # no empty line
            yield dict(zip(names, [*row, *[None] * (len(names) - len(row))], strict=False))


def _json_rows(content: bytes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(BytesIO(content), start=1):
        if not line.strip():
            continue
        row = json.loads(line) if len(line) <= LONGEST_ROW else None
        if not isinstance(row, dict):
            raise ValueError(f"line {number:,} is no JSON object of at most {LONGEST_ROW:,} bytes")
        yield row

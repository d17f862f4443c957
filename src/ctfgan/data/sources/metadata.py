"""Tables of labels that lie beside image files: metadata.csv and .jsonl of Hugging Face's imagefolder, and StyleGAN's
dataset.json.

The paths in them are relative to the folder that a table lies in. Nothing outside the listed images is ever opened.
"""

from __future__ import annotations

import csv
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO, TextIOWrapper
from typing import Any

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt, plural, printable
from ctfgan.data.sources.columns import (
    LABEL_SETTING,
    Column,
    Columns,
    Holds,
    Value,
    choose_label,
    text_labels,
    whole_labels,
)
from ctfgan.data.sources.tree import Tree

CSV, JSONL, STYLEGAN = "metadata.csv", "metadata.jsonl", "dataset.json"
FILE_NAME = "file_name"
LONGEST_TABLE = 1 << 28
"""Bytes; some millions of images."""
LONGEST_ROW = 1 << 20
MOST_COLUMNS = 1_000
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Beside:
    """What tables say of some images."""

    values: list[Value] | None
    """Label of each image, None for one without; None if the tables tell no labels."""
    notes: tuple[str, ...]
    tables: frozenset[str]
    """The files that are such tables, by path."""
    named: int = 0
    """How many of the images the tables with labels name."""


@dataclass(frozen=True)
class _Table:
    """One of them, read."""

    values: dict[str, Any] | None
    """By the path of the image; None if it tells no labels."""
    note: str
    as_labels: Callable[[Sequence[Any]], list[Value]]


def tables_in(listing: Iterable[str]) -> list[str]:
    """The files of a listing that may be such tables."""
    return [path for path in listing if path.rpartition("/")[2].lower() in (CSV, JSONL, STYLEGAN)]


def labels_beside(tree: Tree, images: Sequence[str], columns: Columns, base: str) -> Beside:
    """What the tables of a tree say of some of its images.

    Args:
        tree: where all is.
        images: paths of those that labels are wanted for.
        columns: what the user named.
        base: the folder that holds these images, with ``/`` behind it; only tables in it, around it or below count.

    Raises:
        DataError: a damaged table, one without the column that the user named, or labels that are none.
    """
    known, tables, notes = frozenset(images), dict[str, _Table](), list[str]()
    for path in tables_in(tree.listing.others):
        folder = path[: len(path) - len(path.rpartition("/")[2])]
        if not (folder.startswith(base) or base.startswith(folder)):
            continue
        table = _read(tree, path, folder, known, columns)
        if table is not None:
            tables[path] = table
            notes.append(printable(f"{tree.place(path)}: {table.note}"))
    told = {image: value for table in tables.values() for image, value in (table.values or {}).items()}
    is_told = any(table.values is not None for table in tables.values())
    if not is_told:
        return Beside(None, tuple(notes), frozenset(tables))
    as_labels = next(table.as_labels for table in tables.values() if table.values is not None)
    try:
        values = as_labels([told.get(image) for image in images])
    except ValueError as error:
        raise DataError(
            f"{tree.place(min(tables))}: the labels are of no use ({error}); name another column with {LABEL_SETTING}, "
            "or take the table away"
        ) from error
    return Beside(values, tuple(notes), frozenset(tables), sum(image in told for image in images))


def _read(tree: Tree, path: str, folder: str, images: frozenset[str], columns: Columns) -> _Table | None:
    """One table; None for a file that is only called like one."""
    try:
        content = tree.small(path, LONGEST_TABLE)
        name = path.rpartition("/")[2].lower()
        if name == STYLEGAN:
            return _stylegan(content, folder, images)
        if FILE_NAME.encode() not in content[:LONGEST_ROW].lower():
            return None
        rows = partial(_CsvRows if name == CSV else _json_rows, content)
        return _imagefolder(rows, tree.place(path), folder, images, columns)
    except (ValueError, csv.Error, RecursionError) as error:
        raise DataError(
            f"{tree.place(path)} is no readable table ({excerpt(error)}); mend it, or take it away"
        ) from error


def _imagefolder(
    rows: Callable[[], Iterator[dict[str, Any]]], place: str, folder: str, images: frozenset[str], columns: Columns
) -> _Table | None:
    is_text, held = isinstance(rows(), _CsvRows), _first_values(rows())
    of_files = FILE_NAME if FILE_NAME in held else next((name for name in held if name.lower() == FILE_NAME), None)
    if of_files is None:
        return None
    known = [Column(name, "text" if is_text else _holds(value)) for name, value in held.items() if name != of_files]
    label = choose_label(place, known, columns.label)
    values, missing = dict[str, Any](), 0
    for row in rows():
        image = _inside(folder, row.get(of_files))
        if image in images:
            values[image] = None if label is None else row.get(label.name)
        else:
            missing += 1
    if not values:
        return _Table(
            None, f"names none of the images in {FILE_NAME}, so it is not used; it must name them", text_labels
        )
    if label is None:
        names = ", ".join(column.name for column in known) or "none"
        note = f"no column is known as the label (columns: {excerpt(names)}); {LABEL_SETTING} names one"
        return _Table(None, note, text_labels)
    note = f"labels are read from its column {excerpt(label.name, 60)!r}"
    note += _not_there(missing)
    return _Table(values, note, text_labels if is_text else whole_labels)


def _stylegan(content: bytes, folder: str, images: frozenset[str]) -> _Table | None:
    if b'"labels"' not in content:
        return None
    table = json.loads(content)
    if not isinstance(table, dict) or "labels" not in table:
        return None
    pairs = table["labels"]
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if pairs is None:
        return _Table(dict.fromkeys(images), "it has no labels, so the images have none", whole_labels)
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return None
    labels = {image: value for name, value in pairs if (image := _inside(folder, name)) in images}
    if not labels:
        return None
    note = "labels are read from it"
    missing = len(pairs) - len(labels)
    return _Table(labels, note + _not_there(missing), whole_labels)


def _not_there(missing: int) -> str:
    return f"; {plural(missing, 'file that it names is', 'files that it names are')} not there" * bool(missing)


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


def _first_values(rows: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """The names of all columns, with the first value of each that is one: JSON may leave out what is empty."""
    held: dict[str, Any] = {}
    for row in rows:
        for name, value in row.items():
            if held.get(name) is None and (name in held or len(held) < MOST_COLUMNS):
                held[name] = value
    return held


class _CsvRows(Iterator[dict[str, Any]]):
    """Rows of a CSV, of which none may be endless; a cell that is missing is None."""

    def __init__(self, content: bytes) -> None:
        beginning = content[:LONGEST_ROW].decode("utf-8-sig", errors="replace").partition("\n")[0]
        cells = {mark: next(csv.reader([beginning.lower()], delimiter=mark), []) for mark in DELIMITERS}
        delimiters = [mark for mark in DELIMITERS if FILE_NAME in cells[mark]]
        self._lines = iter(TextIOWrapper(BytesIO(content), "utf-8-sig", newline=""))
        self._row = 0
        self._reader = csv.reader(self._bounded(), delimiter=(delimiters or [","])[0])
        self._names = next(self._reader, [])

    def __next__(self) -> dict[str, Any]:
        row: list[str] = []
        while not row:  # empty lines
            self._row = 0
            row = next(self._reader)
        return dict(zip(self._names, [*row, *[None] * (len(self._names) - len(row))], strict=False))

    def _bounded(self) -> Iterator[str]:
        for line in self._lines:
            self._row += len(line)
            if self._row > LONGEST_ROW:
                raise ValueError(f"a row of more than {LONGEST_ROW:,} letters")
            yield line


def _json_rows(content: bytes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(BytesIO(content), start=1):
        if not line.strip():
            continue
        row = json.loads(line) if len(line) <= LONGEST_ROW else None
        if not isinstance(row, dict):
            raise ValueError(f"line {number:,} is no JSON object of at most {LONGEST_ROW:,} bytes")
        yield row

"""Parquet shards of encoded images, as image data sets are published on the Hugging Face Hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt
from ctfgan.data.sources.base import file_identity, label_identity
from ctfgan.data.sources.columns import Column, Columns, Holds, choose_columns, column_labels, encoded, library
from ctfgan.data.sources.encoded import EncodedSource, read_image
from ctfgan.data.sources.published_splits import Opener, by_split, part_location


def parquet_parts(root: Path, files: Iterable[Path], columns: Columns) -> dict[str, Opener]:
    """The parts that file names speak of, such as ``train-00000-of-00294.parquet`` and ``validation-...``."""
    return {
        split: partial(ParquetSource, part_location(root, split), group, columns)
        for split, group in by_split(root, files).items()
    }


class ParquetSource(EncodedSource):
    """The images of some shards. Labels are read at once, images by row group, of which one is kept in memory.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: a damaged shard, or columns that cannot be told.
    """

    def __init__(self, location: str, files: list[Path], columns: Columns) -> None:
        self.location = location
        self._files = files
        self._parquet = library("pyarrow.parquet", location)
        self._groups: list[tuple[Path, int]] = []
        self._first_rows: list[int] = []
        lengths: list[int] = []
        values: list[Any] = []
        chosen, table = None, list[Column]()
        for file in files:
            with _damage(file):
                shard = self._parquet.ParquetFile(file, memory_map=True)
                table = _columns(shard.schema_arrow)
                counts = [shard.metadata.row_group(group).num_rows for group in range(shard.num_row_groups)]
            found = choose_columns(str(file), table, columns)
            if chosen is not None and found != chosen:
                raise DataError(f"{file} has other columns or class names than {files[0]}; name shards of one data set")
            chosen = found
            self._groups += [(file, group) for group in range(len(counts))]
            self._first_rows += [0, *accumulate(counts)][: len(counts)]
            lengths += counts
            label = found[1]
            with _damage(file):
                part = (
                    shard.read(columns=[label.name]).column(label.name).to_pylist() if label else [None] * sum(counts)
                )
                if len(part) != sum(counts):
                    raise ValueError(f"{sum(counts)} rows but {len(part)} labels")
                if shard.metadata.num_rows != sum(counts):
                    raise ValueError(f"{sum(counts)} rows, of which the footer counts {shard.metadata.num_rows}")
            values += part
        assert chosen is not None, "the caller names at least one shard"
        self._starts = np.cumsum([0, *lengths])
        self._image = chosen[0].name
        self.classes, self.labels, self.notes = column_labels(location, table, chosen[1], values, columns)
        self._kept: tuple[int, Any] = (-1, None)

    def identity(self) -> str:
        return f"{file_identity(self._files)} {self._image} {label_identity(self.labels, self.classes)}"

    def name(self, index: int) -> str:
        group, row = self._find(index)
        return f"{self._groups[group][0]} row {self._first_rows[group] + row}"

    def content(self, index: int) -> Path | bytes:
        group, row = self._find(index)
        file, number = self._groups[group]
        with _damage(file):
            if self._kept[0] != group:
                table = self._parquet.ParquetFile(file, memory_map=True).read_row_group(number, columns=[self._image])
                self._kept = group, table.column(self._image)
            value = self._kept[1][row].as_py()
        return encoded(value)

    def reader(self, index: int) -> Callable[[], Image.Image]:
        # Its bytes now: a row group is read once, for images that come in order.
        return partial(read_image, self.content(index))

    def _find(self, index: int) -> tuple[int, int]:
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        return group, index - int(self._starts[group])


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    """Say which file it is that cannot be read."""
    try:
        yield
    except Exception as error:  # pyarrow and json raise whatever the remains of a table run into
        raise DataError(f"{file} is no readable parquet file ({excerpt(error)}); fetch it again") from error


def _columns(schema: Any) -> list[Column]:
    """What each column of a pyarrow schema holds; class names come from the metadata that the Hub's shards carry."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features", {})
    columns = []
    for field in schema:
        feature = features.get(field.name)  # a list for a sequence
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            columns.append(Column(field.name, "classes", tuple(map(str, feature["names"]))))
        else:
            holds = _holds(str(field.type))
            inner = feature.get("feature") if isinstance(feature, dict) and holds == "lists" else None
            names = inner.get("names") if isinstance(inner, dict) else None
            columns.append(Column(field.name, holds, tuple(map(str, names)) if names else None))
    return columns


def _holds(kind: str) -> Holds:
    """Pyarrow's name of a type: ``struct<bytes: binary, path: string>``, ``int64``, ``large_string`` ..."""
    if kind in ("binary", "large_binary", "binary_view") or kind.startswith("struct<bytes: "):
        return "images"
    kind = kind.removeprefix("dictionary<values=")
    if kind.startswith(("int", "uint")):
        return "numbers"
    if kind.startswith(("string", "large_string")):
        return "text"
    if kind.startswith(("float", "double", "halffloat")):
        return "floats"
    is_list = kind.startswith(("list<", "large_list<", "fixed_size_list<"))
    if is_list and _holds(kind.partition(": ")[2]) in ("numbers", "text", "floats", "flags"):
        return "lists"
    return "flags" if kind.startswith("bool") else "other"

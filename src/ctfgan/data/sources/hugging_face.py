"""Tables with a column of encoded images: data sets of the Hugging Face Hub by name, folders that ``save_to_disk``
wrote, and parquet shards as they are published there.

Parquet shards are read in place, a row group at a time; the library would first copy them to its cache, byte for byte.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctfgan.core.errors import DataError, library
from ctfgan.core.text import excerpt
from ctfgan.data.settings import HUB
from ctfgan.data.sources.base import (
    WHOLE,
    ImageSource,
    JoinedSource,
    Opener,
    file_identity,
    label_identity,
    part_location,
    split_named,
)
from ctfgan.data.sources.columns import Columns, Holds, TableColumn, choose_columns, column_labels
from ctfgan.data.sources.encoded import EncodedSource, read_image

"""``hf:owner/name`` or ``hf:owner/name@config``."""
_IMAGE_STRUCT = re.compile(r"struct<(?:path: \w+, )?bytes: ")
SAVED = ("dataset_dict.json", "state.json")


class TableSource(EncodedSource):
    """Rows of a table; an image is bytes, or ``{"bytes": ..., "path": ...}``, whose path counts if it has no bytes."""

    @abstractmethod
    def cell(self, index: int) -> Any:
        """What the image column holds."""

    def content(self, index: int) -> Path | bytes:
        value = self.cell(index)
        if isinstance(value, dict):
            value = value.get("bytes") or (value.get("path") and Path(value["path"]))
        if not isinstance(value, bytes | Path):
            raise DataError("an empty cell")
        return value

    def reader(self, index: int) -> Callable[[], Image.Image]:
        # Its bytes now: tables are read by one thread, and best in order.
        return partial(read_image, self.content(index))


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote a folder."""
    return any((folder / name).is_file() for name in SAVED)


def saved_parts(folder: Path, columns: Columns) -> dict[str, Opener]:
    """The splits of a folder that ``save_to_disk`` wrote."""
    load = library("datasets", str(folder)).load_from_disk
    return _hub_parts(str(folder), partial(load, str(folder)), columns, f"{folder} cannot be read", "save it again")


def hub_parts(location: str, columns: Columns) -> dict[str, Opener]:
    """The splits of a data set on the Hub, downloaded or from the Hub's cache on this machine.

    Raises:
        ConfigError: the library ``datasets`` is not installed.
        DataError: no such data set or configuration, or no connection.
    """
    name, _, config = location.removeprefix(HUB).partition("@")
    load = library("datasets", location).load_dataset
    way_out = f"check the name, the connection, and the configuration ({HUB}{name}@CONFIG)"
    return _hub_parts(location, partial(load, name, config or None), columns, f"{location} cannot be loaded", way_out)


def _hub_parts(
    location: str, load: Callable[[], Any], columns: Columns, failure: str, way_out: str
) -> dict[str, Opener]:
    try:
        loaded = load()
    except Exception as error:  # the library passes on whatever its readers, the network and the Hub raise
        raise DataError(f"{failure} ({excerpt(error)}); {way_out}") from error
    tables = dict(loaded) if isinstance(loaded, Mapping) else {WHOLE: loaded}
    splits: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        splits.setdefault(split_named(name), {})[name] = table
    return {split: partial(_open_hub, location, split, group, columns) for split, group in splits.items()}


def _open_hub(location: str, split: str, tables: dict[str, Any], columns: Columns) -> ImageSource:
    sources = [HubSource(part_location(location, name), table, columns) for name, table in tables.items()]
    return sources[0] if len(sources) == 1 else JoinedSource(part_location(location, split), sources)


class HubSource(TableSource):
    """One split of a data set, a ``datasets.Dataset``; the library maps its files into memory, we decode the images.

    Raises:
        DataError: columns that cannot be told.
    """

    def __init__(self, location: str, table: Any, columns: Columns) -> None:
        self.location = location
        known = _columns(table.features.arrow_schema)
        image, label = choose_columns(location, known, columns)
        self._files = [Path(file["filename"]) for file in table.cache_files]
        self._image = image.name
        self._fingerprint = getattr(table, "_fingerprint", "")  # of a table in memory there is nothing else
        values = [None] * len(table)
        if label is not None:
            values = table.select_columns([label.name]).with_format("arrow")[:][label.name].to_pylist()
        self.classes, self.labels, self.notes = column_labels(location, known, label, values, columns)
        # Undecoded, so that a damaged image is ours to skip by name.
        undecoded = library("datasets", location).Image(decode=False)
        self._cells = table.select_columns([image.name]).cast_column(image.name, undecoded)

    def identity(self) -> str:
        labels = label_identity(self.labels, self.classes)
        return f"{file_identity(self._files)} {self.location} {self._fingerprint} {self._image} {labels}"

    def name(self, index: int) -> str:
        return f"{self.location} row {index}"

    def cell(self, index: int) -> Any:
        return self._cells[index][self._image]


class ParquetSource(TableSource):
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
        self._first_rows: list[int] = []  # of each group in its file
        lengths: list[int] = []
        values: list[Any] = []
        chosen, known = None, list[TableColumn]()
        for file in files:
            with _damage(file):
                shard = self._parquet.ParquetFile(file, memory_map=True)
                known = _columns(shard.schema_arrow)
                counts = [shard.metadata.row_group(group).num_rows for group in range(shard.num_row_groups)]
            columns_here = choose_columns(str(file), known, columns)
            if chosen not in (None, columns_here):
                raise DataError(f"{file} has other columns or class names than {files[0]}; name shards of one data set")
            chosen = columns_here
            self._groups += [(file, group) for group in range(len(counts))]
            self._first_rows += [0, *accumulate(counts)][: len(counts)]
            lengths += counts
            with _damage(file):
                values += _label_values(shard, chosen[1], sum(counts))
        assert chosen is not None, "the caller names at least one shard"
        self._starts = np.cumsum([0, *lengths])
        self._image = chosen[0].name
        self.classes, self.labels, self.notes = column_labels(location, known, chosen[1], values, columns)
        self._kept: tuple[int, Any] = (-1, None)  # a group and its images

    def identity(self) -> str:
        return f"{file_identity(self._files)} {self._image} {label_identity(self.labels, self.classes)}"

    def name(self, index: int) -> str:
        group, row = self._find(index)
        return f"{self._groups[group][0]} row {self._first_rows[group] + row}"

    def cell(self, index: int) -> Any:
        group, row = self._find(index)
        file, number = self._groups[group]
        with _damage(file):
            if self._kept[0] != group:
                table = self._parquet.ParquetFile(file, memory_map=True).read_row_group(number, columns=[self._image])
                self._kept = group, table.column(self._image)
            return self._kept[1][row].as_py()

    def _find(self, index: int) -> tuple[int, int]:
        group = int(np.searchsorted(self._starts, index, side="right")) - 1
        return group, index - int(self._starts[group])


def _label_values(shard: Any, label: TableColumn | None, count: int) -> list[Any]:
    """What a shard's label column holds; ``count`` is what its row groups say."""
    values = shard.read(columns=[label.name]).column(label.name).to_pylist() if label else [None] * count
    if len(values) != count:
        raise ValueError(f"{count} rows but {len(values)} labels")
    if shard.metadata.num_rows != count:
        raise ValueError(f"{count} rows, of which the footer counts {shard.metadata.num_rows}")
    return values


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    """Say which file it is that cannot be read."""
    try:
        yield
    except Exception as error:  # pyarrow and json raise whatever the remains of a table run into
        raise DataError(f"{file} is no readable parquet file ({excerpt(error)}); fetch it again") from error


def _columns(schema: Any) -> list[TableColumn]:
    """What each column of a pyarrow schema holds; images and class names are told by the metadata of the library."""
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features", {})
    columns = []
    for field in schema:
        feature, holds = features.get(field.name), _holds(str(field.type))
        if holds == "lists" and feature:
            feature = feature[0] if isinstance(feature, list) else feature.get("feature")
        names = feature.get("names") if isinstance(feature, dict) else None
        if holds != "lists" and isinstance(feature, dict):
            kinds: dict[Any, Holds] = {"Image": "images", "ClassLabel": "classes"}
            holds = kinds.get(feature.get("_type"), holds)
        columns.append(TableColumn(field.name, holds, tuple(map(str, names)) if names else None))
    return columns


def _holds(kind: str) -> Holds:
    """Pyarrow's name of a type: ``struct<bytes: binary, path: string>``, ``int64``, ``large_string`` ..."""
    if kind in ("binary", "large_binary", "binary_view") or _IMAGE_STRUCT.match(kind):
        return "bytes"
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

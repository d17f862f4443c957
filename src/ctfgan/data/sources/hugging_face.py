"""Hugging Face data sets: by name from the Hub, or folders that ``save_to_disk`` wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt
from ctfgan.data.sources.base import ImageSource, file_identity, label_identity
from ctfgan.data.sources.columns import Column, Columns, Holds, choose_columns, column_labels, encoded, library
from ctfgan.data.sources.combine import JoinedSource
from ctfgan.data.sources.encoded import EncodedSource, read_image
from ctfgan.data.sources.published_splits import WHOLE, Opener, part_location, split_named

HUB = "hf:"
"""``hf:owner/name`` or ``hf:owner/name@config``."""
SAVED = ("dataset_dict.json", "state.json")


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote a folder."""
    return any((folder / name).is_file() for name in SAVED)


def saved_parts(folder: Path, columns: Columns) -> dict[str, Opener]:
    """The splits of a folder that ``save_to_disk`` wrote."""
    loader = library("datasets", str(folder)).load_from_disk
    return _parts(
        str(folder), _loaded(partial(loader, str(folder)), f"{folder} cannot be read", "save it again"), columns
    )


def hub_parts(location: str, columns: Columns) -> dict[str, Opener]:
    """The splits of a data set on the Hub, downloaded or from the Hub's cache on this machine.

    Raises:
        ConfigError: the library ``datasets`` is not installed.
        DataError: no such data set or configuration, or no connection.
    """
    name, _, config = location.removeprefix(HUB).partition("@")
    loader = library("datasets", location).load_dataset
    way_out = f"check the name, the connection, and the configuration ({HUB}{name}@CONFIG)"
    loaded = _loaded(partial(loader, name, config or None), f"{location} cannot be loaded", way_out)
    return _parts(location, loaded, columns)


def _loaded(load: Any, failure: str, way_out: str) -> dict[str, Any]:
    """What the library loads, by the name of the split."""
    try:
        loaded = load()
    except Exception as error:  # the library passes on whatever its readers, the network and the Hub raise
        raise DataError(f"{failure} ({excerpt(error)}); {way_out}") from error
    return dict(loaded) if isinstance(loaded, Mapping) else {WHOLE: loaded}


def _parts(location: str, loaded: dict[str, Any], columns: Columns) -> dict[str, Opener]:
    groups: dict[str, list[str]] = {}
    for name in loaded:
        groups.setdefault(split_named(name), []).append(name)
    return {
        split: partial(_open, location, split, {name: loaded[name] for name in names}, columns)
        for split, names in groups.items()
    }


def _open(location: str, split: str, tables: dict[str, Any], columns: Columns) -> ImageSource:
    sources = [HubSource(part_location(location, name), table, columns) for name, table in tables.items()]
    return sources[0] if len(sources) == 1 else JoinedSource(part_location(location, split), sources)


class HubSource(EncodedSource):
    """One split of a data set; the library maps its files into memory, we decode the images.

    Args:
        location: for messages.
        table: a ``datasets.Dataset``.
        columns: the columns that the user named.

    Raises:
        DataError: columns that cannot be told.
    """

    def __init__(self, location: str, table: Any, columns: Columns) -> None:
        self.location = location
        known = [_column(*feature) for feature in table.features.items()]
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

    def content(self, index: int) -> Path | bytes:
        return encoded(self._cells[index][self._image])

    def reader(self, index: int) -> Callable[[], Image.Image]:
        # Its bytes now: the library does not promise that several threads may ask it.
        return partial(read_image, self.content(index))


def _column(name: str, feature: Any) -> Column:
    """What a column holds, from its feature (``Image()``, ``ClassLabel(names=...)``, ``Value("string")`` ...)."""
    kind = type(feature).__name__
    if kind == "Image":
        return Column(name, "images")
    if kind == "ClassLabel":
        return Column(name, "classes", tuple(feature.names))
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)
    if inner is not None and _value_holds(inner) != "other":
        return Column(name, "lists", getattr(inner, "names", None) and tuple(inner.names))
    return Column(name, _value_holds(feature))


def _value_holds(feature: Any) -> Holds:
    if type(feature).__name__ == "ClassLabel":
        return "classes"
    dtype = str(getattr(feature, "dtype", "")) if type(feature).__name__ == "Value" else ""
    if dtype.startswith(("int", "uint")):
        return "numbers"
    if "string" in dtype:
        return "text"
    return "floats" if dtype.startswith("float") else "flags" if dtype == "bool" else "other"

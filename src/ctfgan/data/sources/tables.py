"""What Hugging Face data sets and parquet shards share: which column is the image, which the label, what is in them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ctfgan.data.sources.base import UNLABELLED, Labels
from ctfgan.errors import ConfigError, DataError, excerpt

LABEL_NAMES = frozenset({"label", "labels", "class", "cls", "target", "y"})


@dataclass(frozen=True)
class Columns:
    """The columns that the user named; None finds them."""

    image: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    holds: Literal["images", "classes", "numbers", "text", "other"]
    class_names: tuple[str, ...] | None = None
    """For ``classes``: what their numbers mean."""


def library(name: str, what: str, extra: str = "hub") -> Any:
    """Import an optional library when something needs it: ``what``, which the library's ``extra`` installs.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ConfigError(f"{what} needs the library {package}; install it: pip install 'ctfgan[{extra}]'") from error


def choose_columns(location: str, columns: Sequence[Column], asked: Columns) -> tuple[Column, Column | None]:
    """The image column and the label column (None: no labels) of a table.

    Without being asked for, these are the only column of images and the only one of named classes, else the only one
    of numbers or text that is called like a label.

    Raises:
        DataError: no such column, or several that could be meant.
    """
    known = ", ".join(f"{column.name} ({column.holds})" for column in columns)
    images = _asked(location, columns, asked.image, ("images",), "images", known)
    images = images or [column for column in columns if column.holds == "images"]
    if len(images) != 1:
        raise DataError(
            f"{location} has {len(images)} columns of images; name one with data.image_column "
            f"(data.low_quality_image_column for low-quality images), its columns are {known}"
        )
    labels = _asked(location, columns, asked.label, ("classes", "numbers", "text"), "labels", known)
    labels = labels or [column for column in columns if column.holds == "classes"]
    labels = labels or [
        column for column in columns if column.holds in ("numbers", "text") and column.name.lower() in LABEL_NAMES
    ]
    if len(labels) > 1:
        raise DataError(
            f"{location} has {len(labels)} columns that may be the label; name one with data.label_column "
            f"(data.low_quality_label_column for low-quality images), its columns are {known}"
        )
    return images[0], labels[0] if labels else None


def _asked(
    location: str, columns: Sequence[Column], name: str | None, kinds: tuple[str, ...], what: str, known: str
) -> list[Column]:
    """The column that the user named, if any."""
    found = [column for column in columns if column.name == name and column.holds in kinds]
    if name is not None and not found:
        raise DataError(f"{location} has no column {name!r} of {what}; its columns are {known}")
    return found


def numbered(
    values: Sequence[Any], class_names: tuple[str, ...] | None, location: str
) -> tuple[tuple[str, ...], Labels]:
    """Class names and labels ``(N,)`` from the values of a label column.

    Args:
        values: numbers, texts, or None for an image without a label; of numbers, -1 means the same.
        class_names: what numbers mean; without them a class is called by its number or text.
        location: for messages.

    Returns:
        No class names and labels of -1 if no image has a label.

    Raises:
        DataError: another type of value, or a number beyond the names.
    """
    strange = next((value for value in values if type(value) not in (int, str, type(None))), None)
    distinct = set() if strange is not None else set(values) - {None, UNLABELLED}
    if strange is not None or len({type(value) for value in distinct}) > 1:
        shown = "numbers and texts" if strange is None else f"values such as {excerpt(repr(strange), 60)}"
        raise DataError(f"{location}: the labels are {shown}; they must be whole numbers or texts, all of one kind")
    if not distinct:
        return (), np.full(len(values), UNLABELLED, dtype=np.int64)
    names = class_names
    if names is None or isinstance(next(iter(distinct)), str):
        order = sorted(distinct)
        names = tuple(map(str, order))
        number = {value: index for index, value in enumerate(order)}
    else:
        outside = [value for value in distinct if not 0 <= value < len(names)]
        if outside:
            raise DataError(
                f"{location}: label {outside[0]} is outside 0 ... {len(names) - 1}; labels must index the class names"
            )
        number = {value: value for value in distinct}
    return names, np.array([number.get(value, UNLABELLED) for value in values], dtype=np.int64)


def encoded(value: Any) -> Path | bytes:
    """The encoded image in a cell: bytes, or ``{"bytes": ..., "path": ...}``, whose path counts if it has no bytes.

    Raises:
        DataError: an empty cell.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or (value.get("path") and Path(value["path"]))
    if value is None or not isinstance(value, bytes | Path):
        raise DataError("an empty cell")
    return value

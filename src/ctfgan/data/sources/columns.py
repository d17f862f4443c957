"""Tables of images and labels: which column is the image, which the label, and what values mean as labels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt, printable
from ctfgan.data.sources.base import UNLABELLED, Labels

LABEL_NAMES = frozenset({"label", "labels", "class", "cls", "target", "y"})
LIKELY_LABEL_NAMES = frozenset(
    {"category", "category_id", "class_id", "class_label", "class_name", "classname", "label_id", "label_name"}
    | {"targets", "target_name", "fine_label"}
)
"""Taken for the label only where no column has one of the names above, and no other column one of these."""
LABEL_SETTING = (
    "data.label_column (data.low_quality_label_column for low-quality images; --label-column of 'ctfgan data')"
)
"""The setting that names the label, where a message speaks of it."""

LabelValue = int | str | None
"""A label as a table has it; None for an image without one."""
Holds = Literal["images", "bytes", "classes", "numbers", "text", "floats", "flags", "lists", "other"]

_WHOLE = re.compile(r"(-?(?:0|[1-9]\d{0,17}))(?:\.0*)?", re.ASCII)


@dataclass(frozen=True)
class Columns:
    """Where the user says that images and labels are; None finds them."""

    image: str | None = None
    """Column of a table, array of an npz."""
    label: str | None = None
    """The same; of WebDataset shards, an entry of the .json or the suffix of a text file."""
    class_level: int | None = None
    """Of image files in folders: which folder on the way to an image names its class, 1 the outermost; None is the
    folder that holds the image, named by its path."""


@dataclass(frozen=True)
class TableColumn:
    """One column of a table."""

    name: str
    holds: Holds
    class_names: tuple[str, ...] | None = None
    """For ``classes``, and for ``lists`` of them: what their numbers mean."""


def choose_columns(
    location: str, columns: Sequence[TableColumn], choice: Columns
) -> tuple[TableColumn, TableColumn | None]:
    """The image column and the label column (None: no labels) of a table.

    If the user chooses none, the image column is the only one of images, else the only one of bytes; the label is as
    :func:`choose_label` says.

    Raises:
        DataError: no such column, or several that could be meant.
    """
    images = [column for column in columns if column.holds == "images"]
    images = images or [column for column in columns if column.holds == "bytes"]
    if choice.image is not None:
        images = _named(location, columns, choice.image, ("images", "bytes"), "images")
    if len(images) != 1:
        raise DataError(
            f"{location} has {len(images)} columns of images; name one with data.image_column "
            f"(data.low_quality_image_column for low-quality images), its columns are {_listed(columns)}"
        )
    return images[0], choose_label(location, columns, choice.label)


def choose_label(location: str, columns: Sequence[TableColumn], choice: str | None) -> TableColumn | None:
    """The label column of a table; None if no column is known as one, or several are of less usual names.

    If the user chooses none, it is the only one of named classes, else the only one of numbers or text that is called
    like a label, else the only one of other values that is, else the only one that is called nearly like a label.

    Raises:
        DataError: no such column, or several that could be meant.
    """
    kinds: tuple[Holds, ...] = ("classes", "numbers", "text", "floats", "flags", "lists")
    if choice is not None:
        labels = _named(location, columns, choice, kinds, "labels")
    else:
        labels = [column for column in columns if column.holds == "classes"]
        labels = labels or _called(columns, ("numbers", "text"), LABEL_NAMES)
    if len(labels) > 1:
        raise DataError(
            f"{location} has {len(labels)} columns that may be the label; name one with data.label_column "
            f"(data.low_quality_label_column for low-quality images), its columns are {_listed(columns)}"
        )
    labels = labels or _called(columns, ("floats", "flags", "lists"), LABEL_NAMES)
    labels = labels or _called(columns, kinds, LIKELY_LABEL_NAMES)
    return labels[0] if len(labels) == 1 else None


def _called(columns: Sequence[TableColumn], kinds: Sequence[Holds], names: frozenset[str]) -> list[TableColumn]:
    return [column for column in columns if column.holds in kinds and column.name.lower() in names]


def _named(
    location: str, columns: Sequence[TableColumn], name: str, kinds: Sequence[Holds], what: str
) -> list[TableColumn]:
    named = [column for column in columns if column.name == name and column.holds in kinds]
    if not named:
        raise DataError(f"{location} has no column {name!r} of {what}; its columns are {_listed(columns)}")
    return named


def _listed(columns: Sequence[TableColumn]) -> str:
    return ", ".join(f"{column.name} ({column.holds})" for column in columns)


def column_labels(
    location: str, columns: Sequence[TableColumn], label: TableColumn | None, values: Sequence[Any], choice: Columns
) -> tuple[tuple[str, ...], Labels, tuple[str, ...]]:
    """Class names and labels ``(N,)`` of a table, as :func:`numbered` gives them, and what must be said of them.

    Args:
        location: for messages.
        columns: all of the table, to be named where none is the label.
        label: what :func:`choose_label` chose.
        values: of that column.
        choice: what the user named.

    Raises:
        DataError: the user named a column whose values are no labels.
    """
    unlabelled = np.full(len(values), UNLABELLED, dtype=np.int64)
    if label is None:
        others = [column for column in columns if column.holds not in ("images", "bytes")]
        note = f"{location}: no column is known as the label, so the images have none; {LABEL_SETTING} names one of "
        return (), unlabelled, (printable(note + excerpt(_listed(others))),) if others else ()
    if label.holds in ("floats", "flags", "lists"):
        try:
            values = whole_labels(values)
        except ValueError as error:
            reason = f"{location}: column {excerpt(label.name, 60)!r} is no label ({error})"
            if choice.label is not None:
                raise DataError(
                    f"{reason}; {LABEL_SETTING} must name another, of {excerpt(_listed(columns))}"
                ) from error
            return (), unlabelled, (printable(f"{reason}, so the images have none; {LABEL_SETTING} names another"),)
    if label.holds == "text":
        values = [(text and text.strip()) or None for text in values]
    return *numbered(values, label.class_names, location), ()


def whole_labels(values: Sequence[Any]) -> list[LabelValue]:
    """Labels that are written in a roundabout way: whole floats, true and false, one-hot rows, lists of one label.

    Args:
        values: of one column; None and not-a-number mean no label.

    Returns:
        Whole numbers (of a one-hot row, where its 1 is), texts and None.

    Raises:
        ValueError: a value that is none of these; the message shows it.
    """
    lists = [value for value in values if isinstance(value, list | tuple)]
    are_single = all(len(value) <= 1 for value in lists)
    if len({len(value) for value in lists}) > 1 and not are_single:
        raise ValueError("it holds lists of different lengths")
    return [_whole_label(value, are_single) for value in values]


def _whole_label(value: Any, are_single: bool) -> LabelValue:
    if isinstance(value, list | tuple):
        if are_single:
            return _whole_label(value[0] if value else None, are_single=False)
        whole = [_whole_label(number, are_single=False) for number in value]
        if sorted(map(repr, whole)) != ["0"] * (len(whole) - 1) + ["1"]:
            raise ValueError(f"{excerpt(repr(value), 60)} is not one 1 among zeros")
        return whole.index(1)
    if value is None or isinstance(value, str) or type(value) is int:
        return value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(f"{excerpt(repr(value), 60)} is no whole number")


def text_labels(texts: Sequence[str | None]) -> list[LabelValue]:
    """Labels from a file of text: whole numbers if all are, also as floats (``3.0``); empty ones are None, and blanks
    around them say nothing.

    007 is a name.
    """
    given: list[LabelValue] = [(text and text.strip()) or None for text in texts]
    numbers = [None if text is None else _WHOLE.fullmatch(str(text)) for text in given]
    if any(number is None and text is not None for number, text in zip(numbers, given, strict=True)):
        return given
    return [None if number is None else int(number[1]) for number in numbers]


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
        kinds = "numbers and texts" if strange is None else f"values such as {excerpt(repr(strange), 60)}"
        raise DataError(f"{location}: the labels are {kinds}; they must be whole numbers or texts, all of one kind")
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

"""Changes of classes that nothing is learned for: other names, fewer classes, another label space."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from ctfgan.bundle.bundle import Bundle
from ctfgan.bundle.class_rows import check_conditional, rebuilt
from ctfgan.core.class_index import ClassIndex
from ctfgan.core.errors import ConfigError
from ctfgan.core.text import a_few


def rename(bundle: Bundle, names: Mapping[str, str]) -> Bundle:
    """The bundle with other names for some classes: ``{old: new}``.

    Raises:
        ConfigError: an unknown class, or two classes of one name.
    """
    check_conditional(bundle)
    classes = list(bundle.classes)
    for label, new in zip(ClassIndex(bundle.classes).require(list(names)), names.values(), strict=True):
        classes[label] = new
    pairs = [f"{old} to {new}" for old, new in names.items()]
    return rebuilt(bundle, tuple(classes), torch.arange(len(classes)), f"renamed {a_few(pairs)}")


def drop(bundle: Bundle, names: Sequence[str]) -> Bundle:
    """The bundle without some classes, and with matched pairing without their low-quality images.

    Raises:
        ConfigError: an unknown class, or fewer than two left.
    """
    check_conditional(bundle)
    stays = torch.ones(len(bundle.classes), dtype=torch.bool)
    stays[ClassIndex(bundle.classes).require(names)] = False
    kept = stays.nonzero().squeeze(1)
    classes = tuple(bundle.classes[label] for label in kept.tolist())
    return rebuilt(bundle, classes, kept, f"dropped {a_few(list(names))}")


def map_classes(bundle: Bundle, table: Mapping[str, str]) -> Bundle:
    """The bundle with the classes of a table ``{new name: old name}``, in its order.

    Several new classes may begin as the same old one; classes that the table does not name are gone.

    Raises:
        ConfigError: an unknown class, fewer than two left, or two of one name.
    """
    check_conditional(bundle)
    labels = ClassIndex(bundle.classes).require(list(table.values()))
    change = f"mapped {len(set(labels)):,} of {len(bundle.classes):,} classes to {len(table):,}"
    return rebuilt(bundle, tuple(table), torch.tensor(labels, dtype=torch.int64), change)


def read_table(path: Path) -> dict[str, str]:
    """A file for :func:`map_classes`: a JSON object, or CSV or TSV lines ``new name, old name`` without headings.

    Raises:
        ConfigError: no such file, no known form, or a new name given twice.
    """
    readers = {".json": _json_pairs, ".csv": _lines, ".tsv": _lines}
    if path.suffix.lower() not in readers:
        raise ConfigError(f"{path} has no known form; give a .json object, or .csv or .tsv lines 'new name, old name'")
    try:
        pairs = readers[path.suffix.lower()](path)
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read ({error}); give a .json, .csv or .tsv file in UTF-8") from error
    table: dict[str, str] = {}
    for new, old in pairs:
        if new in table:
            raise ConfigError(f"{path} gives the new class {new!r} twice; name each new class once")
        table[new] = old
    return table


def _json_pairs(path: Path) -> list[tuple[str, str]]:
    pairs = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=list)
    is_object = isinstance(pairs, list) and all(isinstance(pair, tuple) for pair in pairs)
    if not is_object or not all(isinstance(old, str) for _, old in pairs):
        raise ConfigError(f'{path} is no object of texts; write {{"new name": "old name", ...}}')
    return [(new, old) for new, old in pairs]


def _lines(path: Path) -> Iterable[tuple[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    for number, line in enumerate(lines, 1):
        if line and len(line) != 2:
            raise ConfigError(f"{path}, line {number}: {len(line)} columns; write two, the new name and the old one")
    return [(line[0], line[1]) for line in lines if line]

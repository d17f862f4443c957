"""Folders of packed images: their JSON and the arrays of the manifest."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from ctfgan.data.pack import build
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.registry import open_source
from ctfgan.data.sources.tree import FolderTree
from fuzz.changes import changed_bytes, changed_json, dumped, number
from fuzz.judging import Reader, check
from fuzz.places import joined, look_at, parted, put_files, workspace

NAMES = ("packed.json", "images.npy", "labels.npy", "order.npy", "offsets.npy", "names.npy", "name_offsets.npy",
         "digests.npy")  # fmt: skip


def seeds() -> list[bytes]:
    """Two sets of our own, with labels and without."""
    found = []
    for name, folders in (("labelled", ("b", "a", "一")), ("flat", (".",))):
        root = workspace() / name
        for number_, folder in enumerate(folders):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for index in range(3):
                Image.new("L", (6, 6), 40 * number_ + index).save(root / folder / f"{index}.png")
        source, out = TreeSource(FolderTree(root)), workspace() / f"{name}-built"
        if not out.exists():
            build(source, scan_headers(source), 4, 1, "crop", out)
        found.append(joined([(out / part).read_bytes() for part in NAMES]))
    return found


def change(content: bytes, rng: Random) -> bytes:
    """A value of the JSON, an entry of an array, a header, a missing file, or bytes changed."""
    parts = parted(content, len(NAMES))
    which = rng.randrange(len(NAMES))
    if which == 0 or rng.random() < 0.15:
        try:
            parts[0] = dumped(changed_json(json.loads(parts[0]), rng), rng)
        except (ValueError, RecursionError):
            parts[0] = changed_bytes(parts[0], rng)
    elif rng.random() < 0.05:
        parts[which] = b""
    elif rng.random() < 0.6 and len(parts[which]) > 136:
        array = bytearray(parts[which])
        at = 128 + 8 * rng.randrange((len(array) - 128) // 8)
        array[at : at + 8] = (rng.choice((-1, 0, 1, 2, 3, 9, number(rng))) % 2**64).to_bytes(8, "little")
        parts[which] = bytes(array)
    else:
        parts[which] = changed_bytes(parts[which], rng)
    return joined(parts)


def one_input(content: bytes) -> None:
    """Compare with the arrays read as plain bytes."""
    folder = put_files("packed", NAMES, content)
    source = open_source(str(folder))
    plain = {name: _plain(folder / name) for name in NAMES[2:5] + NAMES[6:7]}
    labels, order, offsets, name_offsets = plain.values()
    text = _body(folder / "names.npy")
    chosen = [label for label in labels if label >= 0]
    check(all(-1 <= label < len(offsets) - 1 for label in labels), "a label beyond the classes")
    check(sorted(order) == [row for row, label in enumerate(labels) if label >= 0], "an order that is none")
    check([labels[row] for row in order] == sorted(chosen), "an order that does not follow the labels")
    check(offsets == [sum(label < c for label in chosen) for c in range(len(offsets))], "offsets that do not fit")
    names = [text[start:end].decode() for start, end in itertools.pairwise(name_offsets)]
    check(list(source.classes) == (names if chosen else list(source.classes)), "other names")
    check("".join(names).encode() == text, "names that do not add up")
    numbers = np.frombuffer(_body(folder / "digests.npy"), "<u8").tolist()
    check(len(numbers) == len(labels), "a number of images that digests and labels do not agree on")
    firsts = source.packed.firsts.tolist()
    check(firsts == [numbers.index(number_) for number_ in numbers], "copies that are none")
    look_at(source)


def _body(path: Path) -> bytes:
    data = path.read_bytes()
    return (
        data[10 + int.from_bytes(data[8:10], "little") :]
        if data[6] == 1
        else data[12 + int.from_bytes(data[8:12], "little") :]
    )


def _plain(path: Path) -> list[int]:
    return np.frombuffer(_body(path), "<i8").tolist()


READER = Reader("packed", seeds, change, one_input)

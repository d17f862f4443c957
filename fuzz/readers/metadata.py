"""Tables of labels beside image files: metadata.csv, metadata.jsonl and dataset.json."""

from __future__ import annotations

import csv
import io
import json
import shutil
from contextlib import suppress
from random import Random
from typing import Any

from PIL import Image

from ctfgan.data.sources.registry import open_source
from fuzz.changes import TEXTS, changed_bytes, changed_json, dumped
from fuzz.judging import Reader, check
from fuzz.places import look_at, workspace

IMAGES = ("1.png", "2.png", "sub/3.png")
KINDS = {b"c": "metadata.csv", b"j": "metadata.jsonl", b"d": "dataset.json"}


def seeds() -> list[bytes]:
    """A letter for the kind of table, and the table."""
    rows = [{"file_name": name, "label": label} for name, label in zip(IMAGES, (1, 0, 1), strict=True)]
    hot = {"labels": [[name, [1.0, 0.0]] for name in IMAGES]}
    return [
        b"cfile_name,label\n1.png,a\n2.png,b\nsub/3.png,a\n",
        b"cfile_name;label;more\r\n1.png;1.0;x\r\n2.png;0.0;y\r\nsub\\3.png;;z\r\n",
        b'c\xef\xbb\xbffile_name,class\n"1.png","a, b"\n2.png,c\n',
        b"j" + b"\n".join(json.dumps(row).encode() for row in rows),
        b"d" + json.dumps({"labels": [[name, number] for number, name in enumerate(IMAGES)]}).encode(),
        b"d" + json.dumps(hot).encode(),
        b'd{"labels": null}',
    ]


def change(content: bytes, rng: Random) -> bytes:
    """Bytes; names and labels; a value of the JSON; a long row."""
    kind = rng.randrange(5)
    if kind == 0:
        return content[:1] + changed_bytes(content[1:], rng)
    if kind == 1:
        odd = (b"../1.png", b"/etc/passwd", b"./1.png", b"sub/../1.png", b"1.png\0", b"", b"file_name", b'"', b"-1")
        return content.replace(rng.choice((b"1.png", b"label", b"0", b"a")), rng.choice(odd), rng.choice((1, -1)))
    if kind == 2 and rng.random() < 0.2:
        return content + rng.choice((b"x" * 300_000, b'"a\n",' * 30_000, b"\n" * 100_000, b"1.png,c\n" * 20_000))
    with suppress(ValueError, RecursionError):
        if content[:1] == b"d":
            return b"d" + dumped(changed_json(json.loads(content[1:]), rng), rng)
        if content[:1] == b"j":
            lines = content[1:].splitlines()
            at = rng.randrange(len(lines)) if lines else 0
            lines[at : at + 1] = [dumped(changed_json(json.loads(lines[at]), rng), rng)] if lines else []
            return b"j" + b"\n".join(lines)
    text = rng.choice(TEXTS).encode(errors="surrogatepass")
    return content[:1] + content[1:].replace(rng.choice((b"a", b"label", b",", b"\n")), text, rng.choice((1, -1)))


def one_input(content: bytes) -> None:
    """A label is in the table beside the image's name, if all labels are texts that need no reading."""
    root = workspace() / "metadata"
    shutil.rmtree(root, ignore_errors=True)
    (root / "sub").mkdir(parents=True)
    for grey, name in enumerate(IMAGES):
        Image.new("L", (5, 5), grey).save(root / name)
    kind = KINDS.get(content[:1], "metadata.csv")
    (root / kind).write_bytes(content[1:])
    source = open_source(str(root))
    look_at(source)
    check(len(source.labels) <= len(IMAGES), "more images than there are")
    if not any("labels are read from" in note for note in source.notes):
        check(tuple(source.classes) in ((), ("sub",)), "labels that neither a table nor a folder tells")
        return
    told = _cells(kind, content[1:])
    for name in source.classes:
        check(not told or name in told, "a class that is not in the table")


def _cells(kind: str, content: bytes) -> set[str]:
    """Every text and whole number in a table; empty if it cannot be told."""
    cells: set[str] = set()
    with suppress(Exception):
        if kind == "metadata.csv":
            for mark in ",;\t":
                for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=mark):
                    cells |= {*row} | {cell.partition(".")[0] for cell in row}
            return cells
        values: list[Any] = [json.loads(line) for line in content.split(b"\n") if line.strip()]
        while values:
            value = values.pop()
            if isinstance(value, dict | list):
                values += [*value.values(), *value] if isinstance(value, dict) else value
                cells |= set(map(str, range(len(value)))) if isinstance(value, list) else set()
            else:
                cells |= {str(value), f"{value:.0f}" if isinstance(value, float | bool) else ""}
    return cells


READER = Reader("metadata", seeds, change, one_input)

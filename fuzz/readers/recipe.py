"""Recipes as JSON, as TOML laid over a named one, and as assignments of the command line."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

from ctfgan.recipes.catalogue import RECIPES, named_recipe
from ctfgan.recipes.overlay import recipe, with_file
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.storage.run_folder import RunFolder
from fuzz.changes import TEXTS, changed_bytes, changed_json, dumped, number
from fuzz.judging import Reader, check
from fuzz.places import put

TOML = (
    b'seed = 3\n[data]\nresolution = 16\nonly = ["A", "B"]\n[method.generate]\nsteps = 5\nbetas = [0.0, 0.9]\n',
    b'device = "cpu"\n[training.checks]\nevery = 5\n[evaluation]\n',
    b'"data.resolution" = 32\nmethod.transfer.batch_size = 16\ntraining.ema_decay = 0.5\n',
)
ASSIGNMENTS = ("generate.steps=5", "data.resolution=16", "training.ema_decay=none", 'only=["A","B"]', "name='x'")
"""The first byte of an input says what it is."""


def seeds() -> list[bytes]:
    """Every named recipe as JSON; TOML; assignments."""
    written = [b"J" + named_recipe(name).to_json().encode() for name in RECIPES]
    return [*written, *(b"T" + text for text in TOML * 6), *(b"S" + text.encode() for text in ASSIGNMENTS * 3)]


def change(content: bytes, rng: Random) -> bytes:
    """A value of the JSON or the TOML, or bytes changed."""
    kind, text = content[:1], content[1:]
    if kind == b"J":
        try:
            return kind + dumped(changed_json(json.loads(text), rng), rng)
        except (ValueError, RecursionError):
            return kind + changed_bytes(text, rng)
    values = [
        *TEXTS,
        "[" * 3000,
        "{a=" * 900,
        "1" * 5000,
        "inf",
        "nan",
        "2000-13-01",
        "1979-05-27",
        str(number(rng)),
        "[1,2]",
        "{a=1}",
        "'''\n'''",
        "true",
        "0x10",
        "1e400",
    ]
    if rng.random() < 0.5:
        lines = text.split(b"\n")
        at = rng.randrange(len(lines))
        name, _, value = lines[at].partition(b"=")
        if rng.random() < 0.3:
            name = changed_bytes(name, rng) if rng.random() < 0.7 else rng.choice(values).encode(errors="replace") * 3
        else:
            value = rng.choice(values).encode(errors="replace")
        lines[at] = name + b"=" + value
        text = b"\n".join(lines)
    else:
        text = changed_bytes(text, rng)
    return kind + text


def one_input(content: bytes) -> None:
    """What is accepted is written and read again without loss, and holds finite numbers alone."""
    found = _read(content)
    again = parse_recipe(json.loads(found.to_json()), "again")
    check(again == found, "a recipe that is not what it is written as")
    _look_at(found.model_dump())
    check(math.isfinite(found.seed) and 0 <= found.seed < 2**48, "a seed out of range")
    check(found.data.resolution >= 16 and 0 < found.data.held_out < 1, "data out of range")


def _read(content: bytes) -> Recipe:
    kind, text = content[:1], content[1:]
    if kind == b"T":
        return with_file(named_recipe("ctf-glyphs"), put("x.toml", text))
    if kind == b"S":
        return recipe("ctf-glyphs", text.decode(errors="replace"))
    file = put("recipe.json", text)
    return parse_recipe(RunFolder(file.parent).read_json(file.name), str(file))


def _look_at(value: Any) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for entry in value:
            _look_at(entry)
    check(not isinstance(value, float) or math.isfinite(value), "a number that is not finite")


READER = Reader("recipe", seeds, change, one_input)

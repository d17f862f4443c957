"""Changes to a recipe from the outside: a TOML file, ``--set name=value``."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ctfgan.core.errors import LONGEST_NAME, ConfigError
from ctfgan.core.settings import flatten
from ctfgan.core.text import excerpt
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.recipe import Recipe, parse_recipe

LONGEST_TOML = 1 << 20


def settings_in(path: Path) -> dict[str, Any]:
    """The settings of a TOML file by name.

    Raises:
        ConfigError: no readable TOML.
    """
    try:
        if path.stat().st_size > LONGEST_TOML:
            raise ValueError(f"more than {LONGEST_TOML:,} bytes")
        return flatten(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"--config {path} does not exist; give a TOML file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no readable TOML file ({excerpt(error)}); correct it") from error


def with_file(recipe: Recipe, path: Path) -> Recipe:
    """The recipe with the tables of a TOML file laid over it.

    Raises:
        ConfigError: no readable TOML, or a name or value that no recipe has.
    """
    content = recipe.model_dump()
    for name, value in settings_in(path).items():
        _put(content, name, value, str(path))
    return parse_recipe(content, str(path))


def recipe(name: str, *assignments: str) -> Recipe:
    """A named recipe with settings changed, as on the command line: ``recipe("ctf-glyphs", "generate.steps=500")``.

    Raises:
        ConfigError: an unknown name, setting or value.
    """
    return with_settings(named_recipe(name), {}, assignments)


def with_settings(recipe: Recipe, values: Mapping[str, object], assignments: tuple[str, ...]) -> Recipe:
    """The recipe with single settings changed.

    Args:
        recipe: what to start from.
        values: by full name.
        assignments: ``name=value`` texts; a name may be any unambiguous ending of a full one.

    Raises:
        ConfigError: no ``=``, an unknown or ambiguous name, or a value of the wrong type.
    """
    content = recipe.model_dump()
    for name, value in values.items():
        _put(content, name, value, name)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            short = excerpt(assignment)
            raise ConfigError(f"--set {short!r} has no value; write --set {short}=VALUE")
        _put(content, name.strip(), _value(text.strip()), f"--set {excerpt(assignment)}")
    return parse_recipe(content, "settings")


def changed_settings(recipe: Recipe, named: Recipe | None) -> dict[str, tuple[Any, Any]]:
    """What differs between two recipes by name, in order: the first one's value and the second's, None for no such.

    Without a second one all of the first.
    """
    before, own = flatten(named.model_dump()) if named else {}, flatten(recipe.model_dump())
    names = sorted(name for name in own.keys() | before.keys() if named is None or own.get(name) != before.get(name))
    return {name: (own.get(name), before.get(name)) for name in names}


def _value(text: str) -> Any:
    """A TOML value (number, true, list, quoted text), ``none``, or else plain text."""
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, KeyError, RecursionError):  # no TOML, such as a path; also what TOML's own reader trips over
        return text


def full_names(recipe: Recipe, names: Iterable[str]) -> frozenset[str]:
    """Names of settings written out.

    Raises:
        ConfigError: an unknown or ambiguous name.
    """
    content = recipe.model_dump()
    return frozenset(_full_name(content, name.strip(), "settings") for name in names)


def _put(content: dict[str, Any], name: str, value: Any, origin: str) -> None:
    *path, last = _full_name(content, name, origin).split(".")
    for part in path:
        content = content[part]
    content[last] = value


def _full_name(content: dict[str, Any], name: str, origin: str) -> str:
    known = flatten(content)
    matches = [full for full in known if full == name or full.endswith(f".{name}")]
    if name in matches:
        matches = [name]
    if not matches:
        raise ConfigError(f"{origin}: unknown setting {excerpt(repr(name))}. {_nearest(name, list(known))}")
    if len(matches) > 1:
        raise ConfigError(f"{origin}: {name!r} is ambiguous; write one of {', '.join(matches)}")
    return matches[0]


def _nearest(name: str, known: list[str]) -> str:
    """A name or the ending of one that differs by a typo; else settings of the same last part; else the nearest."""
    name = name[:LONGEST_NAME]
    endings = {
        ".".join(parts[start:]): full for full in known for parts in [full.split(".")] for start in range(len(parts))
    }
    same = [full for full in known if full.split(".")[-1] == name.split(".")[-1]]
    typo = difflib.get_close_matches(name, endings, n=1, cutoff=0.85)
    near = [endings[match] for match in typo] or same[:4]
    near = near or [endings[match] for match in difflib.get_close_matches(name, endings, n=1, cutoff=0.7)]
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else "'ctfgan recipes NAME' lists all settings."

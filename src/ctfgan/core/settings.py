"""The base of every settings class: frozen, no unknown names, all mistakes reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ctfgan.core.text import excerpt

Seed = Annotated[int, Field(ge=0, lt=2**48)]
"""A seed that every random generator in use accepts, small multiples of it too."""


class Settings(BaseModel):
    """Immutable, strictly named settings; each subclass lives beside the code that it configures."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )


def flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their full names: ``{"data": {"seed": 1}}`` is ``{"data.seed": 1}``."""
    settings: dict[str, Any] = {}
    for name, value in content.items():
        settings |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return settings


def mistakes(error: ValidationError) -> list[str]:
    """What is wrong with values that settings refuse, one phrase each: place, value, rule."""
    return [_phrase(mistake["loc"], mistake["input"], mistake["msg"]) for mistake in error.errors(include_url=False)]


def first_mistake(error: ValidationError) -> str:
    """The first of the :func:`mistakes`."""
    return mistakes(error)[0]


def _phrase(location: tuple[int | str, ...], value: object, rule: str) -> str:
    path = [str(part) for part in location]
    if path[:1] == ["method"]:
        del path[1:2]  # pydantic puts the chosen kind of method there
    return f"{excerpt('.'.join(path), 80)} is {_quoted(value)}, but {excerpt(rule[0].lower() + rule[1:])}"


def _quoted(value: object) -> str:
    """A value in a message: whole if it is short, its kind if it holds others or cannot be written."""
    if isinstance(value, dict | list | tuple) and len(value) > 4:
        return f"a {type(value).__name__} of {len(value):,} entries"
    try:
        return excerpt(repr(value), 60)
    except (RecursionError, ValueError):  # nested too deeply; a number of more digits than Python writes
        return f"a {type(value).__name__}"

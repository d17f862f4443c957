"""The named recipes."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction

from ctfgan.core.errors import pick
from ctfgan.recipes import paper_tables, practical
from ctfgan.recipes.recipe import Recipe

DEFAULT = "ctf-glyphs"
DEFAULT_FOR_OWN_IMAGES = "ctf-folders"

RECIPES: dict[str, Callable[[], Recipe]] = {
    name.replace("_", "-"): function
    for module in (practical, paper_tables)
    for name, function in vars(module).items()
    if isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
}
"""Every public function of the two modules, in their order."""


def named_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigError: no such recipe, with the nearest match.
    """
    return pick(RECIPES, name, "recipe")()

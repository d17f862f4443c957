"""The named recipes."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isfunction

from ctfgan.core.errors import ConfigError, pick
from ctfgan.recipes import paper_tables, practical
from ctfgan.recipes.recipe import CtfGan, Recipe, SnGan
from ctfgan.training.settings import StageSettings

DEFAULT = "ctf-glyphs"
DEFAULT_FOR_OWN_IMAGES = "ctf-folders"
BASELINE_OF = "-baseline"  # what the name of a baseline's recipe adds to that of the recipe that it is taken from

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


def baseline_of(recipe: Recipe) -> Recipe:
    """SN-GAN + Projection with the networks, rates and number of generator steps of a CTF-GAN recipe.

    Raises:
        ConfigError: a recipe of another method.
    """
    method = recipe.method
    if not isinstance(method, CtfGan):
        raise ConfigError(f"recipe {recipe.name!r} has the method {method.kind}; sweeps start from a ctf-gan recipe")
    steps = method.transfer.steps + method.generate.steps
    shared = {name: value for name, value in method.generate.model_dump().items() if name in StageSettings.model_fields}
    stage = StageSettings.model_validate(shared | {"steps": steps})
    baseline = SnGan(
        kind="sn-gan-projection",
        networks=method.networks,
        loss=method.loss,
        spectral_norm=method.spectral_norm,
        adversarial=stage,
    )
    needs = tuple(name for name in recipe.data.needs if name != "low_quality")
    glyphs = recipe.data.glyphs
    if glyphs.by_face:  # the same faces are held out, though no low-quality fonts ask for it
        glyphs = glyphs.model_copy(update={"low_quality_font_folders": (), "held_out": "faces"})
    data = recipe.data.model_copy(update={"low_quality": None, "needs": needs, "glyphs": glyphs})
    return recipe.model_copy(update={"name": f"{recipe.name}{BASELINE_OF}", "method": baseline, "data": data})


def origin_of(recipe: Recipe) -> Recipe | None:
    """The named recipe that a recipe began as, or :func:`baseline_of` it; None if there is none of this name."""
    name = recipe.name.removesuffix(BASELINE_OF)
    if recipe.name in RECIPES:
        return named_recipe(recipe.name)
    if name in RECIPES and isinstance(named_recipe(name).method, CtfGan):
        return baseline_of(named_recipe(name))
    return None

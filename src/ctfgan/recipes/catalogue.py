"""The named recipes."""

from __future__ import annotations

from collections.abc import Callable

from ctfgan.errors import pick
from ctfgan.recipes import practical, tables
from ctfgan.recipes.recipe import Recipe

DEFAULT = "ctf-glyphs"
DEFAULT_FOR_OWN_IMAGES = "ctf-folders"

RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        practical.ctf_glyphs,
        practical.projection_glyphs,
        practical.ctf_folders,
        practical.projection_folders,
        practical.ctf_r3_folders,
        practical.projection_r3_folders,
        practical.sn_gan_folders,
        practical.sn_gan_concat_folders,
        practical.ac_gan_folders,
        practical.prog_gan_folders,
        practical.ctf_mnist16,
        practical.projection_mnist16,
        tables.table1_cifar10_ac_gan,
        tables.table1_cifar10_prog_gan,
        tables.table1_cifar10_projection,
        tables.table1_cifar10_fewer,
        tables.table1_cifar10_entire,
        tables.table1_stl10_ac_gan,
        tables.table1_stl10_prog_gan,
        tables.table1_stl10_projection,
        tables.table1_stl10_fewer,
        tables.table1_stl10_entire,
        tables.table2_hwdb_projection,
        tables.table2_hwdb_fewer,
        tables.table2_hwdb_entire,
        tables.table2_omniglot_projection,
        tables.table2_omniglot_fewer,
        tables.table2_omniglot_entire,
        tables.table3_imagenet_ac_gan,
        tables.table3_imagenet_concat,
        tables.table3_imagenet_projection,
        tables.table3_imagenet_fewer,
        tables.table3_imagenet_entire,
        tables.fig1_imagenet_fewer,
        tables.fig1_imagenet_entire,
    )
}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigError: no such recipe, with the nearest match.
    """
    return pick(RECIPES, name, "recipe")()

"""The named recipes."""

from __future__ import annotations

from collections.abc import Callable

from ctfgan.core.errors import pick
from ctfgan.recipes import paper_tables, practical
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
        paper_tables.table1_cifar10_ac_gan,
        paper_tables.table1_cifar10_prog_gan,
        paper_tables.table1_cifar10_projection,
        paper_tables.table1_cifar10_fewer,
        paper_tables.table1_cifar10_entire,
        paper_tables.table1_stl10_ac_gan,
        paper_tables.table1_stl10_prog_gan,
        paper_tables.table1_stl10_projection,
        paper_tables.table1_stl10_fewer,
        paper_tables.table1_stl10_entire,
        paper_tables.table2_hwdb_projection,
        paper_tables.table2_hwdb_fewer,
        paper_tables.table2_hwdb_entire,
        paper_tables.table2_omniglot_projection,
        paper_tables.table2_omniglot_fewer,
        paper_tables.table2_omniglot_entire,
        paper_tables.table3_imagenet_ac_gan,
        paper_tables.table3_imagenet_concat,
        paper_tables.table3_imagenet_projection,
        paper_tables.table3_imagenet_fewer,
        paper_tables.table3_imagenet_entire,
        paper_tables.fig1_imagenet_fewer,
        paper_tables.fig1_imagenet_entire,
    )
}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ConfigError: no such recipe, with the nearest match.
    """
    return pick(RECIPES, name, "recipe")()

from __future__ import annotations

import pytest

from ctfgan.evaluation.table_profiles import PROFILES, reduce_recipe
from ctfgan.evaluation.table_rows import TABLES
from ctfgan.recipes.build import DataSpec, build_method
from ctfgan.recipes.catalogue import RECIPES, named_recipe
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.recipes.validate import check_recipe

ROWS = [row.recipe for table in TABLES.values() for section in table.sections for row in section.rows]
CUT = [name for name, profile in PROFILES.items() if profile.cut is not None]


def steps(recipe: Recipe) -> int:
    """Of all stages, as they are built."""
    narrow = {"generator_width": 0.01, "discriminator_width": 0.01}
    networks = recipe.method.networks.model_copy(update=narrow)
    small = recipe.model_copy(update={"method": recipe.method.model_copy(update={"networks": networks})})
    spec = DataSpec(num_classes=3, num_low_quality_labels=2, low_quality_size=8, channels=1)
    return sum(stage.settings.steps for stage in build_method(small, spec, matched=False).stages)


def test_every_row_of_a_table_is_a_recipe_and_every_table_recipe_is_a_row() -> None:
    assert set(ROWS) <= set(RECIPES)
    assert {name for name in RECIPES if name.startswith(("table", "fig"))} == set(ROWS)


@pytest.mark.parametrize("profile", CUT)
@pytest.mark.parametrize("row", ROWS)
def test_a_reduced_row_can_be_built_and_takes_as_many_generator_steps_as_the_others(row: str, profile: str) -> None:
    cut = PROFILES[profile].cut
    assert cut is not None
    recipe = reduce_recipe(named_recipe(row), cut)
    check_recipe(recipe)
    assert parse_recipe(recipe.model_dump(), row) == recipe  # nothing out of range
    assert steps(recipe) == cut.steps


@pytest.mark.parametrize("profile", CUT)
@pytest.mark.parametrize("row", ROWS)
def test_a_profile_changes_sizes_but_not_which_images_a_row_sees(row: str, profile: str) -> None:
    whole, less = named_recipe(row).data, reduce_recipe(named_recipe(row), PROFILES[profile].cut).data
    sizes = {"resolution", "low_quality_size", "degradation"}
    assert whole.model_dump(exclude=sizes) == less.model_dump(exclude=sizes)
    assert whole.degradation.share == less.degradation.share
    assert less.resolution <= whole.resolution


def test_the_full_profile_is_the_recipe_itself() -> None:
    recipe = named_recipe("table1-cifar10-fewer")
    assert reduce_recipe(recipe, PROFILES["full"].cut) is recipe

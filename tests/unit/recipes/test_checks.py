"""What is refused of a recipe before any data is read."""

from __future__ import annotations

import pytest

from ctfgan.core.errors import ConfigError
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.validate import check_recipe


@pytest.mark.parametrize(
    ("settings", "processes"),
    [
        (("generate.batch_size=2", "generate.accumulate=2"), 1),
        (("generate.batch_size=4",), 4),
        (("generate.batch_size=12", "generate.accumulate=3"), 4),
    ],
)
def test_task_3_wants_two_images_in_every_part_of_a_batch(settings: tuple[str, ...], processes: int) -> None:
    recipe = with_settings(named_recipe("ctf-glyphs"), {}, settings)
    with pytest.raises(ConfigError, match=r"leaves 1 image in each of .* Task 3 would paste it into itself") as caught:
        check_recipe(recipe, processes)
    (way_out,) = (word for word in str(caught.value).split() if word.startswith("generate.batch_size="))
    check_recipe(with_settings(recipe, {}, (way_out.rstrip(","),)), processes)
    off = ("self_supervision.discriminator_weight=0", "self_supervision.generator_weight=0")
    check_recipe(with_settings(recipe, {}, off), processes)


def test_a_stage_without_steps_and_a_method_without_task_3_may_have_one_image_a_part() -> None:
    one = ("transfer.batch_size=2", "transfer.accumulate=2", "transfer.steps=0", "start.path=x")
    check_recipe(with_settings(named_recipe("ctf-glyphs"), {}, one))
    check_recipe(with_settings(named_recipe("projection-glyphs"), {}, ("adversarial.batch_size=2",)), 2)

from __future__ import annotations

import pytest
import torch

from ctfgan.core.errors import ConfigError
from ctfgan.distributed.engine import alone, compile_players
from ctfgan.recipes.build import build_method, random_codes_for
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.validate import check_recipe
from ctfgan.training.optimizers import Ema, GanOptimizers
from tests.contract.test_recipes import SHAPE, batch, narrow


@pytest.mark.parametrize("name", ["prog-gan-folders", "ctf-r3-folders"])
def test_a_recipe_that_differentiates_twice_is_not_compiled(name: str) -> None:
    recipe = with_settings(named_recipe(name), {"data.high_quality": "somewhere"}, ("compile=true",))
    with pytest.raises(ConfigError, match=r"leave training\.compile out"):
        check_recipe(recipe)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("form", ["per-class", "codes"])
def test_compiled_players_lose_what_plain_ones_lose(form: str) -> None:
    recipe = with_settings(narrow("ctf-folders"), {"data.resolution": 16}, (f"class_tables={form}",))
    codes = random_codes_for(recipe, SHAPE, matched=True)
    losses = []
    for compiled in (False, True):
        method = build_method(recipe, SHAPE, matched=True, codes=codes)
        found = []
        for stage in method.stages:
            stage.enter()
            objective = stage.objective
            updates = GanOptimizers(
                objective.generator.train(), objective.discriminator, stage.settings, alone(torch.device("cpu"))
            )
            ema = Ema(objective.generator, 0.9)
            if compiled:
                compile_players(objective.generator, objective.discriminator, backend="aot_eager")
            for _ in range(2):
                found += updates.discriminator_step(objective, batch(recipe)).values()
                found += updates.generator_step(objective, batch(recipe)).values()
                ema.update(objective.generator)
        losses.append(torch.stack(found))
    # Adam's first steps divide a gradient by its own size, so that rounding turns the sign of what is nearly zero.
    torch.testing.assert_close(*losses, rtol=5e-3, atol=5e-3)

from __future__ import annotations

from pathlib import Path

import pytest

import ctfgan
from ctfgan.core.errors import ConfigError
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_file
from ctfgan.recipes.validate import check_recipe


def test_a_setting_is_found_by_its_full_name_or_any_unambiguous_ending() -> None:
    for name in ("method.generate.steps", "generate.steps"):
        assert ctfgan.recipe("ctf-glyphs", f"{name}=7").method.generate.steps == 7  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("steps=7", "'steps' is ambiguous; write one of method.transfer.steps, method.generate.steps"),
        ("genrate.steps=7", "unknown setting 'genrate.steps'. Did you mean 'method.generate.steps'?"),
        ("genrate_width=1", "Did you mean 'method.networks.generator_width'?"),
        ("zzz=1", "'ctfgan recipes NAME' lists all settings"),
        ("adversarial.steps=7", "Did you mean 'method.transfer.steps' or 'method.generate.steps'?"),
        ("generate.steps", "has no value; write --set generate.steps=VALUE"),
        ("generate.steps=many", "method.generate.steps is 'many', but input should be a valid integer"),
        ("generate.steps=0", "method.generate.steps is 0, but input should be greater than or equal to 1"),
        ("data.pairing=close", "data.pairing is 'close', but input should be 'auto', 'matched' or 'independent'"),
    ],
)
def test_a_wrong_setting_is_explained_in_one_sentence(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        ctfgan.recipe("ctf-glyphs", assignment)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"seed is -1.*generate\.steps is 0"):
        ctfgan.recipe("ctf-glyphs", "seed=-1", "generate.steps=0")


def test_values_are_typed() -> None:
    recipe = ctfgan.recipe("ctf-glyphs", "ema_decay=none", "data.glyphs.characters=abc", 'font_folders=["a", "b"]')
    assert recipe.training.ema_decay is None
    assert recipe.data.glyphs.characters == "abc"
    assert recipe.data.glyphs.font_folders == ("a", "b")


def test_a_toml_file_is_laid_over_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 5\n[method.generate]\nsteps = 12\n")
    recipe = with_file(named_recipe("ctf-glyphs"), file)
    assert (recipe.seed, recipe.method.generate.steps) == (5, 12)  # type: ignore[union-attr]
    file.write_text("[method.generate]\nstep = 12\n")
    with pytest.raises(ConfigError, match=r"mine.toml: unknown setting 'method.generate.step'. Did you mean"):
        with_file(named_recipe("ctf-glyphs"), file)
    file.write_text("seed = ")
    with pytest.raises(ConfigError, match="no readable TOML file"):
        with_file(named_recipe("ctf-glyphs"), file)


def test_an_unknown_recipe_names_its_nearest_relative() -> None:
    with pytest.raises(ConfigError, match=r"Unknown recipe 'ctf-glyph'. Did you mean 'ctf-glyphs'\?"):
        named_recipe("ctf-glyph")


@pytest.mark.parametrize("name", ["ctf-r3-folders", "prog-gan-folders"])
def test_augmentation_is_not_steered_by_logits_whose_sign_means_nothing(name: str) -> None:
    changed = ctfgan.recipe(name, "augmentation.policy=['cutout']", "augmentation.target=0.6")
    with pytest.raises(
        ConfigError, match=r"the sign of a logit says nothing under the (relativistic|wasserstein) loss"
    ):
        check_recipe(changed)

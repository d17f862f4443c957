"""Every method with classes known by codes: builds, trains, makes images that depend on no other class, is saved."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ctfgan.core.errors import ConfigError
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition
from ctfgan.nn.class_tables import CodeTable, table_spaces
from ctfgan.recipes.build import (
    build_generator,
    build_method,
    labels_use_codes,
    random_codes_for,
    uses_codes,
)
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.training.class_codes import ClassCodes
from ctfgan.training.optimizers import Ema, GanOptimizers
from ctfgan.training.stage import Method
from tests.contract.test_recipes import CPU, ONE_OF_EACH, SHAPE, batch, narrow

CONDITIONAL = tuple(name for name in ONE_OF_EACH if name != "sn-gan-folders")
CODES = ("class_tables=codes", "class_code=6")


def changed(name: str, *settings: str) -> Recipe:
    return with_settings(narrow(name), {"data.resolution": 16}, settings)


def built(name: str, *settings: str, matched: bool = True) -> tuple[Recipe, ClassCodes, Method]:
    recipe = changed(name, *CODES, *settings)
    codes = random_codes_for(recipe, SHAPE, matched=matched)
    assert codes is not None
    return recipe, codes, build_method(recipe, SHAPE, matched=matched, codes=codes)


def codes_of(network: torch.nn.Module) -> list[Tensor]:
    return [module.codes for module in network.modules() if isinstance(module, CodeTable)]


@pytest.mark.parametrize("matched", [False, True])
@pytest.mark.parametrize("name", CONDITIONAL)
def test_every_method_trains_on_codes_which_stay_as_they_are(name: str, matched: bool) -> None:
    sampled = ("class_candidates=3",) if name in ("ac-gan-folders", "prog-gan-folders") else ()
    recipe, codes, method = built(name, *sampled, matched=matched)
    before = codes.classes.clone()
    weights = {key: parameter.clone() for key, parameter in method.networks.named_parameters()}
    for stage in method.stages:
        stage.enter()
        objective = stage.objective
        updates = GanOptimizers(objective.generator.train(), objective.discriminator, stage.settings, CPU)
        ema = Ema(objective.generator, 0.9)
        for _ in range(3):
            objective.advance(1.0)
            losses = updates.discriminator_step(objective, batch(recipe))
            losses |= updates.generator_step(objective, batch(recipe))
            ema.update(objective.generator)
            assert all(loss.isfinite() for loss in losses.values())
        shared = {codes.data_ptr() for codes in codes_of(ema.network)}
        assert shared == {codes.data_ptr() for codes in codes_of(objective.generator)}
    assert torch.equal(codes.classes, before)
    read = [key for key, parameter in method.networks.named_parameters() if not torch.equal(parameter, weights[key])]
    assert len(read) > 0.9 * len(weights)
    generator = method.stages[-1].objective.generator.eval()
    given = batch(recipe)
    condition = Condition(given.fake_labels, given.low_quality, given.low_quality_labels)
    images = generator(condition, generator.draw_noise(8, BatchRng.of(0)))
    assert images.shape == (8, 1, 16, 16)
    assert images.isfinite().all()


@pytest.mark.parametrize("name", CONDITIONAL)
def test_no_weight_has_a_row_for_a_class_and_no_state_holds_codes(name: str) -> None:
    _, _, method = built(name)
    assert not table_spaces(method.networks)
    kept = {tensor.data_ptr() for tensor in method.networks.state_dict().values()}
    assert codes_of(method.networks["generator"])
    assert codes_of(method.networks["discriminator"])
    assert not kept & {tensor.data_ptr() for tensor in codes_of(method.networks)}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_an_image_and_its_verdict_do_not_depend_on_how_many_other_classes_there_are(name: str) -> None:
    recipe, codes, method = built(name)
    assert recipe.method.uses_low_quality == (codes.low_quality_labels is not None)
    many = SHAPE.model_copy(update={"num_classes": 50, "num_low_quality_labels": 60})
    more = random_codes_for(recipe, many, matched=True)
    assert more is not None
    more.classes[:4] = codes.classes
    if more.low_quality_labels is not None and codes.low_quality_labels is not None:
        more.low_quality_labels[:3] = codes.low_quality_labels[:3]
    other = build_method(recipe, many, matched=True, codes=more)
    other.networks.load_state_dict(method.networks.state_dict())
    given = batch(recipe)
    assert given.low_quality_labels is not None
    condition = Condition(given.fake_labels, given.low_quality, given.low_quality_labels.clamp_min(0))
    made, verdicts = [], []
    for one in (method, other):
        stage = one.stages[-1]
        stage.enter()
        generator, critic = stage.objective.generator.eval(), stage.objective.discriminator.eval()
        with torch.no_grad():
            made.append(generator(condition, generator.draw_noise(8, BatchRng.of(0))))
            verdicts.append(critic.judge(critic.features(made[0], given.fake_labels), given.fake_labels))
    assert torch.equal(*made)
    assert torch.equal(*verdicts)


def test_classes_without_good_images_are_judged_without_regard_to_the_class() -> None:
    recipe, codes, _ = built("projection-folders")
    codes = replace(codes, with_reals=torch.tensor([True, False, True, False]))
    method = build_method(recipe, SHAPE, matched=True, codes=codes)
    critic, given = method.networks["discriminator"].eval(), batch(recipe)
    with torch.no_grad():
        maps = critic.features(given.real, given.real_labels)
        verdicts = torch.stack([critic.judge(maps, torch.full((8,), label)) for label in range(4)])
    assert torch.equal(verdicts[1], verdicts[3])
    assert not torch.isclose(verdicts[0], verdicts[1]).any()


def test_labels_have_the_codes_of_their_classes_where_they_are_matched_and_rows_elsewhere() -> None:
    asked = {
        (("label_tables=auto",), True): True, (("label_tables=auto",), False): False,
        (("label_tables=per-class",), True): False, (("label_tables=codes",), True): True,
        (("class_tables=per-class",), True): False,
    }  # fmt: skip
    for (settings, matched), expected in asked.items():
        recipe = changed("ctf-folders", *CODES, *settings)
        assert labels_use_codes(recipe.method, SHAPE, matched=matched) is expected
        codes = random_codes_for(recipe, SHAPE, matched=matched)
        generator = build_method(recipe, SHAPE, matched=matched, codes=codes).networks["generator"]
        assert ("low-quality labels" in table_spaces(generator).values()) is not expected
    assert not labels_use_codes(changed("projection-folders", *CODES).method, SHAPE, matched=True)


@pytest.mark.parametrize(
    ("settings", "matched", "why"),
    [(CODES, False, "classes are not those of the low-quality images"),
     (("class_tables=per-class",), True, "classes have none")],
)  # fmt: skip
def test_codes_of_labels_that_there_are_none_of_are_refused(settings: tuple[str, ...], matched: bool, why: str) -> None:
    recipe = changed("ctf-folders", *settings, "label_tables=codes")
    with pytest.raises(ConfigError, match=f"label_tables is codes, .*{why}; set label_tables to auto"):
        labels_use_codes(recipe.method, SHAPE, matched=matched)


def test_very_many_classes_have_codes_unless_the_recipe_says_otherwise() -> None:
    many = SHAPE.model_copy(update={"num_classes": 10**9})
    few = SHAPE.model_copy(update={"num_classes": 2})
    for name in CONDITIONAL:
        assert uses_codes(changed(name).method, many)
        assert not uses_codes(changed(name).method, few)
        assert not uses_codes(changed(name, "class_tables=per-class").method, many)
        assert uses_codes(changed(name, *CODES).method, few)
    assert not uses_codes(changed("sn-gan-folders", *CODES).method, many)


def test_a_first_moment_goes_with_very_many_rows_too() -> None:
    recipe = changed("projection-folders", "adversarial.betas=[0.5, 0.9]", "class_tables=per-class")
    many = SHAPE.model_copy(update={"num_classes": 20_000})
    networks = build_method(recipe, many, matched=True).networks
    assert table_spaces(networks)
    assert all(len(networks.get_submodule(name).weight) == 20_000 for name in table_spaces(networks))


def test_a_form_that_is_gone_is_refused_with_those_there_are() -> None:
    content = json.loads(changed("ctf-folders").to_json())
    content["method"]["networks"]["class_tables"] = "factorised"
    with pytest.raises(
        ConfigError, match="class_tables is 'factorised', but input should be 'auto', 'per-class' or 'c"
    ):
        parse_recipe(content, "test")
    with pytest.raises(ConfigError, match="unknown setting 'table_updates'"):
        changed("ctf-folders", "table_updates=dense")


def test_a_generator_of_codes_is_never_built_without_them() -> None:
    recipe = changed("ctf-folders", *CODES)
    with pytest.raises(AssertionError):
        build_generator(recipe, SHAPE)

"""Every method with every form of class tables: builds, trains as the dense form does, saves, and costs rows only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ctfgan.bundle import Bundle, load_bundle, save_bundle
from ctfgan.data.batches import Batch
from ctfgan.data.pairing import LowQualityBank
from ctfgan.errors import ConfigError
from ctfgan.nn.class_tables import lazy_tables
from ctfgan.recipes.build import Shape, build_method
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.recipe import Recipe
from ctfgan.training.ema import Ema
from ctfgan.training.loop import Updates
from ctfgan.training.method import Method
from ctfgan.training.synthesis import draw_condition, synthesise
from tests.contract.test_recipes import CPU, ONE_OF_EACH, SHAPE, after_backward, batch, narrow

CONDITIONAL = tuple(name for name in ONE_OF_EACH if name != "sn-gan-folders")
LAZY = ("table_updates=row-lazy",)
FACTORISED = ("class_tables=factorised", "class_code=6")
MANY = Shape(num_classes=20_000, num_low_quality_labels=20_000, low_quality_size=8, channels=1)


def changed(name: str, *settings: str) -> Recipe:
    return with_settings(narrow(name), {"data.resolution": 16}, settings)


def sampled(name: str) -> tuple[str, ...]:
    return ("class_candidates=3",) if name in ("ac-gan-folders", "prog-gan-folders") else ()


@pytest.mark.parametrize("settings", [LAZY, FACTORISED, (*FACTORISED, *LAZY)])
@pytest.mark.parametrize("name", CONDITIONAL)
def test_every_parameter_of_every_form_gets_a_finite_gradient_and_a_step(name: str, settings: tuple[str, ...]) -> None:
    for stage, network in after_backward(changed(name, *settings, *sampled(name))):
        tables = lazy_tables(network)
        for parameter_name, parameter in network.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{stage}: {parameter_name} has no gradient"
                assert parameter.grad.is_sparse == (parameter_name.rpartition(".")[0] in tables)
                values = parameter.grad._values() if parameter.grad.is_sparse else parameter.grad
                assert values.isfinite().all(), f"{stage}: {parameter_name}"


def trained(method: Method, recipe: Recipe, steps: int) -> list[Ema]:
    averages = []
    for stage in method.stages:
        stage.enter()
        stage.game.generator.train()
        updates = Updates(stage.game.generator, stage.game.discriminator, stage.settings, CPU)
        averages.append(Ema(stage.game.generator, 0.9))
        for _ in range(steps):
            updates.discriminator(stage.game, in_float64(recipe))
            updates.generator(stage.game, in_float64(recipe))
            averages[-1].update(stage.game.generator, updates.generator_changes)
    return averages


def in_float64(recipe: Recipe) -> Batch:
    given = batch(recipe)
    assert given.low_quality is not None
    return replace(given, real=given.real.double(), low_quality=given.low_quality.double())


@pytest.mark.parametrize("settings", [(), FACTORISED])
@pytest.mark.parametrize("name", ["ctf-folders", "projection-folders", "ac-gan-folders"])
def test_training_row_by_row_is_dense_training(
    name: str, settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without spectral norm, whose gradient only the dense form has. In float64, both stages, averages too."""
    draws = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *shape, **how: draws(*shape, **how, dtype=torch.float64))
    methods: list[Method] = []
    averages = []
    start: dict[str, torch.Tensor] = {}
    for updates in ("dense", "row-lazy"):
        recipe = changed(name, *settings, "spectral_norm=false", f"table_updates={updates}")
        method = build_method(recipe, SHAPE, matched=True)
        method.networks.double()
        method.networks.load_state_dict(start or method.networks.state_dict())
        start = {key: tensor.clone() for key, tensor in method.networks.state_dict().items()}
        averages.append(trained(method, recipe, 6)[-1])
        methods.append(method)
    assert not lazy_tables(methods[0].networks)
    assert lazy_tables(methods[1].networks)
    assert_close(*(method.networks for method in methods))
    for average, method in zip(averages, methods, strict=True):
        average.hand_over(method.stages[-1].game.generator)
    assert_close(*(method.networks["generator"] for method in methods))


def assert_close(one: torch.nn.Module, other: torch.nn.Module) -> None:
    found = other.state_dict()
    for name, expected in one.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_very_many_classes_are_factorised_and_row_lazy_unless_the_recipe_says_otherwise(name: str) -> None:
    networks = build_method(changed(name), MANY, matched=True).networks
    tables = {key: tuple(table.weight.shape) for key, table in lazy_tables(networks).items()}
    assert all(rows >= 20_000 for rows, _ in tables.values())
    others = [key for key, parameter in networks.named_parameters() if len(parameter) >= 20_000]
    assert {key.removesuffix(".weight") for key in others} == set(tables)
    assert sum(width for _, width in tables.values()) <= 128 + 128 + 32 + 1


def test_a_first_moment_and_row_lazy_tables_do_not_go_together() -> None:
    recipe = changed("projection-folders", "adversarial.betas=[0.5, 0.9]")
    with pytest.raises(ConfigError, match=r"adversarial.betas begins with 0.5; .*20,000 classes .*table_updates"):
        build_method(recipe, MANY, matched=True)
    build_method(with_settings(recipe, {}, ("table_updates=dense", "class_tables=factorised")), MANY, matched=True)


@pytest.mark.parametrize("settings", [FACTORISED, LAZY])
@pytest.mark.parametrize("name", ["ctf-folders", "projection-folders", "prog-gan-folders"])
def test_a_bundle_with_every_form_of_tables_makes_the_same_images(
    name: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    recipe = changed(name, *settings)
    generator = build_method(recipe, SHAPE, matched=True).networks["generator"].eval()
    for table in lazy_tables(generator).values():
        torch.nn.init.normal_(table.weight)
    bank = None
    shape = SHAPE.model_copy(update={"num_low_quality_labels": 0, "low_quality_size": 0})
    if recipe.method.uses_low_quality:
        images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
        bank, shape = LowQualityBank(images, np.arange(6) % 3, None), SHAPE
    provenance = {"counts": {"high_quality": 1, "low_quality": 1}, "steps": 1}
    names = ("x", "y", "z") if bank else ()
    save_bundle(Bundle(recipe, shape, ("a", "b", "c", "d"), names, bank, generator, provenance), tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle").generator
    condition = draw_condition(torch.arange(8) % 4, bank, 3)
    made = [synthesise(network, condition, 5, CPU) for network in (generator, loaded)]
    assert np.array_equal(*made)

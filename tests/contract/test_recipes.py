"""What every recipe must do, whatever its method: build, train, learn, save, resume, sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ctfgan.bundle.bundle import Bundle, load_bundle, save_bundle
from ctfgan.core.errors import ConfigError
from ctfgan.data.batches import Batch
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.distributed.engine import alone
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition
from ctfgan.models.synthesis import draw_inputs, synthesise
from ctfgan.models.widths import PLANS
from ctfgan.recipes.build import DataSpec, build_method
from ctfgan.recipes.catalogue import RECIPES, named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.sampling.model import Model
from ctfgan.training.optimizers import GanOptimizers, total
from ctfgan.training.stage import Method

CPU = alone(torch.device("cpu"))
SHAPE = DataSpec(num_classes=4, num_low_quality_labels=3, low_quality_size=8, channels=1)


ONE_OF_EACH = (
    "ctf-folders", "sn-gan-folders", "sn-gan-concat-folders", "projection-folders", "ac-gan-folders",
    "prog-gan-folders", "ctf-r3-folders", "projection-r3-folders",
)  # fmt: skip


def narrow(name: str) -> Recipe:
    """A recipe with its networks, and nothing else, made small."""
    return with_settings(named_recipe(name), {}, ("generator_width=0.05", "discriminator_width=0.05"))


# One recipe of each kind of method and loss; they learn at 16x16, which is quick on a CPU.
LEARNING = (
    "ctf-glyphs", "projection-glyphs", "ctf-r3-folders", "projection-r3-folders", "table2-hwdb-fewer", "sn-gan-folders",
    "table1-cifar10-ac-gan", "table1-cifar10-prog-gan", "fig1-imagenet-fewer",
)  # fmt: skip


def batch(recipe: Recipe, count: int = 8, channels: int = 1) -> Batch:
    rng = torch.Generator().manual_seed(0)
    side = recipe.data.resolution
    return Batch(
        torch.rand(count, channels, side, side, generator=rng) * 2 - 1,
        torch.arange(count) % 4,
        torch.arange(count) % 4,
        torch.rand(count, channels, 8, 8, generator=rng) * 2 - 1,
        torch.arange(count) % 4 - 1,
    )


def build(recipe: Recipe) -> Method:
    return build_method(recipe, SHAPE, matched=True)


def test_there_is_one_recipe_for_own_images_of_every_kind_of_method() -> None:
    assert {named_recipe(name).method.kind for name in ONE_OF_EACH} == {
        named_recipe(name).method.kind for name in RECIPES
    }


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", sorted(PLANS))
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_method_makes_and_judges_images_of_every_size_and_colour(
    name: str, resolution: int, channels: int
) -> None:
    recipe = with_settings(narrow(name), {"data.resolution": resolution}, ())
    spec = SHAPE.model_copy(update={"channels": channels})
    given = batch(recipe, 4, channels)
    stage = build_method(recipe, spec, matched=True).stages[-1]
    stage.enter()
    condition = Condition(given.fake_labels, given.low_quality, given.low_quality_labels)
    generator = stage.objective.generator
    images = generator(condition, generator.draw_noise(4, BatchRng.of(0)))
    assert images.shape == (4, channels, resolution, resolution)
    assert images.isfinite().all()
    critic = stage.objective.discriminator
    assert critic.judge(critic.features(images, given.fake_labels), given.fake_labels).shape == (4,)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_saved_bundle_of_every_method_makes_the_same_images(name: str, tmp_path: Path) -> None:
    recipe = with_settings(narrow(name), {"data.resolution": 16}, ())
    generator = build(recipe).networks["generator"].eval()
    bank = None
    if recipe.method.uses_low_quality:
        images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
        bank = LowQualityBank(images, np.arange(6) % 3, None)
    spec = SHAPE if bank else SHAPE.model_copy(update={"num_low_quality_labels": 0, "low_quality_size": 0})
    names = ("x", "y", "z") if bank else ()
    provenance = {"counts": {"high_quality": 1, "low_quality": 1}, "steps": 1}
    bundle = Bundle(recipe, spec, ("a", "b", "c", "d"), names, bank, generator, provenance)
    save_bundle(bundle, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    inputs = draw_inputs(generator, torch.arange(8) % 4, bank, BatchRng.of(5))
    made = [synthesise(network, *inputs, CPU) for network in (generator, loaded.generator)]
    assert np.array_equal(*made)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = named_recipe(name)
    import json

    assert recipe.name == name
    assert parse_recipe(json.loads(recipe.to_json()), "test") == recipe


def after_backward(recipe: Recipe) -> Iterator[tuple[str, nn.Module]]:
    """Each stage's name with each of its players, right after the backward pass of that player's loss."""
    method = build(recipe)
    for stage in method.stages:
        stage.enter()
        stage.objective.generator.train()
        for terms, network in (
            (stage.objective.generator_terms, stage.objective.generator),
            (stage.objective.discriminator_terms, stage.objective.discriminator),
        ):
            method.networks.zero_grad(set_to_none=True)
            total(terms(batch(recipe))).backward()
            yield stage.name, network


@pytest.mark.parametrize("name", RECIPES)
def test_every_trained_parameter_gets_a_finite_gradient(name: str) -> None:
    for stage, network in after_backward(narrow(name)):
        for parameter_name, parameter in network.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{stage}: {parameter_name} has no gradient"
                assert parameter.grad.isfinite().all(), f"{stage}: {parameter_name}"


@pytest.mark.parametrize("name", LEARNING)
def test_a_few_steps_of_each_player_lower_its_own_loss_on_a_fixed_batch(name: str) -> None:
    """Each player alone against a resting opponent, so that only its own progress shows."""
    recipe = with_settings(narrow(name), {"data.resolution": 16}, ())
    method = build(recipe)
    for stage in method.stages:
        stage.enter()
        objective = stage.objective
        objective.generator.train()
        updates = GanOptimizers(objective.generator, objective.discriminator, stage.settings, CPU)
        for step, terms in (
            (updates.discriminator_step, objective.discriminator_terms),
            (updates.generator_step, objective.generator_terms),
        ):

            def loss() -> float:
                return float(np.mean([total(terms(batch(recipe))).item() for _ in range(4)]))  # noqa: B023

            before = loss()
            for _ in range(12):
                step(objective, batch(recipe))
            assert loss() < before, f"{stage.name}: {terms.__name__}"


def test_stage_2_leaves_g_lh_as_it_was_bit_for_bit() -> None:
    recipe = narrow("ctf-glyphs")
    method = build(recipe)
    stage = method.stages[1]
    stage.enter()
    stage.objective.generator.train()
    generator_lh = stage.objective.generator.generator_lh
    before = {name: tensor.clone() for name, tensor in generator_lh.state_dict().items()}
    updates = GanOptimizers(stage.objective.generator, stage.objective.discriminator, stage.settings, CPU)
    for _ in range(3):
        updates.discriminator_step(stage.objective, batch(recipe))
        updates.generator_step(stage.objective, batch(recipe))
    assert all(torch.equal(before[name], tensor) for name, tensor in generator_lh.state_dict().items())


def test_the_ablation_that_trains_g_lh_in_stage_2_does_change_it() -> None:
    recipe = with_settings(narrow("ctf-glyphs"), {}, ("train_generator_lh=true",))
    method = build(recipe)
    stage = method.stages[1]
    stage.enter()
    stage.objective.generator.train()
    before = stage.objective.generator.generator_lh.to_image.weight.clone()
    # The image layer of G_LH is not on the way to G_A's image; the block before it is.
    block = stage.objective.generator.generator_lh.blocks[-1].conv_2.weight
    old = block.clone()
    updates = GanOptimizers(stage.objective.generator, stage.objective.discriminator, stage.settings, CPU)
    updates.generator_step(stage.objective, batch(recipe))
    assert torch.equal(before, stage.objective.generator.generator_lh.to_image.weight)
    assert not torch.equal(old, block)


def test_without_self_supervision_the_discriminator_has_no_box_head() -> None:
    off = ("self_supervision.discriminator_weight=0", "self_supervision.generator_weight=0")
    method = build(with_settings(narrow("ctf-glyphs"), {}, off))
    assert method.stages[0].objective.discriminator.box_head is None
    assert set(method.stages[0].objective.discriminator_terms(batch(narrow("ctf-glyphs")))) == {"adversarial"}


def test_the_adversarial_loss_sees_only_images_without_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = narrow("ctf-glyphs")
    objective = build(recipe).stages[0].objective
    judged: list[int] = []
    judge = objective.discriminator.judge

    def counting(maps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        judged.append(len(maps))
        return judge(maps, labels)

    monkeypatch.setattr(objective.discriminator, "judge", counting)
    objective.discriminator_terms(batch(recipe, 8))
    objective.generator_terms(batch(recipe, 8))
    assert judged == [16, 8]


def test_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    one, same, other = (build(narrow("ctf-glyphs").model_copy(update={"seed": seed})) for seed in (1, 1, 2))
    torch.rand(3)  # the global random state must not matter
    first = next(one.networks.parameters())
    assert torch.equal(first, next(same.networks.parameters()))
    assert not torch.equal(first, next(other.networks.parameters()))


def test_a_model_without_classes_makes_no_images_of_a_class(tmp_path: Path) -> None:
    recipe = with_settings(narrow("sn-gan-folders"), {"data.resolution": 16}, ())
    spec = SHAPE.model_copy(update={"num_low_quality_labels": 0, "low_quality_size": 0})
    provenance = {"counts": {"high_quality": 1, "low_quality": 0}, "steps": 1}
    generator = build(recipe).networks["generator"].eval()
    bundle = Bundle(recipe, spec, ("a", "b", "c", "d"), (), None, generator, provenance)
    model = Model(bundle, "cpu")
    with pytest.raises(ConfigError, match="leave the classes out"):
        model.sample(["a"], 2)
    samples = model.sample(None, 3)
    assert (len(samples.images), samples.classes) == (3, ("any-class",))
    save_bundle(bundle, tmp_path / "bundle")
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "without classes" in card
    assert "--class" not in card

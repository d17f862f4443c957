"""Training of the tables' baselines, written down from their authors' code and papers."""

from __future__ import annotations

import pytest

from ctfgan.recipes.build import DataSpec, build_method
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.recipe import AcGan, CtfGan, ProgGan, SnGan

ADAM = (2e-4, 0.0, 0.9)


@pytest.mark.parametrize(
    ("recipe", "batch", "generator_batch", "critic_steps", "steps", "decay_from_step"),
    [
        # Miyato and Koyama (2018), CIFAR-10: D sees 64 + 64, G 128, linear decay over the whole run
        ("table1-cifar10-projection", 64, 128, 5, 50_000, 0),
        ("table1-cifar10-ac-gan", 64, 128, 5, 50_000, 0),
        # SN-GAN at 48x48: 100,000 steps, 64 everywhere
        ("table1-stl10-projection", 64, 64, 5, 100_000, 0),
        ("table1-stl10-ac-gan", 64, 64, 5, 100_000, 0),
        # ImageNet 128: four times (16 + 16) for D and 32 for G; decay in the last 50,000 steps
        ("table3-imagenet-concat", 64, 128, 5, 450_000, 400_000),
        ("table3-imagenet-ac-gan", 64, 128, 5, 450_000, 400_000),
        ("table3-imagenet-projection", 64, 128, 5, 850_000, 800_000),
        ("fig1-imagenet-entire", 64, 128, 5, 450_000, 400_000),
    ],
)
def test_a_baseline_trains_as_its_authors_say(
    recipe: str, batch: int, generator_batch: int, critic_steps: int, steps: int, decay_from_step: int
) -> None:
    method = named_recipe(recipe).method
    assert isinstance(method, (SnGan, AcGan))
    stage = method.adversarial
    assert (stage.batch_size, stage.batch_size * stage.generator_batches) == (batch, generator_batch)
    assert (stage.critic_steps, stage.steps) == (critic_steps, steps)
    assert stage.decay_from * steps == pytest.approx(decay_from_step)
    assert (stage.generator_rate, *stage.betas) == (stage.discriminator_rate, *stage.betas) == ADAM
    assert (method.loss, method.spectral_norm, method.networks.noise) == ("hinge", True, 128)
    assert (method.networks.generator_width, method.networks.discriminator_width) == (1, 1)


@pytest.mark.parametrize("data", ["cifar10", "stl10"])
def test_prog_gan_trains_as_its_authors_say(data: str) -> None:
    """Karras et al. (2018), CIFAR-10: batches of 16, 400,000 images a phase, 20 million in all."""
    recipe = named_recipe(f"table1-{data}-prog-gan")
    method = recipe.method
    assert isinstance(method, ProgGan)
    assert method.phase_steps * 16 == 400_000
    spec = DataSpec(num_classes=10, num_low_quality_labels=0, low_quality_size=0, channels=3)
    small = method.networks.model_copy(update={"generator_width": 0.01, "discriminator_width": 0.01})
    built = build_method(recipe.model_copy(update={"method": method.model_copy(update={"networks": small})}), spec,
                         matched=False)  # fmt: skip
    images = [stage.settings.steps * stage.settings.batch_size for stage in built.stages]
    assert images[:3] == [400_000, 800_000, 800_000]
    assert sum(images) == 20_000_000
    stage = method.grow
    assert (stage.generator_rate, stage.discriminator_rate, *stage.betas) == (1e-3, 1e-3, 0.0, 0.99)
    assert (stage.critic_steps, stage.decay_from, stage.generator_batches) == (1, 1.0, 1)
    # of their code for labelled data; 750 is for CIFAR-10 without classes
    assert (method.penalty.weight, method.penalty.target, method.penalty.drift, method.class_weight) == (
        10,
        1,
        0.001,
        1,
    )
    assert recipe.training.ema_decay == 0.999


@pytest.mark.parametrize(
    ("ours", "baseline"),
    [
        ("table1-cifar10-fewer", "table1-cifar10-projection"),
        ("table1-stl10-entire", "table1-stl10-projection"),
        ("table2-hwdb-fewer", "table2-hwdb-projection"),
        ("table3-imagenet-fewer", "table3-imagenet-concat"),
    ],
)
def test_our_arms_see_as_many_images_as_the_baseline(ours: str, baseline: str) -> None:
    mine, theirs = named_recipe(ours).method, named_recipe(baseline).method
    assert isinstance(mine, CtfGan)
    assert isinstance(theirs, SnGan)
    assert mine.transfer.steps + mine.generate.steps == theirs.adversarial.steps
    for name in ("batch_size", "critic_steps", "generator_batches", "generator_rate", "discriminator_rate", "betas"):
        assert getattr(mine.generate, name) == getattr(mine.transfer, name) == getattr(theirs.adversarial, name)

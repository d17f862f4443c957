"""From a recipe to networks and stages: the one place where a method's parts are put together."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from ctfgan.errors import ConfigError
from ctfgan.models.discriminator import Discriminator
from ctfgan.models.generator_a import TransferGenerator
from ctfgan.models.generator_lh import GeneratorLH
from ctfgan.models.resnet_gan import ResnetGenerator
from ctfgan.models.settings import NetworkSettings
from ctfgan.models.widths import Plan, plan_for
from ctfgan.recipes.recipe import CtfGan, Recipe, SnGanProjection
from ctfgan.settings import Settings
from ctfgan.training.objectives.hinge import HingeGame
from ctfgan.training.objectives.transfer import TransferGame
from ctfgan.training.trainer import Method, Stage


class Shape(Settings):
    """What the data decides about the networks; a bundle keeps it beside the recipe."""

    num_classes: int
    num_low_quality_labels: int
    low_quality_size: int
    channels: int


def build_method(recipe: Recipe, shape: Shape, *, matched: bool) -> Method:
    """Networks with seeded weights, and the stages that train them.

    Args:
        recipe: the whole configuration.
        shape: sizes that the data decides.
        matched: whether low-quality images have their class's content, which the consistency term needs.
    """
    rng = torch.Generator().manual_seed(recipe.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if isinstance(recipe.method, CtfGan):
            return _build_ctf(recipe, recipe.method, shape, rng, matched)
        return _build_projection(recipe, recipe.method, shape, rng)


def build_generator(recipe: Recipe, shape: Shape) -> TransferGenerator | ResnetGenerator:
    """The generator that a finished run releases, with weights of no meaning yet."""
    method = recipe.method
    plan = _plan(recipe, method.networks)
    if isinstance(method, SnGanProjection):
        return ResnetGenerator(plan, shape.channels, method.networks.noise, shape.num_classes)
    generator_lh = GeneratorLH(plan, shape.channels, shape.low_quality_size, shape.num_classes, method.features)
    return TransferGenerator(
        plan,
        shape.channels,
        method.networks.noise,
        generator_lh,
        shape.num_low_quality_labels,
        method.features,
        train_generator_lh=method.train_generator_lh,
    )


def check_recipe(recipe: Recipe) -> None:
    """Refuse what cannot be built or started, before any data is read.

    Raises:
        ConfigError: a resolution without networks, or data that the recipe needs and nobody named.
    """
    _plan(recipe, recipe.method.networks)
    flags = {"high_quality": "--hq", "low_quality": "--lq"}
    missing = [flags[name] for name in recipe.data.needs if getattr(recipe.data, name) is None]
    if missing:
        raise ConfigError(
            f"recipe {recipe.name!r} works on data that is not shipped; name it with {' and '.join(missing)} PATH"
        )
    if recipe.data.low_quality is not None and not recipe.method.uses_low_quality:
        raise ConfigError(f"recipe {recipe.name!r} uses no low-quality images; leave --lq out")


def _plan(recipe: Recipe, networks: NetworkSettings) -> Plan:
    return plan_for(recipe.data.resolution, networks.generator_width, networks.discriminator_width)


def _build_ctf(recipe: Recipe, method: CtfGan, shape: Shape, rng: torch.Generator, matched: bool) -> Method:
    generator = build_generator(recipe, shape)
    assert isinstance(generator, TransferGenerator)
    generator_lh = generator.generator_lh
    supervision = method.self_supervision if method.self_supervision.is_on else None
    plan = _plan(recipe, method.networks)
    discriminator = Discriminator(plan, shape.channels, shape.num_classes, boxes=supervision is not None)
    stages = (
        Stage(
            "transfer",
            method.transfer,
            TransferGame(generator_lh, discriminator, supervision, rng, method.transfer, matched=matched),
            enter=partial(_set_trained, generator_lh, True),
        ),
        Stage(
            "generate",
            method.generate,
            TransferGame(generator, discriminator, supervision, rng, method.generate, matched=matched),
            enter=partial(_set_trained, generator_lh, method.train_generator_lh),
        ),
    )
    return Method(nn.ModuleDict({"generator": generator, "discriminator": discriminator}), stages, rng)


def _build_projection(recipe: Recipe, method: SnGanProjection, shape: Shape, rng: torch.Generator) -> Method:
    generator = build_generator(recipe, shape)
    plan = _plan(recipe, method.networks)
    discriminator = Discriminator(plan, shape.channels, shape.num_classes, boxes=False)
    game = HingeGame(generator, discriminator, None, rng)
    stages = (Stage("adversarial", method.adversarial, game, enter=partial(_set_trained, generator, True)),)
    return Method(nn.ModuleDict({"generator": generator, "discriminator": discriminator}), stages, rng)


def _set_trained(network: nn.Module, trained: bool) -> None:
    network.requires_grad_(trained)

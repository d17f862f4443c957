"""From a recipe to networks and stages: the one place where a method's parts are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from pydantic import Field
from torch import Tensor, nn

from ctfgan.chance import Chance
from ctfgan.errors import ConfigError
from ctfgan.losses import ADVERSARIAL_LOSSES
from ctfgan.models.discriminator import Discriminator
from ctfgan.models.generator_a import TransferGenerator
from ctfgan.models.generator_lh import GeneratorLH
from ctfgan.models.progressive import GrowingDiscriminator, GrowingGenerator
from ctfgan.models.resnet_gan import ResnetGenerator
from ctfgan.models.settings import MANY_CLASSES, NetworkSettings
from ctfgan.models.widths import Plan, growing_plan, plan_for
from ctfgan.nn.class_tables import CLASSES, LOW_QUALITY_LABELS, ClassSpace
from ctfgan.recipes.recipe import AcGan, CtfGan, MethodSettings, ProgGan, Recipe, ResnetMethod, SnGan
from ctfgan.settings import Settings
from ctfgan.training.class_codes import ClassCodes
from ctfgan.training.method import Method, Stage
from ctfgan.training.objectives.adversarial import AdversarialGame, GameSetup
from ctfgan.training.objectives.classified import ClassifiedGame, ClassTerm
from ctfgan.training.objectives.growing import GrowingGame
from ctfgan.training.objectives.transfer import TransferGame
from ctfgan.training.processes import Processes
from ctfgan.training.settings import StageSettings
from ctfgan.training.strengthening import Strengthening

SAMPLED_CLASSES = 1_024  # that stand for all others in a class loss, where there are too many to look at


class Shape(Settings):
    """What the data decides about the networks; a bundle keeps it beside the recipe."""

    num_classes: int = Field(ge=0)
    num_low_quality_labels: int = Field(ge=0)
    low_quality_size: int = Field(ge=0, lt=2**16)
    """0 for methods that use no low-quality images."""
    channels: int = Field(ge=1, le=3)
    low_quality_detail: int = Field(default=0, ge=0)
    """Side that low-quality images can be averaged to and keep most of their content; 0 where nobody looked."""


def build_method(
    recipe: Recipe, shape: Shape, *, matched: bool, processes: Processes | None = None, codes: ClassCodes | None = None
) -> Method:
    """Networks with seeded weights, and the stages that train them.

    Args:
        recipe: the whole configuration.
        shape: sizes that the data decides.
        matched: whether low-quality images have their class's content, which the consistency term needs.
        processes: who shares the batches; None for this process alone.
        codes: where classes are known by them.
    """
    _check_tables(recipe, shape)
    processes = processes or Processes()
    chance = Chance(torch.Generator().manual_seed(recipe.seed), processes.rank, processes.count)
    strengthening = Strengthening(recipe.training.strengthening, chance, processes.mean)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        generator = build_generator(recipe, shape, processes, codes)
        discriminator = _build_discriminator(recipe, shape, processes, codes)
    setup = partial(GameSetup, discriminator=discriminator, strengthening=strengthening, chance=chance)
    match recipe.method:
        case CtfGan() as method:
            assert isinstance(generator, TransferGenerator)
            stages = _transfer_stages(method, generator, setup, shape, matched=matched)
        case ProgGan() as method:
            assert isinstance(generator, GrowingGenerator)
            assert isinstance(discriminator, GrowingDiscriminator)
            grown = recipe.start.path is not None
            stages = _growing_stages(method, generator, discriminator, setup, shape, grown=grown)
        case AcGan() as method:
            played = setup(generator, loss=ADVERSARIAL_LOSSES[method.loss])
            stages = _single_stage(method.adversarial, ClassifiedGame(played, _class_term(method, shape)))
        case SnGan() as method:
            played = setup(generator, loss=ADVERSARIAL_LOSSES[method.loss])
            stages = _single_stage(method.adversarial, AdversarialGame(played))
    return Method(
        nn.ModuleDict({"generator": generator, "discriminator": discriminator}),
        stages,
        recipe.method.is_conditional,
        chance,
    )


def build_generator(
    recipe: Recipe, shape: Shape, processes: Processes | None = None, codes: ClassCodes | None = None
) -> TransferGenerator | ResnetGenerator | GrowingGenerator:
    """The generator that a finished run releases, with weights of no meaning yet.

    Args:
        recipe: the whole configuration.
        shape: sizes that the data decides.
        processes: who holds sharded tables together; None keeps them whole.
        codes: where classes are known by them.
    """
    own, low = (None, None) if codes is None else (codes.classes, codes.low_quality_labels)
    match recipe.method:
        case ProgGan() as method:
            growing = growing_plan(recipe.data.resolution, method.networks.generator_width)
            return GrowingGenerator(
                growing, shape.channels, method.networks.noise, _classes(method, shape, processes, own)
            )
        case CtfGan() as method:
            plan = _plan(recipe, method)
            classes = _classes(method, shape, processes, own)
            generator_lh = GeneratorLH(plan, shape.channels, shape.low_quality_size, classes, method.features)
            labels = _label_space(method, shape, processes, low)
            return TransferGenerator(
                plan,
                shape.channels,
                method.networks.noise,
                generator_lh,
                labels,
                method.features,
                train_generator_lh=method.train_generator_lh,
            )
        case SnGan() | AcGan() as method:
            known = _classes(method, shape, processes, own) if method.is_conditional else None
            return ResnetGenerator(_plan(recipe, method), shape.channels, method.networks.noise, known)


def _check_tables(recipe: Recipe, shape: Shape) -> None:
    """Row-lazy tables take steps without a first moment: only with beta_1 = 0 do untouched rows rest."""
    if not _classes(recipe.method, shape).lazy:
        return
    for name, stage in recipe.method:
        if isinstance(stage, StageSettings) and stage.betas[0]:
            raise ConfigError(
                f"{name}.betas begins with {stage.betas[0]}; the tables of {shape.num_classes:,} classes are row-lazy, "
                "which needs 0: set it to 0, or method.networks.table_updates to dense"
            )


def class_spaces(method: MethodSettings, shape: Shape) -> dict[str, ClassSpace]:
    """What the generator has tables of, by name: classes, and with low-quality images their labels."""
    spaces = [_classes(method, shape)] if method.is_conditional else []
    if isinstance(method, CtfGan):
        spaces.append(_label_space(method, shape))
    return {space.name: space for space in spaces}


def with_fixed_tables(recipe: Recipe, shape: Shape) -> Recipe:
    """The recipe with the form of the tables of this shape spelled out, so that no other shape changes it."""
    forms = {
        name: "per-class" if space.code is None else "factorised"
        for name, space in class_spaces(recipe.method, shape).items()
    }
    if CLASSES not in forms:
        return recipe
    networks = recipe.method.networks.model_copy(update={"class_tables": forms[CLASSES]})
    update: dict[str, object] = {"networks": networks}
    if isinstance(recipe.method, CtfGan):
        update["features"] = recipe.method.features.model_copy(update={"label_tables": forms[LOW_QUALITY_LABELS]})
    return recipe.model_copy(update={"method": recipe.method.model_copy(update=update)})


def _classes(
    method: MethodSettings, shape: Shape, processes: Processes | None = None, codes: Tensor | None = None
) -> ClassSpace:
    settings = method.networks
    space = _class_space(settings, settings.class_tables, shape.num_classes, settings.class_code)
    return replace(space, peers=_peers(settings, processes), codes=codes)


def uses_codes(method: MethodSettings, shape: Shape) -> bool:
    """Whether networks are to be given codes of the classes."""
    return method.is_conditional and method.networks.class_tables == "codes"


def _label_space(
    method: CtfGan, shape: Shape, processes: Processes | None = None, codes: Tensor | None = None
) -> ClassSpace:
    """One more than there are labels: images without one have a row, too."""
    asked, code = method.features.label_tables, method.features.embedding
    form = method.networks.class_tables if asked == "auto" else asked
    space = _class_space(method.networks, form, shape.num_low_quality_labels + 1, code)
    return replace(space, name=LOW_QUALITY_LABELS, peers=_peers(method.networks, processes), codes=codes)


def _class_space(settings: NetworkSettings, form: str, count: int, code: int) -> ClassSpace:
    """How ``count`` classes are kept; ``code`` is the length of their codes if they have some."""
    many = count > MANY_CLASSES
    factorised = form == "factorised" or (form == "auto" and many)
    # Sharded ones not only where there are several processes: a run may go on with another number of them.
    sharded = settings.table_placement == "sharded"
    lazy = settings.table_updates == "row-lazy" or (settings.table_updates == "auto" and (many or sharded))
    return ClassSpace(count, code if factorised else None, lazy)


def _peers(settings: NetworkSettings, processes: Processes | None) -> Processes | None:
    """The processes that hold tables together."""
    sharded = settings.table_placement == "sharded" and processes is not None and processes.count > 1
    return processes if sharded else None


def _class_term(method: AcGan | ProgGan, shape: Shape) -> ClassTerm:
    asked = method.class_candidates
    if asked == "auto":
        asked = "all" if shape.num_classes <= MANY_CLASSES else SAMPLED_CLASSES
    return ClassTerm(method.class_weight, shape.num_classes, None if asked == "all" else asked)


def _plan(recipe: Recipe, method: ResnetMethod) -> Plan:
    return plan_for(recipe.data.resolution, method.networks.generator_width, method.networks.discriminator_width)


def _build_discriminator(
    recipe: Recipe, shape: Shape, processes: Processes, codes: ClassCodes | None
) -> Discriminator | GrowingDiscriminator:
    own = None if codes is None else codes.for_discriminator
    match recipe.method:
        case ProgGan() as method:
            plan = growing_plan(recipe.data.resolution, method.networks.discriminator_width)
            return GrowingDiscriminator(plan, shape.channels, _classes(method, shape, processes, own))
        case CtfGan() as method:
            return Discriminator(
                _plan(recipe, method),
                shape.channels,
                _classes(method, shape, processes, own),
                boxes=method.self_supervision.is_on,
                normalised=method.spectral_norm,
            )
        case SnGan() | AcGan() as method:
            return Discriminator(
                _plan(recipe, method),
                shape.channels,
                _classes(method, shape, processes, own),
                method.conditioning,
                normalised=method.spectral_norm,
            )


def _single_stage(settings: StageSettings, game: AdversarialGame) -> tuple[Stage, ...]:
    return (Stage("adversarial", settings, game, enter=partial(_set_trained, game.generator, True)),)


def _transfer_stages(
    method: CtfGan, generator: TransferGenerator, setup: Callable[..., GameSetup], shape: Shape, *, matched: bool
) -> tuple[Stage, ...]:
    supervision = method.self_supervision if method.self_supervision.is_on else None
    generator_lh = generator.generator_lh
    stages = []
    for name, settings, trained, trains_lh in (
        ("transfer", method.transfer, generator_lh, True),
        ("generate", method.generate, generator, method.train_generator_lh),
    ):
        if settings.steps == 0:
            continue
        played = setup(trained, loss=ADVERSARIAL_LOSSES[method.loss])
        size = shape.low_quality_detail if settings.consistency_size == "auto" else settings.consistency_size
        size = min(size or shape.low_quality_size, shape.low_quality_size)
        game = TransferGame(played, supervision, settings.consistency if matched else 0.0, size)
        stages.append(Stage(name, settings, game, enter=partial(_set_trained, generator_lh, trains_lh)))
    return tuple(stages)


def _growing_stages(
    method: ProgGan,
    generator: GrowingGenerator,
    discriminator: GrowingDiscriminator,
    setup: Callable[..., GameSetup],
    shape: Shape,
    *,
    grown: bool,
) -> tuple[Stage, ...]:
    """One stage for each size; networks that are ``grown`` already train at the last alone, without fading it in."""
    stages = []
    first = generator.plan.levels - 1 if grown else 0
    for level in range(first, generator.plan.levels):
        phase = method.phase_steps if level > first else 0
        last = level == generator.plan.levels - 1
        settings = method.grow if last else method.grow.model_copy(update={"steps": phase + method.phase_steps})
        played = setup(generator, loss=ADVERSARIAL_LOSSES["wasserstein"])
        game = GrowingGame(played, _class_term(method, shape), method.penalty, fade=phase / settings.steps)
        enter = partial(_grow, (generator, discriminator), level)
        name = f"grow-{generator.plan.size(level)}"
        stages.append(Stage(name, settings, game, enter, hands_over_average=False))
    return tuple(stages)


def _grow(networks: tuple[GrowingGenerator, GrowingDiscriminator], level: int) -> None:
    for network in networks:
        network.grow_to(level)


def _set_trained(network: nn.Module, trained: bool) -> None:
    network.requires_grad_(trained)

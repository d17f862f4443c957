"""From a recipe to networks and stages: the one place where a method's parts are put together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn

from ctfgan.core.errors import ConfigError
from ctfgan.core.settings import Settings
from ctfgan.distributed.processes import Processes
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.ctf_gan import GeneratorLH, TransferGenerator
from ctfgan.models.discriminator import Discriminator
from ctfgan.models.progressive import GrowingDiscriminator, GrowingGenerator
from ctfgan.models.resnet_gan import ResnetGenerator
from ctfgan.models.settings import MANY_CLASSES
from ctfgan.models.widths import WidthPlan, growing_plan, plan_for
from ctfgan.nn.class_tables import LOW_QUALITY_LABELS, ClassSpace
from ctfgan.recipes.recipe import AcGan, CtfGan, MethodSettings, ProgGan, Recipe, ResnetMethod, SnGan
from ctfgan.training.class_codes import ClassCodes, load_codes, random_codes
from ctfgan.training.losses import ADVERSARIAL_LOSSES
from ctfgan.training.objectives.adversarial import AdversarialObjective, ObjectiveSetup
from ctfgan.training.objectives.classified import ClassifiedObjective, ClassTerm
from ctfgan.training.objectives.growing import GrowingObjective
from ctfgan.training.objectives.transfer import TransferObjective
from ctfgan.training.regularization import DiscriminatorRegularization
from ctfgan.training.settings import StageSettings
from ctfgan.training.stage import Method, Stage

MOST_CANDIDATES = 10_000  # classes that a class loss looks at, if they are all
SAMPLED_CLASSES = 1_024  # that stand for all others where there are more


class DataSpec(Settings):
    """What the data decides about the networks; a bundle keeps it beside the recipe."""

    num_classes: int = Field(ge=0)
    num_low_quality_labels: int = Field(ge=0)
    low_quality_size: int = Field(ge=0, lt=2**16)
    """0 for methods that use no low-quality images."""
    channels: int = Field(ge=1, le=3)
    low_quality_detail: int = Field(default=0, ge=0)
    """Side that low-quality images can be averaged to and keep most of their content; 0 where nobody looked."""
    num_lq_only: int = Field(default=0, ge=0)
    """Classes among these of which there are low-quality images only."""


def build_method(
    recipe: Recipe,
    spec: DataSpec,
    *,
    matched: bool,
    processes: Processes | None = None,
    codes: ClassCodes | None = None,
) -> Method:
    """Networks with seeded weights, and the stages that train them.

    Args:
        recipe: the whole configuration.
        spec: sizes that the data decides.
        matched: whether low-quality images have their class's content, which the consistency term needs.
        processes: who shares the batches; None for this process alone.
        codes: where classes are known by them.
    """
    has_label_codes = codes is not None and codes.low_quality_labels is not None
    assert has_label_codes == labels_use_codes(recipe.method, spec, matched=matched)
    processes = processes or Processes()
    batch_rng = BatchRng(torch.Generator().manual_seed(recipe.seed), processes.rank, processes.count)
    regularization = DiscriminatorRegularization(recipe.training.strengthening, batch_rng, processes.mean)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        generator = build_generator(recipe, spec, codes)
        discriminator = _build_discriminator(recipe, spec, codes)
    setup = ObjectiveSetup(generator, discriminator, ADVERSARIAL_LOSSES[recipe.method.loss], batch_rng, regularization)
    match recipe.method:
        case CtfGan() as method:
            assert isinstance(generator, TransferGenerator)
            stages = _transfer_stages(method, generator, setup, spec, matched=matched)
        case ProgGan() as method:
            assert isinstance(generator, GrowingGenerator)
            assert isinstance(discriminator, GrowingDiscriminator)
            is_grown = recipe.start.path is not None
            stages = _growing_stages(method, generator, discriminator, setup, spec, is_grown=is_grown)
        case AcGan() as method:
            stages = (_single_stage(method.adversarial, ClassifiedObjective(setup, _class_term(method, spec))),)
        case SnGan() as method:
            stages = (_single_stage(method.adversarial, AdversarialObjective(setup)),)
    networks = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
    return Method(networks, stages, recipe.method.is_conditional, batch_rng)


def build_generator(
    recipe: Recipe, spec: DataSpec, codes: ClassCodes | None = None
) -> TransferGenerator | ResnetGenerator | GrowingGenerator:
    """The generator that a finished run releases, with weights of no meaning yet.

    Args:
        recipe: the whole configuration.
        spec: sizes that the data decides.
        codes: where classes are known by them.
    """
    class_codes, label_codes = (None, None) if codes is None else (codes.classes, codes.low_quality_labels)
    classes = _classes(recipe.method, spec, class_codes)
    noise = recipe.method.networks.noise
    match recipe.method:
        case ProgGan() as method:
            growing = growing_plan(recipe.data.resolution, method.networks.generator_width)
            return GrowingGenerator(growing, spec.channels, noise, classes)
        case CtfGan() as method:
            plan, features = _plan(recipe, method), method.features
            generator_lh = GeneratorLH(plan, spec.channels, spec.low_quality_size, classes, features)
            # One more than there are labels: images without one.
            labels = ClassSpace(spec.num_low_quality_labels + 1, LOW_QUALITY_LABELS, label_codes)
            trained = method.train_generator_lh
            return TransferGenerator(
                plan, spec.channels, noise, generator_lh, labels, features, train_generator_lh=trained
            )
        case SnGan() | AcGan() as method:
            known = classes if method.is_conditional else None
            return ResnetGenerator(_plan(recipe, method), spec.channels, noise, known)


def uses_codes(method: MethodSettings, spec: DataSpec) -> bool:
    """Whether networks know classes by codes; else every layer has a table of them.

    Raises:
        ConfigError: the recipe asks for tables, and classes without high-quality images need codes (decision 32).
    """
    form = method.networks.class_tables
    if form == "per-class" and spec.num_lq_only:
        raise ConfigError(
            f"method.networks.class_tables is per-class, but {spec.num_lq_only:,} of {spec.num_classes:,} classes "
            "have low-quality images only, from which no table learns a class; set it to codes, or leave these classes "
            "out with --set data.lq_only_classes=false"
        )
    many = spec.num_classes > MANY_CLASSES or spec.num_lq_only > 0
    return method.is_conditional and (form == "codes" or (form == "auto" and many))


def labels_use_codes(method: MethodSettings, spec: DataSpec, *, matched: bool) -> bool:
    """Whether networks know low-quality labels by codes, which are those of their classes; else by tables.

    Raises:
        ConfigError: the recipe asks for codes, and there are none.
    """
    if not isinstance(method, CtfGan) or method.features.label_tables == "per-class":
        return False
    classes_do = uses_codes(method, spec)
    if method.features.label_tables == "codes" and not (matched and classes_do):
        why = "have none" if not classes_do else "are not those of the low-quality images"
        raise ConfigError(
            f"method.features.label_tables is codes, the codes of classes, but classes {why}; set label_tables to auto"
        )
    return matched and classes_do


def random_codes_for(recipe: Recipe, spec: DataSpec, *, matched: bool) -> ClassCodes | None:
    """Codes of no images for networks that want some (:func:`~ctfgan.training.class_codes.random_codes`)."""
    if not uses_codes(recipe.method, spec):
        return None
    labels = spec.num_low_quality_labels if labels_use_codes(recipe.method, spec, matched=matched) else None
    return random_codes(spec.num_classes, recipe.method.networks.class_code, labels)


def stored_codes(file: Path, recipe: Recipe, spec: DataSpec) -> ClassCodes | None:
    """The codes of a run's or a bundle's classes from its file; None if its networks are given none.

    Raises:
        ValueError: other codes than the recipe and the data make.
        OSError: the file cannot be read.
    """
    if not uses_codes(recipe.method, spec):
        return None
    return load_codes(
        file,
        recipe.method.networks.class_code,
        classes=spec.num_classes,
        low_quality_labels=spec.num_low_quality_labels,
        channels=spec.channels,
    )


def with_form(recipe: Recipe, *, codes: bool) -> Recipe:
    """The recipe with the form spelled out in which its networks, which are there already, know classes: so neither
    another number of classes nor another meaning of ``auto`` changes it.

    Args:
        recipe: of a run or of a bundle.
        codes: whether networks are given codes, if the recipe leaves that open.
    """
    networks = recipe.method.networks
    if networks.class_tables != "auto":
        return recipe
    networks = networks.model_copy(update={"class_tables": "codes" if codes else "per-class"})
    return recipe.model_copy(update={"method": recipe.method.model_copy(update={"networks": networks})})


def _classes(method: MethodSettings, spec: DataSpec, codes: Tensor | None) -> ClassSpace:
    assert (codes is not None) == uses_codes(method, spec)
    return ClassSpace(spec.num_classes, codes=codes)


def _class_term(method: AcGan | ProgGan, spec: DataSpec) -> ClassTerm:
    candidates = method.class_candidates
    if candidates == "auto":
        candidates = "all" if spec.num_classes <= MOST_CANDIDATES else SAMPLED_CLASSES
    return ClassTerm(method.class_weight, spec.num_classes, None if candidates == "all" else candidates)


def _plan(recipe: Recipe, method: ResnetMethod) -> WidthPlan:
    return plan_for(recipe.data.resolution, method.networks.generator_width, method.networks.discriminator_width)


def _build_discriminator(
    recipe: Recipe, spec: DataSpec, codes: ClassCodes | None
) -> Discriminator | GrowingDiscriminator:
    classes = _classes(recipe.method, spec, None if codes is None else codes.for_discriminator)
    match recipe.method:
        case ProgGan() as method:
            plan = growing_plan(recipe.data.resolution, method.networks.discriminator_width)
            return GrowingDiscriminator(plan, spec.channels, classes)
        case CtfGan() | SnGan() | AcGan() as method:
            return Discriminator(
                _plan(recipe, method),
                spec.channels,
                classes,
                method.conditioning,
                boxes=isinstance(method, CtfGan) and method.self_supervision.is_on,
                normalised=method.spectral_norm,
            )


def _single_stage(settings: StageSettings, objective: AdversarialObjective) -> Stage:
    return Stage("adversarial", settings, objective, enter=partial(_set_trained, objective.generator, True))


def _transfer_stages(
    method: CtfGan, generator: TransferGenerator, setup: ObjectiveSetup, spec: DataSpec, *, matched: bool
) -> tuple[Stage, ...]:
    """Stage 1 trains G_LH, stage 2 G_A behind it; a stage without steps is left out."""
    supervision = method.self_supervision if method.self_supervision.is_on else None
    generator_lh = generator.generator_lh
    stages = []
    for name, settings, trained, trains_lh in (
        ("transfer", method.transfer, generator_lh, True),
        ("generate", method.generate, generator, method.train_generator_lh),
    ):
        if settings.steps == 0:
            continue
        size = spec.low_quality_detail if settings.consistency_size == "auto" else settings.consistency_size
        size = min(size or spec.low_quality_size, spec.low_quality_size)
        consistency = settings.consistency if matched else 0.0
        # A loss that pairs synthetic with real images of the same class needs the classes of each batch.
        shares = not trains_lh and settings.critic_steps > 1 and settings.fake_classes == "uniform"
        objective = TransferObjective(replace(setup, generator=trained), supervision, consistency, size, shares)
        stages.append(Stage(name, settings, objective, enter=partial(_set_trained, generator_lh, trains_lh)))
    return tuple(stages)


def _growing_stages(
    method: ProgGan,
    generator: GrowingGenerator,
    discriminator: GrowingDiscriminator,
    setup: ObjectiveSetup,
    spec: DataSpec,
    *,
    is_grown: bool,
) -> tuple[Stage, ...]:
    """One stage for each size; networks that are grown already train at the last alone, without fading it in."""
    stages = []
    last = generator.plan.levels - 1
    first = last if is_grown else 0
    for level in range(first, last + 1):
        fade_steps = method.phase_steps if level > first else 0
        steps = method.grow.steps if level == last else fade_steps + method.phase_steps
        changes = {"steps": steps} if level == last else {"steps": steps, "end_minute": None}
        settings = method.grow.model_copy(update=changes)
        objective = GrowingObjective(setup, _class_term(method, spec), method.penalty, fade=fade_steps / steps)
        enter = partial(_grow, (generator, discriminator), level)
        name = f"grow-{generator.plan.size(level)}"
        stages.append(Stage(name, settings, objective, enter, hands_over_average=False))
    return tuple(stages)


def _grow(networks: tuple[GrowingGenerator, GrowingDiscriminator], level: int) -> None:
    for network in networks:
        network.grow_to(level)


def _set_trained(network: nn.Module, trained: bool) -> None:
    network.requires_grad_(trained)

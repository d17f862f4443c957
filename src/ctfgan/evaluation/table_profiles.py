"""How large a table is run: the paper's schedule, or networks and schedules cut to what a machine can do.

A profile changes sizes, steps and rates of all arms of a table alike; which images an arm sees stays as in its row.
"""

from __future__ import annotations

from dataclasses import dataclass

from ctfgan.core.settings import Settings
from ctfgan.data.settings import DataSettings
from ctfgan.models.settings import NetworkSettings
from ctfgan.models.widths import PLANS
from ctfgan.recipes.paper_tables import TRANSFER_SHARE
from ctfgan.recipes.recipe import AcGan, CtfGan, MethodSettings, ProgGan, Recipe, SnGan
from ctfgan.training.settings import StageSettings

LEAST_SIDE = 4  # of a low-quality image


class Reduction(Settings):
    """What a reduced profile changes."""

    resolution: dict[int, int]
    """Side by the side at full size; those not named stay. Low-quality sides shrink in proportion."""
    generator_width: float
    """Factor on the published channel counts."""
    discriminator_width: float
    growing_width: float
    """The same for both of PROG-GAN's networks."""
    noise: int
    steps: int
    """Generator steps of every arm, over all its stages."""
    batch_size: int
    critic_steps: int
    rate: float
    """Learning rate of all arms but PROG-GAN, which keeps its own."""
    ema_decay: float
    checks: int
    """Checks of each arm."""
    check_images: int
    recogniser_width: int
    recogniser_images: int
    images: int
    """Generated images that are measured."""


@dataclass(frozen=True)
class TableProfile:
    """One size of a table."""

    name: str
    title: str
    """Stands in the title of every report."""
    note: str
    """What is reduced."""
    cut: Reduction | None
    """None is the paper's size."""
    seeds: int
    """Runs of each arm, unless the user says otherwise."""


PROFILES = {
    profile.name: profile
    for profile in (
        TableProfile(
            "smoke",
            "only to see that it runs",
            "a test that the machinery runs: 16x16, tiny networks, a few steps; its figures mean nothing",
            Reduction(
                resolution={side: 16 for side in PLANS if side > 16},
                generator_width=0.03125,
                discriminator_width=0.0625,
                growing_width=0.03125,
                noise=16,
                steps=9,
                batch_size=8,
                critic_steps=1,
                rate=2e-4,
                ema_decay=0.5,
                checks=1,
                check_images=32,
                recogniser_width=4,
                recogniser_images=8_000,
                images=100,
            ),
            seeds=1,
        ),
        TableProfile(
            "cpu",
            "reduced for two CPU cores",
            "smaller images, an eighth of the published channels (a quarter in D), 3,000 "
            "generator steps; only the arms compare with each other",
            Reduction(
                resolution={48: 24, 64: 32, 128: 32},
                generator_width=0.125,
                discriminator_width=0.25,
                growing_width=0.0625,
                noise=64,
                steps=3_000,
                batch_size=32,
                critic_steps=1,
                rate=8e-4,
                ema_decay=0.995,
                checks=8,
                check_images=2_000,
                recogniser_width=24,
                recogniser_images=150_000,
                images=5_000,
            ),
            seeds=1,
        ),
        TableProfile(
            "gpu",
            "reduced for half an hour on one GPU",
            "the published channels, images of at most 64 pixels, 4,000 "
            "generator steps with one discriminator step each; only the arms compare with each other",
            Reduction(
                resolution={128: 64},
                generator_width=1.0,
                discriminator_width=1.0,
                growing_width=0.25,
                noise=128,
                steps=4_000,
                batch_size=64,
                critic_steps=1,
                rate=2e-4,
                ema_decay=0.999,
                checks=4,
                check_images=5_000,
                recogniser_width=32,
                recogniser_images=500_000,
                images=10_000,
            ),
            seeds=1,
        ),
        TableProfile("full", "in full", "the published sizes and schedules", None, seeds=3),
    )
}


def reduce_recipe(recipe: Recipe, cut: Reduction | None) -> Recipe:
    """A row's recipe at the size of a profile; the row itself for the paper's size."""
    if cut is None:
        return recipe
    checks = recipe.training.checks.model_copy(
        update={"every": max(1, cut.steps // cut.checks), "images": cut.check_images}
    )
    training = {"checks": checks, "ema_decay": cut.ema_decay, "journal_every": max(1, cut.steps // 60)}
    eval_classifier = {"width": cut.recogniser_width, "images": cut.recogniser_images}
    return recipe.model_copy(
        update={
            "data": _smaller(recipe.data, cut),
            "method": _shorter(recipe.method, cut, recipe.data.resolution),
            "training": recipe.training.model_copy(update=training),
            "recogniser": recipe.recogniser.model_copy(update=eval_classifier),
            "evaluation": recipe.evaluation.model_copy(update={"images": cut.images}),
        }
    )


def _smaller(data: DataSettings, cut: Reduction) -> DataSettings:
    side = cut.resolution.get(data.resolution, data.resolution)
    degraded = max(LEAST_SIDE, data.degradation.size * side // data.resolution)
    degradation = data.degradation.model_copy(update={"size": degraded})
    low = data.low_quality_size and max(LEAST_SIDE, data.low_quality_size * side // data.resolution)
    return data.model_copy(update={"resolution": side, "low_quality_size": low, "degradation": degradation})


def _shorter(method: MethodSettings, cut: Reduction, resolution: int) -> MethodSettings:
    narrow = NetworkSettings(
        generator_width=cut.generator_width, discriminator_width=cut.discriminator_width, noise=cut.noise
    )
    match method:
        case CtfGan():
            transfer_steps = round(TRANSFER_SHARE * cut.steps)
            stages = {
                "transfer": _stage(method.transfer, cut, transfer_steps).model_copy(update={"patience": None}),
                "generate": _stage(method.generate, cut, cut.steps - transfer_steps),
            }
            return method.model_copy(update={"networks": narrow, **stages})
        case SnGan() | AcGan():
            stage = _stage(method.adversarial, cut, cut.steps)
            return method.model_copy(update={"networks": narrow, "adversarial": stage})
        case ProgGan():
            return _shorter_growth(method, cut, resolution)


def _shorter_growth(method: ProgGan, cut: Reduction, resolution: int) -> ProgGan:
    """The same number of generator steps in all, cut into phases of one length."""
    levels = PLANS[cut.resolution.get(resolution, resolution)].blocks + 1
    phases = 2 * levels - 1
    phase = cut.steps // phases
    last = cut.steps - phase * (phases - 2)
    networks = NetworkSettings(
        generator_width=cut.growing_width, discriminator_width=cut.growing_width, noise=cut.noise
    )
    grow = method.grow.model_copy(update={"steps": last, "batch_size": cut.batch_size})
    return method.model_copy(update={"networks": networks, "grow": grow, "phase_steps": phase})


def _stage(stage: StageSettings, cut: Reduction, steps: int) -> StageSettings:
    return stage.model_copy(
        update={
            "steps": steps,
            "batch_size": cut.batch_size,
            "critic_steps": cut.critic_steps,
            "generator_batches": 1,
            "generator_rate": cut.rate,
            "discriminator_rate": cut.rate,
            "decay_from": 1.0 if stage.decay_from == 1.0 else 0.5,
        }
    )

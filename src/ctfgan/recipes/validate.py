"""What can be refused of a recipe before any data is read."""

from __future__ import annotations

from ctfgan.core.errors import ConfigError
from ctfgan.core.text import plural
from ctfgan.models.progressive import DEVIATION_GROUP
from ctfgan.models.widths import plan_for
from ctfgan.recipes.recipe import CtfGan, ProgGan, Recipe
from ctfgan.training.settings import StageSettings


def check_recipe(recipe: Recipe, processes: int = 1) -> None:
    """Refuse what cannot be built or started, before any data is read.

    Args:
        recipe: the whole configuration.
        processes: how many are to share its batches.

    Raises:
        ConfigError: a resolution without networks, a batch that a method cannot take or processes cannot share or that
            leaves Task 3 no second image, or data that the recipe needs and nobody named.
    """
    plan_for(recipe.data.resolution)
    _check_batches(recipe, processes)
    if isinstance(recipe.method, ProgGan):
        _check_growth(recipe.method)
    if isinstance(recipe.method, CtfGan):
        _check_first_stage(recipe.method, recipe.start.path)
    _check_augmentation(recipe)
    _check_compilation(recipe)
    flags = {"high_quality": "--hq", "low_quality": "--lq"}
    missing = [flags[name] for name in recipe.data.needs if getattr(recipe.data, name) is None]
    if missing:
        raise ConfigError(
            f"recipe {recipe.name!r} works on data that is not shipped; name it with {' and '.join(missing)} PATH"
        )
    if recipe.data.low_quality is not None and not recipe.method.uses_low_quality:
        raise ConfigError(f"recipe {recipe.name!r} uses no low-quality images; leave --lq out")
    if recipe.data.without_hq and not recipe.method.uses_low_quality:
        raise ConfigError(
            f"data.without_hq is {recipe.data.without_hq}, but recipe {recipe.name!r} uses no low-quality images and "
            "cannot learn classes without high-quality ones; leave it out"
        )
    if recipe.data.glyphs.low_quality_font_folders and not recipe.method.uses_low_quality:
        raise ConfigError(
            f"recipe {recipe.name!r} uses no low-quality images; leave --lq-fonts out "
            "(data.glyphs.held_out=faces holds the same faces back without them)"
        )


def _check_first_stage(method: CtfGan, start: str | None) -> None:
    if method.transfer.steps == 0 and start is None:
        raise ConfigError(
            "method.transfer.steps is 0, which leaves G_LH untrained; give it 1 step or more, or name a trained model "
            "with --from"
        )


def _check_augmentation(recipe: Recipe) -> None:
    target, loss = recipe.training.strengthening.augmentation.target, recipe.method.loss
    if target is not None and loss != "hinge":
        raise ConfigError(
            f"augmentation.target is {target}, but the sign of a logit says nothing under the {loss} loss; "
            "set it to none and choose a fixed augmentation.probability"
        )


def _check_batches(recipe: Recipe, processes: int) -> None:
    group, why = 1, ""
    if isinstance(recipe.method, ProgGan):
        group, why = DEVIATION_GROUP, f" and PROG-GAN's minibatch deviation needs groups of {DEVIATION_GROUP} images"
    for name, stage in recipe.stages.items():
        portion = processes * stage.accumulate * group
        if stage.batch_size % portion:
            near = max(portion, round(stage.batch_size / portion) * portion)
            raise ConfigError(
                f"method.{name}.batch_size is {stage.batch_size}, which {plural(processes, 'process', 'processes')} "
                f"cannot share evenly in accumulate = {stage.accumulate} parts{why}; make it a multiple of {portion}, "
                f"such as --set {name}.batch_size={near}"
            )
        if isinstance(recipe.method, CtfGan) and recipe.method.self_supervision.is_on:
            _check_donors(name, stage, portion)


def _check_donors(name: str, stage: StageSettings, parts: int) -> None:
    """A patch comes from another image of the same part of a batch, which has to have two."""
    if stage.steps and stage.batch_size == parts:
        raise ConfigError(
            f"method.{name}.batch_size is {stage.batch_size}, which leaves 1 image in each of "
            f"{plural(parts, 'part')} (processes times accumulate), where Task 3 would paste it into itself; give "
            f"each two or more, such as --set {name}.batch_size={2 * parts}, or switch Task 3 off with --set "
            "self_supervision.discriminator_weight=0 --set self_supervision.generator_weight=0"
        )


def _check_compilation(recipe: Recipe) -> None:
    penalty = recipe.training.strengthening.penalty
    if recipe.training.compile and (isinstance(recipe.method, ProgGan) or penalty.r1 or penalty.r2):
        raise ConfigError(
            f"training.compile is true, but recipe {recipe.name!r} penalises gradients, which compiled networks cannot "
            "differentiate again; leave training.compile out"
        )


def _check_growth(method: ProgGan) -> None:
    grow = method.grow
    if grow.steps <= method.phase_steps:
        raise ConfigError(
            f"method.grow.steps is {grow.steps}; the last size fades in for method.phase_steps = {method.phase_steps} "
            "and must train on after that"
        )

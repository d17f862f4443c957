"""What may change of a recipe once its run has trained, and what its checkpoints and its data hold fast.

Everywhere ``before`` is the recipe that a run has trained with, ``now`` the one that it is to go on with, ``stage``
where it stands, ``step`` how many generator steps of that stage are done, ``run`` its name, for the message.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ctfgan.core.errors import ConfigError
from ctfgan.core.text import a_few
from ctfgan.recipes.overlay import changed_settings, with_settings
from ctfgan.recipes.recipe import Recipe
from ctfgan.training.stage import EarlyStopping

FREE = (
    "name",
    "device",
    "training.*",
    "evaluation.*",
    *(
        f"method.*.{setting}"
        for setting in (
            "steps", "end_minute", "patience", "generator_rate", "discriminator_rate", "decay_from", "batch_size",
            "accumulate", "critic_steps", "generator_batches", "fake_classes", "consistency", "consistency_size",
        )
    ),
    "data.glyphs.*font_folders",
)  # fmt: skip
"""Settings that no checkpoint knows and the data do not hang on, or whose effect on the data is known by its
fingerprints."""

FIXED = ("training.checks.images",)
"""Settings by which checks compare: a distance of fewer images is larger, so that another number of them would choose
the best checkpoint and end stages."""

REPLACED = ("data.high_quality", "data.low_quality", "data.reference", "start.path", "training.ema_decay")
"""Settings that may get another value, such as the new place of images that moved, but neither come nor go."""

WAY_OUT = "train a new run for that (docs/howto/trouble.md lists what may change)"


def with_steps_as_set(before: Recipe, now: Recipe, named: Collection[str]) -> Recipe:
    """The recipe without the minute at which a stage was to end where its steps were set (decision 34).

    Args:
        before: as above.
        now: as above.
        named: full names of settings that were named, even if they stay what they were.
    """
    changes: dict[str, None] = {}
    for name, stage in now.stages.items():
        is_set = f"method.{name}.steps" in named or stage.steps != before.stages[name].steps
        if is_set and f"method.{name}.end_minute" not in named:
            changes[f"method.{name}.end_minute"] = None
    return with_settings(now, changes, ())


def goal(recipe: Recipe) -> dict[str, Any]:
    """What decides which weights a finished run releases, if nothing else changes."""
    stages = {name: (stage.steps, stage.end_minute) for name, stage in recipe.stages.items()}
    return {**stages, "release": recipe.training.release}


def check_settings(before: Recipe, now: Recipe, run: str) -> None:
    """Refuse settings that a run cannot go on with, since it has trained with others.

    Raises:
        ConfigError: they are named, with both values.
    """
    refused = [
        f"{name} is {value!r}, was {earlier!r}"
        for name, (value, earlier) in changed_settings(now, before).items()
        if not _may_change(name, value, earlier)
    ]
    if refused:
        raise ConfigError(
            f"{run} has trained with other settings, which its checkpoints or its data hang on: {a_few(refused)}; set "
            f"them back, or {WAY_OUT}"
        )


def _may_change(name: str, value: object, earlier: object) -> bool:
    if name in REPLACED:
        return value is not None and earlier is not None
    return name not in FIXED and any(fnmatchcase(name, free) for free in FREE)


def goes_on(before: Recipe, now: Recipe, stage: str, step: int) -> bool:
    """Whether a run that ended a stage before all its steps were done has another patience now."""
    name = now.setting_of(stage)
    if name is None or name not in before.stages:
        return False
    settings = now.stages[name]
    return step < settings.steps and settings.patience != before.stages[name].patience


def check_steps(before: Recipe, now: Recipe, stage: str, step: int, run: str) -> None:
    """Refuse numbers of steps that a run cannot go on with.

    Raises:
        ConfigError: fewer steps than are done, or others for a stage that is over.
    """
    stages, earlier = now.stages, before.stages
    names = [name for name in stages if earlier[name].steps]
    here = now.setting_of(stage)
    if here is not None and here not in names:
        raise ConfigError(f"{run} stands in stage {stage!r}, which its recipe has not; give it back, or {WAY_OUT}")
    current = -1 if here is None else names.index(here)
    for name in stages:
        setting, wanted = f"method.{name}.steps", stages[name].steps
        if name not in names or names.index(name) < current:
            if wanted != earlier[name].steps:
                raise ConfigError(
                    f"{setting} is {wanted}, was {earlier[name].steps}, but {run} stands in stage {stage!r} and does "
                    f"not go back; set it back, or {WAY_OUT}"
                )
        elif stages[name].end_minute is None and wanted < (step if name == here else 1):
            raise ConfigError(
                f"{setting} is {wanted}, but {run} has done {step} in stage {stage!r}; set it to at least "
                f"{max(step, 1) if name == here else 1}, or higher to train on"
            )


def check_patience(before: Recipe, now: Recipe, stage: str, distances: Sequence[float], run: str) -> None:
    """Refuse more steps for a stage that did not end for want of steps, by the distances of its checks.

    Raises:
        ConfigError: the stage would end at once.
    """
    name, stages = now.setting_of(stage), now.stages
    if name is None or stages[name].steps <= before.stages[name].steps:
        return
    early_stopping = EarlyStopping(now.training.checks, stages[name].patience, distances)
    if early_stopping.is_reached:
        raise ConfigError(
            f"method.{name}.steps is {stages[name].steps}, but stage {stage!r} of {run} has ended for another "
            f"reason ({early_stopping.reason()}); also set {name}.patience=none, or more than {stages[name].patience}"
        )

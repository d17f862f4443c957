"""The dial: what of a recipe follows from the minutes that a run may take (decision 34).

A few steps of each stage are timed on this machine, at this resolution, with this many classes. Then widths, batch
sizes, rates, steps and checks follow by one rule; what a user has set stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil, inf
from typing import Any

import torch

from ctfgan.core.errors import ConfigError
from ctfgan.core.settings import flatten
from ctfgan.core.text import duration
from ctfgan.metrics.eval_classifier import EvalClassifierTrainer, TrainingImages
from ctfgan.recipes.build import uses_codes
from ctfgan.recipes.overlay import changed_settings, with_settings
from ctfgan.recipes.recipe import ProgGan, Recipe
from ctfgan.runs.context import RunContext
from ctfgan.training.estimate import Estimate, estimate, seconds_per_sample

AIM = 0.98
"""Part of the time after which training ends; the last checkpoint and the bundle take the rest."""
ENOUGH_STEPS, TOO_FEW_STEPS = 6_000, 1_000
"""Generator steps that must fit before networks are made wider, and below which they are made narrower."""
FEWEST_STEPS = 20
"""Generator steps without which nobody should wait for a run."""
NARROWEST = 1 / 16
"""Of the generator's published channels."""
WIDE, WIDE_BATCH = 0.5, 64
"""Width of the generator from which a batch is at least as large as that of the published networks."""
RATE_POWER = -2 / 3
"""Of the width in the learning rates of wider networks: from the narrow recipes' 8e-4 at 1/8 to the published 2e-4."""
CHECKS_SHARE, FEWEST_CHECKS, FEWEST_CHECKED = 1 / 10, 6, 500
"""Part of the time that checks may take, and how many of how many images there are in any case."""
CLASSIFIERS_SHARE, FEWEST_LEARNED = 1 / 5, 10_000
"""Part of the time that the recogniser and the classifier of class codes may take, and images it sees in any case."""
READING = 1 / 3
"""Time in which a classifier reads an image, as part of that in which it learns from one."""
STEPS, EVERY, CHECKED = "method.{}.steps", "training.checks.every", "training.checks.images"


@dataclass(frozen=True)
class Dial:
    """The minutes that a run may take."""

    minutes: float
    """From the beginning to the bundle."""
    set_by_user: frozenset[str]
    """Full names of settings that stay as they are."""
    began: float
    """When the clock was started, in seconds of :func:`time.monotonic`."""
    base_width: float
    """Of the generator, to which the recipe's rates belong."""

    @classmethod
    def of(
        cls,
        minutes: float,
        recipe: Recipe,
        named: Recipe | None,
        names: Iterable[str] = (),
        began: float | None = None,
    ) -> Dial:
        """A dial that begins now, if not before; it leaves alone what differs from the named recipe, and what is named.

        Raises:
            ConfigError: no time at all.
        """
        if not 0 < minutes < inf:
            raise ConfigError(f"minutes is {minutes:g}; give the run some time, such as 60")
        changed = changed_settings(recipe, named) if named else {}
        return cls(
            minutes,
            frozenset({*changed, *names}),
            time.monotonic() if began is None else began,
            (named or recipe).method.networks.generator_width,
        )

    @property
    def spent(self) -> float:
        """Seconds since the clock was started."""
        return time.monotonic() - self.began

    @property
    def seconds(self) -> float:
        """What the run may take in all."""
        return 60 * self.minutes

    def chosen(self, recipe: Recipe, values: dict[str, Any]) -> Recipe:
        """The recipe with those of the values that the user has not set."""
        return with_settings(recipe, {name: value for name, value in values.items() if self.may_set(name)}, ())

    def may_set(self, name: str) -> bool:
        """Whether a setting is the dial's to choose."""
        return name not in self.set_by_user


def with_short_classifiers(context: RunContext, dial: Dial) -> tuple[RunContext, float]:
    """A recogniser that takes a fifth of the time at most, with the classifier of class codes where there is one.

    Returns:
        The context, and the seconds in which such a classifier learns from one image.

    Raises:
        ConfigError: they would take most of the time.
    """
    recipe, classes = context.recipe, context.dataset.evaluated_classes
    trainer = EvalClassifierTrainer(recipe.recogniser, context.device)
    pool = TrainingImages.of(classes.pool)
    each = context.engine.processes.on_main(lambda: trainer.seconds_per_image([pool], len(classes.labels)))
    most = max(FEWEST_LEARNED, round(CLASSIFIERS_SHARE * dial.seconds / (_classifiers(context) * each)))
    images = min(recipe.recogniser.images, most)
    context = replace(context, recipe=dial.chosen(recipe, {"recogniser.images": images}))
    taken = context.engine.processes.on_main(lambda: seconds_of_classifiers(context, each))
    if taken > dial.seconds / 2:
        raise ConfigError(
            f"minutes is {dial.minutes:g}, but the recogniser and what else is trained before the networks take "
            f"{duration(taken)} of it on this machine; give the run at least {ceil(taken / 30)}"
        )
    return context, each


def seconds_of_classifiers(context: RunContext, seconds_per_image: float) -> float:
    """How long the classifiers of a run will take, if they are not in the cache."""
    classes, settings = context.dataset.evaluated_classes, context.recipe.recogniser
    if EvalClassifierTrainer(settings, context.device).knows([TrainingImages.of(classes.pool)], len(classes.labels)):
        return 0.0
    read = (_classifiers(context) - 1) * READING * len(context.dataset.training)
    return seconds_per_image * (_classifiers(context) * settings.images + read)


def _classifiers(context: RunContext) -> int:
    return 2 if uses_codes(context.recipe.method, context.data_spec) else 1


def with_plan(
    context: RunContext, dial: Dial, seconds_per_image: float, to_come: float = 0.0
) -> tuple[RunContext, list[str]]:
    """The recipe that fits the time which is left, and what to say about it.

    Args:
        context: with class codes, or random ones, where the recipe wants some.
        dial: the minutes.
        seconds_per_image: in which a classifier learns from one image.
        to_come: seconds that will pass before training begins.

    Raises:
        ConfigError: no time is left.
    """
    processes = context.engine.processes  # whose clocks need not agree: the main one's counts
    left = processes.on_main(lambda: AIM * dial.seconds - dial.spent - to_come)
    networks = _NetworkChoice(context, dial, (1 - CHECKS_SHARE) * left)
    recipe, costs = networks.recipe, networks.costs
    sample = seconds_per_sample(replace(context, recipe=recipe).method(), context.dataset, context.engine)
    begins, check = processes.on_main(lambda: (dial.spent + to_come, sample + READING * seconds_per_image))
    left = AIM * dial.seconds - begins
    if left <= 0:
        raise ConfigError(
            f"minutes is {dial.minutes:g}, but {duration(begins)} go before training begins; give the run more time"
        )
    # Checks: as many as the recipe has and of as many images, unless that takes too long.
    steps, images = sum(cost.steps for cost in costs), recipe.training.checks.images
    if dial.may_set(EVERY):
        most = int(CHECKS_SHARE * left / (images * check))
        count = max(FEWEST_CHECKS, min(steps // recipe.training.checks.every, most))
    else:
        count = max(1, int(left * steps / _seconds(costs)) // recipe.training.checks.every)
    images = max(FEWEST_CHECKED, min(images, int(CHECKS_SHARE * left / (count * check))))
    # Steps: in the recipe's proportion, in the time that checks leave.
    recipe = dial.chosen(recipe, _steps(recipe, dial, costs, left - count * images * check))
    stages = [stage.settings.steps for stage in replace(context, recipe=recipe).method().stages]
    if sum(stages) < FEWEST_STEPS:
        raise ConfigError(
            f"minutes is {dial.minutes:g}, in which {sum(stages):,} generator steps fit on this machine; give the run "
            "more time"
        )
    recipe = dial.chosen(recipe, {EVERY: max(1, sum(stages) // count), CHECKED: images})
    # Ends: where steps are the dial's, each check corrects them by the time.
    seconds = [steps * cost.seconds_per_step for steps, cost in zip(stages, costs, strict=True)]
    ends = (begins + part / sum(seconds) * left for part in accumulate(seconds))
    named = ((recipe.setting_of(cost.stage), end) for cost, end in zip(costs, ends, strict=True))
    free = _free_steps(recipe, dial)
    minutes = {f"method.{name}.end_minute": round(end / 60, 2) for name, end in named if STEPS.format(name) in free}
    recipe = dial.chosen(recipe, minutes)
    return replace(context, recipe=recipe), _lines(recipe, dial, networks, begins, images * check)


class OutOfMemory(ConfigError):
    """Networks that were tried do not fit."""


class _NetworkChoice:
    """Tries widths: wider while enough steps fit, narrower while too few do.

    Attributes:
        recipe: with widths, batch sizes and rates.
        costs: of a step of its stages.
        why: these widths and no larger ones, in words.
    """

    def __init__(self, context: RunContext, dial: Dial, left: float) -> None:
        self._context, self._dial, self._left = context, dial, left
        self._is_alone = context.engine.processes.count == 1
        self.recipe, self.costs = self._at(1.0)
        self.why = ""
        widths = ("method.networks.generator_width", "method.networks.discriminator_width")
        if not all(map(dial.may_set, widths)):
            return
        if context.recipe.start.path is not None:
            self.why = "those of the weights to begin with"
            return
        own, factor = context.recipe.method.networks.generator_width, 1.0
        while self._fitting(self.costs) < TOO_FEW_STEPS and own * factor / 2 >= NARROWEST:
            factor /= 2
            self.recipe, self.costs = self._at(factor)
            self.why = f"at twice that fewer than {TOO_FEW_STEPS:,} steps would fit"
        while factor >= 1 and own * factor * 2 <= 1:
            factor *= 2
            wider = self._wider(factor)
            if wider is None:
                return
            self.recipe, self.costs = wider

    def _wider(self, factor: float) -> tuple[Recipe, list[Estimate]] | None:
        """Networks of a larger width, if enough of their steps fit; says why not."""
        # Twice the channels cost twice as much at least: what cannot fit is not tried.
        fitting = self._fitting(self.costs) // 2
        if fitting >= ENOUGH_STEPS:
            try:
                wider = self._at(factor)
            except OutOfMemory:
                if not self._is_alone:  # the others wait for this process, which they cannot hear of any more
                    raise
                self.why = "twice that does not fit into the memory"
                return None
            fitting = self._fitting(wider[1])
            if fitting >= ENOUGH_STEPS:
                return wider
        self.why = f"at twice that {fitting:,} steps would fit at most, {ENOUGH_STEPS:,} are asked for"
        return None

    def _at(self, factor: float) -> tuple[Recipe, list[Estimate]]:
        recipe = self._dial.chosen(
            self._context.recipe, settings_at(self._context.recipe, factor, self._dial.base_width)
        )
        context = replace(self._context, recipe=recipe)
        try:
            costs = estimate(context.method(), context.dataset, context.engine)
        except torch.OutOfMemoryError as error:
            width = recipe.method.networks.generator_width
            raise OutOfMemory(
                f"networks of generator_width {width:g} do not fit into the memory of {context.engine.describe()}; "
                f"set smaller widths or batches, such as --set generator_width={width / 2:g}"
            ) from error
        return recipe, context.engine.processes.on_main(lambda: costs)

    def _fitting(self, costs: list[Estimate]) -> int:
        """Generator steps of all stages, in the recipe's proportion, that fit into the time."""
        return int(self._left * sum(cost.steps for cost in costs) / _seconds(costs))


def settings_at(recipe: Recipe, factor: float, base_width: float) -> dict[str, Any]:
    """Widths larger by a factor, the published ones at most, with the rates and batch sizes that belong to them.

    Args:
        recipe: with the widths that are multiplied, and the rates that belong to
        base_width: of the generator.
        factor: on the recipe's widths.
    """
    networks = recipe.method.networks
    generator = min(1.0, networks.generator_width * factor)
    settings: dict[str, Any] = {
        "method.networks.generator_width": generator,
        "method.networks.discriminator_width": min(1.0, networks.discriminator_width * factor),
    }
    slower = max(1.0, generator / base_width) ** RATE_POWER
    for name, stage in recipe.stages.items():
        settings[f"method.{name}.generator_rate"] = float(f"{stage.generator_rate * slower:.2g}")
        settings[f"method.{name}.discriminator_rate"] = float(f"{stage.discriminator_rate * slower:.2g}")
        if generator >= WIDE:
            settings[f"method.{name}.batch_size"] = max(stage.batch_size, WIDE_BATCH)
    return settings


def _free_steps(recipe: Recipe, dial: Dial) -> list[str]:
    """Names of the numbers of steps that the dial sets; of PROG-GAN's two, which belong together, both or none."""
    names = [STEPS.format(name) for name, stage in recipe.stages.items() if stage.steps]
    if isinstance(recipe.method, ProgGan):
        names.append("method.phase_steps")  # of all sizes but the last
        return names if all(map(dial.may_set, names)) else []
    return [name for name in names if dial.may_set(name)]


def _steps(recipe: Recipe, dial: Dial, costs: list[Estimate], left: float) -> dict[str, int]:
    """Steps of the stages that are the dial's: in the recipe's proportion, in the time that the others leave."""
    now, free = flatten(recipe.model_dump()), _free_steps(recipe, dial)
    is_whole = isinstance(recipe.method, ProgGan) and free
    planned = [cost for cost in costs if is_whole or STEPS.format(cost.stage) in free]
    scale = (left - _seconds(costs) + _seconds(planned)) / _seconds(planned) if planned else 0.0
    return {name: max(1, round(now[name] * scale)) for name in free}


def _seconds(costs: Iterable[Estimate]) -> float:
    return sum(cost.steps * cost.seconds_per_step for cost in costs)


def _lines(recipe: Recipe, dial: Dial, networks: _NetworkChoice, begins: float, check: float) -> list[str]:
    """The plan in words."""
    sizes, checks = recipe.method.networks, recipe.training.checks
    why = f" ({networks.why})" if networks.why else ""
    lines = [
        f"plan for {dial.minutes:g} minutes, {duration(begins)} of them before training:",
        f"  widths: generator {sizes.generator_width:g}, discriminator {sizes.discriminator_width:g} of the published "
        f"channels{why}",
    ]
    costs = {recipe.setting_of(cost.stage): cost for cost in networks.costs}
    for name, stage in recipe.stages.items():
        if not stage.steps:
            continue
        end = "all steps, as set" if stage.end_minute is None else f"until minute {stage.end_minute:.1f}, about"
        lines.append(
            f"  stage {name}: {end} {stage.steps:,} steps of {costs[name].seconds_per_step:.3f} s, batch "
            f"{stage.batch_size}, rates {stage.generator_rate:g} and {stage.discriminator_rate:g}"
        )
    lines.append(f"  checks: every {checks.every:,} steps, {checks.images:,} images, about {duration(check)} each")
    if any(stage.end_minute is not None and checks.every >= stage.steps for stage in recipe.stages.values()):
        lines.append("  note: a stage has no check before its end, so that its steps cannot be corrected by the clock")
    lines.append(f"  recogniser: {recipe.recogniser.images:,} images")
    kept = sorted(name for name in dial.set_by_user if name in _of_the_dial(recipe))
    if kept:
        values = flatten(recipe.model_dump())
        lines.append(f"  left as set: {', '.join(f'{name}={values[name]}' for name in kept)}")
    return lines


def _of_the_dial(recipe: Recipe) -> set[str]:
    """Names of all settings that a plan chooses."""
    steps = {STEPS.format(name) for name in recipe.stages} | {"method.phase_steps"}
    return {
        *settings_at(recipe, 1 / recipe.method.networks.generator_width, 1.0),
        *steps,
        EVERY,
        CHECKED,
        "recogniser.images",
    }

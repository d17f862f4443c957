"""Things that step: a stage of a recipe on synthetic data, and the plain trainer beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ctfgan.bench.plain import PlainTrainer
from ctfgan.core.errors import ConfigError, pick
from ctfgan.data.batches import Batch, join
from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.distributed.engine import alone, place, wait_for
from ctfgan.models.interfaces import Condition, Generator, Noise
from ctfgan.models.widths import plan_for
from ctfgan.recipes.build import Shape, build_method, random_codes_for
from ctfgan.recipes.recipe import Recipe, SnGan
from ctfgan.training.ema import Ema
from ctfgan.training.loop import GanOptimizers
from ctfgan.training.method import Method, Stage
from ctfgan.training.settings import StageSettings

ENDLESS = 10**9  # steps of a stage that is only timed: its learning rate stays
PLAIN_RESOLUTION = 32


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one generator step with its discriminator steps."""

    discriminator: float
    """Of one discriminator update, on average."""
    generator: float
    """Of the generator update."""
    optimisers: float
    """Of the optimisers in the whole step."""
    whole: float
    """Of the step, moving average included."""


def synthetic_shape(recipe: Recipe, num_classes: int) -> Shape:
    """The shape of data that the recipe would have; colours unless it says otherwise."""
    data = recipe.data
    low = (data.low_quality_size or data.degradation.size) if recipe.method.uses_low_quality else 0
    return Shape(
        num_classes=num_classes,
        num_low_quality_labels=num_classes if low else 0,
        low_quality_size=low,
        channels=3 if data.channels == "auto" else data.channels,
    )


def synthetic_batch(shape: Shape, resolution: int, size: int) -> Batch:
    """Uniform noise in the shape of a batch; pixels cost the same whatever they show."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(shape.num_classes, (2, size), generator=rng)
    real = torch.rand(size, shape.channels, resolution, resolution, generator=rng) * 2 - 1
    if not shape.low_quality_size:
        return Batch(real, labels[0], labels[1], None, None)
    low = torch.rand(size, shape.channels, shape.low_quality_size, shape.low_quality_size, generator=rng) * 2 - 1
    return Batch(real, labels[0], labels[1], low, labels[1])


class StageArm:
    """A stage of a recipe, trained as :func:`~ctfgan.training.loop.play` does, on one synthetic batch.

    Args:
        method: built from the recipe; stages of one method share their networks.
        stage: one of its stages.
        recipe: for the moving average and the resolution.
        shape: of the data.
        batch_size: in place of the recipe's; None keeps it.
        device: where to train.
    """

    def __init__(
        self, method: Method, stage: Stage, recipe: Recipe, shape: Shape, batch_size: int | None, device: torch.device
    ) -> None:
        place(method.networks, device)
        self._stage = stage
        self._shape = shape
        self._resolution = recipe.data.resolution
        self._device = device
        changes = {"steps": ENDLESS, "batch_size": batch_size or stage.settings.batch_size}
        self.settings: StageSettings = stage.settings.model_copy(update=changes)
        self.name = f"{recipe.name}:{stage.name}"
        self.stage = stage.name
        self.objective = stage.objective
        self.generator: nn.Module = stage.objective.generator
        self.discriminator: nn.Module = stage.objective.discriminator
        self.batch = synthetic_batch(shape, recipe.data.resolution, self.settings.batch_size).to(device)
        self.generator_batch = join([self.batch] * self.settings.generator_batches)
        self.enter()
        self._updates = GanOptimizers(self.generator, self.discriminator, self.settings, alone(device))
        self._ema = None if recipe.training.ema_decay is None else Ema(self.generator, recipe.training.ema_decay)

    @property
    def images(self) -> int:
        """Synthetic images that a step trains on."""
        return self.settings.batch_size * (self.settings.critic_steps + self.settings.generator_batches)

    def enter(self) -> None:
        """Freeze what the stage freezes: another stage may have had its turn."""
        self._stage.enter()
        self.generator.train()

    def update_discriminator(self) -> None:
        """One discriminator step."""
        self._updates.discriminator(self.objective, self.batch)
        wait_for(self._device)

    def update_generator(self) -> None:
        """One generator step, without the discriminator's before it."""
        self._updates.generator(self.objective, self.generator_batch)
        wait_for(self._device)

    def step(self) -> StepTimes:
        """A whole step, with the times of its parts."""
        self.enter()
        started = time.perf_counter()
        self.objective.advance(self._updates.step / self.settings.steps)
        with OptimiserClock() as clock:
            for _ in range(self.settings.critic_steps):
                self.update_discriminator()
            between = time.perf_counter()
            self.update_generator()
            ended = time.perf_counter()
        if self._ema is not None:
            self._ema.update(self.generator)
            wait_for(self._device)
        one_discriminator = (between - started) / self.settings.critic_steps
        return StepTimes(one_discriminator, ended - between, clock.seconds, time.perf_counter() - started)

    def inputs(self, count: int) -> tuple[Condition, Noise]:
        """What the generator needs for ``count`` images, on the device."""
        batch = synthetic_batch(self._shape, self._resolution, count).to(self._device)
        noise = cast(Generator, self.generator).draw_noise(count, BatchRng.of(0))
        condition = Condition(batch.fake_labels, batch.low_quality, batch.low_quality_labels)
        return condition, noise.to(self._device)


class OptimiserClock:
    """Counts the seconds inside every optimiser's step while it is open.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> OptimiserClock:
        self._hooks = [register_optimizer_step_pre_hook(self._begin), register_optimizer_step_post_hook(self._end)]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, *call: Any) -> None:
        self._started = time.perf_counter()

    def _end(self, *call: Any) -> None:
        self.seconds += time.perf_counter() - self._started


class PlainArm:
    """The plain trainer at a recipe's widths, batch and number of discriminator steps.

    Raises:
        ConfigError: the recipe is not the one that the plain trainer implements.
    """

    name = "plain"

    def __init__(self, recipe: Recipe, shape: Shape, settings: StageSettings) -> None:
        method, resolution = recipe.method, recipe.data.resolution
        if not isinstance(method, SnGan) or method.kind != "sn-gan-projection" or resolution != PLAIN_RESOLUTION:
            raise ConfigError(
                f"recipe {recipe.name!r} is {method.kind} at {resolution}x{resolution}; the plain reference is "
                f"sn-gan-projection at {PLAIN_RESOLUTION}x{PLAIN_RESOLUTION}; choose such a recipe, "
                "e.g. table1-cifar10-projection"
            )
        plan = plan_for(resolution, method.networks.generator_width, method.networks.discriminator_width)
        self.trainer = PlainTrainer(
            plan.generator[0],
            plan.discriminator[0],
            method.networks.noise,
            shape.num_classes,
            shape.channels,
            settings.generator_rate,
        )
        self._settings = settings
        self._batch = synthetic_batch(shape, resolution, settings.batch_size)

    def step(self) -> None:
        """A whole step."""
        for _ in range(self._settings.critic_steps):
            self.trainer.update_discriminator(self._batch.real, self._batch.real_labels)
        self.trainer.update_generator(self._settings.batch_size * self._settings.generator_batches)


def stage_arms(recipe: Recipe, num_classes: int, batch_size: int | None, device: torch.device) -> dict[str, StageArm]:
    """Every stage of a recipe by name, with networks of its own."""
    shape = synthetic_shape(recipe, num_classes)
    matched = recipe.method.uses_low_quality and recipe.data.low_quality is None
    codes = random_codes_for(recipe, shape, matched=matched)
    method = build_method(recipe, shape, matched=matched, codes=codes)
    return {stage.name: StageArm(method, stage, recipe, shape, batch_size, device) for stage in method.stages}


def pick_stages(arms: dict[str, StageArm], stage: str | None) -> list[StageArm]:
    """The stage of that name, or all.

    Raises:
        ConfigError: no such stage.
    """
    return list(arms.values()) if stage is None else [pick(arms, stage, "stage")]


def tensors_of(inputs: Batch | Condition) -> list[Tensor]:
    """The tensors of a batch or of a condition."""
    values = [getattr(inputs, field.name) for field in fields(inputs)]
    return [value for value in values if isinstance(value, Tensor)]

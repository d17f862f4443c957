"""Stages of a recipe on one batch of noise: stepped, timed part by part, and their work counted."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from roofline import Peaks, Work, backward_work, forward_work, update_work
from timing import Times, interleaved
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ctfgan.data.batches import Batch, join
from ctfgan.data.images import Bytes
from ctfgan.distributed.engine import alone, to_device, wait_for
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition, Generator, Noise
from ctfgan.models.synthesis import CHUNK, synthesise
from ctfgan.recipes.build import DataSpec, build_method, random_codes_for
from ctfgan.recipes.recipe import Recipe
from ctfgan.training.objectives.adversarial import Critic
from ctfgan.training.optimizers import Ema, GanOptimizers
from ctfgan.training.settings import StageSettings
from ctfgan.training.stage import Method, Stage

ENDLESS = 10**9  # steps of a stage that is only timed: its learning rate stays
SYNTHESISE, BARE = "synthesise", "bare forward"


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


def synthetic_spec(recipe: Recipe, num_classes: int) -> DataSpec:
    """The sizes of data that the recipe would have; colours unless it says otherwise."""
    data = recipe.data
    low = (data.low_quality_size or data.degradation.size) if recipe.method.uses_low_quality else 0
    return DataSpec(
        num_classes=num_classes,
        num_low_quality_labels=num_classes if low else 0,
        low_quality_size=low,
        channels=3 if data.channels == "auto" else data.channels,
    )


def synthetic_batch(spec: DataSpec, resolution: int, size: int) -> Batch:
    """Uniform noise in the form of a batch; pixels cost the same whatever they show."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(spec.num_classes, (2, size), generator=rng)
    real = torch.rand(size, spec.channels, resolution, resolution, generator=rng) * 2 - 1
    if not spec.low_quality_size:
        return Batch(real, labels[0], labels[1], None, None)
    low = torch.rand(size, spec.channels, spec.low_quality_size, spec.low_quality_size, generator=rng) * 2 - 1
    return Batch(real, labels[0], labels[1], low, labels[1])


class TimedStage:
    """A stage of a recipe, trained as :func:`~ctfgan.training.loop.train_steps` does, on one synthetic batch.

    Args:
        method: built from the recipe; stages of one method share their networks.
        stage: one of its stages.
        recipe: for the moving average and the resolution.
        spec: of the data.
        batch_size: in place of the recipe's; None keeps it.
        device: where to train.
    """

    def __init__(
        self, method: Method, stage: Stage, recipe: Recipe, spec: DataSpec, batch_size: int | None, device: torch.device
    ) -> None:
        to_device(method.networks, device)
        self._stage = stage
        self._spec = spec
        self._resolution = recipe.data.resolution
        self._device = device
        changes = {"steps": ENDLESS, "batch_size": batch_size or stage.settings.batch_size}
        self.settings: StageSettings = stage.settings.model_copy(update=changes)
        self.name = f"{recipe.name}:{stage.name}"
        self.stage = stage.name
        self.objective = stage.objective
        self.generator: nn.Module = stage.objective.generator
        self.discriminator: nn.Module = stage.objective.discriminator
        self.batch = synthetic_batch(spec, recipe.data.resolution, self.settings.batch_size).to(device)
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
        self._updates.discriminator_step(self.objective, self._updates.conditioned(self.objective, self.batch))
        wait_for(self._device)

    def update_generator(self) -> None:
        """One generator step, without the discriminator's before it."""
        self._updates.generator_step(self.objective, self.generator_batch)
        wait_for(self._device)

    def step(self) -> StepTimes:
        """A whole step, with the times of its parts."""
        self.enter()
        started = time.perf_counter()
        self.objective.advance(self._updates.step / self.settings.steps)
        with OptimizerClock() as clock:
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
        batch = synthetic_batch(self._spec, self._resolution, count).to(self._device)
        noise = cast(Generator, self.generator).draw_noise(count, BatchRng.of(0))
        condition = Condition(batch.fake_labels, batch.low_quality, batch.low_quality_labels)
        return condition, noise.to(self._device)


class OptimizerClock:
    """Counts the seconds inside every optimiser's step while it is open.

    Attributes:
        seconds: so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> OptimizerClock:
        self._hooks = [register_optimizer_step_pre_hook(self._begin), register_optimizer_step_post_hook(self._end)]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, *call: Any) -> None:
        self._started = time.perf_counter()

    def _end(self, *call: Any) -> None:
        self.seconds += time.perf_counter() - self._started


def timed_stages(
    recipe: Recipe, num_classes: int, batch_size: int | None, device: torch.device
) -> dict[str, TimedStage]:
    """Every stage of a recipe by name, with networks of its own."""
    spec = synthetic_spec(recipe, num_classes)
    matched = recipe.method.uses_low_quality and recipe.data.low_quality is None
    codes = random_codes_for(recipe, spec, matched=matched)
    method = build_method(recipe, spec, matched=matched, codes=codes)
    return {stage.name: TimedStage(method, stage, recipe, spec, batch_size, device) for stage in method.stages}


def tensors_of(inputs: Batch | Condition) -> list[Tensor]:
    """The tensors of a batch or of a condition."""
    values = [getattr(inputs, field.name) for field in fields(inputs)]
    return [value for value in values if isinstance(value, Tensor)]


@dataclass(frozen=True)
class NetworkCost:
    """The least work of a network for one image."""

    network: str
    parameters: int
    forward: Work
    both: Work
    """Forward and backward."""


@dataclass(frozen=True)
class UpdateCost:
    """An update of one player."""

    seconds: float
    work: Work
    floor: float
    """Seconds at the machine's peaks."""

    @property
    def achieved(self) -> float:
        """Share of the peak that is reached, 0 ... 1."""
        return self.floor / self.seconds


@dataclass(frozen=True)
class StageCost:
    """A stage."""

    stage: str
    networks: list[NetworkCost]
    discriminator: UpdateCost
    generator: UpdateCost
    seconds: float
    """Of a step: one generator update, its discriminator updates, the moving average."""
    images_per_second: float
    """Synthetic images trained on."""
    optimiser_share: float
    """Part of the step that the optimisers take, 0 ... 1."""
    pipeline_share: float
    """Seconds that a step's batches take to gather, beside those of the step, whose batches were there before."""


def measure_stage(timed: TimedStage, peaks: Peaks, steps: int, seconds_per_batch: float) -> StageCost:
    """Count and time a stage: one step warms up, medians of ``steps`` more.

    Args:
        timed: the stage.
        peaks: of the machine.
        steps: how many to time.
        seconds_per_batch: that its batches take to gather.
    """
    timed.step()
    networks = [_generator_cost(timed), _discriminator_cost(timed)]
    critic_work = update_work(timed.update_discriminator, timed.discriminator, timed.generator, tensors_of(timed.batch))
    generator_work = update_work(
        timed.update_generator, timed.generator, timed.discriminator, tensors_of(timed.generator_batch)
    )
    times = [timed.step() for _ in range(steps)]
    seconds = statistics.median(step.whole for step in times)

    def cost(part: float, work: Work) -> UpdateCost:
        return UpdateCost(part, work, peaks.floor(work.operations, work.bytes))

    return StageCost(
        timed.stage,
        networks,
        cost(statistics.median(step.discriminator for step in times), critic_work),
        cost(statistics.median(step.generator for step in times), generator_work),
        seconds,
        timed.images / seconds,
        statistics.median(step.optimisers / step.whole for step in times),
        seconds_per_batch * (timed.settings.critic_steps + timed.settings.generator_batches) / seconds,
    )


def time_sampling(timed: TimedStage, device: torch.device, rounds: int) -> Times:
    """Seconds of one chunk of a stage's generator: uint8 images as ``synthesise`` makes them, and tensors alone."""
    condition, noise = timed.inputs(CHUNK)

    def sample() -> Bytes:
        return synthesise(timed.generator, condition, noise, alone(device))

    @torch.no_grad()
    def bare() -> None:
        timed.generator.eval()
        timed.generator(condition, noise)
        timed.generator.train()

    return interleaved({SYNTHESISE: sample, BARE: bare}, rounds)


def _generator_cost(timed: TimedStage) -> NetworkCost:
    images, network = timed.settings.batch_size, timed.generator
    condition, noise = timed.inputs(images)
    return _network_cost(network, lambda: network(condition, noise), [*tensors_of(condition), *noise], images)


def _discriminator_cost(timed: TimedStage) -> NetworkCost:
    images, labels = timed.batch.real, timed.batch.real_labels
    critic = cast(Critic, timed.discriminator)

    def judge() -> Tensor:
        return critic.judge(critic.features(images, labels), labels)

    return _network_cost(timed.discriminator, judge, [images, labels], len(images))


def _network_cost(network: nn.Module, call: Callable[[], Tensor], inputs: list[Tensor], images: int) -> NetworkCost:
    return NetworkCost(
        type(network).__name__,
        sum(parameter.numel() for parameter in network.parameters()),
        forward_work(call, network, inputs).per(images),
        backward_work(call, network, inputs).per(images),
    )

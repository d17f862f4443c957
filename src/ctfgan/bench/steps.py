"""What a step costs, what it would cost on this machine at best, and how far apart the two are."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ctfgan.bench.arms import StageArm, tensors_of
from ctfgan.bench.counting import Work, backward_work, forward_work, update_work
from ctfgan.bench.peaks import Peaks
from ctfgan.bench.rounds import Times, interleaved
from ctfgan.data.images import Bytes
from ctfgan.distributed.engine import alone
from ctfgan.models.synthesis import CHUNK, synthesise
from ctfgan.training.objectives.adversarial import Critic

SYNTHESISE, BARE = "synthesise", "bare forward"


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


def measure_stage(arm: StageArm, peaks: Peaks, steps: int, seconds_per_batch: float) -> StageCost:
    """Count and time a stage: one step warms up, medians of ``steps`` more.

    Args:
        arm: the stage.
        peaks: of the machine.
        steps: how many to time.
        seconds_per_batch: that its batches take to gather.
    """
    arm.step()
    networks = [_generator_cost(arm), _discriminator_cost(arm)]
    critic_work = update_work(arm.update_discriminator, arm.discriminator, arm.generator, tensors_of(arm.batch))
    generator_work = update_work(
        arm.update_generator, arm.generator, arm.discriminator, tensors_of(arm.generator_batch)
    )
    times = [arm.step() for _ in range(steps)]
    seconds = statistics.median(time.whole for time in times)

    def cost(part: float, work: Work) -> UpdateCost:
        return UpdateCost(part, work, peaks.floor(work.operations, work.bytes))

    return StageCost(
        arm.stage,
        networks,
        cost(statistics.median(time.discriminator for time in times), critic_work),
        cost(statistics.median(time.generator for time in times), generator_work),
        seconds,
        arm.images / seconds,
        statistics.median(time.optimisers / time.whole for time in times),
        seconds_per_batch * (arm.settings.critic_steps + arm.settings.generator_batches) / seconds,
    )


def time_sampling(arm: StageArm, device: torch.device, rounds: int) -> Times:
    """Seconds of one chunk of a stage's generator: uint8 images as ``synthesise`` makes them, and tensors alone."""
    condition, noise = arm.inputs(CHUNK)

    def sample() -> Bytes:
        return synthesise(arm.generator, condition, 0, alone(device))

    @torch.no_grad()
    def bare() -> None:
        arm.generator.eval()
        arm.generator(condition, noise)
        arm.generator.train()

    return interleaved({SYNTHESISE: sample, BARE: bare}, rounds)


def time_stages(arms: Sequence[StageArm], rounds: int, calls: int) -> Times:
    """Steps of several stages, also of different recipes, in turn."""
    return interleaved({arm.name: arm.step for arm in arms}, rounds, calls)


def _generator_cost(arm: StageArm) -> NetworkCost:
    images, network = arm.settings.batch_size, arm.generator
    condition, noise = arm.inputs(images)
    return _network_cost(network, lambda: network(condition, noise), [*tensors_of(condition), *noise], images)


def _discriminator_cost(arm: StageArm) -> NetworkCost:
    images, labels = arm.batch.real, arm.batch.real_labels
    critic = cast(Critic, arm.discriminator)

    def judge() -> Tensor:
        return critic.judge(critic.features(images, labels), labels)

    return _network_cost(arm.discriminator, judge, [images, labels], len(images))


def _network_cost(network: nn.Module, call: Callable[[], Tensor], inputs: list[Tensor], images: int) -> NetworkCost:
    return NetworkCost(
        type(network).__name__,
        sum(parameter.numel() for parameter in network.parameters()),
        forward_work(call, network, inputs).per(images),
        backward_work(call, network, inputs).per(images),
    )

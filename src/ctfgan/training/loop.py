"""The loop: alternate the two players. Read this first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ctfgan.data.batches import Batch, join, split
from ctfgan.distributed.engine import Engine
from ctfgan.training.objectives.adversarial import AdversarialObjective, LossTerms
from ctfgan.training.optimizers import Optimiser
from ctfgan.training.settings import StageSettings


@dataclass(frozen=True)
class StepLosses:
    """Detached losses of one generator step and the discriminator steps before it."""

    discriminator: LossTerms
    """Of the last discriminator step."""
    generator: LossTerms


def train_steps(
    objective: AdversarialObjective, batches: Iterator[Batch], stage: StageSettings, updates: GanOptimizers
) -> Iterator[StepLosses]:
    """Train until ``stage.steps`` generator steps are done; yield after each one.

    Continues where ``updates`` stands, so a resumed stage runs its remaining steps only.
    """
    while updates.step < stage.steps:
        objective.advance(updates.step / stage.steps)
        for _ in range(stage.critic_steps):
            discriminator_losses = updates.discriminator(objective, next(batches))
        generator_losses = updates.generator(objective, join([next(batches) for _ in range(stage.generator_batches)]))
        yield StepLosses(discriminator_losses, generator_losses)


class GanOptimizers:
    """The optimisers of both players and their learning rates.

    Args:
        generator: what learns to synthesise.
        discriminator: what learns to judge.
        stage: rates, and the parts that a batch is taken in.
        engine: its processes average their gradients; its precision is that of the losses.
        slowed: factor on both rates of a run that was rolled back (decision 28).

    Attributes:
        step: generator steps done in this stage.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        stage: StageSettings,
        engine: Engine,
        slowed: float = 1.0,
    ) -> None:
        self.step = 0
        self._slowed = slowed
        self._stage = stage
        self._critic = discriminator
        self._engine = engine
        self._generator = Optimiser(generator, stage.betas, engine.processes)
        self._discriminator = Optimiser(discriminator, stage.betas, engine.processes)

    def discriminator(self, objective: AdversarialObjective, batch: Batch) -> LossTerms:
        """One discriminator step."""
        objective.begin_discriminator_step()
        return self._apply(objective.discriminator_terms, batch, self._discriminator, self._stage.discriminator_rate)

    def generator(self, objective: AdversarialObjective, batch: Batch) -> LossTerms:
        """One generator step; the discriminator's weights get no gradient, which saves their share of the work."""
        for parameter in self._discriminator.parameters:
            parameter.requires_grad_(False)
        # Its weights rest, so their spectral norm does too: its power iteration belongs to the discriminator's steps.
        self._critic.eval()
        losses = self._apply(objective.generator_terms, batch, self._generator, self._stage.generator_rate)
        self._critic.train()
        for parameter in self._discriminator.parameters:
            parameter.requires_grad_(True)
        self.step += 1
        return losses

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"step": self.step} | {name: optimiser.state() for name, optimiser in self._optimisers().items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self.step = state["step"]
        for name, optimiser in self._optimisers().items():
            optimiser.restore(state[name])

    def _optimisers(self) -> dict[str, Optimiser]:
        return {"generator": self._generator, "discriminator": self._discriminator}

    def _apply(self, loss: Callable[[Batch], LossTerms], batch: Batch, optimiser: Optimiser, rate: float) -> LossTerms:
        """One step; returns the losses of this process, means over the parts of its batch."""
        optimiser.zero()
        parts = self._stage.accumulate
        losses: LossTerms = {}
        for part in split(batch, parts) if parts > 1 else [batch]:
            with self._engine.autocast():
                terms = loss(part)
            (total(terms) / parts).backward()
            for name, term in terms.items():
                losses[name] = losses.get(name, 0) + term.detach() / parts
        optimiser.step(rate * self._slowed * decay(self.step / self._stage.steps, self._stage.decay_from))
        return losses


def total(terms: LossTerms) -> Tensor:
    """The loss that a player minimises."""
    return torch.stack(list(terms.values())).sum()


def decay(progress: float, start: float) -> float:
    """Factor on the learning rate at ``progress`` (0 ... 1): 1 until ``start``, then linear to 0 at 1."""
    return 1.0 if progress <= start else (1 - progress) / (1 - start)

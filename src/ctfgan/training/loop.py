"""The loop: alternate the two players. Read this first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ctfgan.data.batches import Batch, join
from ctfgan.nn.class_tables import ClassTable, RowChange
from ctfgan.training.objectives.adversarial import AdversarialGame, LossTerms
from ctfgan.training.optimiser import Alone, Exchange, Optimiser
from ctfgan.training.settings import StageSettings


@dataclass(frozen=True)
class StepLosses:
    """Detached losses of one generator step and the discriminator steps before it."""

    discriminator: LossTerms
    """Of the last discriminator step."""
    generator: LossTerms


def play(
    game: AdversarialGame, batches: Iterator[Batch], stage: StageSettings, updates: Updates
) -> Iterator[StepLosses]:
    """Train until ``stage.steps`` generator steps are done; yield after each one.

    Continues where ``updates`` stands, so a resumed stage runs its remaining steps only.
    """
    while updates.step < stage.steps:
        game.advance(updates.step / stage.steps)
        for _ in range(stage.critic_steps):
            discriminator_losses = updates.discriminator(game, next(batches))
        generator_losses = updates.generator(game, join([next(batches) for _ in range(stage.generator_batches)]))
        yield StepLosses(discriminator_losses, generator_losses)


class Updates:
    """The optimisers of both players and their learning rates.

    Attributes:
        step: generator steps done in this stage.
    """

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, stage: StageSettings, exchange: Exchange | None = None
    ) -> None:
        self.step = 0
        self._stage = stage
        self._critic = discriminator
        exchange = exchange or Alone()
        self._generator = Optimiser(generator, stage.betas, exchange)
        self._discriminator = Optimiser(discriminator, stage.betas, exchange)

    def discriminator(self, game: AdversarialGame, batch: Batch) -> LossTerms:
        """One discriminator step."""
        return self._apply(game.discriminator_terms(batch), self._discriminator, self._stage.discriminator_rate)

    def generator(self, game: AdversarialGame, batch: Batch) -> LossTerms:
        """One generator step; the discriminator's weights get no gradient, which saves their share of the work."""
        for parameter in self._discriminator.parameters:
            parameter.requires_grad_(False)
        # Its weights rest, so their spectral norm does too: its power iteration belongs to the discriminator's steps.
        self._critic.eval()
        losses = self._apply(game.generator_terms(batch), self._generator, self._stage.generator_rate)
        self._critic.train()
        for parameter in self._discriminator.parameters:
            parameter.requires_grad_(True)
        self.step += 1
        return losses

    @property
    def generator_changes(self) -> Mapping[ClassTable, RowChange]:
        """Rows of the generator's row-lazy tables that its last step changed."""
        return self._generator.changes

    def state(self) -> dict[str, Any]:
        """For a checkpoint: all but what :meth:`moments` holds."""
        return {"step": self.step} | {name: optimiser.state() for name, optimiser in self._optimisers().items()}

    def moments(self) -> dict[str, Tensor]:
        """Second moments of row-lazy tables by name, for a checkpoint."""
        return {
            f"{player}.{name}": tensor
            for player, optimiser in self._optimisers().items()
            for name, tensor in optimiser.moments().items()
        }

    def restore(self, state: dict[str, Any], moments: dict[str, Tensor]) -> None:
        """Continue from a :meth:`state` and its :meth:`moments`."""
        self.step = state["step"]
        for name, optimiser in self._optimisers().items():
            optimiser.restore(state[name], below(moments, f"{name}."))

    def _optimisers(self) -> dict[str, Optimiser]:
        return {"generator": self._generator, "discriminator": self._discriminator}

    def _apply(self, terms: LossTerms, optimiser: Optimiser, rate: float) -> LossTerms:
        optimiser.zero()
        total(terms).backward()
        optimiser.step(rate * decay(self.step / self._stage.steps, self._stage.decay_from))
        return {name: term.detach() for name, term in terms.items()}


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def total(terms: LossTerms) -> Tensor:
    """The loss that a player minimises."""
    return torch.stack(list(terms.values())).sum()


def decay(progress: float, start: float) -> float:
    """Factor on the learning rate at ``progress`` (0 ... 1): 1 until ``start``, then linear to 0 at 1."""
    return 1.0 if progress <= start else (1 - progress) / (1 - start)

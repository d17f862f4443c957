"""The loop: alternate the two players."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ctfgan.data.batches import Batch, join
from ctfgan.training.objectives.adversarial import AdversarialObjective, LossTerms
from ctfgan.training.optimizers import GanOptimizers
from ctfgan.training.settings import StageSettings

FEWEST_RANGED = 4


@dataclass(frozen=True)
class StepLosses:
    """Detached losses of one generator step and the discriminator steps before it."""

    discriminator: LossTerms
    """Of the last discriminator step."""
    generator: LossTerms


def train_steps(
    objective: AdversarialObjective, batches: Iterable[Batch], stage: StageSettings, optimizers: GanOptimizers
) -> Iterator[StepLosses]:
    """Train until ``stage.steps`` generator steps are done; yield after each one.

    Continues where ``optimizers`` stand, so a resumed stage runs its remaining steps only.

    Args:
        objective: the losses of both players.
        batches: on the networks' device; begun again when they are used up, so that a pass over a DataLoader is an
            epoch.
        stage: how many steps of whom.
        optimizers: of both players.

    Raises:
        ValueError: there are no batches (any more).
    """
    stream = _repeated(batches)
    while optimizers.step < stage.steps:
        objective.advance(optimizers.step / stage.steps)
        for _ in range(stage.critic_steps):
            batch = optimizers.conditioned(objective, next(stream))
            discriminator_losses = optimizers.discriminator_step(objective, batch)
        generator_batch = join([next(stream) for _ in range(stage.generator_batches)])
        generator_losses = optimizers.generator_step(objective, generator_batch)
        yield StepLosses(discriminator_losses, generator_losses)


def _repeated(batches: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        count = 0
        for count, batch in enumerate(batches, start=1):  # noqa: B007
            yield batch
        if count == 0:
            raise ValueError("there are no batches left; pass a list, a DataLoader, or an iterator that does not end")


def log_values(losses: StepLosses, logits: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
    """What a line of the journal says of a step: losses, mean and range of the real and of the fake logits.

    No range is given of fewer than 4 images, which may well get the same logit.

    Args:
        losses: of the step.
        logits: of the last discriminator step, real and fake, ``(N,)`` each; None before the first.
    """
    values = {f"discriminator_{name}": term for name, term in losses.discriminator.items()}
    values |= {f"generator_{name}": term for name, term in losses.generator.items()}
    for kind, of_kind in zip(("real", "fake"), logits or (), strict=False):
        values[f"{kind}_logit"] = of_kind.mean()
        if len(of_kind) >= FEWEST_RANGED:
            values[f"{kind}_logit_range"] = of_kind.max() - of_kind.min()
    return values

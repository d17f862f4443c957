"""Settings of training: stages, self-supervision, checks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctfgan.settings import Settings


class StageSettings(Settings):
    """One stage of adversarial training."""

    steps: int = Field(ge=1)
    """Generator steps at most."""
    batch_size: int = Field(default=64, ge=2)
    """Real images, and as many synthetic ones, in a step of either player."""
    critic_steps: int = Field(default=1, ge=1)
    """Discriminator steps for each generator step."""
    generator_rate: float = Field(default=2e-4, gt=0)
    """Adam's learning rate of the generator."""
    discriminator_rate: float = Field(default=2e-4, gt=0)
    """Adam's learning rate of the discriminator."""
    decay_from: float = Field(default=0.0, ge=0, le=1)
    """Part of the stage after which both rates fall linearly to zero; 1 keeps them."""
    patience: int | None = Field(default=None, ge=1)
    """Checks without a significant improvement after which the stage ends (decision 11); None runs all steps."""


class TransferStageSettings(StageSettings):
    """A stage of CTF-GAN: its generator sees a low-quality image and may be held to it (decision 16)."""

    consistency: float = Field(default=0.0, ge=0)
    """Weight of the low-quality consistency when pairing is matched; 0 is the paper's loss."""
    consistency_size: int = Field(default=8, ge=1)
    """Side, at most I_L's own, to which the output and I_L are area-averaged before they are compared."""


class SelfSupervisionSettings(Settings):
    """Finding the box of a pasted patch (Task 3, decision 10)."""

    discriminator_weight: float = Field(default=1.0, ge=0)
    """Weight in the discriminator's loss."""
    generator_weight: float = Field(default=0.2, ge=0)
    """Weight in the generator's loss."""
    share: float = Field(default=0.25, gt=0, le=1)
    """Part of a batch that gets a patch, besides being judged without one."""

    @property
    def is_on(self) -> bool:
        """Whether any weight is positive; if not, the discriminator gets no box head."""
        return self.discriminator_weight > 0 or self.generator_weight > 0


class CheckSettings(Settings):
    """Looking at the generator while it trains."""

    every: int = Field(default=500, ge=1)
    """Generator steps between checks; each check also writes a sheet and a checkpoint."""
    images: int = Field(default=2_000, ge=16)
    """Images per check, always of the same seeds; compared with as many training images."""
    significant: float = Field(default=0.01, ge=0)
    """Relative improvement of the smoothed distance that counts."""
    smoothing: int = Field(default=3, ge=1)
    """Checks that the distance is averaged over before it is judged."""
    sheet_rows: int = Field(default=8, ge=1)
    """Samples per class on a sheet."""
    sheet_classes: int = Field(default=62, ge=1)
    """Classes on a sheet at most, spread evenly over all of them."""


class TrainingSettings(Settings):
    """What all stages share."""

    checks: CheckSettings = CheckSettings()
    ema_decay: float | None = Field(default=0.999, gt=0, lt=1)
    """Decay of the generator's moving average per step; None switches it off."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints that stay, besides the best one."""
    release: Literal["best", "last"] = "last"
    """Weights that the bundle carries: of the last stage's best check, or of its end."""
    journal_every: int = Field(default=50, ge=1)
    """Generator steps between lines of the journal."""

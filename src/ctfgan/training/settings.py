"""Settings of training: stages, self-supervision, checks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ctfgan.core.settings import Settings
from ctfgan.distributed.launch import Precision

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class StageSettings(Settings):
    """One stage of adversarial training."""

    steps: int = Field(ge=1)
    """Generator steps at most."""
    end_minute: float | None = Field(default=None, gt=0)
    """Minutes after the run's beginning at which the stage is to be over: its steps are a first guess, which every
    check corrects by the time that steps have taken (decision 34). None runs all steps, whatever the time."""
    batch_size: int = Field(default=64, ge=2)
    """Real images, and as many synthetic ones, in a step of either player, over all processes."""
    accumulate: int = Field(default=1, ge=1)
    """Parts that a batch is taken in, one after the other, to save memory; their gradients add up to one step. What is
    computed over a batch is then computed over a part: batch norm, LeCam's averages, PROG-GAN's minibatch deviation."""
    critic_steps: int = Field(default=1, ge=1)
    """Discriminator steps for each generator step."""
    generator_rate: float = Field(default=2e-4, gt=0)
    """Adam's learning rate of the generator."""
    discriminator_rate: float = Field(default=2e-4, gt=0)
    """Adam's learning rate of the discriminator."""
    decay_from: float = Field(default=0.0, ge=0, le=1)
    """Part of the stage after which both rates fall linearly to zero; 1 keeps them."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.0, 0.9)
    """Adam's decay rates of the first and the second moment."""
    generator_batches: int = Field(default=1, ge=1)
    """Batches that a generator step takes at once; SN-GAN+Projection's authors use 2 on CIFAR-10."""
    fake_classes: Literal["uniform", "real"] = "uniform"
    """Classes of synthetic images: uniform over all (decision 9), or those of the real images beside them, which the
    relativistic loss compares them with."""
    patience: int | None = Field(default=None, ge=1)
    """Checks without a significant improvement after which the stage ends (decision 11); None runs all steps."""


class TransferStageSettings(StageSettings):
    """A stage of CTF-GAN: its generator sees a low-quality image and may be held to it (decision 16)."""

    consistency: float = Field(default=0.0, ge=0)
    """Weight of the low-quality consistency when pairing is matched; 0 is the paper's loss."""
    consistency_size: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Side, at most I_L's own, to which the output and I_L are area-averaged before they are compared; ``auto`` is the
    smallest at which low-quality images keep four fifths of their variance."""


class SkippableStageSettings(TransferStageSettings):
    """A stage that a run may do without, since it begins with weights that were trained before."""

    steps: int = Field(ge=0)
    """Generator steps at most; 0 skips the stage."""


class CriticPenaltySettings(Settings):
    """WGAN-GP and drift penalty of PROG-GAN's discriminator (Karras et al. 2018, appendix A)."""

    weight: float = Field(default=10.0, ge=0)
    """Of the gradient penalty."""
    target: float = Field(default=1.0, gt=0)
    """Norm that the gradient is held to; the authors use 750 for CIFAR-10."""
    drift: float = Field(default=0.001, ge=0)
    """Weight of the squared logits of real images, which keeps them from drifting away."""


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


class AugmentationSettings(Settings):
    """Augmentation of everything that the discriminator judges (DiffAugment; with a target ADA)."""

    policy: tuple[Literal["brightness", "saturation", "contrast", "flip", "translation", "cutout"], ...] = ()
    """Operations in this order; empty switches augmentation off."""
    probability: float = Field(default=1.0, ge=0, le=1)
    """Chance of each operation for each image; with a target the largest one allowed."""
    target: float | None = Field(default=None, gt=-1, lt=1)
    """Mean sign of the real logits that the probability is steered to (ADA uses 0.6); None keeps it fixed."""
    images_to_full: int = Field(default=500_000, ge=1)
    """Real images in which a steered probability can rise from 0 to 1."""


class LecamSettings(Settings):
    """LeCam regularisation of the discriminator's logits."""

    weight: float = Field(default=0.0, ge=0)
    """0 switches it off; 0.3 is common."""
    from_step: int = Field(default=1_000, ge=0)
    """Discriminator steps before it acts; its averages follow from the first."""
    decay: float = Field(default=0.99, ge=0, lt=1)
    """Of the moving averages of the logits."""


class PenaltySettings(Settings):
    """Gradient penalties of the discriminator, each weight / 2 times the squared gradient norm at the images."""

    r1: float = Field(default=0.0, ge=0)
    """Weight at real images."""
    r2: float = Field(default=0.0, ge=0)
    """Weight at synthetic images."""
    every: int = Field(default=1, ge=1)
    """Discriminator steps between penalties, which are multiplied by it (lazy regularisation)."""


class StrengtheningSettings(Settings):
    """Help for small data sets; all of it is off in the paper."""

    augmentation: AugmentationSettings = AugmentationSettings()
    lecam: LecamSettings = LecamSettings()
    penalty: PenaltySettings = PenaltySettings()


class CheckSettings(Settings):
    """Looking at the generator while it trains."""

    every: int = Field(default=500, ge=1)
    """Generator steps between checks; each check also writes a sheet and a checkpoint."""
    images: int = Field(default=2_000, ge=16)
    """Images per check, always of the same seeds, in the training images' class mix and compared with as many of them.
    Where the mix has few of a class, up to as many again are made for top-1 and variety alone (decision 30)."""
    significant: float = Field(default=0.01, ge=0)
    """Relative improvement of the smoothed distance that counts."""
    smoothing: int = Field(default=3, ge=1)
    """Checks that the distance is averaged over before it is judged."""
    sheet_rows: int = Field(default=8, ge=1)
    """Samples per class on a sheet."""
    sheet_classes: int = Field(default=62, ge=1)
    """Classes on a sheet at most, spread evenly over all of them."""


class RecoverySettings(Settings):
    """What happens when training diverges or the discriminator collapses (decision 28)."""

    attempts: int = Field(default=3, ge=0)
    """Times that a run goes back to its last good checkpoint before it stops with a diagnosis; 0 stops at once."""
    rate_factor: float = Field(default=0.5, gt=0, lt=1)
    """What both learning rates are multiplied by each time, for the rest of the run."""
    window: int = Field(default=10, ge=2)
    """Lines of the journal in a row that must show a collapse; what is not finite counts at once."""


class AlarmSettings(Settings):
    """When a check warns; training goes on as it was (decision 28)."""

    checks: int = Field(default=3, ge=1)
    """Checks in a row in which a class must lack variety; a loss of all classes counts at once."""
    variety: float = Field(default=0.3, ge=0, lt=1)
    """Mean distance between samples of a class, relative to its real images, below which they count as alike; where
    there are few images it is lowered to what real ones reach by chance. 0 is silent."""


class TrainingSettings(Settings):
    """What all stages share."""

    checks: CheckSettings = CheckSettings()
    alarms: AlarmSettings = AlarmSettings()
    recovery: RecoverySettings = RecoverySettings()
    strengthening: StrengtheningSettings = StrengtheningSettings()
    ema_decay: float | None = Field(default=0.999, gt=0, lt=1)
    """Decay of the generator's moving average per step; None switches it off."""
    precision: Precision = "float32"
    """Of the networks' forward pass in training (autocast); weights, optimisers, checks and samples are float32."""
    compile: bool = False
    """Whether torch compiles the networks: the first steps take minutes, later ones a sixth less on a CPU. What cannot
    be compiled runs as it is, with a warning."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints that stay, besides the best one."""
    release: Literal["best", "last"] = "last"
    """Weights that the bundle carries: of the last stage's best check, or of its end."""
    journal_every: int = Field(default=50, ge=1)
    """Generator steps between lines of the journal."""
    tracker: TrackerName | None = "tensorboard"
    """Who else shows what the journal says: ``tensorboard`` writes into the run folder; the others need their package.
    None shows it to nobody."""

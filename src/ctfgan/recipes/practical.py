"""Recipes for own images and for small hardware: narrow networks, a moving average, consistency where classes match."""

from __future__ import annotations

from ctfgan.data.settings import DataSettings, DegradationSettings
from ctfgan.models.settings import NetworkSettings, TransferSettings
from ctfgan.recipes.paper_tables import PAPER_HQ_FRACTION, TRANSFER_SHARE
from ctfgan.recipes.recipe import AcGan, CtfGan, MethodSettings, ProgGan, Recipe, SnGan
from ctfgan.training.settings import (
    CheckSettings,
    PenaltySettings,
    SkippableStageSettings,
    StageSettings,
    StrengtheningSettings,
    TrainingSettings,
    TransferStageSettings,
)

NARROW = NetworkSettings(generator_width=0.125, discriminator_width=0.25, noise=64, class_tables="auto")
NARROW_STAGE = StageSettings(
    steps=3_000, batch_size=32, critic_steps=1, generator_rate=8e-4, discriminator_rate=8e-4, decay_from=0.5
)
NARROW_TRAINING = TrainingSettings(checks=CheckSettings(every=250), ema_decay=0.995, release="best")
CONSISTENCY = 5.0
GLYPH_CONSISTENCY = 20.0
R3_PENALTY = 0.5  # R3GAN's is 0.01 ... 10 by data set
R3_RATE = 2e-4  # also R3GAN's


def ctf_glyphs() -> Recipe:
    """62 letters and digits rendered from fonts, 32x32, 65 % HQ, degraded LQ: a quarter of an hour on one core."""
    degradation = DegradationSettings(share=0.25, size=12, noise=0.06, contrast=0.9)
    data = DataSettings(high_quality_fraction=PAPER_HQ_FRACTION, degradation=degradation)
    return _narrow_ctf("ctf-glyphs", data, consistency=GLYPH_CONSISTENCY)


def projection_glyphs() -> Recipe:
    """The baseline on the same glyphs with all HQ images and as many generator steps."""
    return _narrow_projection("projection-glyphs", DataSettings())


def ctf_folders() -> Recipe:
    """Own images on modest hardware: narrow networks, moving average, consistency where classes match."""
    return _narrow_ctf("ctf-folders", DataSettings(), consistency=CONSISTENCY)


def projection_folders() -> Recipe:
    """The baseline for own images: the same widths, rates and number of generator steps as ctf-folders."""
    return _narrow_projection("projection-folders", DataSettings())


def ctf_r3_folders() -> Recipe:
    """ctf-folders with R3GAN's loss: relativistic pairing, R1 and R2 instead of spectral norm."""
    return _with_r3(ctf_folders())


def projection_r3_folders() -> Recipe:
    """projection-folders with R3GAN's loss: relativistic pairing, R1 and R2 instead of spectral norm."""
    return _with_r3(projection_folders())


def sn_gan_folders() -> Recipe:
    """SN-GAN without classes for own images, as narrow and as long as ctf-folders."""
    return _narrow("sn-gan-folders", DataSettings(), SnGan(kind="sn-gan", networks=NARROW, adversarial=NARROW_STAGE))


def sn_gan_concat_folders() -> Recipe:
    """SN-GAN with the class concatenated in the discriminator, for own images, as narrow and as long as ctf-folders."""
    method = SnGan(kind="sn-gan-concat", networks=NARROW, adversarial=NARROW_STAGE)
    return _narrow("sn-gan-concat-folders", DataSettings(), method)


def ac_gan_folders() -> Recipe:
    """AC-GAN for own images, as narrow and as long as ctf-folders."""
    return _narrow("ac-gan-folders", DataSettings(), AcGan(networks=NARROW, adversarial=NARROW_STAGE))


def prog_gan_folders() -> Recipe:
    """PROG-GAN for own images, with as many generator steps as ctf-folders at 32x32."""
    networks = NARROW.model_copy(update={"generator_width": 0.0625, "discriminator_width": 0.0625})
    stage = NARROW_STAGE.model_copy(
        update={
            "steps": 860,
            "generator_rate": 1e-3,
            "discriminator_rate": 1e-3,
            "betas": (0.0, 0.99),
            "decay_from": 1.0,
        }
    )
    return _narrow("prog-gan-folders", DataSettings(), ProgGan(networks=networks, grow=stage, phase_steps=428))


def ctf_mnist16() -> Recipe:
    """Ten digits at 16x16 (--hq mnist.npz): 65 % HQ, LQ = 20 % down-sampled to 8x8, matched, the paper's loss."""
    data = DataSettings(
        resolution=16,
        high_quality_fraction=PAPER_HQ_FRACTION,
        degradation=DegradationSettings(share=0.2, size=8),
        needs=("high_quality",),
    )
    return _narrow_ctf("ctf-mnist16", data, consistency=0.0)


def projection_mnist16() -> Recipe:
    """The baseline on the same digits with 100 % HQ and as many generator steps."""
    return _narrow_projection("projection-mnist16", DataSettings(resolution=16, needs=("high_quality",)))


def _narrow_ctf(name: str, data: DataSettings, *, consistency: float) -> Recipe:
    transfer_steps = round(TRANSFER_SHARE * NARROW_STAGE.steps)
    generate = TransferStageSettings.model_validate(
        NARROW_STAGE.model_dump() | {"consistency": consistency, "steps": NARROW_STAGE.steps - transfer_steps}
    )
    transfer = SkippableStageSettings.model_validate(
        generate.model_dump() | {"steps": transfer_steps, "decay_from": 1.0, "patience": 4}
    )
    # Spatial noise drowns an image of the same class that nothing holds it to (decision 6).
    features = TransferSettings(noise_maps="spatial" if consistency else "tiled", merge_kernel=1)
    return _narrow(name, data, CtfGan(networks=NARROW, features=features, transfer=transfer, generate=generate))


def _narrow_projection(name: str, data: DataSettings) -> Recipe:
    return _narrow(name, data, SnGan(kind="sn-gan-projection", networks=NARROW, adversarial=NARROW_STAGE))


def _narrow(name: str, data: DataSettings, method: MethodSettings) -> Recipe:
    return Recipe(name=name, data=data, method=method, training=NARROW_TRAINING)


def _with_r3(recipe: Recipe) -> Recipe:
    """The loss of R3GAN (Huang et al. 2024) on this project's networks: fakes are paired with images of their class."""
    method = recipe.method
    changed: dict[str, object] = {"loss": "relativistic", "spectral_norm": False}
    for name, value in method:
        if isinstance(value, StageSettings):
            rates = {"generator_rate": R3_RATE, "discriminator_rate": R3_RATE}
            changed[name] = value.model_copy(update={"fake_classes": "real", **rates})
    strengthening = StrengtheningSettings(penalty=PenaltySettings(r1=R3_PENALTY, r2=R3_PENALTY))
    return recipe.model_copy(
        update={
            "name": recipe.name.replace("-", "-r3-", 1),
            "method": method.model_copy(update=changed),
            "training": recipe.training.model_copy(update={"strengthening": strengthening}),
        }
    )

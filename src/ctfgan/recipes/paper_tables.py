"""The rows of the paper's tables at full size and schedule, one function each.

Networks and training of the baselines are their authors'; what the paper leaves open about its own arms (steps, sizes
of low-quality images) is ours and the same for all arms of a table. All figures are taken with and without a moving
average, which the paper does not have. Data sets are named as ``ctfgan data list`` knows them; ``--hq`` and ``--lq``
put others in their place.
"""

from __future__ import annotations

from typing import Literal

from ctfgan.data.settings import DataSettings, DegradationSettings
from ctfgan.metrics.settings import EvalClassifierSettings, EvaluationSettings
from ctfgan.models.settings import NetworkSettings, TransferSettings
from ctfgan.recipes.recipe import AcGan, CtfGan, MethodSettings, ProgGan, Recipe, SnGan
from ctfgan.training.settings import (
    CheckSettings,
    SkippableStageSettings,
    StageSettings,
    TrainingSettings,
    TransferStageSettings,
)

PAPER_HQ_FRACTION = 0.65  # of every table: 32,500 of 50,000, 3,250 of 5,000, 810,544 of 1,246,991

CIFAR10 = DataSettings(high_quality="cifar10", reference="published", channels=3)
CIFAR10_LQ = DegradationSettings(share=0.2, size=16)
STL10 = DataSettings(high_quality="stl10", reference="published", channels=3, resolution=48)
STL10_LQ = DegradationSettings(share=0.2, size=24)
HWDB = DataSettings(
    high_quality="hwdb1.0", reference="published", only="gb2312-level-1", channels=1, resolution=48, fit="pad"
)
OMNIGLOT = DataSettings(high_quality="omniglot", channels=1, resolution=48, fit="pad")
MNIST_LQ = {"low_quality": "mnist", "low_quality_size": 28, "low_quality_held_out": 0.0, "pairing": "independent"}
IMAGENET = DataSettings(high_quality="imagenet", reference="published", channels=3, resolution=128)
CIFAR100_LQ = {"low_quality": "cifar100", "low_quality_size": 32, "low_quality_held_out": 0.0, "pairing": "independent"}
# The paper says 833,408 of 1,282,167; ImageNet has a thousand training images fewer.
IMAGENET_FEWER = 833_408 / 1_281_167
FIG1_FEWER = 0.6

CIFAR10_STAGE = StageSettings(steps=50_000, batch_size=64, critic_steps=5, generator_batches=2)
STL10_STAGE = StageSettings(steps=100_000, batch_size=64, critic_steps=5)
HWDB_STAGE = StageSettings(steps=150_000, batch_size=64, critic_steps=5)
IMAGENET_STAGE = StageSettings(steps=450_000, batch_size=64, critic_steps=5, generator_batches=2, decay_from=400 / 450)
# Part of all generator steps that stage 1 may take at most; the paper says "until no significant improvement".
TRANSFER_SHARE = 1 / 2


def table1_cifar10_ac_gan() -> Recipe:
    """Table I, CIFAR-10, "AC-GAN": 50,000 HQ images, SN-GAN's networks and schedule with an auxiliary classifier."""
    return _row("table1-cifar10-ac-gan", CIFAR10, AcGan(adversarial=CIFAR10_STAGE))


def table1_cifar10_prog_gan() -> Recipe:
    """Table I, CIFAR-10, "PROG-GAN": 50,000 HQ images, the authors' CIFAR-10 settings, class-conditional."""
    return _row("table1-cifar10-prog-gan", CIFAR10, _prog_gan(images=20_000_000))


def table1_cifar10_projection() -> Recipe:
    """Table I, CIFAR-10, "SN-GAN + Projection": 50,000 HQ images, the authors' schedule."""
    return _row("table1-cifar10-projection", CIFAR10, _projection(CIFAR10_STAGE))


def table1_cifar10_fewer() -> Recipe:
    """Table I, CIFAR-10, "Ours (Fewer HQ)": 32,500 HQ and 10,000 LQ images."""
    return _row("table1-cifar10-fewer", _fewer(CIFAR10, degradation=CIFAR10_LQ), _ctf(CIFAR10_STAGE, "tiled"))


def table1_cifar10_entire() -> Recipe:
    """Table I, CIFAR-10, "Ours (Entire HQ)": 50,000 HQ and 10,000 LQ images."""
    return _row("table1-cifar10-entire", _with(CIFAR10, degradation=CIFAR10_LQ), _ctf(CIFAR10_STAGE, "tiled"))


def table1_stl10_ac_gan() -> Recipe:
    """Table I, STL-10, "AC-GAN": the 5,000 labelled HQ images."""
    return _row("table1-stl10-ac-gan", STL10, AcGan(adversarial=STL10_STAGE))


def table1_stl10_prog_gan() -> Recipe:
    """Table I, STL-10, "PROG-GAN": the 5,000 labelled HQ images, settings as on CIFAR-10."""
    return _row("table1-stl10-prog-gan", STL10, _prog_gan(images=20_000_000))


def table1_stl10_projection() -> Recipe:
    """Table I, STL-10, "SN-GAN + Projection": the 5,000 labelled HQ images."""
    return _row("table1-stl10-projection", STL10, _projection(STL10_STAGE))


def table1_stl10_fewer() -> Recipe:
    """Table I, STL-10, "Ours (Fewer HQ)": 3,250 HQ and 1,000 LQ images."""
    return _row("table1-stl10-fewer", _fewer(STL10, degradation=STL10_LQ), _ctf(STL10_STAGE, "tiled"))


def table1_stl10_entire() -> Recipe:
    """Table I, STL-10, "Ours (Entire HQ)": 5,000 HQ and 1,000 LQ images."""
    return _row("table1-stl10-entire", _with(STL10, degradation=STL10_LQ), _ctf(STL10_STAGE, "tiled"))


def table2_hwdb_projection() -> Recipe:
    """Table II, CASIA-HWDB1.0, "SN-GAN + Projection": 1,246,991 HQ images."""
    return _row("table2-hwdb-projection", HWDB, _projection(HWDB_STAGE))


def table2_hwdb_fewer() -> Recipe:
    """Table II, CASIA-HWDB1.0, "Ours (Fewer HQ)": 810,544 HQ images and the 70,000 of MNIST as LQ."""
    return _row("table2-hwdb-fewer", _fewer(HWDB, **MNIST_LQ), _ctf(HWDB_STAGE))


def table2_hwdb_entire() -> Recipe:
    """Table II, CASIA-HWDB1.0, "Ours (Entire HQ)": 1,246,991 HQ images and the 70,000 of MNIST as LQ."""
    return _row("table2-hwdb-entire", _with(HWDB, **MNIST_LQ), _ctf(HWDB_STAGE))


def table2_omniglot_projection() -> Recipe:
    """Table II's "SN-GAN + Projection" on Omniglot, which the paper does not use: 1,623 classes of 20 images."""
    return _row("table2-omniglot-projection", OMNIGLOT, _projection(HWDB_STAGE))


def table2_omniglot_fewer() -> Recipe:
    """Table II's "Ours (Fewer HQ)" on Omniglot: 65 % of the HQ images and the 70,000 of MNIST as LQ."""
    return _row("table2-omniglot-fewer", _fewer(OMNIGLOT, **MNIST_LQ), _ctf(HWDB_STAGE))


def table2_omniglot_entire() -> Recipe:
    """Table II's "Ours (Entire HQ)" on Omniglot: all HQ images and the 70,000 of MNIST as LQ."""
    return _row("table2-omniglot-entire", _with(OMNIGLOT, **MNIST_LQ), _ctf(HWDB_STAGE))


def table3_imagenet_ac_gan() -> Recipe:
    """Table III, ImageNet 128x128, "AC-GAN": all HQ images."""
    return _row("table3-imagenet-ac-gan", IMAGENET, AcGan(adversarial=IMAGENET_STAGE))


def table3_imagenet_concat() -> Recipe:
    """Table III, ImageNet 128x128, "SN-GAN": all HQ images; its figures are those of the concat discriminator."""
    return _row("table3-imagenet-concat", IMAGENET, _concat())


def table3_imagenet_projection() -> Recipe:
    """Table III, ImageNet 128x128, "SN-GAN + Projection": all HQ images; 36.8 is the model of 850,000 steps."""
    stage = IMAGENET_STAGE.model_copy(update={"steps": 850_000, "decay_from": 800 / 850})
    return _row("table3-imagenet-projection", IMAGENET, _projection(stage))


def table3_imagenet_fewer() -> Recipe:
    """Table III, ImageNet 128x128, "Ours (Fewer HQ)": 833,408 HQ images and the 60,000 of CIFAR-100 as LQ."""
    data = _with(IMAGENET, high_quality_fraction=IMAGENET_FEWER, **CIFAR100_LQ)
    return _row("table3-imagenet-fewer", data, _ctf(IMAGENET_STAGE))


def table3_imagenet_entire() -> Recipe:
    """Table III, ImageNet 128x128, "Ours (Entire HQ)": all HQ images and the 60,000 of CIFAR-100 as LQ."""
    return _row("table3-imagenet-entire", _with(IMAGENET, **CIFAR100_LQ), _ctf(IMAGENET_STAGE))


def fig1_imagenet_entire() -> Recipe:
    """Fig. 1, ImageNet, SN-GAN with 100 % of the HQ images: the row "SN-GAN" of Table III."""
    return _row("fig1-imagenet-entire", IMAGENET, _concat())


def fig1_imagenet_fewer() -> Recipe:
    """Fig. 1, ImageNet, SN-GAN with 60 % of the HQ images."""
    return _row("fig1-imagenet-fewer", _with(IMAGENET, high_quality_fraction=FIG1_FEWER), _concat())


def _row(name: str, data: DataSettings, method: MethodSettings) -> Recipe:
    return Recipe(
        name=name,
        data=data,
        method=method,
        training=TrainingSettings(checks=CheckSettings(every=1_000, images=5_000)),
        recogniser=EvalClassifierSettings(width=32, images=1_000_000),
        evaluation=EvaluationSettings(images=50_000, without_average=True),
    )


def _with(data: DataSettings, **changes: object) -> DataSettings:
    return DataSettings.model_validate(data.model_dump() | changes)


def _fewer(data: DataSettings, **changes: object) -> DataSettings:
    return _with(data, high_quality_fraction=PAPER_HQ_FRACTION, **changes)


def _projection(stage: StageSettings) -> SnGan:
    return SnGan(kind="sn-gan-projection", adversarial=stage)


def _concat() -> SnGan:
    return SnGan(kind="sn-gan-concat", adversarial=IMAGENET_STAGE)


def _ctf(stage: StageSettings, noise_maps: Literal["spatial", "tiled"] = "spatial") -> CtfGan:
    """As many generator steps as the baseline, the paper's loss, batches of the same number of images.

    Tiled noise is for low-quality images of the same class, which spatial noise would drown (decision 6).
    """
    transfer_steps = round(TRANSFER_SHARE * stage.steps)
    generate = TransferStageSettings.model_validate(stage.model_dump() | {"steps": stage.steps - transfer_steps})
    transfer = SkippableStageSettings.model_validate(
        generate.model_dump() | {"steps": transfer_steps, "decay_from": 1.0, "patience": 5}
    )
    return CtfGan(
        features=TransferSettings(noise_maps=noise_maps, merge_kernel=1), transfer=transfer, generate=generate
    )


def _prog_gan(images: int) -> ProgGan:
    """The authors' CIFAR-10 settings: 400,000 images a phase, ``images`` in all, at most 128 channels.

    Gradient norm and class weight are 1, as in their code for labelled data (decision 18).
    """
    batch, phase, smaller_sizes = 16, 400_000, 3
    last = images - phase * (2 * smaller_sizes - 1)
    stage = StageSettings(
        steps=last // batch,
        batch_size=batch,
        generator_rate=1e-3,
        discriminator_rate=1e-3,
        betas=(0.0, 0.99),
        decay_from=1.0,
    )
    return ProgGan(
        networks=NetworkSettings(generator_width=0.25, discriminator_width=0.25, noise=128),
        grow=stage,
        phase_steps=phase // batch,
    )

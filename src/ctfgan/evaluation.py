"""Reported figures of a run: against held-out real images, for the training bank and a held-out one, with the floor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ctfgan.bundle import add_figures
from ctfgan.data.pairing import LowQualityBank
from ctfgan.errors import RunError
from ctfgan.metrics.copies import CopyCheck, check_copies
from ctfgan.metrics.figures import Figures, measure
from ctfgan.metrics.recogniser import TrainedRecogniser
from ctfgan.runs import Watch, Workplace, is_finished, released_checkpoint, released_generator, reopen
from ctfgan.training.run_folder import BUNDLE, FIGURES, RunFolder
from ctfgan.training.runtime import describe_device, place
from ctfgan.training.synthesis import balanced_labels, draw_condition, synthesise

COPY_CHECK_IMAGES = 1_000


@dataclass(frozen=True)
class Protocol:
    """How figures were measured; figures of two runs compare if extractor, numbers and split are the same."""

    real: int
    """Held-out real images."""
    fake: int
    """Generated images per set, the same number for every class."""
    classes: int
    extractor: str
    extractor_images: int
    """Real images that the extractor was trained on, none of the reference."""
    resolution: int
    """Side in pixels; nothing is resized."""
    low_quality: str
    """The banks and the pairing."""
    weights: str
    data_seed: int
    training_seed: int
    evaluation_seed: int
    device: str

    def sentence(self) -> str:
        """All of it in one line."""
        return (
            f"n real {self.real:,} (held-out split, data seed {self.data_seed}), n fake {self.fake:,} (balanced over "
            f"{self.classes:,} classes, seed {self.evaluation_seed}), extractor {self.extractor} (trained on "
            f"{self.extractor_images:,} real images, none of the reference), {self.resolution}x{self.resolution} "
            f"without resize, {self.low_quality}, weights: {self.weights}, training seed {self.training_seed}, "
            f"{self.device}"
        )


@dataclass(frozen=True)
class Evaluation:
    """What ``ctfgan evaluate`` reports."""

    protocol: Protocol
    rows: dict[str, Figures]
    """By name of the image set: samples for each bank, and the floor."""
    copies: CopyCheck

    @property
    def reported(self) -> Figures:
        """The row that stands for the run: the held-out bank, or the only one there is."""
        names = ("samples, held-out LQ bank", "samples, training LQ bank", "samples")
        return next(self.rows[name] for name in names if name in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = {name: figures.as_dict() for name, figures in self.rows.items()}
        return {"protocol": asdict(self.protocol), "rows": rows, "copies": asdict(self.copies)}


def evaluate(path: str | Path, watch: Watch | None = None, device: str | None = None) -> Evaluation:
    """Measure a finished run; writes ``figures.json`` into it and the figures into its bundle.

    Args:
        path: the run folder.
        watch: who is told what happens; None is silent.
        device: another device than the recipe's.

    Raises:
        RunError: no finished run there, or its data changed.
    """
    folder = RunFolder.open(Path(path))
    if not is_finished(folder):
        raise RunError(f"run {path} is not finished; finish it with 'ctfgan resume {path}' first")
    work, recogniser = reopen(folder, watch or Watch(), device)
    real_images = work.dataset.reference.images
    reference, real_probabilities = recogniser.read(real_images)
    real_labels = torch.from_numpy(work.dataset.reference.labels)
    rows: dict[str, Figures] = {}
    generated = None
    labels, seed = _labels(work), work.recipe.evaluation.seed
    for name, generator, bank in _image_sets(work, folder):
        images = synthesise(generator, draw_condition(labels, bank, seed), seed, work.device)
        rows[name] = measure(*recogniser.read(images), reference, labels)
        generated = images if generated is None else generated
    assert generated is not None
    rows |= _floor(reference, real_probabilities, real_labels, work.recipe.data.seed)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(generated))[:COPY_CHECK_IMAGES])
    side = work.dataset.low_quality
    originals = np.union1d(work.dataset.training, side.originals) if side else work.dataset.training
    copies = check_copies(generated[chosen], real_images, work.dataset.images(originals))
    result = Evaluation(_protocol(work, recogniser, folder), rows, copies)
    folder.write_json(FIGURES, result.as_dict())
    summary = {name: sentence(figures) for name, figures in rows.items()}
    add_figures(folder.path / BUNDLE, {**result.as_dict(), "protocol": result.protocol.sentence(), "summary": summary})
    return result


def sentence(figures: Figures) -> str:
    """One line with all figures of a set."""
    accuracy = "" if figures.top_1 is None else f"top-1 {figures.top_1:.1%}, top-5 {figures.top_5:.1%}, "
    return (
        f"{accuracy}recogniser score {figures.score_mean:.2f} ± {figures.score_std:.2f}, "
        f"Frechet distance {figures.frechet:.2f}, KID {figures.kid:.4f} ({figures.count:,} images)"
    )


def _image_sets(work: Workplace, folder: RunFolder) -> list[tuple[str, nn.Module, LowQualityBank | None]]:
    side = work.dataset.low_quality
    banks: dict[str, LowQualityBank | None] = {"": None}
    if side is not None:
        banks = {", training LQ bank": side.bank}
        if side.held_out is not None:
            banks[", held-out LQ bank"] = side.held_out
    kinds = {"samples": True}
    if work.recipe.evaluation.without_average and work.recipe.training.ema_decay is not None:
        kinds["samples without moving average"] = False
    sets: list[tuple[str, nn.Module, LowQualityBank | None]] = []
    for kind, average in kinds.items():
        generator = released_generator(work, folder, average=average)
        place(generator, work.device)
        sets += [(kind + bank_name, generator, bank) for bank_name, bank in banks.items()]
    return sets


def _labels(work: Workplace) -> torch.Tensor:
    return balanced_labels(work.recipe.evaluation.images, len(work.dataset.classes))


def _floor(features: torch.Tensor, probabilities: torch.Tensor, labels: torch.Tensor, seed: int) -> dict[str, Figures]:
    """Half of the held-out real images against the other half: what a perfect generator of that size would score."""
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    one, other = order.chunk(2)
    floor = measure(features[one], probabilities[one], features[other], labels[one])
    return {"floor: real half against real half": floor}


def _protocol(work: Workplace, recogniser: TrainedRecogniser, folder: RunFolder) -> Protocol:
    recipe, dataset, side = work.recipe, work.dataset, work.dataset.low_quality
    bank = "no LQ bank"
    if side is not None:
        held_out = 0 if side.held_out is None else len(side.held_out)
        sizes = f"{len(side.bank):,} training and {held_out:,} held-out images"
        bank = f"LQ banks of {sizes} ({side.held_out_seen:,} of the latter seen as HQ), {side.pairing} pairing"
    average = "as trained" if recipe.training.ema_decay is None else "moving average"
    checkpoint = folder.manifest(released_checkpoint(recipe, folder))
    moment = f"stage {checkpoint['stage']!r}, step {checkpoint['stage_step']:,}"
    weights = f"{recipe.training.release} of {moment}, {average}"
    return Protocol(
        real=len(dataset.reference),
        fake=len(_labels(work)),
        classes=len(dataset.classes),
        extractor=recogniser.name,
        extractor_images=len(dataset.pool),
        resolution=recipe.data.resolution,
        low_quality=bank,
        weights=weights,
        data_seed=recipe.data.seed,
        training_seed=recipe.seed,
        evaluation_seed=recipe.evaluation.seed,
        device=describe_device(work.device),
    )

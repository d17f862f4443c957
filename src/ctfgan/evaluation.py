"""Reported figures of a run: against held-out real images, for the training bank and a held-out one, with the floor."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ctfgan.bundle import add_figures
from ctfgan.data.pairing import LowQualityBank
from ctfgan.files import write_file
from ctfgan.metrics.copies import CopyCheck, check_copies
from ctfgan.metrics.figures import Figures, measure
from ctfgan.metrics.recogniser import TrainedRecogniser
from ctfgan.recipes.recipe import parse_recipe
from ctfgan.runs import Watch, Workplace, check_same_data, open_workplace, released_checkpoint, released_generator
from ctfgan.training.run_folder import JOURNAL, Journal, RunFolder
from ctfgan.training.runtime import describe_device, place
from ctfgan.training.synthesis import balanced_labels, draw_condition, synthesise

FIGURES = "figures.json"
COPY_CHECK_IMAGES = 1_000


@dataclass(frozen=True)
class Evaluation:
    """What ``ctfgan evaluate`` reports."""

    protocol: str
    rows: dict[str, Figures]
    """By name of the image set: samples per bank, held-out real images, the floor."""
    copies: CopyCheck

    @property
    def reported(self) -> Figures:
        """The row that stands for the run: the held-out bank, or the only one there is."""
        return self.rows.get("samples, held-out LQ bank") or self.rows["samples"]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = {name: figures.as_dict() for name, figures in self.rows.items()}
        return {"protocol": self.protocol, "rows": rows, "copies": asdict(self.copies)}


def evaluate(path: str | Path, watch: Watch | None = None) -> Evaluation:
    """Measure a run; writes ``figures.json`` into it and the figures into its bundle.

    Raises:
        RunError: no run there, or its data changed.
    """
    watch = watch or Watch()
    folder = RunFolder.open(Path(path))
    work = open_workplace(parse_recipe(json.loads(folder.recipe()), str(path)), watch)
    check_same_data(folder, work)
    recogniser = work.recogniser(watch.progress)
    reference_rows = work.dataset.reference
    reference, real_probabilities = recogniser.read(work.dataset.images(reference_rows))
    real_labels = torch.from_numpy(work.dataset.labels(reference_rows))
    rows: dict[str, Figures] = {}
    generated = None
    for name, generator, bank in _image_sets(work, folder):
        labels = _labels(work)
        seed = work.recipe.evaluation.seed
        images = synthesise(generator, draw_condition(labels, bank, seed), seed, work.device)
        rows[name] = measure(*recogniser.read(images), reference, labels)
        generated = images if generated is None else generated
    assert generated is not None
    rows |= _floor(reference, real_probabilities, real_labels, work.recipe.data.seed)
    rng = np.random.default_rng(work.recipe.evaluation.seed)
    chosen = np.sort(rng.permutation(len(generated))[:COPY_CHECK_IMAGES])
    side = work.dataset.low_quality
    originals = np.union1d(work.dataset.training, side.originals) if side else work.dataset.training
    copies = check_copies(generated[chosen], work.dataset.images(reference_rows), work.dataset.images(originals))
    result = Evaluation(_protocol(work, recogniser, folder), rows, copies)
    write_file(folder.path / FIGURES, json.dumps(result.as_dict(), indent=1).encode())
    if (folder.path / "bundle").is_dir():
        summary = {name: sentence(figures) for name, figures in rows.items()}
        add_figures(folder.path / "bundle", {**result.as_dict(), "summary": summary})
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
        banks = {", training LQ bank": side.bank, ", held-out LQ bank": side.held_out}
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


def _protocol(work: Workplace, recogniser: TrainedRecogniser, folder: RunFolder) -> str:
    recipe, dataset = work.recipe, work.dataset
    checkpoint = released_checkpoint(recipe, folder)
    side = dataset.low_quality
    bank = "no LQ bank"
    if side is not None:
        sizes = f"{len(side.bank):,} training and {len(side.held_out):,} held-out images"
        bank = f"LQ banks of {sizes} ({side.held_out_seen:,} of the latter seen as HQ), {side.pairing} pairing"
    weights = "moving average" if recipe.training.ema_decay is not None else "as trained"
    checks = Journal(folder.path / JOURNAL).read("check")
    return (
        f"n real {len(dataset.reference):,} (held-out split, data seed {recipe.data.seed}), "
        f"n fake {len(_labels(work)):,} (balanced over {len(dataset.classes):,} classes, "
        f"seed {recipe.evaluation.seed}), extractor {recogniser.name} (trained on {len(dataset.pool):,} real "
        f"images, none of the reference), {recipe.data.resolution}x{recipe.data.resolution} without resize, {bank}, "
        f"weights {checkpoint.name} of {len(checks)} checks ({recipe.training.release}, {weights}), "
        f"training seed {recipe.seed}, {describe_device(work.device)}"
    )

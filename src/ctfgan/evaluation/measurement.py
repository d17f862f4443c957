"""Measuring a run: the reference is read once, each set of samples is streamed once through all extractors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ctfgan.core.progress import silent
from ctfgan.data.dataset import Subset
from ctfgan.data.images import Bytes
from ctfgan.data.splits import Indices, first_rows, stratified_order
from ctfgan.evaluation.image_streams import CHUNK, ImageSet, Sieve, generated, image_sets, real, reported_set
from ctfgan.evaluation.result import FLOOR, Evaluation
from ctfgan.metrics.classification import ClassificationScore, classification_score
from ctfgan.metrics.eval_classifier import EvalClassifierTrainer, TrainingImages
from ctfgan.metrics.features import SCORE_SPLITS, Chunk, ExtractedFeatures, Extractor, extract_features
from ctfgan.metrics.memorization import MemorizationCheck, check_memorization
from ctfgan.metrics.protocol import Protocol
from ctfgan.metrics.scores import (
    KERNEL_SUBSET_SIZE,
    KERNEL_SUBSETS,
    PRDC_IMAGES,
    ClassReference,
    PerClass,
    Scores,
    score_features,
)
from ctfgan.metrics.settings import EvaluationSettings
from ctfgan.models.synthesis import balanced_labels, sample_labels
from ctfgan.runs.context import Callbacks, RunContext
from ctfgan.runs.train import released_checkpoint
from ctfgan.storage.run_folder import RunFolder
from ctfgan.training.rollback import HealthRecord

COPY_CHECK_IMAGES = 1_000
COPY_CHECK_REAL = 5_000


class Measurement:
    """One evaluation of one run.

    Args:
        work: the run's data and shape.
        folder: the run.
        extractors: with keys of their own, the run's recogniser among them.
        settings: how many images, which figures.
        callbacks: who is told what happens.
    """

    def __init__(
        self,
        work: RunContext,
        folder: RunFolder,
        extractors: Sequence[Extractor],
        settings: EvaluationSettings,
        callbacks: Callbacks,
    ) -> None:
        self._work = work
        self._folder = folder
        self._extractors = extractors
        self._cards = {extractor.card.key: extractor.card for extractor in extractors}
        self._settings = settings
        self._callbacks = callbacks
        self._measured = work.dataset.evaluated_classes
        self._lq_only = self._measured.lq_only.tolist()
        self._numbers, _ = sample_labels(
            self._measured.reference.labels,
            len(self._measured.labels),
            settings.images,
            by_class=work.recipe.method.is_conditional,
        )

    def result(self) -> Evaluation:
        """Measure everything."""
        measured, settings = self._measured, self._settings
        seed, everything = self._work.recipe.data.seed, len(measured.reference)
        one, other = floor_split(measured.reference, settings.images, seed)
        part, rest = (self._read(self._real(rows), len(rows)) for rows in (one, other))
        read = np.concatenate([one, other])
        reference = {key: torch.cat([part[key].features, rest[key].features]) for key in part}
        labels = torch.from_numpy(measured.reference.labels[read])
        by_class = ClassReference(reference, labels, measured.names, settings.per_class, self._lq_only)
        others = {key: reading.features for key, reading in rest.items()}
        # Of a single class one half is compared with the other: a smaller part would have too few images of it.
        halves = [
            torch.from_numpy(np.argsort(read)[rows]) for rows in floor_split(measured.reference, everything, seed)
        ]
        floor = _joined(self._figures(part, others, None), by_class.floor(halves[0], halves[1]))
        sets = image_sets(self._work, self._folder)
        sieve = Sieve(settings.images, COPY_CHECK_IMAGES, settings.seed)
        rows: dict[str, dict[str, Scores]] = {}
        for images in sets:
            chunks = self._samples(images)
            readings = self._read(sieve.passing(chunks) if images is sets[0] else chunks, settings.images)
            found = self._figures(readings, reference, (len(one), others))
            rows[images.name] = _joined(found, self._class_by_class(images, by_class))
        rows[FLOOR] = floor
        protocol, chosen = self._protocol(), reported_set(sets)
        return Evaluation(
            protocol=protocol,
            rows=rows,
            reported_set=chosen.name,
            classification=self._classification(sets[0]) if settings.classification_score else None,
            copies=self._copies(sieve.kept()),
            notes=tuple(protocol.notes(rows[chosen.name])),
        )

    def _real(self, rows: Indices) -> Iterator[Chunk]:
        return real(self._measured.reference, rows, self._callbacks.progress, "reading the reference")

    def _generated(self, images: ImageSet, numbers: Tensor, what: str) -> Iterator[Chunk]:
        return generated(images, numbers, self._settings.seed, self._work.engine, self._callbacks.progress, what)

    def _samples(self, images: ImageSet) -> Iterator[Chunk]:
        chunks = self._generated(images, self._numbers, f"measuring {images.name}")
        intended = self._work.recipe.method.is_conditional
        return ((pixels, labels if intended else None) for pixels, labels in chunks)

    def _read(self, chunks: Iterable[Chunk], count: int) -> dict[str, ExtractedFeatures]:
        return extract_features(self._extractors, chunks, count, self._settings.seed, self._lq_only)

    def _figures(
        self,
        readings: Mapping[str, ExtractedFeatures],
        reference: Mapping[str, Tensor],
        floor: tuple[int, Mapping[str, Tensor]] | None,
    ) -> dict[str, Scores]:
        k, seed = self._settings.neighbours, self._settings.seed
        found = {}
        for key, reading in readings.items():
            compared = None if floor is None else (floor[0], floor[1][key])
            found[key] = score_features(reading, reference[key], self._cards[key], compared, k=k, seed=seed)
        return found

    def _class_by_class(self, images: ImageSet, by_class: ClassReference) -> dict[str, PerClass]:
        count = self._settings.per_class_images

        def draw(label: int) -> Iterator[Chunk]:
            return generated(images, torch.full((count,), label), self._settings.seed, self._work.engine, silent, "")

        return by_class.measure(self._extractors, draw, count, self._callbacks.progress)

    def _classification(self, images: ImageSet) -> ClassificationScore:
        # With the training bank, from which 'ctfgan sample' draws.
        training, reference, recipe = self._measured.training, self._measured.reference, self._work.recipe
        numbers = balanced_labels(self._settings.images, len(self._measured.labels))
        trainer = EvalClassifierTrainer(recipe.recogniser, self._work.device, self._callbacks.progress)
        return classification_score(
            trainer,
            TrainingImages.of(training),
            self._generated(images, numbers, "generating images to train classifiers on"),
            len(numbers),
            self._real(np.arange(len(reference))),
            self._measured.names,
            self._settings.classification_seeds,
        )

    def _copies(self, samples: Bytes) -> MemorizationCheck:
        dataset = self._work.dataset
        side, reference = dataset.low_quality, self._measured.reference
        chosen = np.random.default_rng(self._settings.seed).permutation(len(reference))[:COPY_CHECK_REAL]
        originals = self._measured.training.rows
        if side:
            originals = np.union1d(originals, self._measured.only(side.originals))
        starts = range(0, len(originals), CHUNK)
        watched = self._callbacks.progress(starts, len(starts), "looking for copies")
        known = (dataset.images(originals[start : start + CHUNK]) for start in watched)
        return check_memorization(samples, reference.packed.images[reference.rows[np.sort(chosen)]], known)

    def _protocol(self) -> Protocol:
        recipe, dataset, side = self._work.recipe, self._work.dataset, self._work.dataset.low_quality
        bank = "no LQ bank"
        if side is not None:
            held_out = "none held out"
            if side.held_out is not None:
                held_out = f"{len(side.held_out):,} held-out images ({side.held_out_seen:,} of them seen as HQ)"
            bank = f"LQ banks of {len(side.bank):,} training and {held_out}, {side.pairing} pairing"
            if side.bank.is_partly_matched:
                bank += ", in part with images of no label or of other classes"
        average = "as trained" if recipe.training.ema_decay is None else "moving average"
        checkpoint = self._folder.manifest(released_checkpoint(recipe, self._folder))
        moment = f"stage {checkpoint['stage']!r}, step {checkpoint['stage_step']:,}"
        own = dataset.reference.packed is dataset.high_quality
        health = HealthRecord.of(self._folder.journal())
        return Protocol(
            real=len(self._measured.reference),
            fake=self._settings.images,
            per_class_at_least=int(torch.bincount(self._numbers, minlength=len(self._measured.labels)).min()),
            classes=len(self._measured.labels),
            of_classes=self._measured.of,
            reference="held-out split" if own else dataset.reference.packed.survey.location,
            extractors=self._cards,
            recogniser_images=len(self._measured.pool),
            resolution=recipe.data.resolution,
            low_quality=bank,
            weights=f"{recipe.training.release} of {moment}, {average}",
            score_splits=SCORE_SPLITS,
            kernel_subsets=KERNEL_SUBSETS,
            kernel_subset_size=KERNEL_SUBSET_SIZE,
            neighbours=self._settings.neighbours,
            neighbours_images=PRDC_IMAGES,
            per_class=self._settings.per_class,
            data_seed=recipe.data.seed,
            training_seed=recipe.seed,
            evaluation_seed=self._settings.seed,
            device=self._work.engine.describe(),
            rollbacks=health.rollbacks,
            slowed=health.slowed,
            lq_only=len(self._lq_only),
            unmeasured=dataset.num_classes - self._measured.of,
        )


def floor_split(reference: Subset, images: int, seed: int) -> tuple[Indices, Indices]:
    """Places in the reference of the images that the floor measures, and of those that it compares them with, in order.

    As many as ``images``, the number of samples, where that leaves as many for the other side; else one half. Both
    sides share every class evenly, and no picture; many copies of one may make the first side smaller, or larger.

    Args:
        reference: of at least 4 different pictures.
        images: samples.
        seed: of the choice.
    """
    firsts = first_rows(reference.packed.digests[reference.rows])
    order = stratified_order(reference.labels, seed, firsts)
    pictures = np.flatnonzero(firsts[order] == order)  # where a new one begins: a cut there parts no copies
    cuts = pictures[(pictures >= 2) & (pictures <= len(order) - 2)]
    wanted = cuts[cuts <= min(images, len(order) // 2)]
    cut = int(wanted[-1] if len(wanted) else cuts[0])
    return np.sort(order[:cut]), np.sort(order[cut:])


def _joined(figures: dict[str, Scores], per_class: Mapping[str, PerClass]) -> dict[str, Scores]:
    """Figures with the class-wise distances that were measured."""
    return {key: replace(found, per_class=per_class.get(key)) for key, found in figures.items()}

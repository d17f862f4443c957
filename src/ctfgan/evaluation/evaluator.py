"""``ctfgan evaluate`` as a function: choose extractors, measure, write the scores down.

The reference is read once, each set of samples is streamed once through all extractors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from ctfgan.core.errors import ConfigError, RunError
from ctfgan.core.files import make_room
from ctfgan.core.progress import silent
from ctfgan.core.settings import first_mistake
from ctfgan.data.images import Bytes
from ctfgan.data.low_quality import LowQuality
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import Indices
from ctfgan.evaluation.enhance_and_vary import enhance_and_vary
from ctfgan.evaluation.extractors import second_recogniser
from ctfgan.evaluation.image_streams import (
    CHUNK,
    ImageSample,
    ImageSet,
    SharedExtractor,
    floor_split,
    generated_chunks,
    image_sets,
    kept_tries,
    real_chunks,
    reported_set,
)
from ctfgan.evaluation.result import (
    FLOOR,
    Evaluation,
    read_figures,
    readable_notes,
    readable_set,
    store,
)
from ctfgan.metrics.classification import HQ, LQ, ClassificationScore, classification_score
from ctfgan.metrics.eval_classifier import EvalClassifierTrainer, TrainingImages
from ctfgan.metrics.features import (
    EVAL_CLASSIFIER,
    Chunk,
    ExtractedFeatures,
    Extractor,
    extract_features,
)
from ctfgan.metrics.memorization import MemorizationCheck, check_memorization
from ctfgan.metrics.protocol import Protocol
from ctfgan.metrics.scores import ClassReference, PerClass, Scores, score_features
from ctfgan.metrics.settings import EvaluationSettings
from ctfgan.models.synthesis import balanced_labels, sample_labels
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.runs.context import Callbacks, RunContext, main_only
from ctfgan.runs.resumed_run import is_finished, reopen
from ctfgan.sampling.rejection import Rejections, RejectionSampler
from ctfgan.storage.run_folder import RECIPE, RunFolder
from ctfgan.training.divergence import HealthRecord

MEMORIZATION_SAMPLES, MEMORIZATION_REAL = 1_000, 5_000
FEWEST_READABLE = 100  # samples that are read as their class; of fewer there are no figures


def evaluate(
    path: str | Path,
    callbacks: Callbacks | None = None,
    device: str | None = None,
    *,
    images: int | None = None,
    per_class: int | None = None,
    classification_score: bool | None = None,
    classification_seeds: int | None = None,
    keep_readable: bool | None = None,
    top_k: int | None = None,
    tries: int | None = None,
    extractors: Sequence[Extractor] = (),
    out: str | Path | None = None,
    show: Callable[[Evaluation], None] = lambda result: None,
) -> Evaluation:
    """Measure a finished run; writes ``figures.json`` into it and the figures into its bundle.

    Under a launcher of several processes all of them must call this; they share the synthesis and the reading.

    What another extractor measured before stays in ``figures.json`` if everything else was the same.

    Args:
        path: the run folder.
        callbacks: who is told what happens; None is silent.
        device: another device than the recipe's.
        images: generated images per low-quality bank; None takes the recipe's number, as with the next three.
        per_class: number of classes whose Frechet distance is measured by itself.
        classification_score: whether to train classifiers on real images, augmented or not, and on generated ones.
        classification_seeds: how many of each kind.
        keep_readable: whether to measure samples, too, that are drawn anew until they are read as their class.
        top_k: which ranks of the class do for these.
        tries: at each of them, at most.
        extractors: more of them than the run's own recogniser, from :func:`load_extractors`.
        out: another file than ``figures.json``; the run and its bundle are then left as they are.
        show: is given the result before it is stored, by the main process.

    Raises:
        RunError: no finished run there, its data changed, or the figures cannot be stored.
        ConfigError: a number that is not allowed, or an ``out`` that is something else already.
    """
    folder = RunFolder.open(Path(path))
    if not is_finished(folder):
        raise RunError(f"run {path} is not finished; finish it with 'ctfgan resume {path}' first")
    recipe = parse_recipe(folder.read_json(RECIPE), str(folder.path / RECIPE))
    file = None if out is None else Path(out)
    if file is not None:
        make_room(file)
        if file.exists():
            read_figures(file)
    changes = {
        "images": images,
        "per_class": per_class,
        "classification_score": classification_score,
        "classification_seeds": classification_seeds,
        "keep_readable": keep_readable,
        "top_k": top_k,
        "tries": tries,
    }
    settings = _settings(recipe, {name: value for name, value in changes.items() if value is not None})
    callbacks = callbacks or Callbacks()
    context, eval_classifier = reopen(folder, callbacks, device)
    processes = context.engine.processes
    callbacks, judges, sampler = main_only(callbacks, context.engine), list[Extractor](), None
    if settings.keep_readable:
        numbers = np.arange(len(context.dataset.evaluated_classes.labels))
        sampler = RejectionSampler(eval_classifier, numbers, settings.top_k, settings.tries, processes)
        judges = [processes.main_first(lambda: second_recogniser(context, callbacks.progress))]
    shared = [SharedExtractor(extractor, processes) for extractor in (eval_classifier, *judges, *extractors)]
    result = _Evaluator(context, folder, shared, settings, callbacks, sampler).evaluate()
    if processes.is_main:
        show(result)
    processes.on_main(lambda: store(folder, result, file))
    return result


def _settings(recipe: Recipe, changes: dict[str, Any]) -> EvaluationSettings:
    try:
        settings = EvaluationSettings.model_validate(recipe.evaluation.model_dump() | changes)
    except ValidationError as error:
        raise ConfigError(f"evaluation.{first_mistake(error)}") from error
    by_class = settings.per_class or settings.classification_score or settings.keep_readable
    if not recipe.method.is_conditional and by_class:
        raise ConfigError(
            f"a {recipe.method.kind} model makes images without a class; set evaluation.per_class to 0 and "
            "evaluation.classification_score and evaluation.keep_readable to false"
        )
    return settings


class _Evaluator:
    """Measures one run.

    Args:
        context: the run's data.
        folder: the run.
        extractors: with keys of their own, the run's eval classifier among them.
        settings: how many images, which scores.
        callbacks: who is told what happens.
        sampler: of samples that are read as their class, which are then measured, too.
    """

    def __init__(
        self,
        context: RunContext,
        folder: RunFolder,
        extractors: Sequence[Extractor],
        settings: EvaluationSettings,
        callbacks: Callbacks,
        sampler: RejectionSampler | None,
    ) -> None:
        self._context = context
        self._folder = folder
        self._extractors = extractors
        self._cards = {extractor.card.key: extractor.card for extractor in extractors}
        self._recogniser = next(extractor for extractor in extractors if extractor.card.key == EVAL_CLASSIFIER)
        self._settings = settings
        self._progress = callbacks.progress
        self._sampler = sampler
        self._classes = context.dataset.evaluated_classes
        self._reference = self._classes.reference
        self._num_classes = len(self._classes.labels)
        self._lq_only = self._classes.lq_only.tolist()
        self._numbers, _ = sample_labels(
            self._reference.labels,
            self._num_classes,
            settings.images,
            by_class=context.recipe.method.is_conditional,
        )

    def evaluate(self) -> Evaluation:
        """Measure everything."""
        settings, seed = self._settings, self._context.recipe.data.seed
        split = floor_split(self._reference, settings.images, seed)
        part, rest = (self._extract(self._real(rows), len(rows)) for rows in split)
        order = np.concatenate(split)
        reference = {key: torch.cat([part[key].features, rest[key].features]) for key in part}
        labels = torch.from_numpy(self._reference.labels[order])
        by_class = ClassReference(reference, labels, self._classes.names, settings.per_class, self._lq_only)
        rest_features = {key: extracted.features for key, extracted in rest.items()}
        # Of a single class one half is compared with the other: a smaller part would have too few images of it.
        halves = floor_split(self._reference, len(self._reference), seed)
        places = [torch.from_numpy(np.argsort(order)[rows]) for rows in halves]
        floor = self._score(part, rest_features, None, by_class.floor(places[0], places[1]))
        sets = image_sets(self._context, self._folder)
        sample = ImageSample(settings.images, MEMORIZATION_SAMPLES, settings.seed)
        rows: dict[str, dict[str, Scores]] = {}
        rejections: dict[str, Rejections] = {}
        at_floor = len(split[0]), rest_features
        for images in sets:
            chunks = self._samples(images)
            extracted = self._extract(sample.collect(chunks) if images is sets[0] else chunks, settings.images)
            rows[images.name] = self._score(extracted, reference, at_floor, self._class_by_class(images, by_class))
            if self._sampler is None or images.generator is not sets[0].generator:
                continue
            name = readable_set(images.name, settings)
            tries, rejections[name] = self._tries(images, self._sampler)
            if (count := np.count_nonzero(tries[: settings.images])) >= FEWEST_READABLE:
                extracted = self._extract(self._samples(images, tries), int(count))
                rows[name] = self._score(extracted, reference, at_floor if count >= at_floor[0] else None, {})
        rows[FLOOR] = floor
        protocol, chosen = self._protocol(), reported_set(sets)
        return Evaluation(
            protocol=protocol,
            rows=rows,
            reported_set=chosen.name,
            classification=self._classification(sets[0]) if settings.classification_score else None,
            copies=self._memorization(sample.images()),
            notes=(*protocol.notes(rows[chosen.name]), *readable_notes(rejections, rows)),
            rejections=rejections,
            super_resolution=enhance_and_vary(
                chosen,
                self._reference,
                order,
                reference[EVAL_CLASSIFIER],
                self._recogniser,
                settings,
                self._context.engine,
            ),
        )

    def _real(self, rows: Indices) -> Iterator[Chunk]:
        return real_chunks(self._reference, rows, self._progress, "reading the reference")

    def _generated(self, images: ImageSet, numbers: Tensor, what: str, tries: Labels | None = None) -> Iterator[Chunk]:
        return generated_chunks(images, numbers, self._settings.seed, self._context.engine, self._progress, what, tries)

    def _tries(self, images: ImageSet, sampler: RejectionSampler) -> tuple[Labels, Rejections]:
        """Which try at each sample is read as its class, and how many it took, class by class."""
        seed, engine = self._settings.seed, self._context.engine
        tries = kept_tries(images, self._numbers, seed, engine, self._progress, sampler)
        return tries, Rejections.count(images.names, self._numbers.numpy(), tries, sampler.tries)

    def _samples(self, images: ImageSet, tries: Labels | None = None) -> Iterator[Chunk]:
        chunks = self._generated(images, self._numbers, f"measuring {images.name}", tries)
        intended = self._context.recipe.method.is_conditional
        return ((pixels, labels if intended else None) for pixels, labels in chunks)

    def _extract(self, chunks: Iterable[Chunk], count: int) -> dict[str, ExtractedFeatures]:
        return extract_features(self._extractors, chunks, count, self._settings.seed, self._lq_only)

    def _score(
        self,
        extracted: Mapping[str, ExtractedFeatures],
        reference: Mapping[str, Tensor],
        floor: tuple[int, Mapping[str, Tensor]] | None,
        per_class: Mapping[str, PerClass],
    ) -> dict[str, Scores]:
        """Scores by extractor, with the class-wise distances where they were measured."""
        k, seed = self._settings.neighbours, self._settings.seed
        scores = {}
        for key, own in extracted.items():
            compared = None if floor is None else (floor[0], floor[1][key])
            whole = score_features(own, reference[key], self._cards[key], compared, k=k, seed=seed)
            scores[key] = replace(whole, per_class=per_class.get(key))
        return scores

    def _class_by_class(self, images: ImageSet, by_class: ClassReference) -> dict[str, PerClass]:
        count = self._settings.per_class_images

        def draw(label: int) -> Iterator[Chunk]:
            return generated_chunks(
                images, torch.full((count,), label), self._settings.seed, self._context.engine, silent, ""
            )

        return by_class.measure(self._extractors, draw, count, self._progress)

    def _classification(self, images: ImageSet) -> ClassificationScore:
        # With the training bank, from which 'ctfgan sample' draws.
        numbers = balanced_labels(self._settings.images, self._num_classes)
        return classification_score(
            EvalClassifierTrainer(self._context.recipe.recogniser, self._context.device, self._progress),
            self._real_training_images(),
            self._generated(images, numbers, "generating images to train classifiers on"),
            len(numbers),
            self._real(np.arange(len(self._reference))),
            self._classes.names,
            self._settings.classification_seeds,
        )

    def _real_training_images(self) -> dict[str, TrainingImages]:
        """Of the measured classes what training sees, by kind; low-quality images only if their classes are known."""
        kinds, side = {HQ: TrainingImages.of(self._classes.training)}, self._context.dataset.low_quality
        if side is not None and side.bank.label_of_class is not None:
            low = TrainingImages.of_low_quality(side.bank, self._context.dataset.high_quality, self._classes.labels)
            kinds |= {LQ: low} if len(low.rows) else {}
        return kinds

    def _memorization(self, samples: Bytes) -> MemorizationCheck:
        dataset, reference = self._context.dataset, self._reference
        chosen = np.random.default_rng(self._settings.seed).permutation(len(reference))[:MEMORIZATION_REAL]
        originals = self._classes.training.rows
        if dataset.low_quality:
            originals = np.union1d(originals, self._classes.only(dataset.low_quality.originals))
        starts = range(0, len(originals), CHUNK)
        training = (
            dataset.images(originals[start : start + CHUNK])
            for start in self._progress(starts, len(starts), "looking for copies")
        )
        return check_memorization(samples, reference.packed.images[reference.rows[np.sort(chosen)]], training)

    def _protocol(self) -> Protocol:
        recipe, dataset = self._context.recipe, self._context.dataset
        average = "as trained" if recipe.training.ema_decay is None else "moving average"
        checkpoint = self._folder.manifest(self._folder.released(recipe.training.release))
        moment = f"stage {checkpoint['stage']!r}, step {checkpoint['stage_step']:,}"
        own = dataset.reference.packed is dataset.high_quality
        health = HealthRecord.of(self._folder.journal())
        return Protocol(
            real=len(self._reference),
            fake=self._settings.images,
            per_class_at_least=int(torch.bincount(self._numbers, minlength=self._num_classes).min()),
            classes=self._num_classes,
            of_classes=self._classes.of,
            reference="held-out split" if own else dataset.reference.packed.survey.location,
            extractors=self._cards,
            recogniser_images=len(self._classes.pool),
            resolution=recipe.data.resolution,
            low_quality=_banks_in_words(dataset.low_quality),
            weights=f"{recipe.training.release} of {moment}, {average}",
            neighbours=self._settings.neighbours,
            per_class=self._settings.per_class,
            data_seed=recipe.data.seed,
            training_seed=recipe.seed,
            evaluation_seed=self._settings.seed,
            device=self._context.engine.describe(),
            rollbacks=health.rollbacks,
            slowed=health.slowed,
            lq_only=len(self._lq_only),
            unmeasured=dataset.num_classes - self._classes.of,
        )


def _banks_in_words(side: LowQuality | None) -> str:
    if side is None:
        return "no LQ bank"
    held_out = "none held out"
    if side.held_out is not None:
        held_out = f"{len(side.held_out):,} held-out images ({side.held_out_seen:,} of them seen as HQ)"
    mixed = ", in part with images of no label or of other classes" if side.bank.is_partly_matched else ""
    return f"LQ banks of {len(side.bank):,} training and {held_out}, {side.pairing} pairing{mixed}"

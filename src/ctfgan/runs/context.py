"""What training and evaluation of a recipe both need: its data, its processes, who watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from ctfgan.bundle.warm_start import Matched
from ctfgan.core.files import cache_folder
from ctfgan.core.progress import Progress, silent
from ctfgan.data.dataset import MOST_MEASURED_CLASSES, Dataset
from ctfgan.data.describe import describe
from ctfgan.data.prepare import prepare
from ctfgan.distributed.engine import Engine, start_engine
from ctfgan.metrics.eval_classifier import EvalClassifier, EvalClassifierTrainer, TrainedEvalClassifier, TrainingImages
from ctfgan.recipes.build import DataSpec, build_method, labels_use_codes, random_codes_for, uses_codes
from ctfgan.recipes.recipe import Recipe
from ctfgan.recipes.validate import check_recipe
from ctfgan.training.class_codes import (
    ClassCodes,
    ClassEncoder,
    SeenImages,
    codes_of_classes,
    codes_of_labels,
    for_codes,
    kept_class_means,
)
from ctfgan.training.stage import Method
from ctfgan.training.trainer import Callback


class NullCallback(Callback):
    """An observer that says nothing; base of those who say something of some events."""


@dataclass(frozen=True)
class Callbacks:
    """Who is told what happens: a training observer, a progress bar for loops, a place for lines of text."""

    callback: Callback = field(default_factory=NullCallback)
    progress: Progress = silent
    say: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class RunContext:
    """What training and evaluation of a recipe both need."""

    recipe: Recipe
    dataset: Dataset
    data_spec: DataSpec
    engine: Engine
    codes: ClassCodes | None = None
    """Where classes are known by them: made of the images when a run begins, and from then on the run's own."""

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return self.engine.device

    @property
    def is_matched(self) -> bool:
        """Whether low-quality images are those of their classes."""
        side = self.dataset.low_quality
        return side is not None and side.pairing == "matched"

    def method(self) -> Method:
        """Networks and stages with the recipe's seed."""
        return build_method(
            self.recipe, self.data_spec, matched=self.is_matched, processes=self.engine.processes, codes=self.codes
        )

    def eval_classifier(self, progress: Progress) -> TrainedEvalClassifier:
        """The recogniser of the pool, trained now or from the cache."""
        classes = self.dataset.evaluated_classes
        trainer = EvalClassifierTrainer(self.recipe.recogniser, self.device, progress)
        return trainer.train([TrainingImages.of(classes.pool)], len(classes.labels))

    def with_codes(self, progress: Progress, begin: Matched | None = None) -> RunContext:
        """With codes of the classes, made of the images that the GAN trains on, if the recipe wants any.

        Args:
            progress: shows the training of the classifier and the reading of images.
            begin: trained weights to begin with, whose codes and encoder are kept.
        """
        if not uses_codes(self.recipe.method, self.data_spec):
            return self
        return replace(self, codes=self.engine.processes.main_first(lambda: self._class_codes(progress, begin)))

    def with_random_codes(self) -> RunContext:
        """With codes of no images, for those who count and time what networks do with them."""
        return replace(self, codes=random_codes_for(self.recipe, self.data_spec, matched=self.is_matched))

    def _class_codes(self, progress: Progress, begin: Matched | None) -> ClassCodes:
        dataset, seen = self.dataset, SeenImages(self.dataset)
        if begin is not None and begin.knows_all:
            encoder, codes = begin.encoder, begin.with_old_codes()
        else:
            classifier = self._code_classifier(seen, progress) if begin is None else begin.encoder.classifier
            means = partial(
                kept_class_means, classifier, count=dataset.num_classes, cache=cache_folder(), device=self.device,
                progress=progress,
            )  # fmt: skip
            high = means(seen.high_quality)
            low = None if seen.low_quality is None else means(seen.low_quality)
            encoder = ClassEncoder.fitted(classifier, high) if begin is None else begin.encoder
            codes = codes_of_classes(encoder, high, low)
            codes = codes if begin is None else begin.with_old_codes(codes)
        side, labels, with_reals = dataset.low_quality, None, None
        if labels_use_codes(self.recipe.method, self.data_spec, matched=self.is_matched):
            assert side is not None
            assert side.bank.label_of_class is not None
            labels = codes_of_labels(codes, side.bank.label_of_class, self.data_spec.num_low_quality_labels)
        if len(dataset.lq_only):
            with_reals = torch.ones(dataset.num_classes, dtype=torch.bool)
            with_reals[torch.from_numpy(dataset.lq_only)] = False
        return ClassCodes(codes, labels, with_reals, encoder)

    def _code_classifier(self, seen: SeenImages, progress: Progress) -> EvalClassifier:
        """The classifier whose features become codes, on the CPU."""
        classes = self.dataset.evaluated_classes.labels
        if self.dataset.num_classes <= MOST_MEASURED_CLASSES:
            classes = np.arange(self.dataset.num_classes)
        settings = for_codes(self.recipe.recogniser, self.recipe.method.networks.class_code)
        trainer = EvalClassifierTrainer(settings, self.device, progress)
        what = "the classifier whose features become class codes"
        return trainer.train([seen.of(classes)], len(classes), what).network.cpu()


def open_context(recipe: Recipe, callbacks: Callbacks) -> RunContext:
    """Check the recipe, open its data and say what was found; several processes do so together."""
    engine = start_engine(recipe.device, recipe.training.precision)
    check_recipe(recipe, engine.processes.count)
    callbacks = main_only(callbacks, engine)
    dataset = engine.processes.main_first(
        lambda: prepare(recipe.data, low_quality=recipe.method.uses_low_quality, progress=callbacks.progress)
    )
    for line in [*describe(dataset, recipe.data), *_untrained_lines(recipe, dataset)]:
        callbacks.say(line)
    side = dataset.low_quality
    spec = DataSpec(
        num_classes=dataset.num_classes,
        num_low_quality_labels=len(side.names) if side else 0,
        low_quality_size=dataset.low_quality_size,
        channels=dataset.channels,
        low_quality_detail=side.bank.detail() if side and side.pairing == "matched" else 0,
        num_lq_only=len(dataset.lq_only),
    )
    context = RunContext(recipe, dataset, spec, engine)
    labels_use_codes(recipe.method, spec, matched=context.is_matched)  # refuses before anything is trained
    return context


def _untrained_lines(recipe: Recipe, dataset: Dataset) -> list[str]:
    """Of stages that condition on the classes of real images alone."""
    stages = [name for name, stage in recipe.stages.items() if stage.fake_classes == "real"]
    if not stages or not len(dataset.lq_only):
        return []
    settings = " ".join(f"--set {name}.fake_classes=uniform" for name in stages)
    return [
        "  note: the recipe synthesises the classes of the real images of each batch, so that classes with low-quality "
        f"images only are not trained; {settings} trains them"
    ]


def main_only(callbacks: Callbacks, engine: Engine) -> Callbacks:
    """The watch of the main process; the others are silent."""
    return callbacks if engine.processes.is_main else Callbacks()

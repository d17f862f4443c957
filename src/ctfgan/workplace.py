"""What training and evaluation of a recipe both need: its data, its processes, who watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from ctfgan.data.describe import describe
from ctfgan.data.image_view import ImageView
from ctfgan.data.prepare import Dataset, prepare
from ctfgan.errors import ConfigError
from ctfgan.files import cache_folder
from ctfgan.metrics.recogniser import TrainedRecogniser, TrainingImages, recogniser_for
from ctfgan.nn.class_tables import lazy_tables
from ctfgan.progress import Progress, silent
from ctfgan.recipes.build import Shape, build_method, uses_codes
from ctfgan.recipes.checks import check_recipe
from ctfgan.recipes.recipe import Recipe
from ctfgan.training.class_codes import ClassCodes, ClassEncoder, class_means, for_codes, random_codes
from ctfgan.training.method import Method, Observer
from ctfgan.training.runtime import Engine, start_engine
from ctfgan.training.settings import StageSettings


class Quiet(Observer):
    """An observer that says nothing; base of those who say something of some events."""


@dataclass(frozen=True)
class Watch:
    """Who is told what happens: a training observer, a progress bar for loops, a place for lines of text."""

    observer: Observer = field(default_factory=Quiet)
    progress: Progress = silent
    say: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Workplace:
    """What training and evaluation of a recipe both need."""

    recipe: Recipe
    dataset: Dataset
    shape: Shape
    engine: Engine
    codes: ClassCodes | None = None
    """Where classes are known by them: made of the images when a run begins, and from then on the run's own."""

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return self.engine.device

    def method(self) -> Method:
        """Networks and stages with the recipe's seed.

        Raises:
            ConfigError: row-lazy class tables on a device that lacks float64.
        """
        side = self.dataset.low_quality
        matched = side is not None and side.pairing == "matched"
        method = build_method(
            self.recipe, self.shape, matched=matched, processes=self.engine.processes, codes=self.codes
        )
        if self.device.type == "mps" and lazy_tables(method.networks):
            raise ConfigError(
                f"device is mps, which has no float64; row-lazy tables of {self.shape.num_classes:,} classes need it: "
                "use --device cpu, or --set table_updates=dense"
            )
        return method

    def recogniser(self, progress: Progress) -> TrainedRecogniser:
        """The recogniser of the pool, trained now or from the cache."""
        packed, measured = self.dataset.high_quality, self.dataset.measured
        return recogniser_for(
            TrainingImages(packed.images, measured.pool.rows, measured.pool.labels, packed.fingerprint),
            len(measured.labels),
            self.recipe.recogniser,
            cache_folder(),
            self.device,
            progress,
        )

    def with_codes(self, progress: Progress) -> Workplace:
        """With codes of the classes, made of the images that the GAN trains on, if the recipe wants any."""
        if not uses_codes(self.recipe.method, self.shape):
            return self
        return replace(self, codes=self.engine.processes.main_first(lambda: self._class_codes(progress)))

    def with_random_codes(self) -> Workplace:
        """With codes of no images, for those who count and time what networks do with them."""
        if not uses_codes(self.recipe.method, self.shape):
            return self
        side = self.dataset.low_quality
        matched = side is not None and side.pairing == "matched"
        labels = self.shape.num_low_quality_labels if matched else None
        code = self.recipe.method.networks.class_code
        return replace(self, codes=random_codes(self.shape.num_classes, code, labels))

    def _class_codes(self, progress: Progress) -> ClassCodes:
        dataset, settings = self.dataset, self.recipe.recogniser
        seen = dataset.measured.training
        code = self.recipe.method.networks.class_code
        packed = dataset.high_quality
        classifier = recogniser_for(
            TrainingImages(packed.images, seen.rows, seen.labels, packed.fingerprint),
            len(dataset.measured.labels),
            for_codes(settings, code),
            cache_folder(),
            self.device,
            progress,
            "the classifier whose features become class codes",
        ).network
        means = class_means(
            classifier,
            ImageView(packed, dataset.training, None, 0),
            dataset.labels(dataset.training),
            dataset.num_classes,
            self.device,
            progress,
        )
        encoder = ClassEncoder.fitted(classifier.cpu(), means)
        codes = encoder.codes(means)
        side = dataset.low_quality
        labels = None
        if side is not None and side.bank.label_of_class is not None:
            labels = codes.new_zeros(self.shape.num_low_quality_labels + 1, code)
            labels[torch.from_numpy(side.bank.label_of_class)] = codes
        return ClassCodes(codes, labels, None, encoder)


def open_workplace(recipe: Recipe, watch: Watch) -> Workplace:
    """Check the recipe, open its data and say what was found; several processes do so together."""
    engine = start_engine(recipe.device, recipe.training.precision)
    check_recipe(recipe, engine.processes.count)
    watch = heard(watch, engine)
    dataset = engine.processes.main_first(
        lambda: prepare(recipe.data, low_quality=recipe.method.uses_low_quality, progress=watch.progress)
    )
    for line in [*describe(dataset, recipe.data), *_untrained_lines(recipe, dataset)]:
        watch.say(line)
    side = dataset.low_quality
    shape = Shape(
        num_classes=dataset.num_classes,
        num_low_quality_labels=len(side.names) if side else 0,
        low_quality_size=dataset.low_quality_size,
        channels=dataset.channels,
        low_quality_detail=side.bank.detail() if side and side.pairing == "matched" else 0,
    )
    return Workplace(recipe, dataset, shape, engine)


def _untrained_lines(recipe: Recipe, dataset: Dataset) -> list[str]:
    """Of stages that condition on the classes of real images alone."""
    stages = [
        name for name, stage in recipe.method if isinstance(stage, StageSettings) and stage.fake_classes == "real"
    ]
    if not stages or not len(dataset.lq_only):
        return []
    settings = " ".join(f"--set {name}.fake_classes=uniform" for name in stages)
    return [
        "  note: the recipe synthesises the classes of the real images of each batch, so that classes with low-quality "
        f"images only are not trained; {settings} trains them"
    ]


def heard(watch: Watch, engine: Engine) -> Watch:
    """The watch of the main process; the others are silent."""
    return watch if engine.processes.is_main else Watch()

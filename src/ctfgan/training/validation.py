"""Looking at a generator while it trains: a distance to training images, variety, and a sheet of samples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctfgan.core.files import write_file
from ctfgan.core.progress import Progress, silent
from ctfgan.data.dataset import Dataset
from ctfgan.data.images import Bytes, png, sheet, zoom_for
from ctfgan.distributed.engine import Engine
from ctfgan.distributed.random_streams import PerImageRng, numbers_in_class
from ctfgan.metrics.diversity import ClassDiversity, pick_by_class, relative_diversity
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier
from ctfgan.metrics.features import accuracy
from ctfgan.metrics.scores import frechet_distance
from ctfgan.models.synthesis import draw_inputs, sample_labels, synthesise
from ctfgan.training.settings import CheckSettings

CHECK_SEED = 20_190_924  # of all checks and sheets; any constant would do


@dataclass(frozen=True)
class CheckReport:
    """What a check found."""

    stage: str
    step: int
    distance: float
    """Frechet distance on the recogniser's features to training images."""
    top_1: float | None
    """Share of samples whose class the recogniser ranks first, mean over the classes that training has high-quality
    images of; None for a generator without any."""
    sheet: Path
    """The sample sheet."""
    images: int = 0
    """Samples that were made; the distance is that of the first of them, in the training images' class mix."""
    variety: float | None = None
    """Mean distance between samples over that between training images, on the recogniser's features; None if the
    training images are all alike."""
    class_variety: list[float | None] | None = None
    """The same within each measured class; None for a generator without classes, and for a single sample of each."""
    variety_floor: float = 0.0
    """What a class's real images reach by chance, as many as there are samples."""
    least_of_a_class: int = 0
    """Samples of the class with fewest, among those of ``top_1``."""
    top_1_lq_only: float | None = None
    """The same over the classes that training has low-quality images of only; None if no such class is measured."""

    def line(self) -> dict[str, Any]:
        """For the journal."""
        known = [ratio for ratio in self.class_variety or [] if ratio is not None]
        return {
            "stage": self.stage,
            "step": self.step,
            "distance": self.distance,
            "top_1": self.top_1,
            **({} if self.top_1_lq_only is None else {"top_1_lq_only": self.top_1_lq_only}),
            "variety": _rounded(self.variety),
            "least_class_variety": _rounded(min(known, default=None)),
            "sheet": f"sheets/{self.sheet.name}",
        }


class Validator:
    """Measures samples of fixed seeds against training images, never the reference: nothing is tuned on that.

    Several processes synthesise together; the main one measures and draws.
    """

    def __init__(
        self,
        dataset: Dataset,
        eval_classifier: TrainedEvalClassifier,
        settings: CheckSettings,
        sheets: Path,
        engine: Engine,
        *,
        by_class: bool = True,
    ) -> None:
        self._measured = dataset.evaluated_classes
        self._bank = dataset.low_quality.bank if dataset.low_quality else None
        self._eval_classifier = eval_classifier
        self._settings = settings
        self._sheets = sheets
        self._dataset = dataset
        self._engine = engine
        self._by_class = by_class
        self._compared: Tensor | None = None  # features of training images
        self._class_variety: ClassDiversity | None = None

    def check(
        self,
        generator: nn.Module,
        stage: str,
        number: int,
        step: int,
        progress: Progress = silent,
    ) -> CheckReport:
        """Measure and draw a generator; the sheet is named by stage number, stage and step.

        Args:
            generator: whose images are looked at.
            stage: its name.
            number: 1 for the first stage.
            step: of the stage.
            progress: of every loop over images; what it raises leaves no trace.
        """
        numbers, each = self._numbers
        # One column per class, always the same noise, so that sheets of different steps compare.
        shown = spread_evenly(len(self._measured.shown), self._settings.sheet_classes)
        samples = self._samples(generator, self._measured.labels_of(numbers), progress)
        of_columns = torch.from_numpy(self._measured.shown[shown])
        columns = self._samples(generator, of_columns.repeat(self._settings.sheet_rows), progress)
        path = self._sheets / f"{number}-{stage}-{step:06d}.png"

        def look() -> CheckReport:
            features, probabilities = self._eval_classifier.read(samples, progress)
            compared = self._training_features(progress)
            by_class = self._variety_by_class(features, numbers, each, progress)
            mixed = features[: self._settings.images]
            lq_only = self._measured.lq_only
            read = accuracy(probabilities, numbers, lq_only.tolist()) if self._by_class else None
            of_class = np.bincount(numbers, minlength=len(self._measured.labels))
            self._draw(columns, shown, path)
            return CheckReport(
                stage=stage,
                step=step,
                distance=frechet_distance(compared, mixed),
                top_1=None if read is None else read.top_1,
                sheet=path,
                images=len(numbers),
                least_of_a_class=int(np.delete(of_class, lq_only).min()),
                top_1_lq_only=None if read is None else read.top_1_lq_only,
                variety=relative_diversity(mixed, compared),
                class_variety=by_class,
                variety_floor=0.0 if self._class_variety is None else self._class_variety.floor or 0.0,
            )

        return self._engine.processes.on_main(look)

    @cached_property
    def _numbers(self) -> tuple[Tensor, int]:
        """Measured class of each sample, and how many every class has at least; the same in all checks."""
        training, count = self._measured.training.labels, len(self._measured.labels)
        numbers, each = sample_labels(training, count, self._settings.images, by_class=self._by_class)
        if self._by_class and each == 0:
            # The mix of the training images has none of these, nor does the even spread where classes are many.
            numbers = torch.cat([numbers, torch.from_numpy(self._measured.lq_only)])
        return numbers, each

    def _training_features(self, progress: Progress) -> Tensor:
        if self._compared is None:
            training = self._measured.training.rows
            rows = np.random.default_rng(CHECK_SEED).permutation(training)[: self._settings.images]
            self._compared, _ = self._eval_classifier.read(self._dataset.images(np.sort(rows)), progress)
        return self._compared

    def _variety_by_class(
        self, features: Tensor, numbers: Tensor, each: int, progress: Progress
    ) -> list[float | None] | None:
        """Of samples ``(N, D)`` and their classes ``(N,)``, the first ``each`` of every class."""
        if not self._by_class or each < 2:
            return None
        if self._class_variety is None:
            training, count = self._measured.training, len(self._measured.labels)
            # Twice as many, so that one half says how much the other varies by chance.
            places = pick_by_class(training.labels, 2 * each, CHECK_SEED)
            real, _ = self._eval_classifier.read(training.packed.images[training.rows[places]], progress)
            self._class_variety = ClassDiversity(real, training.labels[places], count, each)
        counts = torch.bincount(numbers)
        first = counts.cumsum(0) - counts
        return self._class_variety.of(features[numbers.argsort(stable=True)[first[:, None] + torch.arange(each)]])

    def _draw(self, images: Bytes, shown: list[int], path: Path) -> None:
        names = self._measured.shown_names
        scale = zoom_for(images.shape[1], len(shown))
        headings = [names[c] if self._by_class else "" for c in shown]
        path.parent.mkdir(exist_ok=True)
        write_file(path, png(sheet(images, len(shown), headings, scale)))

    def _samples(self, generator: nn.Module, labels: Tensor, progress: Progress) -> Bytes:
        names = [self._dataset.names[label] for label in labels.tolist()]
        rng = PerImageRng(CHECK_SEED, names, numbers_in_class(names))
        return synthesise(generator, *draw_inputs(generator, labels, self._bank, rng), self._engine, progress=progress)


def spread_evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of the places 0 ... count - 1, ascending, the first one among them."""
    return sorted({int(place) for place in np.linspace(0, count - 1, most)})


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)

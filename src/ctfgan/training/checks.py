"""Looking at a generator while it trains: a distance to training images, and a sheet of samples."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ctfgan.data.images import Bytes, sheet, zoom_for
from ctfgan.data.prepare import Dataset
from ctfgan.files import write_file
from ctfgan.metrics.figures import frechet_distance
from ctfgan.metrics.recogniser import TrainedRecogniser
from ctfgan.training.runtime import Engine
from ctfgan.training.settings import CheckSettings
from ctfgan.training.synthesis import balanced_labels, draw_condition, synthesise

CHECK_SEED = 20_190_924  # of all checks and sheets; any constant would do


@dataclass(frozen=True)
class CheckReport:
    """What a check found."""

    stage: str
    step: int
    distance: float
    """Frechet distance on the recogniser's features to training images."""
    top_1: float | None
    """Share of samples whose class the recogniser ranks first; None for a generator without classes."""
    sheet: Path
    """The sample sheet."""


class Checker:
    """Measures samples of fixed seeds against training images, never the reference: nothing is tuned on that.

    Several processes synthesise together; the main one measures and draws.
    """

    def __init__(
        self,
        dataset: Dataset,
        recogniser: TrainedRecogniser,
        settings: CheckSettings,
        sheets: Path,
        engine: Engine,
        *,
        by_class: bool = True,
    ) -> None:
        self._measured = dataset.measured
        self._bank = dataset.low_quality.bank if dataset.low_quality else None
        self._recogniser = recogniser
        self._settings = settings
        self._sheets = sheets
        self._dataset = dataset
        self._engine = engine
        self._by_class = by_class
        self._compared: Tensor | None = None  # features of training images

    def check(self, generator: nn.Module, stage: str, number: int, step: int) -> CheckReport:
        """Measure and draw a generator; the sheet is named by stage number, stage and step."""
        numbers = balanced_labels(self._settings.images, len(self._measured.labels))
        # One column per class, always the same noise, so that sheets of different steps compare.
        last = len(self._measured.names) - 1
        shown = sorted({int(c) for c in np.linspace(0, last, self._settings.sheet_classes)})
        samples = self._samples(generator, numbers)
        columns = self._samples(generator, torch.tensor(shown).repeat(self._settings.sheet_rows))
        path = self._sheets / f"{number}-{stage}-{step:06d}.png"

        def look() -> CheckReport:
            distance, top_1 = self._measure(samples, numbers)
            self._draw(columns, shown, path)
            return CheckReport(stage, step, distance, top_1, path)

        return self._engine.processes.on_main(look)

    def _measure(self, samples: Bytes, numbers: Tensor) -> tuple[float, float | None]:
        if self._compared is None:
            training = self._measured.training.rows
            rows = np.random.default_rng(CHECK_SEED).permutation(training)[: self._settings.images]
            self._compared, _ = self._recogniser.read(self._dataset.images(np.sort(rows)))
        features, probabilities = self._recogniser.read(samples)
        top_1 = (probabilities.argmax(dim=1) == numbers).double().mean().item() if self._by_class else None
        return frechet_distance(self._compared, features), top_1

    def _draw(self, images: Bytes, shown: list[int], path: Path) -> None:
        names = self._measured.names
        scale = zoom_for(images.shape[1], len(shown))
        content = BytesIO()
        headings = [names[c] if self._by_class else "" for c in shown]
        sheet(images, len(shown), headings, scale).save(content, format="PNG")
        path.parent.mkdir(exist_ok=True)
        write_file(path, content.getvalue())

    def _samples(self, generator: nn.Module, numbers: Tensor) -> Bytes:
        labels = self._measured.labels_of(numbers)
        return synthesise(generator, draw_condition(labels, self._bank, CHECK_SEED), CHECK_SEED, self._engine)

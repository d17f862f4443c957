"""Class by class: how the recogniser reads samples, how much they differ, which real image is nearest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ctfgan.core.progress import Progress, silent
from ctfgan.data.dataset import Dataset
from ctfgan.data.images import Bytes
from ctfgan.data.splits import Indices, membership
from ctfgan.evaluation.image_streams import ImageSet, generated
from ctfgan.metrics.diversity import ClassDiversity, alike_below
from ctfgan.metrics.memorization import area_averages
from ctfgan.reports.loaded_run import Studio
from ctfgan.training.settings import AlarmSettings

IMAGES = 4_000
"""Generated images measured over all classes, unless another number is asked for."""

FEWEST, MOST = 16, 100  # of a class
MOST_REAL = 500  # training images of a class that samples are compared with
SEED = 20_260_801  # of noise, low-quality images and chosen real images; any constant would do
AT_ONCE = 1_000  # images made together
SHOWN = 5  # samples of a class that its row shows
COLLAPSED = AlarmSettings().variety
"""Diversity below which a class is called collapsed, unless real images of it vary as little by chance."""


@dataclass(frozen=True)
class Pair:
    """A sample and the training image of its class that is nearest to it."""

    sample: Bytes
    real: Bytes
    distance: float
    """Root mean square grey levels (0 ... 255) after area averaging to 16x16 pixels, as in the copies check."""


@dataclass(frozen=True)
class ClassRow:
    """What was found of one class."""

    name: str
    accuracy: float | None
    """Share of its samples that the recogniser reads as this class; None without one that knows the class."""
    taken_for: tuple[str, int] | None
    """The wrong class that most samples are read as, and how many; None if there are none."""
    diversity: float | None
    """Mean distance of two samples on the recogniser's features, divided by that of two training images of the class,
    as :class:`~ctfgan.metrics.diversity.ClassVariety` has it; None without the data, or where the real images do not
    differ."""
    nearest: Pair | None
    """Of all samples the one that is nearest to a training image; None without the data."""
    real_distance: float | None
    """Median distance of a training image to the nearest other one of its class."""
    samples: Bytes
    """The first few samples, uint8 ``(S, R, R, K)``."""
    lq_only: bool = False
    """Whether the GAN has seen low-quality images of it only."""
    is_collapsed: bool = False
    """Whether its samples hardly differ."""

    @property
    def badness(self) -> tuple[float, float]:
        """Sorts the worst class first: by accuracy, then by diversity; what was not measured counts as good."""
        known = (self.accuracy, self.diversity)
        accuracy, diversity = (1.0 if value is None else value for value in known)
        return accuracy, diversity


@dataclass(frozen=True)
class _Look:
    """A class, with what its diversity is computed of, once all classes are known."""

    row: ClassRow
    own: Tensor | None
    """Features of its samples ``(N, D)``; None without a recogniser."""
    real: Tensor | None
    """Features of training images ``(M, D)``; None without a recogniser or the data."""


@dataclass(frozen=True)
class ClassTable:
    """All classes that were looked at, the worst first."""

    rows: tuple[ClassRow, ...]
    per_class: int
    """Samples of each."""
    of: int
    """Classes that could have been looked at."""
    collapsed_below: float
    """Diversity of a class that counts as collapsed."""


def measure_classes(studio: Studio, images: int, progress: Progress) -> ClassTable:
    """Look at every class, or at as many, evenly spread, as the number of images allows.

    Args:
        studio: of a run whose images show classes.
        images: generated images in all, about; a class has 16 to 100 of them.
        progress: shows how far it is.
    """
    of = len(studio.labels)
    count = min(of, max(1, images // FEWEST))
    chosen = np.linspace(0, of - 1, count).round().astype(np.int64)
    per_class = min(MOST, max(FEWEST, images // count))
    looks = list(_looked_at(studio, chosen, per_class, progress))
    below, rows = COLLAPSED, [look.row for look in looks]
    features = [look.own for look in looks if look.own is not None]
    real = [look.real for look in looks if look.real is not None]
    if len(real) == count:
        labels = np.repeat(np.arange(count), [len(part) for part in real])
        variety = ClassDiversity(torch.cat(real), labels, count, per_class)
        below = alike_below(COLLAPSED, variety.floor)
        rows = [
            replace(row, diversity=ratio, is_collapsed=ratio is not None and ratio < below)
            for row, ratio in zip(rows, variety.of(torch.stack(features)), strict=True)
        ]
    return ClassTable(tuple(sorted(rows, key=lambda row: row.badness)), per_class, of, below)


def samples_of(studio: Studio, chosen: Indices, per_class: int) -> Bytes:
    """Samples of some measured classes, class after class: uint8 ``(len(chosen) * per_class, R, R, K)``."""
    images = ImageSet("samples", studio.model.sampler, studio.bank, torch.from_numpy(studio.labels), studio.names)
    numbers = torch.from_numpy(chosen).repeat_interleave(per_class)
    parts = [part for part, _ in generated(images, numbers, SEED, studio.engine, silent, "")]
    return np.concatenate(parts)


def _looked_at(studio: Studio, chosen: Indices, per_class: int, progress: Progress) -> Iterator[_Look]:
    together = max(1, AT_ONCE // per_class)
    starts = range(0, len(chosen), together)
    real = None if studio.dataset is None else _RealImages(studio.dataset)
    for number in progress(range(len(starts)), len(starts), "looking at samples class by class"):
        group = chosen[starts[number] : starts[number] + together]
        pixels = samples_of(studio, group, per_class)
        for place, own in zip(group, np.split(pixels, len(group)), strict=True):
            originals = None if real is None else real.of_class(int(studio.labels[place]))
            yield _look(studio, int(place), own, originals)


def _look(studio: Studio, number: int, samples: Bytes, real: Bytes | None) -> _Look:
    accuracy, taken_for, own, originals = None, None, None, None
    if studio.eval_classifier is not None:
        own, probabilities = studio.eval_classifier.read(samples)
        read_as = probabilities.argmax(dim=1)
        if number < studio.measured:
            accuracy = (read_as == number).double().mean().item()
        wrong = read_as[read_as != number]
        if len(wrong):
            votes = torch.bincount(wrong)
            taken_for = studio.names[int(votes.argmax())], int(votes.max())
        if real is not None:
            # Twice as many, as in checks, so that one half says how much the other varies by chance.
            compared = real[: 2 * len(samples)]
            originals = studio.eval_classifier.read(compared)[0] if len(compared) else own[:0]
    nearest, real_distance = (None, None) if real is None else _nearest(samples, real)
    lq_only = number in studio.lq_only
    row = ClassRow(studio.names[number], accuracy, taken_for, None, nearest, real_distance, samples[:SHOWN], lq_only)
    return _Look(row, own, originals)


def _nearest(samples: Bytes, real: Bytes) -> tuple[Pair | None, float | None]:
    if len(real) == 0:
        return None, None
    asked, known = area_averages(samples), area_averages(real)
    distances = torch.cdist(asked, known) / asked.shape[1] ** 0.5
    sample, original = divmod(int(distances.argmin()), len(real))
    pair = Pair(samples[sample], real[original], distances[sample, original].item())
    if len(real) < 2:
        return pair, None
    among = torch.cdist(known, known) / asked.shape[1] ** 0.5
    return pair, among.fill_diagonal_(torch.inf).amin(dim=1).median().item()


class _RealImages:
    """What the GAN saw of each class."""

    def __init__(self, dataset: Dataset) -> None:
        self._packed = dataset.high_quality
        self._is_training = membership(dataset.training, len(self._packed))

    def of_class(self, label: int) -> Bytes:
        """At most 500 training images of a class, in an order of chance that is always the same; some have none."""
        if label >= len(self._packed.names):
            return self._packed.images[:0]
        rows = self._packed.rows_of(label)
        rows = rows[self._is_training[rows]]
        return self._packed.images[np.random.default_rng((SEED, label)).permutation(rows)[:MOST_REAL]]

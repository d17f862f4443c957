"""Class by class: how the recogniser reads samples, how much they differ, which real image is nearest; the section of a
run's page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from ctfgan.core.progress import Progress, silent
from ctfgan.data.dataset import Dataset
from ctfgan.data.images import Bytes
from ctfgan.data.splits import Indices, membership
from ctfgan.evaluation.image_streams import ImageSet, generated_chunks
from ctfgan.metrics.diversity import ClassDiversity, alike_below
from ctfgan.metrics.memorization import area_averages
from ctfgan.reports.document import Block, Heading, Items, Paragraph, TableBlock, Tiles
from ctfgan.reports.loaded_run import LoadedRun, RunGenerator
from ctfgan.reports.pictures import image_tile
from ctfgan.reports.run_results import class_label
from ctfgan.reports.run_summary import RunSummary
from ctfgan.training.settings import AlarmSettings

FEWEST, MOST = 16, 100  # of a class
MOST_REAL = 500  # training images of a class that samples are compared with
SEED = 20_260_801  # of noise, low-quality images and chosen real images; any constant would do
AT_ONCE = 1_000  # images made together
EXAMPLES = 5  # samples of a class that its row shows
COLLAPSED = AlarmSettings().variety
"""Diversity below which a class is called collapsed, unless real images of it vary as little by chance."""


@dataclass(frozen=True)
class NearestPair:
    """A sample and the training image of its class that is nearest to it."""

    sample: Bytes
    real: Bytes
    distance: float
    """Root mean square grey levels (0 ... 255) after area averaging to 16x16 pixels, as in the copies check."""


@dataclass(frozen=True)
class ClassRow:
    """What was measured of one class."""

    name: str
    accuracy: float | None
    """Share of its samples that the recogniser reads as this class; None without one that knows the class."""
    taken_for: tuple[str, int] | None
    """The wrong class that most samples are read as, and how many; None if there are none."""
    diversity: float | None
    """Mean distance of two samples on the recogniser's features, divided by that of two training images of the class,
    as :class:`~ctfgan.metrics.diversity.ClassDiversity` has it; None without the data, or where the real images do not
    differ."""
    nearest: NearestPair | None
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
class _Features:
    """A class, with what its diversity is computed of once all classes are measured."""

    row: ClassRow
    own: Tensor | None
    """Features of its samples ``(N, D)``; None without a recogniser."""
    real: Tensor | None
    """Features of training images ``(M, D)``; None without a recogniser or the data."""


@dataclass(frozen=True)
class ClassReport:
    """All classes that were measured, the worst first."""

    rows: tuple[ClassRow, ...]
    per_class: int
    """Samples of each."""
    of: int
    """Classes that could have been measured."""
    collapsed_below: float
    """Diversity of a class that counts as collapsed."""


def measure_classes(generator: RunGenerator, images: int, progress: Progress) -> ClassReport:
    """Measure every class, or as many, evenly spread, as the number of images allows.

    Args:
        generator: of a run whose images show classes.
        images: generated images in all, about; a class has 16 to 100 of them.
        progress: shows how far it is.
    """
    of = len(generator.labels)
    count = min(of, max(1, images // FEWEST))
    chosen = np.linspace(0, of - 1, count).round().astype(np.int64)
    per_class = min(MOST, max(FEWEST, images // count))
    features = list(_measure(generator, chosen, per_class, progress))
    below, rows = COLLAPSED, [one.row for one in features]
    own = [one.own for one in features if one.own is not None]
    real = [one.real for one in features if one.real is not None]
    if len(real) == count:
        labels = np.repeat(np.arange(count), [len(part) for part in real])
        diversity = ClassDiversity(torch.cat(real), labels, count, per_class)
        below = alike_below(COLLAPSED, diversity.floor)
        rows = [
            replace(row, diversity=ratio, is_collapsed=ratio is not None and ratio < below)
            for row, ratio in zip(rows, diversity.of(torch.stack(own)), strict=True)
        ]
    return ClassReport(tuple(sorted(rows, key=lambda row: row.badness)), per_class, of, below)


def samples_of(generator: RunGenerator, chosen: Indices, per_class: int) -> Bytes:
    """Samples of some measured classes, class after class: uint8 ``(len(chosen) * per_class, R, R, K)``."""
    images = ImageSet("samples", generator.sampler, generator.bank, torch.from_numpy(generator.labels), generator.names)
    numbers = torch.from_numpy(chosen).repeat_interleave(per_class)
    parts = [part for part, _ in generated_chunks(images, numbers, SEED, generator.engine, silent, "")]
    return np.concatenate(parts)


def _measure(generator: RunGenerator, chosen: Indices, per_class: int, progress: Progress) -> Iterator[_Features]:
    together = max(1, AT_ONCE // per_class)
    starts = range(0, len(chosen), together)
    real = None if generator.dataset is None else _RealImages(generator.dataset)
    for number in progress(range(len(starts)), len(starts), "looking at samples class by class"):
        group = chosen[starts[number] : starts[number] + together]
        pixels = samples_of(generator, group, per_class)
        for place, own in zip(group, np.split(pixels, len(group)), strict=True):
            originals = None if real is None else real.of_class(int(generator.labels[place]))
            yield _measure_class(generator, int(place), own, originals)


def _measure_class(generator: RunGenerator, number: int, samples: Bytes, real: Bytes | None) -> _Features:
    accuracy, taken_for, own, originals = None, None, None, None
    if generator.eval_classifier is not None:
        own, probabilities = generator.eval_classifier.read(samples)
        read_as = probabilities.argmax(dim=1)
        if number < generator.measured:
            accuracy = (read_as == number).double().mean().item()
        wrong = read_as[read_as != number]
        if len(wrong):
            votes = torch.bincount(wrong)
            taken_for = generator.names[int(votes.argmax())], int(votes.max())
        if real is not None:
            # Twice as many, as in checks, so that one half says how much the other varies by chance.
            compared = real[: 2 * len(samples)]
            originals = generator.eval_classifier.read(compared)[0] if len(compared) else own[:0]
    nearest, real_distance = (None, None) if real is None else _nearest(samples, real)
    lq_only = number in generator.lq_only
    row = ClassRow(
        generator.names[number], accuracy, taken_for, None, nearest, real_distance, samples[:EXAMPLES], lq_only
    )
    return _Features(row, own, originals)


def _nearest(samples: Bytes, real: Bytes) -> tuple[NearestPair | None, float | None]:
    if len(real) == 0:
        return None, None
    small, small_real = area_averages(samples), area_averages(real)
    distances = torch.cdist(small, small_real) / small.shape[1] ** 0.5
    sample, original = divmod(int(distances.argmin()), len(real))
    pair = NearestPair(samples[sample], real[original], distances[sample, original].item())
    if len(real) < 2:
        return pair, None
    among = torch.cdist(small_real, small_real) / small.shape[1] ** 0.5
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


def classes_section(
    run: RunSummary, loaded: LoadedRun, images: int, most: int, level: int, progress: Progress
) -> list[Block]:
    """The table of classes, the worst first."""
    heading = Heading("Class by class", level)
    if not run.recipe.method.is_conditional:
        return [heading, Paragraph(f"A {run.recipe.method.kind} model makes images of no chosen class.")]
    generator = loaded.generator
    if generator is None:
        return [heading, Paragraph(f"No samples can be made: {loaded.no_images}.")]
    classes = measure_classes(generator, images, progress)
    return [
        heading,
        Paragraph(_summary(classes, generator, most)),
        *_explanation(classes, generator, loaded),
        _class_table(classes, most),
    ]


def _summary(classes: ClassReport, generator: RunGenerator, most: int) -> str:
    count = len(classes.rows)
    chosen = f"all {count:,} classes" if count == classes.of else f"{count:,} of {classes.of:,} classes, evenly spread"
    part = f"; the worst {most:,} are shown" if count > most else ""
    text = (
        f"Measured here, on {classes.per_class} samples of each of {chosen}{part} ({generator.weights}; "
        f"{generator.bank_name})."
    )
    known, only = (
        [row.accuracy for row in classes.rows if row.accuracy is not None and row.lq_only is lq_only]
        for lq_only in (False, True)
    )
    if known:
        apart = f" ({fmean(only):.1%} in classes with low-quality images only)" if only else ""
        text += f" The recogniser reads {fmean(known):.1%} of the samples as meant{apart}."
    collapsed = sum(row.is_collapsed for row in classes.rows)
    text += f" {collapsed:,} of these classes are collapsed." if collapsed else ""
    return text


def _explanation(classes: ClassReport, generator: RunGenerator, loaded: LoadedRun) -> list[Block]:
    """What the columns mean, and which are missing and why."""
    items = []
    if generator.eval_classifier is None:
        items.append("Accuracy and diversity are missing: the run's recogniser is missing, or cannot be used without "
                     "the data")  # fmt: skip
    else:
        items.append("Accuracy: share of the samples that the run's own recogniser reads as their class. It learned "
                     "from training images; the held-out reference is not looked at here")  # fmt: skip
    if generator.dataset is None:
        items.append(f"Diversity and nearest real images are missing: {loaded.no_data}")
        return [Items(tuple(f"{item}." for item in items))]
    if generator.eval_classifier is not None:
        items.append(
            "Diversity: mean distance between two samples of the class on the recogniser's features, divided by that "
            "between two training images of it, where these are few mixed with that of all classes; below 1 the "
            f"samples are less varied, below {classes.collapsed_below:.2g} the class counts as collapsed, as for the "
            "alarms of training (samples that look like another class count as varied, too)"
        )
    items.append(
        "Nearest: of all these samples the one nearest to a training image of its class, with that image, and their "
        "distance in root mean square grey levels after averaging to 16x16 pixels; in brackets, how far a training "
        f"image is from its nearest other one, in the median (at most {MOST_REAL:,} training images of a class)"
    )
    return [Items(tuple(f"{item}." for item in items))]


def _class_table(classes: ClassReport, most: int) -> TableBlock:
    columns: dict[str, Callable[[ClassRow], str | Tiles]] = {
        "class": lambda row: class_label(row.name, row.lq_only),
        "accuracy": lambda row: "" if row.accuracy is None else f"{row.accuracy:.1%}",
        "samples": lambda row: Tiles(tuple(image_tile(image, f"a sample of {row.name}") for image in row.samples)),
        "mostly taken for": lambda row: "" if row.taken_for is None else "{} ({})".format(*row.taken_for),
        "diversity": _diversity_cell,
        "nearest: sample, real": _nearest_cell,
    }
    rows = classes.rows[:most]
    used = {heading: cell for heading, cell in columns.items() if any(cell(row) for row in rows)}
    return TableBlock(tuple(used), tuple(tuple(cell(row) for cell in used.values()) for row in rows))


def _diversity_cell(row: ClassRow) -> str:
    if row.diversity is None:
        return ""
    return f"{row.diversity:.2f}{', collapsed' if row.is_collapsed else ''}"


def _nearest_cell(row: ClassRow) -> str | Tiles:
    if row.nearest is None:
        return ""
    among = "" if row.real_distance is None else f" ({row.real_distance:.1f})"
    tiles = (
        image_tile(row.nearest.sample, f"the sample of {row.name} nearest to a training image"),
        image_tile(row.nearest.real, f"the training image of {row.name} nearest to it"),
    )
    return Tiles(tiles, f"{row.nearest.distance:.1f}{among}")

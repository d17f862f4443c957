"""What do generated images add to real ones? Classifiers trained on real, on generated and on both, tested on real.

Ravuri and Vinyals, "Classification Accuracy Score for Conditional Generative Models", 2019, train on samples alone and
on samples beside real images; here with the recogniser's architecture instead of a ResNet-50, with several seeds of
each, and with the uncertainty of the difference (decision 26).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctfgan.core.text import plural
from ctfgan.metrics.eval_classifier import EvalClassifierTrainer, TrainedEvalClassifier, TrainingImages
from ctfgan.metrics.features import Chunk

HARDEST = 5  # classes that are listed by name
DRAWS = 100_000  # of the gain, for its interval

Hits = NDArray[np.bool_]
"""Which held-out images each classifier reads right, ``(seeds, images)``."""


@dataclass(frozen=True)
class TrainedOn:
    """Classifiers that were trained on the same images, of several seeds."""

    images: int
    """Training images."""
    accuracy: float
    """Share of the held-out real images that they read right; the mean over seeds."""
    by_seed: tuple[float, ...]
    """The same of each seed."""


@dataclass(frozen=True)
class HardClass:
    """A class that classifiers of real images alone read badly."""

    name: str
    held_out: int
    """Held-out real images of the class."""
    real: float
    """Share that is read right after real images alone."""
    both: float
    """Share that is read right after real and generated images."""


@dataclass(frozen=True)
class ClassificationScore:
    """Accuracies on held-out real images of classifiers that differ in their training images alone."""

    real: TrainedOn
    generated: TrainedOn
    both: TrainedOn
    gain: float
    """Accuracy of both less that of real alone; 0.01 is one point."""
    interval: tuple[float, float]
    """95 % interval of the gain, over other held-out images and other seeds of the classifiers."""
    held_out: int
    """Real images that all were tested on."""
    steps: int
    """Of each classifier's training: the same, whatever it is trained on."""
    hardest: tuple[HardClass, ...]
    """The classes that real images alone teach worst."""

    @property
    def is_distinguishable(self) -> bool:
        """Whether the interval leaves out a gain of nothing."""
        return not self.interval[0] <= 0 <= self.interval[1]

    def sentence(self) -> str:
        """All accuracies, and the gain, in one line."""
        low, high = (f"{100 * end:+.1f}" for end in self.interval)
        verdict = "distinguishable from none" if self.is_distinguishable else "not distinguishable from none"
        real, generated, seeds = self.real, self.generated, len(self.real.by_seed)
        return (
            f"of {self.held_out:,} held-out real images a classifier reads right {real.accuracy:.1%} after "
            f"{real.images:,} real images, {generated.accuracy:.1%} after {generated.images:,} generated ones, "
            f"{self.both.accuracy:.1%} after both; adding the generated ones "
            f"{'gains' if self.gain >= 0 else 'loses'} {abs(100 * self.gain):.1f} points, {verdict} (95 % interval "
            f"{low} to {high}; {plural(seeds, 'seed')}, {self.steps:,} steps each)"
        )

    def hardest_sentence(self) -> str:
        """The hardest classes, from real alone to both."""
        classes = (f"{hard.name} {hard.real:.0%} -> {hard.both:.0%} of {hard.held_out:,}" for hard in self.hardest)
        return f"hardest classes, real alone -> with generated ones: {', '.join(classes)}"


def classification_score(
    trainer: EvalClassifierTrainer,
    real: TrainingImages,
    generated: Iterable[Chunk],
    count: int,
    reference: Iterable[Chunk],
    names: Sequence[str],
    seeds: int,
) -> ClassificationScore:
    """Train three classifiers of each seed and test them.

    Args:
        trainer: of all; its seed is the first one. Its cache keeps the classifiers of real images alone.
        real: real training images.
        generated: generated images of the same classes with their labels.
        count: how many these are.
        reference: the held-out real images with their labels.
        names: of the classes, in label order.
        seeds: how many classifiers of each kind.
    """
    with tempfile.TemporaryDirectory(prefix="ctfgan-") as name:
        folder = Path(name)
        both = _on_disk(real, generated, count, folder)
        alone = slice(len(real.rows), None)
        kinds = (
            (real, trainer.cache),
            (TrainingImages(both.images, both.rows[alone], both.labels[alone], "generated"), folder),
            (both, folder),
        )

        def train(kind: int, seed: int) -> TrainedEvalClassifier:
            images, cache = kinds[kind]
            what = f"training classifier {kind * seeds + seed + 1} of {len(kinds) * seeds}"

            def progress(items: Iterable[int], total: int, _: str) -> Iterable[int]:
                return trainer.progress(items, total, what)

            settings = trainer.settings.model_copy(update={"seed": trainer.settings.seed + seed})
            return replace(trainer, settings=settings, progress=progress, cache=cache).train(images, len(names))

        trained = [[train(kind, seed) for seed in range(seeds)] for kind in range(len(kinds))]
        hits, truth = _test(trained, reference)
    accuracies = [
        TrainedOn(len(images.rows), float(right.mean()), tuple(float(one) for one in right.mean(axis=1)))
        for (images, _), right in zip(kinds, hits, strict=True)
    ]
    return ClassificationScore(
        real=accuracies[0],
        generated=accuracies[1],
        both=accuracies[2],
        gain=accuracies[2].accuracy - accuracies[0].accuracy,
        interval=gain_interval(hits[0], hits[2]),
        held_out=len(truth),
        steps=trainer.settings.steps,
        hardest=_hardest(hits[0], hits[2], truth, names),
    )


def gain_interval(before: Hits, after: Hits) -> tuple[float, float]:
    """95 % interval of the gain in accuracy from some classifiers to others, tested on the same images.

    Two things could have come out otherwise: which images were held out (normal, with the variance of the difference
    over images, as in McNemar's test), and the classifiers' seeds (Student's t with the variance over seeds; nothing is
    known of it from a single seed). Their errors are added up by drawing both.

    Args:
        before: which images the first classifiers read right, ``(S, N)``.
        after: the same of the others.
    """
    differences = after.astype(np.float64) - before
    seeds, images = differences.shape
    rng = np.random.default_rng(0)
    spread_images = differences.mean(axis=0).std(ddof=1) / np.sqrt(images) if images > 1 else 0.0
    drawn = differences.mean() + spread_images * rng.standard_normal(DRAWS)
    if seeds > 1:
        spread_seeds = differences.mean(axis=1).std(ddof=1) / np.sqrt(seeds)
        drawn += spread_seeds * rng.standard_t(seeds - 1, DRAWS)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def _on_disk(real: TrainingImages, generated: Iterable[Chunk], count: int, folder: Path) -> TrainingImages:
    """Real and then generated images in one file."""
    total = len(real.rows) + count
    shape = (total, *real.images.shape[1:])
    pixels = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    labels = [real.labels]
    for start in range(0, len(real.rows), 1_000):
        rows = real.rows[start : start + 1_000]
        pixels[start : start + len(rows)] = real.images[rows]
    start = len(real.rows)
    for images, classes in generated:
        assert classes is not None, "generated images are of classes"
        pixels[start : start + len(images)] = images
        labels.append(classes.numpy())
        start += len(images)
    assert start == total, f"{count} generated images were announced and {start - len(real.rows)} came"
    return TrainingImages(pixels, np.arange(total), np.concatenate(labels), "both")


def _test(
    trained: Sequence[Sequence[TrainedEvalClassifier]], reference: Iterable[Chunk]
) -> tuple[list[Hits], NDArray[np.int64]]:
    """What each classifier reads right, by kind, and the true labels."""
    right: list[list[NDArray[np.bool_]]] = [[] for _ in trained]
    truth = []
    for images, labels in reference:
        assert labels is not None, "the reference is labelled"
        truth.append(labels.numpy())
        for kind, classifiers in enumerate(trained):
            answers = [classifier.read(images)[1].argmax(dim=1).numpy() for classifier in classifiers]
            right[kind].append(np.stack(answers) == labels.numpy())
    return [np.concatenate(parts, axis=1) for parts in right], np.concatenate(truth)


def _hardest(before: Hits, after: Hits, truth: NDArray[np.int64], names: Sequence[str]) -> tuple[HardClass, ...]:
    """The classes of which the first classifiers read the smallest share right."""
    counts = np.bincount(truth, minlength=len(names))
    shares = [
        np.bincount(truth, weights=hits.mean(axis=0), minlength=len(names)) / np.maximum(counts, 1)
        for hits in (before, after)
    ]
    present = np.flatnonzero(counts)
    order = present[np.argsort(shares[0][present], kind="stable")][:HARDEST]
    return tuple(
        HardClass(names[label], int(counts[label]), float(shares[0][label]), float(shares[1][label])) for label in order
    )

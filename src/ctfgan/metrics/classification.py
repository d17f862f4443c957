"""What do generated images add to what people train on anyway? Classifiers of several mixes of images, tested on real.

Ravuri and Vinyals, "Classification Accuracy Score for Conditional Generative Models", 2019, train on samples alone and
on samples beside real images; here with the recogniser's architecture instead of a ResNet-50, beside the usual
augmentation and the low-quality images, with several seeds of each, and with the uncertainty of the differences
(decision 26).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctfgan.core.text import plural
from ctfgan.data.images import Bytes
from ctfgan.data.splits import digests_of, first_rows, stratified_order, with_copies
from ctfgan.metrics.eval_classifier import EvalClassifierTrainer, TrainedEvalClassifier, TrainingImages
from ctfgan.metrics.features import Chunk
from ctfgan.metrics.usual_augmentation import UsualAugmentation

HQ, LQ, GENERATED = "HQ", "LQ", "generated"
"""Kinds of images that classifiers are trained on."""

HARDEST = 5  # classes that are listed by name
DRAWS = 100_000  # of the gain, for its interval
CHUNK = 1_000  # images in memory at a time
STILL_ITSELF = 0.75
"""Which share of the images that are read as their class must be so when mirrored, for flips to keep the class."""

Hits = NDArray[np.bool_]
"""Which held-out images each classifier reads right, ``(seeds, images)``."""


@dataclass(frozen=True)
class Arm:
    """A mix of images to train classifiers on."""

    kinds: tuple[str, ...]
    """Of which every batch holds equal shares."""
    is_augmented: bool = False

    @property
    def name(self) -> str:
        """Its ingredients."""
        augmentation = ("augmentation",) if self.is_augmented else ()
        return " + ".join((*self.kinds[:1], *augmentation, *self.kinds[1:]))

    def only(self, kinds: Iterable[str]) -> Arm:
        """The same without kinds that are not there."""
        return replace(self, kinds=tuple(kind for kind in self.kinds if kind in kinds))

    @property
    def without_generated(self) -> Arm:
        """The same mix of real images alone; no kinds at all if there are none."""
        return self.only((HQ, LQ))


ALONE = Arm((HQ,))
ADDED = (Arm((HQ, LQ, GENERATED)), Arm((HQ, LQ, GENERATED), is_augmented=True))
"""Arms of everything that there is: what they gain over the same without generated images is the answer."""
ARMS = (
    *(ALONE, Arm((HQ,), is_augmented=True), Arm((HQ, LQ)), Arm((HQ, LQ), is_augmented=True)),
    *(Arm((HQ, GENERATED)), Arm((GENERATED,)), *ADDED),
)
"""Where there are no low-quality images, some of these are the same."""


@dataclass(frozen=True)
class Gain:
    """In accuracy, from some classifiers to others that are tested on the same images; 0.01 is one point."""

    difference: float
    interval: tuple[float, float]
    """95 %, over other held-out images and other seeds of the classifiers."""

    @classmethod
    def of(cls, before: Hits, after: Hits) -> Gain:
        """From the classifiers of one arm to those of another."""
        return cls(float(after.mean() - before.mean()), gain_interval(before, after))

    @property
    def is_distinguishable(self) -> bool:
        """Whether the interval leaves out a gain of nothing."""
        return not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class TrainedOn:
    """Classifiers of one arm, of several seeds."""

    images: dict[str, int]
    """How many of each kind."""
    accuracy: float
    """Share of the held-out real images that they read right; the mean over seeds."""
    by_seed: tuple[float, ...]
    """The same of each seed."""
    gain: Gain | None
    """Over high-quality images alone; None for these."""
    generated_add: Gain | None
    """Over the same real images without the generated ones; None where there are none of either."""


@dataclass(frozen=True)
class MirrorTest:
    """Whether high-quality images are still of their class when mirrored, as classifiers of the other half see it."""

    upright: float
    """Share of the images that is read as its class as it is."""
    mirrored: float
    """And mirrored left and right."""

    @property
    def keeps_class(self) -> bool:
        """Whether flips belong to the augmentation."""
        return self.mirrored >= STILL_ITSELF * self.upright > 0


@dataclass(frozen=True)
class HardClass:
    """A class that is read badly without generated images."""

    name: str
    held_out: int
    """Held-out real images of the class."""
    before: float
    """Share that is read right after all real images, augmented."""
    after: float
    """And after these with the generated ones."""


@dataclass(frozen=True)
class ClassificationScore:
    """Accuracies on held-out real images of classifiers that differ in their training images alone."""

    arms: dict[str, TrainedOn]
    """By name."""
    added: dict[str, str]
    """Arms with everything, as it is and augmented, by the name of the same arm without generated images."""
    mirror_test: MirrorTest
    held_out: int
    """Real images that all were tested on."""
    steps: int
    """Of each classifier's training: the same, whatever it is trained on."""
    hardest: tuple[HardClass, ...]
    """The classes that are read worst after all real images, augmented."""

    def sentence(self) -> str:
        """What generated images add, and how it was found out, in one line."""
        test, seeds = self.mirror_test, len(next(iter(self.arms.values())).by_seed)
        changes = " and ".join(self._change(real, everything) for real, everything in self.added.items())
        before, after = (
            " and ".join(f"{self.arms[name].accuracy:.1%}" for name in names)
            for names in (self.added, self.added.values())
        )
        no_lq = (
            ""
            if any(LQ in arm.images for arm in self.arms.values())
            else "; no arms with LQ, since there are no LQ images whose classes are those of the HQ"
        )
        return (
            f"generated images {changes}: of {self.held_out:,} held-out real images {after} are read right instead of "
            f"{before}; {plural(seeds, 'seed')}, {self.steps:,} steps each; the augmentation "
            f"{'mirrors' if test.keeps_class else 'does not mirror'}, since of unseen HQ images {test.mirrored:.0%} "
            f"are read right when mirrored and {test.upright:.0%} as they are{no_lq}"
        )

    def _change(self, real: str, everything: str) -> str:
        """What generated images do to an arm of real ones."""
        gain = self.arms[everything].generated_add
        assert gain is not None, f"{everything} has {real} to be compared with"
        points = f"{abs(100 * gain.difference):.1f} points"
        change = f"add {points} to" if gain.difference >= 0 else f"take {points} from"
        low, high = (f"{100 * end:+.1f}" for end in gain.interval)
        doubt = "" if gain.is_distinguishable else ", not distinguishable from none"
        return f"{change} {real} (95 % interval {low} to {high}{doubt})"

    def hardest_sentence(self) -> str:
        """The hardest classes, without and with generated images."""
        classes = (f"{hard.name} {hard.before:.0%} -> {hard.after:.0%} of {hard.held_out:,}" for hard in self.hardest)
        *_, real = self.added
        return f"hardest classes, {real} -> with generated images: {', '.join(classes)}"


def classification_score(
    trainer: EvalClassifierTrainer,
    real: Mapping[str, TrainingImages],
    generated: Iterable[Chunk],
    count: int,
    reference: Iterable[Chunk],
    names: Sequence[str],
    seeds: int,
) -> ClassificationScore:
    """Train classifiers of each arm and seed and test them.

    Args:
        trainer: of all; its seed is the first one. Its cache keeps the classifiers of arms without generated images.
        real: training images that are :data:`HQ` and, where there are any of known classes, :data:`LQ`.
        generated: generated images of the same classes with their labels.
        count: how many these are.
        reference: the held-out real images with their labels.
        names: of the classes, in label order.
        seeds: how many classifiers of each arm.
    """
    with tempfile.TemporaryDirectory(prefix="ctfgan-") as name:
        folder = Path(name)
        kinds = {**real, GENERATED: _on_disk(generated, count, real[HQ].images.shape[1:], folder)}
        arms = list(dict.fromkeys(arm.only(kinds) for arm in ARMS))
        numbered = _numbered(trainer, 2 + len(arms) * seeds)
        mirror_test = _mirror_test(numbered, real[HQ], len(names))
        augmentation = UsualAugmentation(flips=mirror_test.keeps_class)
        trained: list[list[TrainedEvalClassifier]] = []
        for arm in arms:
            cache = folder if GENERATED in arm.kinds else trainer.cache
            images = [kinds[kind] for kind in arm.kinds]
            trained.append([])
            for seed in range(seeds):
                settings = trainer.settings.model_copy(update={"seed": trainer.settings.seed + seed})
                one = replace(next(numbered), settings=settings, cache=cache)
                trained[-1].append(
                    one.train(images, len(names), augmentation=augmentation if arm.is_augmented else None)
                )
        right, truth = _test(trained, reference)
    hits, added = dict(zip(arms, right, strict=True)), [arm.only(kinds) for arm in ADDED]
    return ClassificationScore(
        arms={
            arm.name: TrainedOn(
                images={kind: len(kinds[kind].rows) for kind in arm.kinds},
                accuracy=float(own.mean()),
                by_seed=tuple(float(one) for one in own.mean(axis=1)),
                gain=None if arm == ALONE else Gain.of(hits[ALONE], own),
                generated_add=Gain.of(hits[arm.without_generated], own)
                if GENERATED in arm.kinds and arm.without_generated in hits
                else None,
            )
            for arm, own in hits.items()
        },
        added={arm.without_generated.name: arm.name for arm in added},
        mirror_test=mirror_test,
        held_out=len(truth),
        steps=trainer.settings.steps,
        hardest=_hardest(hits[added[-1].without_generated], hits[added[-1]], truth, names),
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


def _numbered(trainer: EvalClassifierTrainer, total: int) -> Iterator[EvalClassifierTrainer]:
    """The trainer once for each classifier, saying which of them it is training."""
    for number in range(1, total + 1):
        what = f"training classifier {number} of {total}"

        def progress(items: Iterable[int], steps: int, _: str, what: str = what) -> Iterable[int]:
            return trainer.progress(items, steps, what)

        yield replace(trainer, progress=progress)


def _mirror_test(trainers: Iterator[EvalClassifierTrainer], real: TrainingImages, num_classes: int) -> MirrorTest:
    """Two classifiers, each trained on one half of the images and tested on the other; no held-out image is looked at.

    What a classifier has seen it reads right even where it has understood nothing, and then not when it is mirrored.
    """
    firsts = first_rows(np.concatenate([digests_of(pixels) for pixels, _ in _chunks(real)]))
    order = stratified_order(real.labels, 0, firsts)
    is_first = np.zeros(len(order), dtype=bool)
    is_first[with_copies(order[: (len(order) + 1) // 2], firsts)] = True
    halves = [replace(real, rows=real.rows[half], labels=real.labels[half]) for half in (is_first, ~is_first)]
    right = np.zeros(2, dtype=np.int64)
    for half, other in (halves, halves[::-1]):
        trainer = next(trainers)
        if len(half.rows) == 0:  # all are copies of one image
            continue
        classifier = trainer.train([half], num_classes)
        for pixels, labels in _chunks(other):
            for view, images in enumerate((pixels, pixels[:, :, ::-1])):
                right[view] += int((classifier.read(images)[1].argmax(dim=1).numpy() == labels).sum())
    upright, mirrored = (float(share) for share in right / len(real.rows))
    return MirrorTest(upright, mirrored)


def _chunks(images: TrainingImages) -> Iterator[tuple[Bytes, NDArray[np.int64]]]:
    """Pixels and labels, some at a time."""
    for start in range(0, len(images.rows), CHUNK):
        part = slice(start, start + CHUNK)
        yield images.images[images.rows[part]], images.labels[part]


def _on_disk(chunks: Iterable[Chunk], count: int, shape: tuple[int, ...], folder: Path) -> TrainingImages:
    """Generated images in a file; of uint8 ``shape`` each."""
    pixels = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=(count, *shape))
    labels: list[NDArray[np.int64]] = []
    start = 0
    for images, classes in chunks:
        assert classes is not None, "generated images are of classes"
        pixels[start : start + len(images)] = images
        labels.append(classes.numpy())
        start += len(images)
    assert start == count, f"{count} generated images were announced and {start} came"
    return TrainingImages(pixels, np.arange(count), np.concatenate(labels), GENERATED)


def _test(
    trained: Sequence[Sequence[TrainedEvalClassifier]], reference: Iterable[Chunk]
) -> tuple[list[Hits], NDArray[np.int64]]:
    """What each classifier reads right, by arm, and the true labels."""
    right: list[list[NDArray[np.bool_]]] = [[] for _ in trained]
    truth = []
    for images, labels in reference:
        assert labels is not None, "the reference is labelled"
        truth.append(labels.numpy())
        for arm, classifiers in enumerate(trained):
            answers = [classifier.read(images)[1].argmax(dim=1).numpy() for classifier in classifiers]
            right[arm].append(np.stack(answers) == labels.numpy())
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

"""From settings to a dataset: open, survey, pack, split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from ctfgan.core.errors import DataError
from ctfgan.core.progress import Progress, silent
from ctfgan.core.text import a_few
from ctfgan.data.device_images import Stock, Stocks
from ctfgan.data.evaluated_classes import Measured, measured
from ctfgan.data.high_quality import high_quality_sources
from ctfgan.data.images import Bytes
from ctfgan.data.leakage import shared_rows
from ctfgan.data.low_quality import LowQuality, low_quality_side
from ctfgan.data.manifest import ClassNames
from ctfgan.data.namesakes import NO_LABELS
from ctfgan.data.packed import PackedImages, Survey
from ctfgan.data.packing import look, pack
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS, PUBLISHED, DataSettings
from ctfgan.data.sources.base import ImageSource, Labels, of_classes
from ctfgan.data.splits import Rows, ascending, membership, share, stratified_order, whole_groups, with_copies
from ctfgan.data.subset import Subset

MIN_CLASSES = 2
WITHHELD = 1  # tells the random numbers that draw withheld classes from others of the same seed


@dataclass(frozen=True)
class Dataset:
    """Images and the rows of them that each part of the program may look at."""

    high_quality: PackedImages
    training: Rows
    """What the GAN sees: the high-quality fraction of the pool."""
    pool: Rows
    """Everything but the reference; the recogniser trains on it."""
    reference: Subset
    """Held out from GAN and recogniser: what reported figures compare with. Rows of the high-quality images outside
    the pool, or images of their own with the same numbering of the classes."""
    low_quality: LowQuality | None
    withheld: Labels
    """Classes whose high-quality images the GAN does not see (``data.without_hq``), ascending."""
    _stocks: dict[torch.device, Stocks] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def names(self) -> ClassNames:
        """Class names in label order: those of the high-quality images, then those with low-quality images only."""
        side, known = self.low_quality, self.high_quality.names
        if side is None or len(side.own_labels) == 0:
            return known
        return known.followed_by([side.names[label] for label in side.own_labels.tolist()])

    @property
    def classes(self) -> tuple[str, ...]:
        """All class names in label order; for many classes rather :attr:`names`."""
        return self.high_quality.classes if self.names is self.high_quality.names else self.names.all()

    @property
    def num_classes(self) -> int:
        """C, in constant time."""
        return len(self.names)

    @property
    def lq_only(self) -> Labels:
        """Labels of the classes of which the GAN sees low-quality images only, ascending."""
        return np.concatenate([self.withheld, np.arange(len(self.high_quality.names), self.num_classes)])

    @property
    def channels(self) -> Literal[1, 3]:
        """1 for grey, 3 for colour."""
        return 1 if self.high_quality.images.shape[3] == 1 else 3

    @property
    def low_quality_size(self) -> int:
        """Side r of the low-quality images; 0 without any."""
        return 0 if self.low_quality is None else int(self.low_quality.bank.images.shape[1])

    @property
    def has_own_reference(self) -> bool:
        """Whether the reference is images of its own."""
        return self.reference.packed is not self.high_quality

    @property
    def packs(self) -> list[PackedImages]:
        """Everything that was read: high quality, a reference of its own, low quality of its own."""
        own = [self.reference.packed] if self.has_own_reference else []
        low = self.low_quality.packed if self.low_quality else None
        return [self.high_quality, *own, *([] if low is None else [low])]

    @cached_property
    def measured(self) -> Measured:
        """What recogniser, checks and evaluations look at."""
        return measured(self.high_quality, self.names, self.training, self.pool, self.reference, self.withheld)

    def stocks(self, device: torch.device) -> Stocks:
        """What batches on a device are gathered from; opened once, so that all stages of a run share it."""
        if device not in self._stocks:
            bank = self.low_quality.bank.images if self.low_quality else None
            self._stocks[device] = Stocks(
                Stock(self.high_quality.images, device), None if bank is None else Stock(bank, device)
            )
        return self._stocks[device]

    def images(self, rows: Rows) -> Bytes:
        """uint8 images ``(N, R, R, K)`` of some rows."""
        return self.high_quality.images[rows]

    def labels(self, rows: Rows) -> Labels:
        """Labels ``(N,)`` of some rows."""
        return self.high_quality.labels[rows]


def prepare(settings: DataSettings, *, low_quality: bool, progress: Progress = silent) -> Dataset:
    """Open and split the data that the settings name.

    Args:
        settings: the recipe's data settings.
        low_quality: whether the method uses low-quality images.
        progress: shows the decoding of large sets.

    Raises:
        DataError: nothing usable, one class only, a class too small, or sides that look swapped.
    """
    source, other = high_quality_sources(settings, progress)
    packed, survey = _high_quality(settings, source, progress)
    reference = None
    if other is not None:
        if len(packed.names) < len(source.classes):
            other = of_classes(other, packed.classes)
        channels: Literal[1, 3] = 1 if packed.images.shape[3] == 1 else 3
        of_other = look(other, progress)
        reference = _own_reference(
            pack(other, of_other, settings.resolution, channels, settings.fit, progress, survey.levels)
        )
    small: Sequence[str] = ()
    if len(packed.names) < len(source.classes):
        kept = frozenset(packed.names)
        small = [name for name in source.classes if name not in kept]
    return divide(settings, packed, reference, low_quality=low_quality, progress=progress, small=small)


def divide(
    settings: DataSettings,
    packed: PackedImages,
    own_reference: Subset | None,
    *,
    low_quality: bool,
    progress: Progress = silent,
    small: Sequence[str] = (),
) -> Dataset:
    """Decide who sees which of the packed images; copies stay on one side.

    Args:
        settings: the recipe's data settings.
        packed: the high-quality images.
        own_reference: images to compare with; None cuts them from the packed ones.
        low_quality: whether the method uses low-quality images.
        progress: shows the decoding of large sets.
        small: names of classes that have too few high-quality images to take part.

    Raises:
        DataError: shares that leave a class without images, or an unusable low-quality side.
    """
    firsts, count = packed.firsts, len(packed)
    pool = stratified_order(packed.labels, settings.seed, firsts)
    reference = own_reference
    if reference is None:
        if packed.groups is not None:
            held_out = whole_groups(packed.groups, packed.labels, firsts, settings.held_out, settings.seed)
            _check_held_out(packed, held_out)
        else:
            # At least 4 different ones: evaluation compares one half of the reference with the other.
            fewest = int(np.flatnonzero(firsts[pool] == pool)[:MIN_IMAGES_PER_CLASS][-1]) + 1
            held_out = with_copies(pool[: max(share(count, settings.held_out), fewest)], firsts)
        reference, pool = Subset(packed, held_out), pool[~membership(held_out, count)[pool]]
        _check_training(packed, pool, f"a held-out share (data.held_out) of {settings.held_out}", "smaller share")
    # Ordered anew, so that every prefix of the pool is stratified too.
    pool = pool[stratified_order(packed.labels[pool], settings.seed + 1, firsts[pool])]
    training = with_copies(pool[: share(len(pool), settings.high_quality_fraction)], firsts)
    _check_training(packed, training, f"a high-quality fraction of {settings.high_quality_fraction}", "larger fraction")
    withheld = _drawn_classes(settings, packed)
    training = _without(packed, training, withheld)
    side = low_quality_side(settings, packed, pool, training, progress, small) if low_quality else None
    if len(withheld) and side is not None:
        _check_withheld(settings, packed, withheld, side)
    return Dataset(packed, training, ascending(pool, count), reference, side, withheld)


def _drawn_classes(settings: DataSettings, packed: PackedImages) -> Labels:
    """The classes that the GAN gets no high-quality images of, ascending; more of them contain fewer."""
    classes, wanted = len(packed.names), settings.without_hq
    if wanted == 0:
        return NO_LABELS
    if wanted > classes - MIN_CLASSES:
        raise DataError(
            f"data.without_hq is {wanted:,}, but {packed.survey.location} holds {classes:,} classes, of which "
            f"{MIN_CLASSES} must keep their high-quality images; use at most {max(0, classes - MIN_CLASSES):,}"
        )
    drawn = np.random.default_rng((settings.seed, WITHHELD)).permutation(classes)[:wanted]
    return np.sort(drawn).astype(np.int64)


def _without(packed: PackedImages, training: Rows, withheld: Labels) -> Rows:
    """Training rows that show no picture of the withheld classes, under whatever label; ascending.

    Raises:
        DataError: another class has no other pictures.
    """
    if len(withheld) == 0:
        return training
    shown = with_copies(packed.manifest.rows_of_all(withheld), packed.firsts)
    kept = training[~membership(shown, len(packed))[training]]
    counts = np.bincount(packed.labels[kept], minlength=len(packed.names))
    counts[withheld] = 1  # they are meant to have none
    _check_counts(packed, counts, f"data.without_hq = {len(withheld):,}", "smaller number")
    return kept


def _check_withheld(settings: DataSettings, packed: PackedImages, withheld: Labels, side: LowQuality) -> None:
    """Refuse to take the high-quality images of a class that has no low-quality ones of its own either."""
    if side.pairing == "independent":
        raise DataError(
            f"data.without_hq is {settings.without_hq}, but with independent pairing a class without high-quality "
            "images has no low-quality ones of its own either; use data.pairing=matched, or data.without_hq=0"
        )
    assert side.bank.label_of_class is not None
    bare = withheld[side.bank.label_of_class[withheld] < 0]
    if len(bare):
        raise DataError(
            f"data.without_hq takes the high-quality images of class {packed.names[int(bare[0])]!r}, which has no "
            "low-quality ones either; add some, or use another data.seed"
        )


def _check_held_out(packed: PackedImages, held_out: Rows) -> None:
    """Refuse a reference of too few images where families of faces are held out whole."""
    different = len(np.unique(packed.firsts[held_out]))
    if different < MIN_IMAGES_PER_CLASS:
        raise DataError(
            f"holding faces out whole leaves {different} different images of {packed.survey.location} as reference, "
            f"which needs at least {MIN_IMAGES_PER_CLASS}; add fonts of other families with --fonts, or use "
            "data.glyphs.held_out=images"
        )


def _own_reference(packed: PackedImages) -> Subset:
    different = len(np.unique(packed.firsts))
    if different < MIN_IMAGES_PER_CLASS:
        raise DataError(
            f"the reference {packed.survey.location} holds {different} different readable images; it needs at least "
            f"{MIN_IMAGES_PER_CLASS}, since one half of it is compared with the other"
        )
    return Subset(packed, np.arange(len(packed)))


def check_apart(dataset: Dataset, settings: DataSettings) -> None:
    """Refuse given reference images that are training images too: a folder inside the other, or a test part in both.

    It reads a number of every image, so a run does it once, before it begins: afterwards it knows its images.

    Raises:
        DataError: there are such images.
    """
    if settings.reference in (None, PUBLISHED):
        return
    packed, reference = dataset.high_quality, dataset.reference
    shared = shared_rows(reference.packed.digests, packed.digests)
    if len(shared):
        raise DataError(
            f"{len(shared):,} of the {len(reference):,} reference images in {reference.packed.survey.location} are "
            f"among the training images of {packed.survey.location}; figures on them would mean nothing, keep the two "
            "apart"
        )


def _high_quality(settings: DataSettings, source: ImageSource, progress: Progress) -> tuple[PackedImages, Survey]:
    """The images of the classes that are large enough, and what their headers say.

    With images that cannot be read, a class may turn out not to be.
    """
    counts, unreadable = np.bincount(source.labels, minlength=len(source.classes)), ""
    while True:
        source = _large_classes(settings, source, counts, unreadable)
        survey = look(source, progress)
        channels = settings.channels if settings.channels != "auto" else (1 if survey.is_grey else 3)
        packed = pack(source, survey, settings.resolution, channels, settings.fit, progress)
        counts = packed.manifest.counts()
        if counts.min() >= settings.smallest_class:
            return packed, survey
        unreadable = _first_unreadable(packed.survey, source.classes[int(counts.argmin())])


def _first_unreadable(survey: Survey, class_name: str) -> str:
    """How many images cannot be read, and one of them, best of a certain class."""
    if not survey.unreadable:
        return ""
    name, reason = next((named for named in survey.unreadable if f"/{class_name}/" in named[0]), survey.unreadable[0])
    return f"; {survey.unreadable_count:,} images are unreadable, such as {name}: {reason}"


def _large_classes(settings: DataSettings, source: ImageSource, counts: Labels, unreadable: str) -> ImageSource:
    """The images of the classes with at least ``data.smallest_class``; the others are named in a note.

    Args:
        settings: with that number.
        source: labelled images.
        counts: images of each class that can be used, ``(C,)``.
        unreadable: what to say of those that cannot.

    Raises:
        DataError: fewer than two classes are that large.
    """
    names, fewest = source.classes, settings.smallest_class
    if len(names) < MIN_CLASSES:
        raise DataError(
            f"{source.location} holds the single class {names[0]!r}; a class-conditional generator needs at least "
            f"{MIN_CLASSES} (is the folder one level too deep?)"
        )
    small = np.flatnonzero(counts < fewest)
    if len(small) == 0:
        return source
    few = a_few([f"{names[label]!r}: {counts[label]:,}" for label in small.tolist()])
    which = f"{len(small):,} of {len(names):,} classes with fewer than {fewest} images that can be read ({few})"
    if len(names) - len(small) < MIN_CLASSES:
        raise DataError(
            f"{source.location} holds {which}, and a generator needs at least {MIN_CLASSES} classes of {fewest}; add "
            f"images{unreadable}"
        )
    left = f"{which} are left out (data.smallest_class={fewest}){unreadable}"
    return of_classes(source, [names[label] for label in np.flatnonzero(counts >= fewest).tolist()], (left,))


def _check_training(packed: PackedImages, training: Rows, cause: str, way_out: str) -> None:
    counts = np.bincount(packed.labels[training], minlength=len(packed.names))
    _check_counts(packed, counts, cause, way_out)


def _check_counts(packed: PackedImages, counts: Labels, cause: str, way_out: str) -> None:
    if counts.min() == 0:
        label = int(counts.argmin())
        raise DataError(
            f"{cause} leaves class {packed.names[label]!r} without training images{packed.copies_of_class(label)}; use "
            f"a {way_out} or add images of that class"
        )

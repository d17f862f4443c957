"""The low-quality side: images of their own, or degraded copies; what trains and what is held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ctfgan.core.errors import DataError
from ctfgan.core.progress import Progress
from ctfgan.data.bitmap_fonts import BitmapSource
from ctfgan.data.class_names import ClassNames
from ctfgan.data.low_quality_bank import ImageView, LowQualityBank
from ctfgan.data.namesakes import NO_LABELS, Namesakes, ResolvedPairing, resolve_pairing
from ctfgan.data.pack import pack
from ctfgan.data.packed import PackedImages
from ctfgan.data.scan import scan_headers
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS, DataSettings
from ctfgan.data.sides import swapped_sides
from ctfgan.data.sources.base import UNLABELLED, ImageSource, Labels
from ctfgan.data.sources.columns import Columns
from ctfgan.data.sources.registry import open_source
from ctfgan.data.splits import Indices, covering_prefix, membership, share, stratified_order, whole_groups, with_copies


@dataclass(frozen=True)
class LowQuality:
    """The low-quality side of a dataset."""

    bank: LowQualityBank
    """What training draws from, and what a bundle carries a part of."""
    held_out: LowQualityBank | None
    """Images that training never sees, for the second column of figures (decision 14); None if none are wanted."""
    names: ClassNames
    """Of the low-quality labels; empty if there are none."""
    own_labels: Labels
    """Low-quality labels of the classes that only this side has, ascending; they follow the high-quality ones."""
    thin_labels: Labels
    """The same of those that do not take part, since they lack an image for one of the banks."""
    namesakes: Namesakes
    """Which of its classes are classes of the high-quality side."""
    packed: PackedImages | None
    """The images with their survey; None for degraded copies of high-quality ones."""
    originals: Indices
    """Rows of the high-quality images that the training bank was degraded from; empty for images of their own."""
    also_high_quality: int
    """How many of the training bank are copies of images that the GAN sees as high-quality ones, too."""
    held_out_seen: int
    """The same for the held-out bank, where there should be none."""
    held_out_groups: tuple[str, ...] = ()
    """Names of the groups that are held out whole."""

    @property
    def pairing(self) -> ResolvedPairing:
        """Whether low-quality images are those of their classes."""
        return self.namesakes.pairing

    @property
    def classes(self) -> tuple[str, ...]:
        """All names of low-quality labels; for many rather :attr:`names`."""
        return self.names.all()

    @property
    def banks(self) -> tuple[LowQualityBank, ...]:
        """Both banks, or the only one."""
        return (self.bank,) if self.held_out is None else (self.bank, self.held_out)


def low_quality_side(
    settings: DataSettings,
    packed: PackedImages,
    pool: Indices,
    high_quality: Indices,
    progress: Progress,
    small: Sequence[str] = (),
) -> LowQuality:
    """Open or make the low-quality images that go with packed high-quality ones.

    Args:
        settings: the recipe's data settings.
        packed: the high-quality images.
        pool: their rows outside the reference, in the nested order that the high-quality fraction cuts.
        high_quality: those that the fraction keeps.
        progress: shows the decoding of large sets.
        small: names of classes that have too few high-quality images to take part.

    Raises:
        DataError: nothing usable, sides that look swapped, or a class without images where pairing needs them.
    """
    source = _source(settings, packed.names, progress)
    if source is None:
        return _derived(settings, packed, pool, high_quality)
    survey = scan_headers(source, progress)
    size = settings.low_quality_size
    if size is None:
        if swapped := swapped_sides(packed.survey, survey):
            raise DataError(swapped)
        size = min(max(survey.sides[1], 4), settings.resolution)
    if size > settings.resolution:
        raise DataError(
            f"data.low_quality_size is {size}; it must not exceed the resolution of {settings.resolution} pixels"
        )
    low = pack(source, survey, size, packed.channels, settings.fit, progress)
    namesakes = resolve_pairing(settings.pairing, packed.names, low.names, small)
    if len(low) < MIN_IMAGES_PER_CLASS:
        raise DataError(
            f"{source.location} holds {len(low)} readable images; the low-quality side needs {MIN_IMAGES_PER_CLASS}"
        )
    labels = low.labels
    if namesakes.is_matched and len(namesakes.unsorted):
        labels = np.where(np.isin(labels, namesakes.unsorted), UNLABELLED, labels)
    held_out = _held_out(settings, low, labels, namesakes)
    training = np.flatnonzero(~membership(held_out, len(low)))
    if len(training) == 0:
        raise DataError(
            f"a held-out share (data.low_quality_held_out) of {_held_out_fraction(settings)} leaves no image of "
            f"{source.location} to train on, since copies stay on one side of every split and {low.copies:,} of its "
            f"{len(low):,} images are copies; add other images, or use data.low_quality_held_out=0"
        )
    of_class, own, thin = None, NO_LABELS, NO_LABELS
    if namesakes.is_matched:
        of_class = namesakes.label_of_class
        are_wanted = settings.lq_only_classes
        if are_wanted == "auto":
            are_wanted = bool((of_class >= 0).all())
        if are_wanted and settings.only is None:
            own, thin = _own_labels(namesakes, labels, (training, held_out))
            of_class = np.concatenate([of_class, own])
    views = ImageView(low, training, None, 0), ImageView(low, held_out, None, 0)
    bank, second = _banks(views, (labels[training], labels[held_out]), of_class)
    if bank.label_of_class is not None:
        namesakes = replace(namesakes, label_of_class=bank.label_of_class[: len(packed.names)])
    within = low.groups_within(held_out)
    return LowQuality(bank, second, low.names, own, thin, namesakes, low, NO_LABELS, 0, 0, within)


def _held_out(settings: DataSettings, low: PackedImages, labels: Labels, namesakes: Namesakes) -> Indices:
    """Rows of the held-out bank; the only picture of a class trains."""
    fraction = _held_out_fraction(settings)
    if low.groups is not None and fraction:
        return whole_groups(low.groups, labels, low.firsts, fraction, settings.seed)
    order = stratified_order(labels, settings.seed, low.firsts)
    if not namesakes.is_matched:
        return _first_share(order, labels, low.firsts, fraction, cover=False)
    pictures = np.bincount(labels[np.unique(low.firsts)] + 1, minlength=len(low.names) + 1)
    several = order[(pictures[labels[order] + 1] > 1) | (labels[order] == UNLABELLED)]
    return _first_share(several, labels, low.firsts, fraction, cover=True)


def _source(settings: DataSettings, classes: ClassNames, progress: Progress) -> ImageSource | None:
    """The low-quality images of their own, from files or fonts; None if they are to be degraded copies."""
    fonts = settings.glyphs.low_quality_font_folders
    if fonts:
        return BitmapSource(classes.all(), fonts, progress)
    if settings.low_quality is None:
        return None
    columns = Columns(
        settings.low_quality_image_column, settings.low_quality_label_column, settings.low_quality_class_level
    )
    return open_source(settings.low_quality, columns=columns, keep_unlabelled=True)


def _derived(settings: DataSettings, packed: PackedImages, pool: Indices, high_quality: Indices) -> LowQuality:
    """Degrade images of the pool, those that the high-quality fraction left out first."""
    how = settings.degradation
    if how.size > settings.resolution:
        raise DataError(
            f"data.degradation.size is {how.size}; it must not exceed the resolution of {settings.resolution} pixels"
        )
    namesakes = resolve_pairing(settings.pairing, packed.names, packed.names)
    matched, labels = namesakes.is_matched, packed.labels
    backwards = pool[::-1]  # images outside the high-quality share come first
    training = _first_share(backwards, labels, packed.firsts, how.share, cover=matched)
    held_out = _unseen_share(backwards, training, high_quality, packed, settings, cover=matched)
    of_class = namesakes.label_of_class if matched else None
    views = ImageView(packed, training, how, settings.seed), ImageView(packed, held_out, how, settings.seed + 1)
    bank, second = _banks(views, (labels[training], labels[held_out]), of_class)
    is_seen = membership(high_quality, len(packed))
    also, seen = int(is_seen[training].sum()), int(is_seen[held_out].sum())
    return LowQuality(bank, second, packed.names, NO_LABELS, NO_LABELS, namesakes, None, training, also, seen)


def _unseen_share(
    backwards: Indices,
    training: Indices,
    high_quality: Indices,
    packed: PackedImages,
    settings: DataSettings,
    *,
    cover: bool,
) -> Indices:
    """Originals of the held-out bank: images that the GAN sees in no form; only if there are none of some class
    (a high-quality fraction near 1) images that it sees as high-quality ones.
    """
    asked = _held_out_fraction(settings)
    if asked == 0:
        return backwards[:0]
    rest = backwards[~membership(training, len(packed))[backwards]]
    if len(rest) == 0:
        raise DataError(
            f"data.degradation.share is {settings.degradation.share} and leaves no image to hold out; "
            "use a smaller share, or data.low_quality_held_out=0"
        )
    unseen, labels = rest[~membership(high_quality, len(packed))[rest]], packed.labels
    complete = _classes_in(labels[unseen]) == _classes_in(labels[rest]) if cover else len(unseen) > 0
    candidates = unseen if complete else rest
    fraction = min(1.0, asked * len(backwards) / len(candidates))
    return _first_share(candidates, labels, packed.firsts, fraction, cover=cover)


def _held_out_fraction(settings: DataSettings) -> float:
    return settings.held_out if settings.low_quality_held_out is None else settings.low_quality_held_out


def _first_share(order: Indices, labels: Labels, firsts: Indices, fraction: float, *, cover: bool) -> Indices:
    """The first rows of an order, at least one; with ``cover`` at least one of every class; none for a share of 0.

    Always with all their copies.
    """
    if fraction == 0:
        return order[:0]
    count = max(1, share(len(order), fraction))
    return with_copies(covering_prefix(order, labels, count) if cover else order[:count], firsts)


def _classes_in(labels: Labels) -> int:
    """How many different labels there are."""
    return int((np.bincount(labels) > 0).sum())


def _banks(
    views: tuple[ImageView, ImageView], labels: tuple[Labels, Labels], label_of_class: Labels | None
) -> tuple[LowQualityBank, LowQualityBank | None]:
    """The training bank, and the held-out one if it has any image."""
    training, held_out = (_bank(view, own, label_of_class) for view, own in zip(views, labels, strict=True))
    return training, held_out if len(held_out) else None


def _bank(view: ImageView, labels: Labels, label_of_class: Labels | None) -> LowQualityBank:
    """A bank in which classes without an image of their own have no label."""
    if label_of_class is not None:
        counts = np.bincount(labels + 1, minlength=int(label_of_class.max(initial=UNLABELLED)) + 2)
        label_of_class = np.where(counts[label_of_class + 1] > 0, label_of_class, UNLABELLED)
    return LowQualityBank(view.in_memory_if_few(), labels, label_of_class)


def _own_labels(namesakes: Namesakes, labels: Labels, banks: tuple[Indices, Indices]) -> tuple[Labels, Labels]:
    """Labels of the classes that only the low-quality side has: those with images for both banks, and the others.

    Args:
        namesakes: which low-quality labels are whose.
        labels: of the low-quality images, ``(N,)``.
        banks: rows of the training bank and of the held-out one, which may be empty.
    """
    spare = namesakes.sorted_spare
    size = int(max(labels.max(initial=0), spare.max(initial=0))) + 2
    counts = [np.bincount(labels[rows] + 1, minlength=size) for rows in banks if len(rows)]
    least = np.min(counts, axis=0)[spare + 1]
    most = np.sum(counts, axis=0)[spare + 1]
    return spare[least > 0], spare[(least == 0) & (most > 0)]

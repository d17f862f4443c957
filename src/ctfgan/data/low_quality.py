"""The low-quality side: images of their own, or degraded copies; what trains and what is held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ctfgan.data.bitmap_faces import BitmapSource
from ctfgan.data.image_view import ImageView
from ctfgan.data.manifest import ClassNames
from ctfgan.data.packed import PackedImages
from ctfgan.data.packing import look, pack
from ctfgan.data.pairing import LowQualityBank, ResolvedPairing, resolve_pairing
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS, DataSettings
from ctfgan.data.sources.base import ImageSource, Labels
from ctfgan.data.sources.opening import open_source
from ctfgan.data.sources.tables import Columns
from ctfgan.data.splits import Rows, covering_prefix, membership, share, stratified_order, whole_groups, with_copies
from ctfgan.errors import DataError
from ctfgan.progress import Progress

NO_LABELS: Labels = np.empty(0, dtype=np.int64)


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
    pairing: ResolvedPairing
    packed: PackedImages | None
    """The images with their survey; None for degraded copies of high-quality ones."""
    originals: Rows
    """Rows of the high-quality images that the training bank was degraded from; empty for images of their own."""
    also_high_quality: int
    """How many of the training bank are copies of images that the GAN sees as high-quality ones, too."""
    held_out_seen: int
    """The same for the held-out bank, where there should be none."""
    held_out_groups: tuple[str, ...] = ()
    """Names of the groups that are held out whole."""

    @property
    def classes(self) -> tuple[str, ...]:
        """All names of low-quality labels; for many rather :attr:`names`."""
        return self.names.all()

    @property
    def banks(self) -> tuple[LowQualityBank, ...]:
        """Both banks, or the only one."""
        return (self.bank,) if self.held_out is None else (self.bank, self.held_out)


def low_quality_side(
    settings: DataSettings, packed: PackedImages, pool: Rows, high_quality: Rows, progress: Progress
) -> LowQuality:
    """Open or make the low-quality images that go with packed high-quality ones.

    Args:
        settings: the recipe's data settings.
        packed: the high-quality images.
        pool: their rows outside the reference, in the nested order that the high-quality fraction cuts.
        high_quality: those that the fraction keeps.
        progress: shows the decoding of large sets.

    Raises:
        DataError: nothing usable, sides that look swapped, or a class without images where pairing needs them.
    """
    source = _source(settings, packed.names, progress)
    if source is None:
        return _derived(settings, packed, pool, high_quality)
    survey = look(source, progress)
    size = settings.low_quality_size
    if size is None:
        if survey.sides[1] > packed.survey.sides[1]:
            raise DataError(
                f"the low-quality images ({survey.sides[1]} pixels) are larger than the high-quality ones "
                f"({packed.survey.sides[1]}); swap --hq and --lq, or set data.low_quality_size if this is meant"
            )
        size = min(max(survey.sides[1], 4), settings.resolution)
    if size > settings.resolution:
        raise DataError(
            f"data.low_quality_size is {size}; it must not exceed the resolution of {settings.resolution} pixels"
        )
    channels: Literal[1, 3] = 1 if packed.images.shape[3] == 1 else 3
    low = pack(source, survey, size, channels, settings.fit, progress)
    pairing = resolve_pairing(settings.pairing, packed.names, low.names, lq_only=settings.lq_only_classes)
    order = stratified_order(low.labels, settings.seed, low.firsts)
    if len(low) < MIN_IMAGES_PER_CLASS:
        raise DataError(
            f"{source.location} holds {len(low)} readable images; the low-quality side needs {MIN_IMAGES_PER_CLASS}"
        )
    matched = pairing == "matched"
    fraction = _held_out_fraction(settings)
    if low.groups is None or fraction == 0:
        held_out = _first_share(order, low, fraction, cover=matched)
    else:
        held_out = whole_groups(low.groups, low.labels, low.firsts, fraction, settings.seed)
    training = np.flatnonzero(~membership(held_out, len(low)))
    if len(training) == 0:
        raise DataError(
            f"a held-out share (data.low_quality_held_out) of {fraction} leaves no image of {source.location} to train "
            f"on, since copies stay on one side of every split and {low.copies:,} of its {len(low):,} images are "
            "copies; add other images, or use data.low_quality_held_out=0"
        )
    of_class, own, thin = None, NO_LABELS, NO_LABELS
    if matched:
        of_class = _label_of_class(packed.names, low.names)
        if settings.lq_only_classes and settings.only is None:
            own, thin = _own_labels(of_class, low, (training, held_out))
            of_class = np.concatenate([of_class, own])
    views = ImageView(low, training, None, 0), ImageView(low, held_out, None, 0)
    bank, second = _banks(views, low, (training, held_out), of_class, packed.names)
    none, within = np.empty(0, dtype=np.int64), low.groups_within(held_out)
    return LowQuality(bank, second, low.names, own, thin, pairing, low, none, 0, 0, within)


def _source(settings: DataSettings, classes: ClassNames, progress: Progress) -> ImageSource | None:
    """The low-quality images of their own, from files or fonts; None if they are to be degraded copies."""
    fonts = settings.glyphs.low_quality_font_folders
    if fonts:
        return BitmapSource(classes.all(), fonts, progress)
    if settings.low_quality is None:
        return None
    columns = Columns(settings.low_quality_image_column, settings.low_quality_label_column)
    return open_source(settings.low_quality, columns=columns)


def _derived(settings: DataSettings, packed: PackedImages, pool: Rows, high_quality: Rows) -> LowQuality:
    """Degrade images of the pool, those that the high-quality fraction left out first."""
    how = settings.degradation
    if how.size > settings.resolution:
        raise DataError(
            f"data.degradation.size is {how.size}; it must not exceed the resolution of {settings.resolution} pixels"
        )
    pairing = resolve_pairing(settings.pairing, packed.names, packed.names)
    matched = pairing == "matched"
    backwards = pool[::-1]  # images outside the high-quality share come first
    training = _first_share(backwards, packed, how.share, cover=matched)
    held_out = _unseen_share(backwards, training, high_quality, packed, settings, cover=matched)
    of_class = np.arange(len(packed.names)) if matched else None
    views = ImageView(packed, training, how, settings.seed), ImageView(packed, held_out, how, settings.seed + 1)
    bank, second = _banks(views, packed, (training, held_out), of_class, packed.names)
    is_seen = membership(high_quality, len(packed))
    also, seen = int(is_seen[training].sum()), int(is_seen[held_out].sum())
    return LowQuality(bank, second, packed.names, NO_LABELS, NO_LABELS, pairing, None, training, also, seen)


def _unseen_share(
    backwards: Rows, training: Rows, high_quality: Rows, packed: PackedImages, settings: DataSettings, *, cover: bool
) -> Rows:
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
    return _first_share(candidates, packed, fraction, cover=cover)


def _held_out_fraction(settings: DataSettings) -> float:
    return settings.held_out if settings.low_quality_held_out is None else settings.low_quality_held_out


def _first_share(order: Rows, packed: PackedImages, fraction: float, *, cover: bool) -> Rows:
    """The first rows of an order, at least one; with ``cover`` at least one of every class; none for a share of 0.

    Always with all their copies.
    """
    if fraction == 0:
        return order[:0]
    count = max(1, share(len(order), fraction))
    return with_copies(covering_prefix(order, packed.labels, count) if cover else order[:count], packed.firsts)


def _classes_in(labels: Labels) -> int:
    """How many different labels there are."""
    return int((np.bincount(labels) > 0).sum())


def _banks(
    views: tuple[ImageView, ImageView],
    packed: PackedImages,
    rows: tuple[Rows, Rows],
    label_of_class: Labels | None,
    classes: ClassNames,
) -> tuple[LowQualityBank, LowQualityBank | None]:
    """The training bank (number 0) and the held-out bank (number 1) of given rows; None for a second one without."""
    training, held_out = rows
    bank = _bank(views[0], packed, training, label_of_class, classes, "train on", "data.pairing=independent")
    if len(held_out) == 0:
        return bank, None
    return bank, _bank(views[1], packed, held_out, label_of_class, classes, "hold out", "data.low_quality_held_out=0")


def _bank(
    view: ImageView,
    packed: PackedImages,
    rows: Rows,
    label_of_class: Labels | None,
    classes: ClassNames,
    use: str,
    way_out: str,
) -> LowQualityBank:
    labels = packed.labels[rows]
    if label_of_class is not None:
        counts = np.bincount(labels + 1, minlength=int(label_of_class.max()) + 2)
        absent = np.flatnonzero(counts[label_of_class + 1] == 0)
        if len(absent):
            label = int(absent[0])
            raise DataError(
                f"class {classes[label]!r} is left without a low-quality image to {use}"
                f"{packed.copies_of_class(int(label_of_class[label]))}; "
                f"add images of that class, or use {way_out}"
            )
    return LowQualityBank(view.in_memory_if_few(), labels, label_of_class)


def _label_of_class(classes: ClassNames, low_quality_classes: ClassNames) -> Labels:
    if classes == low_quality_classes:
        return np.arange(len(classes))
    number = {name: index for index, name in enumerate(low_quality_classes)}
    return np.array([number[name] for name in classes], dtype=np.int64)


def _own_labels(of_class: Labels, low: PackedImages, banks: tuple[Rows, Rows]) -> tuple[Labels, Labels]:
    """Labels of the classes that only the low-quality side has: those with images for both banks, and the others.

    Args:
        of_class: low-quality label of each class with high-quality images, ``(H,)``.
        low: the low-quality images.
        banks: rows of the training bank and of the held-out one, which may be empty.
    """
    is_own = low.manifest.counts() > 0
    is_own[of_class] = False
    is_in_all = np.ones(len(low.names), dtype=bool)
    for rows in banks:
        if len(rows):
            labels = low.labels[rows]
            is_in_all &= np.bincount(labels[labels >= 0], minlength=len(low.names)) > 0
    return np.flatnonzero(is_own & is_in_all), np.flatnonzero(is_own & ~is_in_all)

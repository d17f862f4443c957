"""From settings to a dataset: open, survey, pack, split, pair, and say what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ctfgan.data.degradation import degrade
from ctfgan.data.glyphs import GlyphSource
from ctfgan.data.images import Bytes
from ctfgan.data.packing import PackedImages, Progress, look, pack, silent
from ctfgan.data.pairing import LowQualityBank, ResolvedPairing, resolve_pairing
from ctfgan.data.settings import DataSettings
from ctfgan.data.sources.base import ImageSource, Labels
from ctfgan.data.sources.opening import open_source
from ctfgan.data.splits import Rows, covering_prefix, share, stratified_order
from ctfgan.errors import DataError

MIN_IMAGES_PER_CLASS = 4  # enough to train on, to degrade and to hold out


@dataclass(frozen=True)
class LowQuality:
    """The low-quality side of a dataset."""

    bank: LowQualityBank
    """What training draws from, and what a bundle carries a part of."""
    held_out: LowQualityBank
    """Images that training never sees, for the second column of figures (decision 14)."""
    classes: tuple[str, ...]
    """Names of the low-quality labels; empty if there are none."""
    pairing: ResolvedPairing
    origin: str
    """Where the images come from, for people."""
    originals: Rows
    """Rows of the high-quality images that the training bank was degraded from; empty for images of their own."""
    unreadable: tuple[tuple[str, str], ...]
    """Name and reason of each image that was skipped."""
    held_out_seen: int
    """How many images of the held-out bank are degraded copies of images that the GAN sees as high-quality ones."""


@dataclass(frozen=True)
class Dataset:
    """Images and the rows of them that each part of the program may look at."""

    high_quality: PackedImages
    training: Rows
    """What the GAN sees: the high-quality fraction of the pool."""
    pool: Rows
    """Everything but the reference; the recogniser trains on it."""
    reference: Rows
    """Held out from GAN and recogniser: what reported figures compare with."""
    low_quality: LowQuality | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.high_quality.classes

    @property
    def channels(self) -> Literal[1, 3]:
        """1 for grey, 3 for colour."""
        return 1 if self.high_quality.images.shape[3] == 1 else 3

    @property
    def low_quality_size(self) -> int:
        """Side r of the low-quality images; 0 without any."""
        return 0 if self.low_quality is None else int(self.low_quality.bank.images.shape[1])

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
    source = _high_quality_source(settings)
    survey = look(source)
    channels = settings.channels if settings.channels != "auto" else (1 if survey.is_grey else 3)
    packed = pack(source, survey, settings.resolution, channels, settings.fit, progress)
    _check_classes(packed)

    order = stratified_order(packed.labels, settings.seed)
    # At least 4: evaluation compares one half of the reference with the other.
    held_out = max(share(len(order), settings.held_out), MIN_IMAGES_PER_CLASS)
    reference, pool = order[:held_out], order[held_out:]
    # Ordered anew, so that every prefix of the pool is stratified too.
    pool = pool[stratified_order(packed.labels[pool], settings.seed + 1)]
    training = pool[: share(len(pool), settings.high_quality_fraction)]
    _check_training(packed, pool, f"a held-out share (data.held_out) of {settings.held_out}", "smaller share")
    _check_training(packed, training, f"a high-quality fraction of {settings.high_quality_fraction}", "larger fraction")
    side = _low_quality(settings, packed, pool, progress) if low_quality else None
    return Dataset(packed, np.sort(training), np.sort(pool), np.sort(reference), side)


def describe(dataset: Dataset, settings: DataSettings) -> list[str]:
    """What was found, line by line, as ``ctfgan train`` prints it."""
    packed = dataset.high_quality
    counts = np.bincount(packed.labels, minlength=len(packed.classes))
    lines = _survey_lines("high quality", packed)
    lines.append(
        f"  classes: {len(packed.classes):,}, {counts.min():,} to {counts.max():,} images each "
        f"(median {int(np.median(counts)):,}): {_histogram(packed.classes, counts)}"
    )
    used = len(dataset.training)
    lines.append(
        f"  HQ share: {used:,} of {len(dataset.pool):,} training images ({used / len(dataset.pool):.1%}); "
        f"{len(dataset.reference):,} held out as the reference"
    )
    side = dataset.low_quality
    if side is None:
        return [*lines, "low quality: none (this method uses none)"]
    lines.append(f"low quality: {side.origin}")
    names = f"{len(side.classes):,} labels" if side.classes else "no labels"
    lines.append(
        f"  {len(side.bank):,} images for training, {len(side.held_out):,} held out, "
        f"{dataset.low_quality_size}x{dataset.low_quality_size} pixels, {names}"
    )
    if side.held_out_seen:
        lines.append(
            f"  note: {side.held_out_seen:,} of the held-out ones are degraded copies of images in the HQ share, "
            "because it leaves no others"
        )
    why = ""
    if settings.pairing == "auto":
        why = " (auto: both sides have the same class names)" if side.pairing == "matched" else " (auto)"
    lines.append(f"  pairing: {side.pairing}{why}")
    if why and side.pairing == "matched" and settings.low_quality and all(name.isdigit() for name in side.classes):
        lines.append(
            "  note: the class names are numbers; if they mean other things there, use data.pairing=independent"
        )
    return lines


def _survey_lines(what: str, packed: PackedImages) -> list[str]:
    survey = packed.survey
    size = packed.images.shape[1]
    low, middle, high = survey.sides
    sides = f"{low}" if low == high else f"{low} to {high} (median {middle})"
    modes = ", ".join(f"{count:,} {mode}" for mode, count in survey.modes.items())
    form = "grey" if packed.images.shape[3] == 1 else "colour"
    lines = [f"{what}: {survey.location}: {len(packed):,} images", f"  sides: {sides} pixels, used at {size}, {form}"]
    lines.append(f"  modes: {modes}")
    lines += [f"  {note}" for note in survey.notes]
    if survey.unreadable:
        lines.append(f"  {len(survey.unreadable):,} unreadable images were skipped:")
        lines += [f"    {name}: {reason}" for name, reason in survey.unreadable[:10]]
        if len(survey.unreadable) > 10:
            lines.append(f"    ... and {len(survey.unreadable) - 10:,} more")
    return lines


def _histogram(classes: tuple[str, ...], counts: Labels) -> str:
    shown = [f"{name} {count:,}" for name, count in zip(classes[:6], counts[:6], strict=True)]
    return ", ".join(shown) + (", ..." if len(classes) > 6 else "")


def _high_quality_source(settings: DataSettings) -> ImageSource:
    if settings.high_quality is None:
        return GlyphSource(settings.glyphs, settings.resolution, settings.seed)
    source = open_source(settings.high_quality)
    if not source.classes:
        raise DataError(
            f"{source.location} holds images without labels; high-quality images need one subfolder per class"
        )
    return source


def _check_classes(packed: PackedImages) -> None:
    location = packed.survey.location
    if len(packed.classes) < 2:
        raise DataError(
            f"{location} holds the single class {packed.classes[0]!r}; a class-conditional generator needs at least 2 "
            "(is the folder one level too deep?)"
        )
    counts = np.bincount(packed.labels, minlength=len(packed.classes))
    if counts.min() < MIN_IMAGES_PER_CLASS:
        small = np.flatnonzero(counts < MIN_IMAGES_PER_CLASS)
        name, count = packed.classes[small[0]], int(counts[small[0]])
        others = f" (and {len(small) - 1} more classes)" if len(small) > 1 else ""
        raise DataError(
            f"{location}: class {name!r} has {count} readable image{'s' * (count != 1)}{others}; each class needs at "
            f"least {MIN_IMAGES_PER_CLASS}, add images or remove the class{_first_unreadable(packed, name)}"
        )


def _first_unreadable(packed: PackedImages, class_name: str) -> str:
    unreadable = packed.survey.unreadable
    if not unreadable:
        return ""
    name, reason = next((found for found in unreadable if f"/{class_name}/" in found[0]), unreadable[0])
    return f" ({len(unreadable):,} images are unreadable, such as {name}: {reason})"


def _check_training(packed: PackedImages, training: Rows, cause: str, way_out: str) -> None:
    counts = np.bincount(packed.labels[training], minlength=len(packed.classes))
    if counts.min() == 0:
        name = packed.classes[int(counts.argmin())]
        raise DataError(
            f"{cause} leaves class {name!r} without training images; use a {way_out} or add images of that class"
        )


def _low_quality(settings: DataSettings, packed: PackedImages, pool: Rows, progress: Progress) -> LowQuality:
    if settings.low_quality is None:
        return _derived(settings, packed, pool)
    source = open_source(settings.low_quality)
    survey = look(source)
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
    pairing = resolve_pairing(settings.pairing, packed.classes, low.classes)
    order = stratified_order(low.labels, settings.seed)
    if len(low) < MIN_IMAGES_PER_CLASS:
        raise DataError(
            f"{source.location} holds {len(low)} readable images; the low-quality side needs {MIN_IMAGES_PER_CLASS}"
        )
    matched = pairing == "matched"
    held_out = _first_share(order, low.labels, settings.held_out, cover=matched)
    training = np.setdiff1d(order, held_out)
    of_class = _label_of_class(packed.classes, low.classes) if matched else None
    banks = [
        _bank(low.images[rows], low.labels[rows], of_class, packed.classes, use)
        for rows, use in ((training, "train on"), (held_out, "hold out"))
    ]
    origin = "\n".join(_survey_lines("", low)).removeprefix(": ")
    none = np.empty(0, dtype=np.int64)
    return LowQuality(banks[0], banks[1], low.classes, pairing, origin, none, low.survey.unreadable, 0)


def _derived(settings: DataSettings, packed: PackedImages, pool: Rows) -> LowQuality:
    """Degrade images of the pool, those that the high-quality fraction left out first."""
    how = settings.degradation
    if how.size > settings.resolution:
        raise DataError(
            f"data.degradation.size is {how.size}; it must not exceed the resolution of {settings.resolution} pixels"
        )
    pairing = resolve_pairing(settings.pairing, packed.classes, packed.classes)
    matched = pairing == "matched"
    backwards = pool[::-1]  # images outside the high-quality share come first
    training = _first_share(backwards, packed.labels, how.share, cover=matched)
    high_quality = pool[: share(len(pool), settings.high_quality_fraction)]
    held_out = _unseen_share(backwards, training, high_quality, packed.labels, settings, cover=matched)
    of_class = np.arange(len(packed.classes)) if matched else None
    banks = [
        _bank(
            degrade(packed.images[rows], how, settings.seed + number),
            packed.labels[rows],
            of_class,
            packed.classes,
            use,
        )
        for number, (rows, use) in enumerate(((training, "train on"), (held_out, "hold out")))
    ]
    also = int(np.isin(training, high_quality).sum())
    seen = int(np.isin(held_out, high_quality).sum())
    origin = f"degraded copies of high-quality images, {also:,} of them also in the HQ share"
    return LowQuality(banks[0], banks[1], packed.classes, pairing, origin, training, (), seen)


def _unseen_share(
    backwards: Rows, training: Rows, high_quality: Rows, labels: Labels, settings: DataSettings, *, cover: bool
) -> Rows:
    """Originals of the held-out bank: images that the GAN sees in no form; only if there are none of some class
    (a high-quality fraction near 1) images that it sees as high-quality ones.
    """
    rest = backwards[~np.isin(backwards, training)]
    if len(rest) == 0:
        raise DataError(
            f"data.degradation.share is {settings.degradation.share} and leaves no image to hold out; "
            "use a smaller share"
        )
    unseen = rest[~np.isin(rest, high_quality)]
    complete = len(np.unique(labels[unseen])) == len(np.unique(labels[rest])) if cover else len(unseen) > 0
    candidates = unseen if complete else rest
    fraction = min(1.0, settings.held_out * len(backwards) / len(candidates))
    return _first_share(candidates, labels, fraction, cover=cover)


def _first_share(order: Rows, labels: Labels, fraction: float, *, cover: bool) -> Rows:
    """The first rows of an order, at least one; with ``cover`` at least one of every class."""
    count = max(1, share(len(order), fraction))
    return np.sort(covering_prefix(order, labels, count) if cover else order[:count])


def _bank(
    images: Bytes, labels: Labels, label_of_class: Labels | None, classes: tuple[str, ...], use: str
) -> LowQualityBank:
    if label_of_class is not None:
        absent = np.flatnonzero(~np.isin(label_of_class, labels))
        if len(absent):
            raise DataError(
                f"class {classes[absent[0]]!r} is left without a low-quality image to {use}; "
                "add images of that class, or use data.pairing=independent"
            )
    return LowQualityBank(images, labels, label_of_class)


def _label_of_class(classes: tuple[str, ...], low_quality_classes: tuple[str, ...]) -> Labels:
    number = {name: index for index, name in enumerate(low_quality_classes)}
    return np.array([number[name] for name in classes], dtype=np.int64)

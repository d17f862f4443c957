"""From settings to a dataset: open, survey, pack, split."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from ctfgan.core.errors import DataError, suggestion
from ctfgan.core.files import expanded
from ctfgan.core.progress import Progress, silent
from ctfgan.core.text import a_few
from ctfgan.data.dataset import Dataset, Subset
from ctfgan.data.glyphs import NAMED_SETS, GlyphSource, is_named, named_characters
from ctfgan.data.low_quality import LowQuality, low_quality_side
from ctfgan.data.namesakes import NO_LABELS
from ctfgan.data.pack import pack
from ctfgan.data.packed import PackedImages, SourceSummary
from ctfgan.data.scan import scan_headers
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS, PUBLISHED, DataSettings
from ctfgan.data.sources.base import ImageSource, Labels, of_classes, with_classes
from ctfgan.data.sources.columns import Columns
from ctfgan.data.sources.registry import open_source
from ctfgan.data.splits import (
    Indices,
    membership,
    share,
    shared_rows,
    stratified_order,
    whole_groups,
    with_copies,
)

MIN_CLASSES = 2
WITHHELD = 1  # tells the random numbers that draw withheld classes from others of the same seed


def prepare(settings: DataSettings, *, low_quality: bool, progress: Progress = silent) -> Dataset:
    """Open and split the data that the settings name; the low-quality side only if the method uses ``low_quality``.

    Raises:
        DataError: nothing usable, one class only, a class too small, or sides that look swapped.
    """
    source, other = high_quality_sources(settings, progress)
    packed, survey = _high_quality(settings, source, progress)
    small: Sequence[str] = ()
    if len(packed.names) < len(source.classes):
        large = frozenset(packed.names)
        small = [name for name in source.classes if name not in large]
    reference = None
    if other is not None:
        other = of_classes(other, packed.classes) if small else other
        of_other = scan_headers(other, progress)
        reference = _own_reference(
            pack(other, of_other, settings.resolution, packed.channels, settings.fit, progress, survey.levels)
        )
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
    return Dataset(packed, training, np.sort(pool), reference, side, withheld)


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


def _without(packed: PackedImages, training: Indices, withheld: Labels) -> Indices:
    """Training rows that show no picture of the withheld classes, under whatever label; ascending.

    Raises:
        DataError: another class has no other pictures.
    """
    if len(withheld) == 0:
        return training
    shown = with_copies(packed.rows_of_all(withheld), packed.firsts)
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


def _check_held_out(packed: PackedImages, held_out: Indices) -> None:
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


def _high_quality(
    settings: DataSettings, source: ImageSource, progress: Progress
) -> tuple[PackedImages, SourceSummary]:
    """The images of the classes that are large enough, and what their headers say.

    With images that cannot be read, a class may turn out not to be.
    """
    counts, unreadable = np.bincount(source.labels, minlength=len(source.classes)), ""
    while True:
        source = _large_classes(settings, source, counts, unreadable)
        survey = scan_headers(source, progress)
        channels = settings.channels if settings.channels != "auto" else (1 if survey.is_grey else 3)
        packed = pack(source, survey, settings.resolution, channels, settings.fit, progress)
        counts = packed.counts()
        if counts.min() >= settings.smallest_class:
            return packed, survey
        unreadable = _first_unreadable(packed.survey, source.classes[int(counts.argmin())])


def _first_unreadable(survey: SourceSummary, class_name: str) -> str:
    """How many images cannot be read, and one of them, best of a certain class."""
    if not survey.unreadable:
        return ""
    name, reason = next((named for named in survey.unreadable if f"/{class_name}/" in named[0]), survey.unreadable[0])
    return f"; {survey.unreadable_count:,} images are unreadable, such as {name}: {reason}"


def _large_classes(settings: DataSettings, source: ImageSource, counts: Labels, unreadable: str) -> ImageSource:
    """The images of the classes with at least ``data.smallest_class``; the others are named in a note.

    Images of each class that can be used are ``counts``, ``(C,)``; ``unreadable`` is what to say of those that cannot.

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


def _check_training(packed: PackedImages, training: Indices, cause: str, way_out: str) -> None:
    counts = np.bincount(packed.labels[training], minlength=len(packed.names))
    _check_counts(packed, counts, cause, way_out)


def _check_counts(packed: PackedImages, counts: Labels, cause: str, way_out: str) -> None:
    if counts.min() == 0:
        label = int(counts.argmin())
        raise DataError(
            f"{cause} leaves class {packed.names[label]!r} without training images{packed.copies_of_class(label)}; use "
            f"a {way_out} or add images of that class"
        )


def high_quality_sources(settings: DataSettings, progress: Progress = silent) -> tuple[ImageSource, ImageSource | None]:
    """The high-quality images and, if they are not to be cut from these, the images of the reference.

    Both are opened, and their classes compared, before anything is decoded.

    Returns:
        Labelled sources; the reference has the class numbering of the high-quality images.

    Raises:
        DataError: nothing usable, no published parts, unknown classes.
    """
    location, other = settings.high_quality, settings.reference
    columns = Columns(settings.image_column, settings.label_column, settings.class_level)
    published = other == PUBLISHED
    if location is None:
        if published:
            raise DataError("the embedded glyphs have no published test part; leave data.reference out")
        source: ImageSource = GlyphSource(settings.glyphs, settings.resolution, settings.seed, progress)
    else:
        source = _labelled(open_source(location, "train" if published else "all", columns), "high-quality")
    source = _only(source, settings.only, strictly=True)
    if other is None:
        return source, None
    if location and expanded(other).resolve() == expanded(location).resolve():
        raise DataError(f"data.reference names the high-quality images {location} themselves; use other images")
    opened = open_source(location, "test", columns) if published and location else open_source(other, "all", columns)
    reference = _only(_labelled(opened, "reference"), settings.only, strictly=False)
    return source, with_classes(reference, source.classes, f"the training set {source.location}")


def _labelled(source: ImageSource, what: str) -> ImageSource:
    if not source.classes:
        why = f" ({'; '.join(source.notes[:2])})" if source.notes else ""
        raise DataError(
            f"{source.location} holds images without labels{why}; {what} images need one subfolder per class"
        )
    return source


def _only(source: ImageSource, only: str | tuple[str, ...] | None, *, strictly: bool) -> ImageSource:
    """The images of the classes that ``data.only`` names; ``strictly`` if the source must have all that are listed."""
    if only is None:
        return source
    if isinstance(only, str):
        if not is_named(only):
            raise DataError(
                f"data.only is {only!r}, which is no named set of characters. {suggestion(only, list(NAMED_SETS))} "
                "Class names are written as a list"
            )
        wanted: Collection[str] = frozenset(named_characters(only))
    else:
        wanted = frozenset(only)
        known = frozenset(source.classes)
        missing = [name for name in only if name not in known]
        if missing and strictly:
            raise DataError(
                f"data.only names the class {missing[0]!r}, which {source.location} lacks. "
                f"{suggestion(missing[0], list(source.classes))}"
            )
    chosen = of_classes(source, wanted)
    if len(chosen.labels) == 0:
        raise DataError(f"{source.location} has no images of the classes that data.only names; leave data.only out")
    return chosen

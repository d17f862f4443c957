"""Look at every image of a source, change nothing, and report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctfgan.core.progress import Progress, silent
from ctfgan.core.text import fold_name, plural
from ctfgan.data.images import plain
from ctfgan.data.levels import SPAN, Extents, extent, faint_images, faint_sentence, faint_set
from ctfgan.data.namesakes import pairing_lines, resolve_pairing
from ctfgan.data.packed import SourceSummary, fingerprint_of
from ctfgan.data.scan import PixelPass, read_headers
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS
from ctfgan.data.sides import same_place, shared_pixels, swapped_sides
from ctfgan.data.sources.base import ImageSource, Labels
from ctfgan.data.sources.packed_set import PackedSource
from ctfgan.data.splits import (
    Digests,
    Indices,
    different_of_classes,
    digest,
    digests_of,
    first_rows,
    repeats,
    shared_rows,
)

FEW_IMAGES_PER_CLASS = 20
FAR_FROM_MEDIAN = 2.0
"""A shorter side that is more than this many times the median, or less than this part of it, is called odd."""
EXAMPLES_KEPT = 1_000


@dataclass(frozen=True)
class DataFinding:
    """Something that a person should look at."""

    topic: str
    summary: str
    """One sentence."""
    examples: tuple[str, ...] = ()
    """The first images, classes or groups that it is about."""
    count: int = 0
    """How many there are in all."""


@dataclass(frozen=True)
class Inspection:
    """What one pass over every image of a source has shown."""

    survey: SourceSummary
    classes: tuple[str, ...]
    counts: Labels
    """Readable images of each class, ``(C,)``."""
    findings: tuple[DataFinding, ...]
    source: ImageSource = field(repr=False)
    rows: Indices = field(repr=False)
    """Which images of the source are readable, ``(M,)``."""
    digests: Digests = field(repr=False)
    """A number for the pixels of each readable image, ``(M,)``; equal pixels have equal numbers."""

    def no_high_quality_because(self) -> str | None:
        """Why the set cannot be the high-quality side; None if it can."""
        if not self.classes:
            return "the images have no labels"
        if len(self.classes) < 2:
            return "there is a single class"
        large = int((self.counts >= MIN_IMAGES_PER_CLASS).sum())
        return f"{plural(large, 'class', 'classes')} with at least {MIN_IMAGES_PER_CLASS} images" if large < 2 else None

    def no_low_quality_because(self) -> str | None:
        """Why the set cannot be the low-quality side; None if it can."""
        few = self.survey.images < MIN_IMAGES_PER_CLASS
        return f"there are fewer than {MIN_IMAGES_PER_CLASS} images" if few else None

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return {
            **asdict(self.survey),
            "classes": {name: int(count) for name, count in zip(self.classes, self.counts, strict=True)},
            "findings": [asdict(finding) for finding in self.findings],
            "no_high_quality_because": self.no_high_quality_because(),
            "no_low_quality_because": self.no_low_quality_because(),
        }


def inspect(source: ImageSource, progress: Progress = silent) -> Inspection:
    """Decode every image once and report; an unreadable one is a finding. Some 25 bytes of each are kept.

    Raises:
        DataError: not one image can be read.
    """
    first = read_headers(source, progress)

    def one(image: Image.Image) -> tuple[np.uint64, tuple[int, int], tuple[int, int, int], str]:
        upright = np.asarray(plain(image, 3, first.levels))
        return digest(upright), image.size, extent(upright), image.mode

    total = len(source.labels)
    digests, sizes = np.empty(total, dtype=np.uint64), np.empty((total, 2), dtype=np.int32)
    extents, readable = np.empty((total, 3), dtype=np.uint8), np.zeros(total, dtype=bool)
    modes, pixels = Counter[str](), PixelPass(source, first)
    for index, result in pixels.results(one, progress, f"checking {source.location}"):
        digests[index], sizes[index], extents[index], mode = result
        readable[index] = True
        modes[mode] += 1
    if not readable.any():
        raise pixels.unreadable.refusal()
    rows = np.flatnonzero(readable)
    digests, sizes, labels = digests[rows], sizes[rows], source.labels[rows]
    counts = np.bincount(labels[labels >= 0], minlength=len(source.classes))
    different = different_of_classes(labels, first_rows(digests), np.arange(len(rows)), len(source.classes))
    short = sizes.min(axis=1)
    spread = (int(short.min()), int(np.median(short)), int(short.max()))
    survey = replace(pixels.summary(), sides=spread, modes=dict(modes.most_common()))
    findings = (
        *unreadable_images(survey),
        *classes_and_levels(source.location, tuple(source.classes), counts, different),
        *without_label(source.classes, labels),
        *look_alike_names(source.classes),
        *duplicates(source, rows, digests),
        *shapes(source, rows, sizes),
        *mixed_modes(survey),
        *little_contrast(source, rows, extents[rows]),
        *changed_content(source),
    )
    return Inspection(survey, tuple(source.classes), counts, findings, source, rows, digests)


def compare(high: Inspection, low: Inspection) -> list[DataFinding]:
    """What is odd about two sides taken together: places, sizes, the same pixels; of names see namesakes.py."""
    copies = shared_rows(low.digests, high.digests)
    first = dict(zip(high.digests[::-1].tolist(), high.rows[::-1].tolist(), strict=True)) if len(copies) else {}
    examples = [
        f"{low.source.name(int(low.rows[at]))} = {high.source.name(first[int(low.digests[at])])}"
        for at in copies[:EXAMPLES_KEPT]
    ]
    sentences = {
        "one place": same_place(high.survey.location, low.survey.location),
        "swapped": swapped_sides(high.survey, low.survey),
    }
    return [
        *(DataFinding(topic, sentence) for topic, sentence in sentences.items() if sentence),
        *_finding("on both sides", shared_pixels(len(copies)), examples, len(copies)),
    ]


def pairing_of(high: Inspection, low: Inspection) -> list[str]:
    """How training would pair the two sides, line by line as it says it."""
    is_large = high.counts >= MIN_IMAGES_PER_CLASS
    classes, small = (
        tuple(high.classes[label] for label in np.flatnonzero(chosen).tolist()) for chosen in (is_large, ~is_large)
    )
    return pairing_lines(resolve_pairing("auto", classes, low.classes, small), classes, low.classes)


def histogram(counts: Labels, bins: int = 8) -> list[tuple[int, int, int]]:
    """Classes by their number of images: (fewest, most, classes) of each bin, of one width or, if wide, doubling."""
    low, high = int(counts.min()), int(counts.max())
    if high < bins * max(low, 1):
        starts = list(range(low, high + 1, -(-(high - low + 1) // bins)))
    else:
        starts = [low, *(2**power for power in range(low.bit_length(), high.bit_length()))]
    classes = np.histogram(counts, [*starts, high + 1])[0]
    ends = [*(start - 1 for start in starts[1:]), high]
    return [(start, end, int(number)) for start, end, number in zip(starts, ends, classes, strict=True)]


def unreadable_images(survey: SourceSummary) -> list[DataFinding]:
    """Files that hold no image."""
    examples = [f"{name}: {reason}" for name, reason in survey.unreadable[:EXAMPLES_KEPT]]
    count = survey.unreadable_count
    return _finding("unreadable", f"{plural(count, 'image')} cannot be read; training skips them", examples, count)


def classes_and_levels(location: str, classes: tuple[str, ...], counts: Labels, different: Labels) -> list[DataFinding]:
    """No labels, a single class, a folder on the wrong level, classes with few readable images.

    Args:
        location: for messages.
        classes: their names.
        counts: of images that can be read, ``(C,)``.
        different: the same without copies.
    """
    if not classes:
        summary = "the images have no labels; put them in one subfolder per class to use them as high-quality images"
        return [DataFinding("no labels", summary)]
    if len(classes) == 1:
        return [DataFinding("single class", f"{classes[0]!r} is the only class; is {location} one level too deep?")]
    left_out = "training leaves them out (data.smallest_class); add images"
    tiny = _of_sizes("tiny classes", classes, counts, 0, MIN_IMAGES_PER_CLASS, left_out)
    large = np.where(counts < MIN_IMAGES_PER_CLASS, 0, different)
    return [*folders_of_folders(location, classes), *tiny, *small_classes(classes, large)]


def without_label(classes: Sequence[str], labels: Labels) -> list[DataFinding]:
    """Images without a label (-1) among others that have one; labels ``(M,)`` of the readable ones."""
    count = int((labels < 0).sum()) if len(classes) else 0
    summary = (
        f"{plural(count, 'image has', 'images have')} no label; they can be low-quality images of any class, no others"
    )
    return _finding("partly labelled", summary, [], count)


def small_classes(classes: Sequence[str], different: Labels) -> list[DataFinding]:
    """Classes with few different images, ``(C,)``, but not none."""
    rule = (
        "they may be learned poorly and lose their variety; what helps is more images, or augmentation "
        "(--set augmentation.policy=\"['translation', 'cutout']\")"
    )
    return _of_sizes("small classes", classes, different, 1, FEW_IMAGES_PER_CLASS, rule, "different images")


def _of_sizes(
    topic: str, classes: Sequence[str], counts: Labels, low: int, high: int, rule: str, what: str = "images"
) -> list[DataFinding]:
    chosen = np.flatnonzero((counts >= low) & (counts < high))
    first = chosen[np.argsort(counts[chosen], kind="stable")][:EXAMPLES_KEPT]
    examples = [f"{classes[label]}: {counts[label]:,}" for label in first]
    summary = f"{plural(len(chosen), 'class', 'classes')} with {low} to {high - 1} {what}; {rule}"
    return _finding(topic, summary, examples, len(chosen))


def folders_of_folders(location: str, classes: Sequence[str]) -> list[DataFinding]:
    """Classes that may lie on the wrong level, and the setting for another."""
    nested = [name for name in classes if "/" in name]
    if not nested:
        return []
    tops = sorted({name.split("/")[0] for name in classes})
    if len(nested) == len(classes) and len(tops) == 1:
        summary = (
            f"all classes lie in {tops[0]!r}, one level too high; give {Path(location, tops[0])}, or use "
            "data.class_level=2 if the folders in it are the classes (--class-level 2)"
        )
        return [DataFinding("one level too high", summary)]
    summary = (
        f"{plural(len(nested), 'class lies', 'classes lie')} in folders of folders (such as {nested[0]!r}); if the "
        f"{plural(len(tops), 'folder')} at the top {'are' if len(tops) > 1 else 'is'} the classes, use "
        "data.class_level=1 (--class-level 1; data.low_quality_class_level for low-quality images)"
    )
    return _finding("folders of folders", summary, nested[:EXAMPLES_KEPT], len(nested))


def look_alike_names(classes: Sequence[str]) -> list[DataFinding]:
    """Class names that a person would take for the same: their :func:`~ctfgan.core.text.fold_name` forms agree."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[fold_name(name)].append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    examples = [" and ".join(repr(name) for name in group) for group in alike[:EXAMPLES_KEPT]]
    summary = f"{plural(len(alike), 'group')} of class names differ in case, blanks, zeros or Unicode form alone"
    return _finding("names that look alike", f"{summary}; merge those that mean the same", examples, len(alike))


def duplicates(source: ImageSource, rows: Indices, digests: Digests) -> list[DataFinding]:
    """The same pixels more than once: within a class (copies) and across classes (likely wrong labels).

    Rows ``(M,)`` are those of the readable images, digests ``(M,)`` a number for the pixels of each.
    """
    within: list[Indices] = []
    across: list[Indices] = []
    for group in repeats(digests):
        members = rows[group]
        (across if len(np.unique(source.labels[members])) > 1 else within).append(members)
    together = "training keeps copies on one side of every split"
    lie = plural(len(across), "picture lies", "pictures lie")
    wrong = f"{lie} in more than one class; all labels but one are wrong, and {together}"
    copies = sum(len(members) - 1 for members in within)
    of = " of the same class" if source.classes else ""
    same = f"{plural(copies, 'image is an exact copy', 'images are exact copies')} of another one{of}; {together}"
    return [
        *_finding("in several classes", wrong, _groups(source, across), len(across)),
        *_finding("duplicates", same, _groups(source, within), len(within)),
    ]


def _groups(source: ImageSource, groups: list[Indices]) -> list[str]:
    return [" = ".join(source.name(int(row)) for row in members) for members in groups[:EXAMPLES_KEPT]]


def shapes(source: ImageSource, rows: Indices, sizes: NDArray[np.int32]) -> list[DataFinding]:
    """Images that are not square, or much smaller or larger than most; ``(M, 2)`` widths and heights in pixels."""
    short = sizes.min(axis=1)
    median = float(np.median(short))
    odd = (short * FAR_FROM_MEDIAN < median) | (short > median * FAR_FROM_MEDIAN)
    findings = []
    for topic, chosen, summary in (
        ("not square", sizes[:, 0] != sizes[:, 1], "that are not square; data.fit says how they become square"),
        ("odd sizes", odd, f"less than half or more than twice as large as the median of {median:.0f} pixels"),
    ):
        places = np.flatnonzero(chosen)
        examples = [f"{source.name(int(rows[at]))}: {sizes[at, 0]}x{sizes[at, 1]}" for at in places[:EXAMPLES_KEPT]]
        findings += _finding(topic, f"{plural(len(places), 'image')} {summary}", examples, len(places))
    return findings


def mixed_modes(survey: SourceSummary) -> list[DataFinding]:
    """Grey beside colour, transparent beside opaque."""
    if len(survey.modes) < 2:
        return []
    used = "grey" if survey.is_grey else "colour"
    return [
        DataFinding("mixed modes", f"the images come in {len(survey.modes)} modes; unless told, all are used in {used}")
    ]


def little_contrast(source: ImageSource, rows: Indices, extents: Extents) -> list[DataFinding]:
    """A set, or some images of it, with next to nothing to see: blanks, damage, or levels that mean something else.

    Rows ``(M,)`` are those of the readable images, extents ``(M, 3)`` of their levels.
    """
    whole, some = faint_set(extents), faint_images(extents)
    if whole:
        return [DataFinding("no contrast", whole)]
    examples = [f"{source.name(int(rows[at]))}: {extents[at, SPAN]} of 255 levels" for at in some[:EXAMPLES_KEPT]]
    return _finding("no contrast", faint_sentence(len(some), len(rows)), examples, len(some))


def changed_content(source: ImageSource) -> list[DataFinding]:
    """Packed images whose content is not what was packed."""
    if not isinstance(source, PackedSource):
        return []
    packed = source.packed
    is_same = fingerprint_of(packed.images, packed.labels, packed.classes) == packed.fingerprint
    if is_same and np.array_equal(digests_of(packed.images), packed.digests):
        return []
    return [DataFinding("changed", f"the content of {source.location} is not what was built; build it again")]


def _finding(topic: str, summary: str, examples: list[str], count: int) -> list[DataFinding]:
    return [DataFinding(topic, summary, tuple(examples), count)] if count else []

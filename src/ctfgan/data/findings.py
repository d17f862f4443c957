"""What may be wrong with a set of images, one function per kind of finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctfgan.core.text import fold_name, plural
from ctfgan.data.contrast import SPAN, Extents, faint_images, faint_sentence, faint_set
from ctfgan.data.leakage import Digests, digests_of, repeats
from ctfgan.data.packed import Survey, fingerprint_of
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS
from ctfgan.data.sources.base import ImageSource, Labels
from ctfgan.data.sources.packed_set import PackedSource
from ctfgan.data.splits import Rows

FEW_IMAGES_PER_CLASS = 20
FAR_FROM_MEDIAN = 2.0
"""A shorter side that is more than this many times the median, or less than this part of it, is called odd."""
EXAMPLES_KEPT = 1_000


@dataclass(frozen=True)
class Finding:
    """Something that a person should look at."""

    topic: str
    summary: str
    """One sentence."""
    examples: tuple[str, ...] = ()
    """The first images, classes or groups that it is about."""
    count: int = 0
    """How many there are in all."""


def unreadable_images(survey: Survey) -> list[Finding]:
    """Files that hold no image."""
    found = survey.unreadable
    shown = [f"{name}: {reason}" for name, reason in found[:EXAMPLES_KEPT]]
    count = survey.unreadable_count
    return _finding("unreadable", f"{plural(count, 'image')} cannot be read; training skips them", shown, count)


def classes_and_levels(location: str, classes: tuple[str, ...], counts: Labels) -> list[Finding]:
    """No labels, a single class, a folder on the wrong level, classes with few images.

    Args:
        location: the folder that was looked at.
        classes: C names.
        counts: readable images of each class, ``(C,)``.
    """
    if not classes:
        summary = "the images have no labels; put them in one subfolder per class to use them as high-quality images"
        return [Finding("no labels", summary)]
    if len(classes) == 1:
        return [Finding("single class", f"{classes[0]!r} is the only class; is {location} one level too deep?")]
    left_out = "training leaves them out (data.smallest_class); add images"
    tiny = _of_sizes("tiny classes", classes, counts, 0, MIN_IMAGES_PER_CLASS, left_out)
    return [*_levels(location, classes), *tiny, *small_classes(classes, counts, MIN_IMAGES_PER_CLASS)]


def without_label(classes: Sequence[str], labels: Labels) -> list[Finding]:
    """Images without a label among others that have one.

    Args:
        classes: C names.
        labels: of the readable images, ``(M,)``; -1 without.
    """
    count = int((labels < 0).sum()) if len(classes) else 0
    summary = (
        f"{plural(count, 'image has', 'images have')} no label; they can be low-quality images of any class, no others"
    )
    return _finding("partly labelled", summary, [], count)


def small_classes(classes: Sequence[str], counts: Labels, fewest: int) -> list[Finding]:
    """Classes with few images, but at least ``fewest``.

    Args:
        classes: C names.
        counts: images of each class that are looked at, ``(C,)``.
        fewest: below it, something else is said of a class.
    """
    rule = (
        "they may be learned poorly and lose their variety; what helps is more images, or augmentation "
        "(--set augmentation.policy=\"['translation', 'cutout']\")"
    )
    return _of_sizes("small classes", classes, counts, fewest, FEW_IMAGES_PER_CLASS, rule)


def _of_sizes(topic: str, classes: Sequence[str], counts: Labels, low: int, high: int, rule: str) -> list[Finding]:
    chosen = np.flatnonzero((counts >= low) & (counts < high))
    first = chosen[np.argsort(counts[chosen], kind="stable")][:EXAMPLES_KEPT]
    shown = [f"{classes[label]}: {counts[label]:,}" for label in first]
    summary = f"{plural(len(chosen), 'class', 'classes')} with {low} to {high - 1} images; {rule}"
    return _finding(topic, summary, shown, len(chosen))


def _levels(location: str, classes: tuple[str, ...]) -> list[Finding]:
    nested = [name for name in classes if "/" in name]
    if not nested:
        return []
    tops = sorted({name.split("/")[0] for name in classes})
    if len(nested) == len(classes) and len(tops) == 1:
        summary = (
            f"all classes lie in {tops[0]!r}, one level too high; give {Path(location, tops[0])}, or use "
            "data.class_level=2 if the folders in it are the classes (--class-level 2)"
        )
        return [Finding("one level too high", summary)]
    summary = (
        f"{plural(len(nested), 'class lies', 'classes lie')} in folders of folders (such as {nested[0]!r}); if the "
        f"{plural(len(tops), 'folder')} at the top {'are' if len(tops) > 1 else 'is'} the classes, use "
        "data.class_level=1 (--class-level 1; data.low_quality_class_level for low-quality images)"
    )
    return _finding("folders of folders", summary, nested[:EXAMPLES_KEPT], len(nested))


def look_alike_names(classes: Sequence[str]) -> list[Finding]:
    """Class names that a person would take for the same: their :func:`~ctfgan.core.text.fold_name` forms agree."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[fold_name(name)].append(name)
    alike = [group for group in groups.values() if len(group) > 1]
    shown = [" and ".join(repr(name) for name in group) for group in alike[:EXAMPLES_KEPT]]
    summary = f"{plural(len(alike), 'group')} of class names differ in case, blanks, zeros or Unicode form alone"
    return _finding("names that look alike", f"{summary}; merge those that mean the same", shown, len(alike))


def duplicates(source: ImageSource, rows: Rows, digests: Digests) -> list[Finding]:
    """The same pixels more than once: within a class (copies) and across classes (likely wrong labels).

    Args:
        source: where the images are.
        rows: the readable ones, ``(M,)``.
        digests: a number for the pixels of each of them, ``(M,)``.
    """
    within: list[Rows] = []
    across: list[Rows] = []
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


def _groups(source: ImageSource, groups: list[Rows]) -> list[str]:
    return [" = ".join(source.name(int(row)) for row in members) for members in groups[:EXAMPLES_KEPT]]


def shapes(source: ImageSource, rows: Rows, sizes: NDArray[np.int32]) -> list[Finding]:
    """Images that are not square, and images much smaller or larger than most.

    Args:
        source: where the images are.
        rows: the readable ones, ``(M,)``.
        sizes: their widths and heights in pixels, ``(M, 2)``.
    """
    short = sizes.min(axis=1)
    median = float(np.median(short))
    odd = (short * FAR_FROM_MEDIAN < median) | (short > median * FAR_FROM_MEDIAN)
    findings = []
    for topic, chosen, summary in (
        ("not square", sizes[:, 0] != sizes[:, 1], "that are not square; data.fit says how they become square"),
        ("odd sizes", odd, f"less than half or more than twice as large as the median of {median:.0f} pixels"),
    ):
        found = np.flatnonzero(chosen)
        shown = [f"{source.name(int(rows[at]))}: {sizes[at, 0]}x{sizes[at, 1]}" for at in found[:EXAMPLES_KEPT]]
        findings += _finding(topic, f"{plural(len(found), 'image')} {summary}", shown, len(found))
    return findings


def mixed_modes(survey: Survey) -> list[Finding]:
    """Grey beside colour, transparent beside opaque."""
    if len(survey.modes) < 2:
        return []
    used = "grey" if survey.is_grey else "colour"
    return [
        Finding("mixed modes", f"the images come in {len(survey.modes)} modes; unless told, all are used in {used}")
    ]


def little_contrast(source: ImageSource, rows: Rows, extents: Extents) -> list[Finding]:
    """A set, or some images of it, with next to nothing to see: blanks, damage, or levels that mean something else.

    Args:
        source: where the images are.
        rows: the readable ones, ``(M,)``.
        extents: of the levels of each of them, ``(M, 3)``.
    """
    whole, some = faint_set(extents), faint_images(extents)
    if whole:
        return [Finding("no contrast", whole)]
    shown = [f"{source.name(int(rows[at]))}: {extents[at, SPAN]} of 255 levels" for at in some[:EXAMPLES_KEPT]]
    return _finding("no contrast", faint_sentence(len(some), len(rows)), shown, len(some))


def changed_content(source: ImageSource) -> list[Finding]:
    """Packed images whose content is not what was packed."""
    if not isinstance(source, PackedSource):
        return []
    packed = source.packed
    is_same = fingerprint_of(packed.images, packed.labels, packed.classes) == packed.fingerprint
    if is_same and np.array_equal(digests_of(packed.images), packed.digests):
        return []
    return [Finding("changed", f"the content of {source.location} is not what was built; build it again")]


def _finding(topic: str, summary: str, examples: list[str], count: int) -> list[Finding]:
    return [Finding(topic, summary, tuple(examples), count)] if count else []

"""Look at every image of a source, change nothing, and report."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from PIL import Image

from ctfgan.core.progress import Progress, silent
from ctfgan.core.text import plural
from ctfgan.data.color_profiles import profile_notes, profile_of
from ctfgan.data.contrast import extent
from ctfgan.data.findings import (
    EXAMPLES_KEPT,
    Finding,
    changed_content,
    classes_and_levels,
    duplicates,
    little_contrast,
    look_alike_names,
    mixed_modes,
    shapes,
    unreadable_images,
    without_label,
)
from ctfgan.data.images import plain
from ctfgan.data.leakage import Digests, digest, shared_rows
from ctfgan.data.namesakes import pairing_lines, resolve_pairing
from ctfgan.data.packed import Survey
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS
from ctfgan.data.sources.base import ImageSource, Labels
from ctfgan.data.splits import Rows
from ctfgan.data.surveys import Unreadable, decoded, read_survey


@dataclass(frozen=True)
class Inspection:
    """What one pass over every image of a source found."""

    survey: Survey
    classes: tuple[str, ...]
    counts: Labels
    """Readable images of each class, ``(C,)``."""
    findings: tuple[Finding, ...]
    source: ImageSource = field(repr=False)
    rows: Rows = field(repr=False)
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
    """Decode every image once and report; some 25 bytes of each are kept.

    Args:
        source: the images; an unreadable one is a finding.
        progress: shows the pass.

    Raises:
        DataError: not one image can be read.
    """
    first = read_survey(source, progress)

    def one(
        image: Image.Image,
    ) -> tuple[np.uint64, tuple[int, int], tuple[int, int, int], str, tuple[str, bool] | None]:
        pixels, profile = plain(image, 3, first.levels), profile_of(image)
        return (
            digest_of(pixels),
            image.size,
            extent(np.asarray(pixels)),
            image.mode,
            profile.outcome if profile else None,
        )

    total = len(source.labels)
    digests, sizes = np.empty(total, dtype=np.uint64), np.empty((total, 2), dtype=np.int32)
    extents, readable = np.empty((total, 3), dtype=np.uint8), np.zeros(total, dtype=bool)
    modes, profiles, unreadable = Counter[str](), Counter[tuple[str, bool]](), Unreadable(source)
    what = f"checking {source.location}"
    for index, found in decoded(source, range(total), one, first.sides[1], first.most_pixels, progress, what):
        if isinstance(found, Exception):
            unreadable.add(index, found)
            continue
        digests[index], sizes[index], extents[index], mode, profile = found
        readable[index] = True
        modes[mode] += 1
        if profile:
            profiles[profile] += 1
    if not readable.any():
        raise unreadable.refusal()
    rows = np.flatnonzero(readable)
    digests, sizes, labels = digests[rows], sizes[rows], source.labels[rows]
    counts = np.bincount(labels[labels >= 0], minlength=len(source.classes))
    short = sizes.min(axis=1)
    spread = (int(short.min()), int(np.median(short)), int(short.max()))
    named = unreadable.named()
    survey = replace(
        first,
        images=len(rows),
        sides=spread,
        modes=dict(modes.most_common()),
        unreadable=named,
        more_unreadable=unreadable.count - len(named),
        notes=first.notes + profile_notes(profiles),
    )
    findings = (
        *unreadable_images(survey),
        *classes_and_levels(source.location, tuple(source.classes), counts),
        *without_label(source.classes, labels),
        *look_alike_names(source.classes),
        *duplicates(source, rows, digests),
        *shapes(source, rows, sizes),
        *mixed_modes(survey),
        *little_contrast(source, rows, extents[rows]),
        *changed_content(source),
    )
    return Inspection(survey, tuple(source.classes), counts, findings, source, rows, digests)


def digest_of(image: Image.Image) -> np.uint64:
    """A number for what training would see of an image before it is resized: upright, 8-bit, over white."""
    return digest(np.asarray(plain(image, 3)))


def compare(high: Inspection, low: Inspection) -> list[Finding]:
    """What is odd about two sides taken together: the same pixels on both; of names see namesakes.py."""
    findings = []
    copies = shared_rows(low.digests, high.digests)
    if len(copies):
        first = dict(zip(high.digests[::-1].tolist(), high.rows[::-1].tolist(), strict=True))
        shown = tuple(
            f"{low.source.name(int(low.rows[at]))} = {high.source.name(first[int(low.digests[at])])}"
            for at in copies[:EXAMPLES_KEPT]
        )
        summary = f"{plural(len(copies), 'low-quality image')} with exactly the pixels of a high-quality one"
        findings.append(Finding("on both sides", summary, shown, len(copies)))
    return findings


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
    found = np.histogram(counts, [*starts, high + 1])[0]
    ends = [*(start - 1 for start in starts[1:]), high]
    return [(start, end, int(number)) for start, end, number in zip(starts, ends, found, strict=True)]

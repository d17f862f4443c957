"""What was found, in words: printed before anything expensive starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctfgan.core.text import plural
from ctfgan.data.dataset import Dataset
from ctfgan.data.inspection import folders_of_folders, small_classes
from ctfgan.data.low_quality import LowQuality
from ctfgan.data.low_quality_bank import UNLABELLED_SHARE
from ctfgan.data.namesakes import listed, pairing_lines
from ctfgan.data.packed import PackedImages
from ctfgan.data.settings import PUBLISHED, DataSettings
from ctfgan.data.sides import same_place, shared_pixels
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import different_of_classes, shared_rows

EXAMPLES = 5


def describe(dataset: Dataset, settings: DataSettings) -> list[str]:
    """What was found, line by line, as ``ctfgan train`` prints it."""
    packed = dataset.high_quality
    counts = packed.counts()
    lines = _survey_lines("high quality", packed)
    lines.append(f"  classes: {len(packed.names):,}, {_spread(counts)} images each: {_histogram(packed.names, counts)}")
    lines += _level_lines(packed)
    lines += _copies_lines(packed)
    used = len(dataset.training)
    lines.append(
        f"  HQ share: {used:,} of {len(dataset.pool):,} training images ({used / len(dataset.pool):.1%}); "
        + ("none" if dataset.has_own_reference else f"{len(dataset.reference):,}")
        + " held out as the reference"
    )
    if not dataset.has_own_reference:
        lines += _group_lines(packed.groups_within(dataset.reference.rows))
    lines += _small_class_lines(dataset)
    if dataset.has_own_reference:
        lines += _reference_lines(dataset, settings)
    lines += _withheld_lines(dataset)
    if dataset.evaluated_classes.is_part:
        lines.append(f"  measured: {dataset.evaluated_classes.words()}")
    side = dataset.low_quality
    if side is None:
        return [*lines, "low quality: none (this method uses none)"]
    if side.packed is not None:
        lines += [*_survey_lines("low quality", side.packed), *_copies_lines(side.packed)]
        lines += [*_level_lines(side.packed), *_apart_lines(packed, side.packed)]
    else:
        lines.append(
            "low quality: degraded copies of high-quality images, "
            f"{side.also_high_quality:,} of them also in the HQ share"
        )
    names = f"{len(side.names):,} labels" if side.names else "no labels"
    held_out = "none" if side.held_out is None else f"{len(side.held_out):,}"
    lines.append(
        f"  {len(side.bank):,} images for training, {held_out} held out, "
        f"{dataset.low_quality_size}x{dataset.low_quality_size} pixels, {names}"
    )
    lines += _group_lines(side.held_out_groups)
    if side.held_out_seen:
        lines.append(
            f"  note: {side.held_out_seen:,} of the held-out ones are degraded copies of images in the HQ share, "
            "because it leaves no others"
        )
    return [*lines, *_pairing_lines(dataset, side), *_lq_only_lines(dataset, side)]


def _apart_lines(high: PackedImages, low: PackedImages) -> list[str]:
    """What the two sides should not share: a place, or pictures, which are told where both are packed alike."""
    if place := same_place(high.survey.location, low.survey.location):
        return [f"  note: {place}"]
    is_alike = high.images.shape[1:] == low.images.shape[1:]
    shared = len(shared_rows(low.digests, high.digests)) if is_alike else 0
    return [f"  note: {shared_pixels(shared)}"] if shared else []


def _group_lines(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [f"  held out whole, so that training never sees them: {', '.join(names)}"]


def _copies_lines(packed: PackedImages) -> list[str]:
    if not packed.copies:
        return []
    count = f"{packed.copies:,} of {len(packed):,} images"
    return [f"  {count} are copies of others; copies stay on one side of every split"]


def _level_lines(packed: PackedImages) -> list[str]:
    if not packed.names.any_contains("/"):
        return []
    findings = folders_of_folders(packed.survey.location, packed.names.all())
    return [f"  note: {finding.summary}" for finding in findings]


def _small_class_lines(dataset: Dataset) -> list[str]:
    packed, names = dataset.high_quality, dataset.high_quality.names
    different = different_of_classes(packed.labels, packed.firsts, dataset.training, len(names))
    return [
        f"  note: {finding.summary} ({', '.join(finding.examples[:EXAMPLES])}{', ...' * (finding.count > EXAMPLES)})"
        for finding in small_classes(names, different)
    ]


def _reference_lines(dataset: Dataset, settings: DataSettings) -> list[str]:
    packed = dataset.reference.packed
    covered = int((packed.counts() > 0).sum())
    origin = "the published test part" if settings.reference == PUBLISHED else "given images"
    lines = _survey_lines("reference", packed)
    lines.append(f"  {origin}, with images of {covered:,} of {dataset.num_classes:,} classes")
    shared = len(shared_rows(packed.digests, dataset.high_quality.digests))
    if shared:
        lines.append(f"  note: {shared:,} of {len(packed):,} test images are copies of training images")
    return lines


def _pairing_lines(dataset: Dataset, side: LowQuality) -> list[str]:
    # Degraded copies have the names of their originals.
    low_quality_classes = () if side.packed is None else side.names
    lines = [f"  {line}" for line in pairing_lines(side.namesakes, dataset.high_quality.names, low_quality_classes)]
    unlabelled = int((side.bank.labels < 0).sum())
    if side.pairing == "matched" and unlabelled:
        lines.append(
            f"  note: {unlabelled:,} of {len(side.bank):,} low-quality images for training have no label; "
            f"{UNLABELLED_SHARE:.0%} of those that a class is given are of these, without consistency"
        )
    if side.held_out is not None and side.held_out.label_of_class is not None:
        assert side.bank.label_of_class is not None
        absent = np.flatnonzero((side.held_out.label_of_class < 0) & (side.bank.label_of_class >= 0))
        if len(absent):
            lines.append(
                f"  note: no low-quality image to hold out of {listed(dataset.names, absent)}, which take those of any "
                "class where the held-out bank is used"
            )
    return lines


def _withheld_lines(dataset: Dataset) -> list[str]:
    if not len(dataset.withheld):
        return []
    return [
        f"  {plural(len(dataset.withheld), 'class', 'classes')} without high-quality images for the GAN "
        "(data.without_hq), which recogniser and reference have"
    ]


def _lq_only_lines(dataset: Dataset, side: LowQuality) -> list[str]:
    lines = []
    if len(dataset.lq_only):
        lines.append(
            f"  {len(dataset.lq_only):,} of {dataset.num_classes:,} classes have low-quality images only and take part "
            "as conditions, which needs class codes; --set data.lq_only_classes=false leaves them out"
        )
    left = np.setdiff1d(side.namesakes.sorted_spare, np.concatenate([side.own_labels, side.thin_labels]))
    if side.pairing == "matched" and side.packed is not None and len(left):
        lines.append(
            f"  note: {listed(side.names, left)} of low-quality images only are left out (--set "
            "data.lq_only_classes=true includes them)"
        )
    if len(side.thin_labels):
        lines.append(
            f"  note: {listed(side.names, side.thin_labels)} of low-quality images cannot take part, for want of "
            "pictures to train on and to hold out; one is enough with --set data.low_quality_held_out=0"
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
        lines.append(f"  {survey.unreadable_count:,} unreadable images were skipped:")
        lines += [f"    {name}: {reason}" for name, reason in survey.unreadable[:10]]
        if survey.unreadable_count > 10:
            lines.append(f"    ... and {survey.unreadable_count - 10:,} more")
    return lines


def _spread(counts: Labels) -> str:
    if counts.min() == counts.max():
        return f"{counts.min():,}"
    return f"{counts.min():,} to {counts.max():,} (median {int(np.median(counts)):,})"


def _histogram(classes: Sequence[str], counts: Labels) -> str:
    shown = [f"{name} {count:,}" for name, count in zip(classes[:6], counts[:6], strict=True)]
    return ", ".join(shown) + (", ..." if len(classes) > 6 else "")

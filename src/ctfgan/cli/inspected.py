"""What ``ctfgan data`` says of a set of images."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ctfgan.cli.console import say
from ctfgan.core.errors import ConfigError
from ctfgan.core.files import write_file
from ctfgan.core.text import format_bytes, plural
from ctfgan.data.inspection import (
    DataFinding,
    Inspection,
    classes_and_levels,
    histogram,
    look_alike_names,
    unreadable_images,
)
from ctfgan.data.packed import PackedImages, SourceSummary
from ctfgan.data.sources.base import Labels
from ctfgan.models.widths import PLANS

EXAMPLES = 5
BAR = 40
MODES = {
    "1": "black and white", "L": "grey", "LA": "grey with transparency", "I;16": "16-bit grey", "I;16B": "16-bit grey",
    "I": "32-bit grey", "F": "floating-point grey", "P": "palette", "PA": "palette with transparency", "RGB": "colour",
    "RGBA": "colour with transparency", "CMYK": "CMYK colour", "YCbCr": "YCbCr colour",
}  # fmt: skip


def show_inspection(found: Inspection) -> None:
    """Everything that an inspection found, and what the set can be used for."""
    survey = found.survey
    show_summary(survey, found.classes, found.counts)
    show_findings(found.findings, survey.location)
    for side, option, reason in (
        ("high", "--hq", found.no_high_quality_because()),
        ("low", "--lq", found.no_low_quality_because()),
    ):
        say(f"  usable as {side}-quality images ({option}): " + ("yes" if reason is None else f"no, {reason}"))


def show_summary(survey: SourceSummary, classes: Sequence[str], counts: Labels) -> None:
    """How many images of what kind, and how they are spread over the classes."""
    of = f" of {plural(len(classes), 'class', 'classes')}" if len(classes) else " without labels"
    say(f"{survey.location}: {plural(survey.images, 'image')}{of}")
    low, middle, high = survey.sides
    say(f"  shorter side: {low} pixels" + (f" to {high}, median {middle}" if high > low else ""))
    modes = (f"{count:,} {MODES.get(mode, mode)} ({mode})" for mode, count in survey.modes.items())
    say("  modes: " + ", ".join(modes))
    for note in survey.notes:
        say(f"  {note}")
    if len(classes):
        _show_counts(classes, counts)


def _show_counts(classes: Sequence[str], counts: Labels) -> None:
    if counts.min() == counts.max():
        say(f"  images per class: {counts.min():,} each")
        return
    say(f"  images per class: {counts.min():,} to {counts.max():,}, median {int(np.median(counts)):,}")
    bins = [(f"{low:,}" if low == high else f"{low:,} to {high:,}", number) for low, high, number in histogram(counts)]
    width, most = max(len(label) for label, _ in bins), max(number for _, number in bins)
    for label, number in bins:
        bar = "#" * -(-number * BAR // most)
        say(f"    {label:>{width}} | {bar}{' ' * bool(bar)}{plural(number, 'class', 'classes')}")
    order = np.argsort(counts, kind="stable")
    for what, labels in (("smallest", order[:EXAMPLES]), ("largest", order[::-1][:EXAMPLES])):
        say(f"  {what}: " + ", ".join(f"{classes[label]} {counts[label]:,}" for label in labels))


def show_findings(findings: Iterable[DataFinding], location: str) -> None:
    """Each finding with a few examples; names are shown below the location."""
    listed = list(findings)
    say("  findings:" if listed else "  findings: none")
    for finding in listed:
        say(f"    {finding.topic}: {finding.summary}")
        for example in finding.examples[:EXAMPLES]:
            say(f"      {example.replace(f'{location}/', '') if location else example}")
        if finding.count > EXAMPLES and finding.examples:
            say(f"      ... and {finding.count - EXAMPLES:,} more")


def show_together(high: Inspection, low: Inspection, pairing: Sequence[str], findings: Sequence[DataFinding]) -> None:
    """What two sides are to each other."""
    say(f"{high.survey.location} with {low.survey.location}")
    for line in pairing:
        say(f"  {line}")
    show_findings(findings, "")


def show_built(packed: PackedImages, out: Path) -> None:
    """What a new folder holds, and what to type next."""
    survey, counts = packed.survey, packed.manifest.counts()
    show_summary(survey, packed.names, counts)
    findings = (
        *unreadable_images(survey),
        *classes_and_levels(survey.location, packed.classes, counts),
        *look_alike_names(packed.names),
    )
    show_findings(findings, survey.location)
    name, side = shlex.quote(str(out)), packed.images.shape[1]
    option = f" --set data.resolution={side}" if side in PLANS else ""
    command = f"ctfgan train --hq {name}{option}" if len(packed.names) else f"ctfgan train --hq GOOD --lq {name}"
    say(f"built: {name}, {packed.form}, {format_bytes(packed.images.nbytes)}. Next: {command}")


def check_report(path: Path) -> None:
    """Refuse a report that exists or cannot be written, before any work.

    Raises:
        ConfigError: something is there already, or its folder is missing.
    """
    if path.exists():
        raise ConfigError(f"{path} exists already; choose another --json, or move it away")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"folder {path.absolute().parent} does not exist; make it first, or choose another --json")


def write_report(
    path: Path, sides: Sequence[Inspection], pairing: Sequence[str], together: Sequence[DataFinding]
) -> None:
    """Everything as JSON: ``sets``, one or two; ``pairing``, lines, and ``together``, the findings about both."""
    content = {
        "sets": [side.as_dict() for side in sides],
        "pairing": pairing,
        "together": [vars(finding) for finding in together],
    }
    write_file(path, json.dumps(content, ensure_ascii=False, indent=1).encode())
    say(f"report: {path}")

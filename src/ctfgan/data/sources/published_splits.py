"""A data set's own published parts: which of its files or splits are for training and which for testing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

from ctfgan.core.errors import DataError
from ctfgan.core.text import plural
from ctfgan.data.sources.base import ImageSource
from ctfgan.data.sources.combine import JoinedSource

Part = Literal["all", "train", "test"]
Opener = Callable[[], ImageSource]

WHOLE = ""
"""The split of files whose names speak of none."""
TRAIN, TEST, VALIDATION = "train", "test", "validation"

_WORDS = {
    TRAIN: re.compile(r"(?<![a-z])(?:train|training|trn)(?![a-z])"),
    TEST: re.compile(r"(?<![a-z])(?:test|testing|tst|t10k)(?![a-z])"),
    VALIDATION: re.compile(r"(?<![a-z])(?:val|valid|validation)(?![a-z])"),
}


def split_named(name: str) -> str:
    """The split that a name speaks of as a word of its own: ``HWDB1.1trn_gnt``, ``Gnt1.0TrainPart1``, ``val-007.tar``.

    Of several the first counts; :data:`WHOLE` if there is none.
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    found = [(match.start(), split) for split, pattern in _WORDS.items() if (match := pattern.search(words))]
    return min(found)[1] if found else WHOLE


def by_split(root: Path, files: Iterable[Path]) -> dict[str, list[Path]]:
    """Files grouped by the split that the outermost speaking part of their path below ``root`` names."""
    groups: dict[str, list[Path]] = {}
    for file in files:
        named = (split_named(name) for name in file.relative_to(root).parts)
        groups.setdefault(next(filter(None, named), WHOLE), []).append(file)
    return groups


def part_location(path: Path | str, split: str) -> str:
    """How a message calls one split of a data set."""
    return f"{path} ({split})" if split else str(path)


def take_part(location: str, splits: Mapping[str, Opener], part: Part, *, keep_unlabelled: bool = False) -> ImageSource:
    """Open one part of a data set.

    ``all`` is every labelled image (every image, if none has a label). ``train`` and ``test`` are the published split;
    where the test images have no labels, as in ImageNet, the validation images are the test part.

    Args:
        location: what the user called the data set.
        splits: what opens the images of each split, under the names of this module.
        part: which part.
        keep_unlabelled: whether ``all`` is every image, labelled or not.

    Raises:
        DataError: no such part, or one without labels.
    """
    if part == "all":
        sources = [splits[split]() for split in (TRAIN, VALIDATION, TEST, WHOLE) if split in splits]
        return _join(location, sources, keep_unlabelled=keep_unlabelled)
    way_out = (
        "name other images of the same classes with data.reference=PATH, or leave data.reference out to hold some back"
    )
    tests = [splits[split] for split in (TEST, VALIDATION) if split in splits]
    if TRAIN not in splits or not tests:
        raise DataError(f"{location} has no published training and test parts; {way_out}")
    for opened in [splits[TRAIN]] if part == "train" else tests:
        source = opened()
        if source.classes:
            return source
    raise DataError(f"the published {part} part of {location} has no labels; {way_out}")


def _join(location: str, sources: list[ImageSource], *, keep_unlabelled: bool) -> ImageSource:
    labelled = [] if keep_unlabelled else [source for source in sources if source.classes]
    dropped = [source for source in sources if not source.classes] if labelled else []
    kept = labelled or sources
    if len(sources) == 1:
        return sources[0]
    notes = tuple(
        f"{plural(len(source.labels), 'image is', 'images are')} unused, as {source.location} has no labels"
        for source in dropped
    )
    return JoinedSource(location, kept, notes)

"""Which class of the low-quality side is which of the high-quality one (decision 8), by name, and what that means."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ctfgan.core.errors import DataError
from ctfgan.core.text import a_few, fold_name, plural
from ctfgan.data.class_names import ClassNames
from ctfgan.data.sources.base import UNLABELLED, Labels
from ctfgan.data.sources.tree import common_folder

ResolvedPairing = Literal["matched", "independent"]

NO_CLASS = frozenset(
    {
        *("junk", "misc", "miscellaneous", "new", "no class", "no label", "none", "not sorted", "other", "others"),
        *("rest", "temp", "tmp", "to do", "todo", "trash", "uncategorised", "uncategorized", "unclassified"),
        *("unknown", "unlabeled", "unlabelled", "unsorted", "untagged", "various"),
        # as systems call new folders
        *("new folder", "untitled folder", "neuer ordner", "nouveau dossier", "nueva carpeta", "nuova cartella"),
        *("nova pasta", "nieuwe map", "nowy folder", "новая папка", "新建文件夹", "新しいフォルダー", "새 폴더"),
    }
)
"""Folded names of folders of low-quality images that nobody has sorted: theirs are images without a label, unless
there are high-quality images of that name. What lies in such a folder is unsorted, too, and so are ``unsorted 2``,
``New folder (3)`` and ``unsorted images``."""
_COUNTED = re.compile(r"[ (]*\d+\)?$| (?:files|images|photos|pictures)$")

COMPARED_PAIRS = 100_000  # of names, among which typing errors are looked for
SHORTEST_TYPO = 3  # letters of a name in which one may be a typing error
MOST_TYPOS = 10  # more names that are nearly alike are called so by some rule
TYPO = 0.85  # likeness, 0 ... 1, as difflib measures it

NO_LABELS: Labels = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Namesakes:
    """Which classes of the two sides are the same, and what follows; made by :func:`resolve_pairing`."""

    pairing: ResolvedPairing
    reason: str
    """Of ``auto``, in a few words; empty where the user has chosen."""
    label_of_class: Labels
    """Low-quality label of each class with high-quality images, ``(C,)``; -1 for a class without a namesake."""
    respelled: tuple[tuple[str, str], ...] = ()
    """Names of the two sides that were taken for the same though they are spelled differently."""
    similar: tuple[tuple[str, str], ...] = ()
    """Names of the two sides that may be meant for the same, and were not taken for it."""
    spare: Labels = field(default_factory=lambda: NO_LABELS)
    """Low-quality labels that are no class's of the high-quality side, ascending."""
    unsorted: Labels = field(default_factory=lambda: NO_LABELS)
    """Those of them that say that nobody has sorted their images (:data:`NO_CLASS`)."""
    level_setting: str = ""
    """The assignment that has one side's folders of another level be its classes, where they are called as the other
    side's are; empty if there is none."""

    @property
    def is_matched(self) -> bool:
        """Whether the low-quality image of a class is one of that class, where it has any."""
        return self.pairing == "matched"

    @property
    def sorted_spare(self) -> Labels:
        """Low-quality labels that are a class of that side alone: ``spare`` without ``unsorted``, ascending."""
        return np.setdiff1d(self.spare, self.unsorted)


def resolve_pairing(
    asked: str, classes: Sequence[str], low_quality_classes: Sequence[str], small: Sequence[str] = ()
) -> Namesakes:
    """Find the low-quality namesake of each class; ``auto`` means matched if most classes have one.

    Names whose :func:`~ctfgan.core.text.fold_name` forms agree are the same, unless that would make
    one of several of a side; a folder around all classes of one side alone is no part of their names. ``auto`` means
    independent, too,
    where low-quality images have more classes and all names are numbers: these are the
    labels of files without class names, which coincide by accident.

    Args:
        asked: ``auto``, ``matched`` or ``independent``.
        classes: names of the high-quality images' classes.
        low_quality_classes: names of the low-quality images' classes; none if they have no labels.
        small: names of classes that have too few high-quality images to take part.

    Raises:
        DataError: ``matched`` was asked for and no class has a low-quality namesake.
    """
    count, is_auto = len(classes), asked == "auto"
    if classes == low_quality_classes:  # also of a million
        reason = "both sides have the same class names" if is_auto else ""
        return Namesakes("independent" if asked == "independent" else "matched", reason, np.arange(count))
    label_of_class, respelled = _namesakes(classes, low_quality_classes)
    known = int((label_of_class >= 0).sum())
    if asked == "matched" and known == 0:
        raise DataError(
            f"data.pairing is matched, but none of {count:,} classes has low-quality images of its name, "
            f"{_beside(classes, low_quality_classes)}; rename the classes of one side, or use data.pairing=independent"
        )
    coincide = False
    if len(low_quality_classes) > count + len(small):
        _, low_names = _below_common_folder(classes, low_quality_classes)
        coincide = ClassNames.of(low_names).are_numbers()
    is_matched = asked == "matched" or (is_auto and 2 * known > count and not coincide)
    spare = np.setdiff1d(np.arange(len(low_quality_classes)), label_of_class)
    missing = np.flatnonzero(label_of_class < 0)
    names, others = _names_of(classes, missing), _names_of(low_quality_classes, spare)
    return Namesakes(
        "matched" if is_matched else "independent",
        _reason(classes, low_quality_classes, known, is_matched=is_matched) if is_auto else "",
        label_of_class,
        respelled if is_matched else (),
        _similar(names, others) or _doubles(classes, others),
        spare,
        spare[np.array([_is_unsorted(name) for name in others], dtype=bool)],
        _level_setting(names, others),
    )


def _is_unsorted(name: str) -> bool:
    """Whether a folder says that nobody has sorted its images, or lies in one that does."""
    outermost = fold_name(name.partition("/")[0])
    return outermost in NO_CLASS or _COUNTED.sub("", outermost) in NO_CLASS


def _level_setting(names: Sequence[str], others: Sequence[str]) -> str:
    """What has folders of another level be classes, if most names of one side are folders in the other's paths."""
    for wanted, paths, setting in (
        (names, others, "data.low_quality_class_level"),
        (others, names, "data.class_level"),
    ):
        folders = [tuple(map(fold_name, path.split("/"))) for path in paths if "/" in path]
        known = {fold_name(name) for name in wanted}
        for level in range(1, max(map(len, folders), default=0) + 1):
            there = {parts[level - 1] for parts in folders if len(parts) >= level}
            if 2 * len(known & there) > len(known):
                return f"{setting}={level}"
    return ""


def _reason(classes: Sequence[str], low_quality_classes: Sequence[str], known: int, *, is_matched: bool) -> str:
    """Why ``auto`` is what it is."""
    count = len(classes)
    if len(low_quality_classes) == 0:
        return "low-quality images have no labels"
    if known == 0:
        none = f"the two sides have no class name in common, {_beside(classes, low_quality_classes)}"
        return f"{none}; if some mean the same, rename those of one side"
    if known == count and not is_matched:
        return (
            "low-quality images have more classes, and all names are numbers; if they mean the same, use "
            "data.pairing=matched"
        )
    if known == count:
        more = len(low_quality_classes) > count
        one_way = "every class of the high-quality images is one of the low-quality ones, too"
        return one_way if more else "both sides have the same class names"
    part = f"{known:,} of {count:,} classes of the high-quality images are among the low-quality ones"
    return part if is_matched else f"only {part}; if names mean the same, use data.pairing=matched"


def _beside(classes: Sequence[str], low_quality_classes: Sequence[str]) -> str:
    """Some names of both sides."""
    if not len(low_quality_classes):
        return "which have no labels"
    return (
        f"such as {a_few([repr(name) for name in classes[:3]])} and {a_few([repr(n) for n in low_quality_classes[:3]])}"
    )


def _namesakes(
    classes: Sequence[str], low_quality_classes: Sequence[str]
) -> tuple[Labels, tuple[tuple[str, str], ...]]:
    """The low-quality label of each class, -1 without any, and the pairs that are spelled differently."""
    number = {name: label for label, name in enumerate(low_quality_classes)}
    label_of_class = np.array([number.get(name, UNLABELLED) for name in classes], dtype=np.int64)
    rest = np.setdiff1d(np.arange(len(low_quality_classes)), label_of_class)
    missing = np.flatnonzero(label_of_class < 0)
    if len(rest) == 0 or len(missing) == 0:
        return label_of_class, ()
    # A folded name must mean one class of each side, those with exact namesakes among them.
    names, low_names = _below_common_folder(classes, low_quality_classes)
    respelled = []
    for fold in (str, fold_name):
        high, low = _by_name(names, fold), _by_name(low_names, fold)
        for row in missing.tolist():
            name = fold(names[row])
            if label_of_class[row] < 0 and len(high[name]) == 1 and len(low.get(name, ())) == 1:
                label_of_class[row] = low[name][0]
                respelled.append((classes[row], low_quality_classes[low[name][0]]))
    return label_of_class, tuple(respelled)


def _below_common_folder(classes: Sequence[str], low_quality_classes: Sequence[str]) -> tuple[Sequence[str], ...]:
    """The names of both sides, without the folder that all of one side lie in; two such folders say something."""
    sides = (classes, low_quality_classes)
    common = [common_folder(side) if len(side) else "" for side in sides]
    if all(common):
        return sides
    return tuple(
        [name.removeprefix(folder) for name in side] if folder else side
        for side, folder in zip(sides, common, strict=True)
    )


def _by_name(names: Sequence[str], fold: Callable[[str], str]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(fold(name), []).append(place)
    return places


def _similar(names: Sequence[str], others: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of names that look like typing errors of each other: letters changed about, without their accents, or from
    another script.

    Of very many names none is looked for.
    """
    if not 0 < len(names) * len(others) <= COMPARED_PAIRS:
        return ()
    by_name = {_bare(other): other for other in others if len(other) >= SHORTEST_TYPO}
    by_letters = {"".join(sorted(other)): other for other in by_name}
    pairs = []
    for name, bare in [(name, _bare(name)) for name in names if len(name) >= SHORTEST_TYPO]:
        match = difflib.get_close_matches(bare, by_name, n=1, cutoff=TYPO)
        match = match or [by_letters[key] for key in ["".join(sorted(bare))] if key in by_letters]
        match = match or [other for other in by_name if _is_lettered_alike(bare, other)]
        if match:
            pairs.append((name, by_name[match[0]]))
    return tuple(pairs) if len(pairs) <= MOST_TYPOS else ()


def _bare(name: str) -> str:
    """A folded name without accents."""
    return "".join(letter for letter in unicodedata.normalize("NFD", fold_name(name)) if not _is_accent(letter))


def _is_accent(letter: str) -> bool:
    return unicodedata.category(letter) == "Mn"


def _is_lettered_alike(name: str, other: str) -> bool:
    """Whether two names have the same letters but for some of another script, such as a Cyrillic a."""
    if len(name) != len(other) or (name.isascii() and other.isascii()):
        return False
    unlike = [pair for pair in zip(name, other, strict=True) if pair[0] != pair[1]]
    return len(unlike) < len(name) and all(_script(one) != _script(another) for one, another in unlike)


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _doubles(classes: Sequence[str], others: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Low-quality names that look like that of a class which has another namesake: ``cat`` and ``Cat`` of one side."""
    if not others:
        return ()
    high = {fold_name(name): name for name in classes}
    return tuple((high[fold], other) for other in others if (fold := fold_name(other)) in high)[:MOST_TYPOS]


def pairing_lines(namesakes: Namesakes, classes: Sequence[str], low_quality_classes: Sequence[str]) -> list[str]:
    """What a user should know of the pairing before training, a line each; for training and ``ctfgan data check``.

    Args:
        namesakes: of the two sides.
        classes: names of the high-quality images' classes.
        low_quality_classes: names of the low-quality images' classes.
    """
    lines = [f"pairing: {namesakes.pairing}" + (f" (auto: {namesakes.reason})" if namesakes.reason else "")]
    if namesakes.is_matched:
        if namesakes.reason and len(low_quality_classes) and ClassNames.of(low_quality_classes).are_numbers():
            lines.append("note: these names are numbers; if they mean different things, use data.pairing=independent")
        if namesakes.respelled:
            lines.append(
                f"note: names taken for the same although they are spelled differently: {_pairs(namesakes.respelled)}"
            )
        missing = np.flatnonzero(namesakes.label_of_class < 0)
        if len(missing):
            lines.append(
                f"note: no low-quality images of {listed(classes, missing)}; those of any class take their place, "
                "without consistency"
            )
        if len(namesakes.unsorted):
            named = listed(low_quality_classes, namesakes.unsorted)
            lines.append(f"note: low-quality images of {named} count as images without a label")
        if len(spare := namesakes.sorted_spare):
            lines.append(f"note: low-quality images only of {listed(low_quality_classes, spare)}")
    if namesakes.similar:
        lines.append(
            f"note: names that may be meant for the same: {_pairs(namesakes.similar)}; if so, rename those of one side"
        )
    if namesakes.level_setting:
        setting, _, level = namesakes.level_setting.partition("=")
        lines.append(
            f"note: folders of level {level} are called as the other side's classes are; {setting}={level} makes them "
            f"the classes (--{'lq-' * ('low_quality' in setting)}class-level of 'ctfgan data check')"
        )
    return lines


def listed(names: Sequence[str], labels: Labels) -> str:
    """How many classes these are, and the first of their names."""
    few = a_few([*map(repr, _names_of(names, labels))])
    return f"{plural(len(labels), 'class', 'classes')} ({few})"


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return a_few([f"{name!r} = {other!r}" for name, other in pairs])


def _names_of(names: Sequence[str], labels: Labels) -> list[str]:
    return [names[label] for label in labels.tolist()]

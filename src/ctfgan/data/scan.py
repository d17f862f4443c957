"""Every image of a source: its header, what its levels mean, its pixels; several at a time, unreadable ones counted."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.files import cache_folder, new_folder, read_json
from ctfgan.core.progress import Progress, silent
from ctfgan.core.settings import Settings
from ctfgan.core.text import json_bytes, utf8
from ctfgan.data.color_profiles import ColorProfile, profile_notes, profile_of
from ctfgan.data.levels import OVERSHOOT, SMALLEST_WHITE, Kind, Scale, kind_of, range_of, scale_of, words
from ctfgan.data.packed import FORMAT, UNREADABLE_KEPT, SourceSummary
from ctfgan.data.sources.base import ImageSource
from ctfgan.data.sources.packed_set import PackedSource
from ctfgan.distributed.launch import usable_processors

SMALL_SIDE = 64
"""Pixels of a side; smaller images are decoded mostly under Python's lock, so that two threads take longer than one."""

PIXEL_BYTES = 16
"""Of memory for each pixel of an image that is decoded, converted and laid over white."""
MANY = 0.1
"""Part of the images of a kind whose levels are no accident."""

TOGETHER = 16
"""Images that a thread takes at once; handing them over one by one costs as much as decoding a small one."""
AHEAD = 2
"""Such parts for each thread that are begun before their results are taken."""
SURVEY = "survey.json"

S = TypeVar("S")
T = TypeVar("T")


@dataclass
class Unreadable:
    """Images of a source that are skipped: all are counted, the first are named."""

    source: ImageSource
    count: int = 0
    _first: dict[int, str] = field(default_factory=dict)

    def add(self, index: int, error: Exception) -> None:
        """Skip an image."""
        self.count += 1
        if len(self._first) < UNREADABLE_KEPT:
            self._first[index] = str(error)

    def named(self) -> tuple[tuple[str, str], ...]:
        """Names and reasons of the first of them, in the order of the source."""
        return tuple((self.source.name(index), reason) for index, reason in sorted(self._first.items()))

    def noted(self, survey: SourceSummary) -> SourceSummary:
        """A summary with these as the images that are skipped."""
        named = self.named()
        return replace(survey, unreadable=named, more_unreadable=self.count - len(named))

    def refusal(self) -> DataError:
        """What to say if they are all."""
        name, reason = self.named()[0]
        return DataError(f"{self.source.location}: none of {self.count:,} images can be read (first: {name}: {reason})")


def read_headers(source: ImageSource, progress: Progress = silent) -> SourceSummary:
    """Read every header, and decode the images whose levels are no bytes; unreadable ones are counted, not raised.

    Raises:
        DataError: no image can be read, or the levels of the set have no plain meaning.
    """
    if isinstance(source, PackedSource):
        return source.survey()
    total = len(source.labels)
    unreadable, modes = Unreadable(source), [""] * total
    sides, pixels = np.zeros(total, dtype=np.int64), np.zeros(total, dtype=np.int64)
    for index in range(total):
        try:
            mode, size = source.header(index)
        except (DataError, OSError) as error:
            unreadable.add(index, error)
            continue
        modes[index], sides[index], pixels[index] = mode, min(size), size[0] * size[1]
    wide = [index for index, mode in enumerate(modes) if kind_of(mode)]
    levels, notes = _levels(source, wide, modes, int(pixels.max()), unreadable, progress)
    readable = np.array([bool(mode) for mode in modes])
    if not readable.any():
        raise unreadable.refusal()
    sides = sides[readable]
    return unreadable.noted(
        SourceSummary(
            location=source.location,
            images=len(sides),
            sides=(int(sides.min()), int(np.median(sides)), int(sides.max())),
            modes=dict(Counter(filter(None, modes)).most_common()),
            unreadable=(),
            notes=source.notes + notes,
            levels=levels,
            most_pixels=int(pixels[readable].max()),
        )
    )


def _levels(
    source: ImageSource, rows: list[int], modes: list[str], most_pixels: int, unreadable: Unreadable, progress: Progress
) -> tuple[dict[str, Scale], tuple[str, ...]]:
    """What the levels of some images mean, by kind, and a sentence for each; unreadable ones lose their mode."""
    ranges: dict[Kind, dict[int, tuple[float, float]]] = {}
    for index, result in decoded(
        source, rows, _kind_and_range, None, most_pixels, progress, f"looking at levels of {source.location}"
    ):
        if isinstance(result, Exception):
            unreadable.add(index, result)
            modes[index] = ""
        else:
            ranges.setdefault(result[0], {})[index] = result[1]
    levels: dict[str, Scale] = {}
    notes: list[str] = []
    for kind, pairs in ranges.items():
        low, high = min(low for low, _ in pairs.values()), max(high for _, high in pairs.values())
        try:
            levels[kind] = scale_of(kind, low, high)
        except DataError as error:
            raise DataError(f"{source.location}: of {len(pairs):,} {kind} images together, {error}") from error
        unlike = _unlike(source, kind, pairs, levels[kind])
        if unlike and kind == "floating-point":
            raise DataError(f"{source.location}: {unlike}")
        notes += [words(kind, len(pairs), low, high, levels[kind]), unlike]
    return levels, tuple(filter(None, notes))


def _unlike(source: ImageSource, kind: Kind, pairs: dict[int, tuple[float, float]], scale: Scale) -> str:
    """What to say where many images would show nothing, since many others were saved with levels hundreds of times as
    high; empty otherwise.

    Whole numbers may be as low as that where little light fell; floats are then fractions among bytes.
    """
    if scale.white <= SMALLEST_WHITE[kind]:
        return ""
    rows, ends = list(pairs), np.array(list(pairs.values()))
    has_content, highs = ends[:, 0] < ends[:, 1], ends[:, 1]
    is_black = highs <= scale.black + (1 + OVERSHOOT) * (scale.white - scale.black) / 255
    black, others = np.flatnonzero(has_content & is_black), np.flatnonzero(has_content & ~is_black)
    if min(len(black), len(others)) < max(1, MANY * len(rows)):
        return ""
    what = "images of more than 8 bits" if kind == "whole" else "floating-point images"
    name, other = source.name(rows[black[0]]), source.name(rows[others[0]])
    return (
        f"{len(black):,} of {len(rows):,} {what} have levels up to {highs[black].max():,.6g} (first: {name}), "
        f"others up to {highs.max():,.6g} (first: {other}), and beside these they would be black; if their levels mean "
        "something else, save all of them with 8 bits"
    )


def _kind_and_range(image: Image.Image) -> tuple[Kind, tuple[float, float]]:
    kind = kind_of(image.mode)
    assert kind is not None, "the header said so"
    return kind, range_of(image)


def decoded(
    source: ImageSource,
    rows: Sequence[int],
    work: Callable[[Image.Image], T],
    side: int | None,
    most_pixels: int,
    progress: Progress,
    what: str,
) -> Iterator[tuple[int, T | Exception]]:
    """Decode some images and work on them, with several threads where that is faster.

    Args:
        source: of the images.
        rows: which ones, in ascending order.
        work: called in any thread.
        side: in pixels, of most images; None if it is not known to be small.
        most_pixels: of an image; 0 if that is not known.
        progress: shows how far it is.
        what: it shows.

    Returns:
        Each row and what ``work`` made of its image, or why the image cannot be used, in the order of the rows.

    Raises:
        DataError: what holds all images is damaged.
    """

    def one(read: Callable[[], Image.Image]) -> T | Exception:
        try:
            return work(read())
        except (DataError, OSError, ValueError) as error:
            return error

    if len(rows):
        source.load()
    pays = source.is_concurrent and (side is None or side >= SMALL_SIDE)
    with closing(in_order(one, _readers(source, rows), _threads(most_pixels) if pays else 1)) as results:
        for row in progress(rows, len(rows), what):
            yield row, next(results)


class PixelPass:
    """One pass over the pixels of all images of a source; it counts what is skipped, and colour profiles.

    Args:
        source: of the images.
        survey: what their headers say.
    """

    def __init__(self, source: ImageSource, survey: SourceSummary) -> None:
        self.unreadable = Unreadable(source)
        self._source, self._survey = source, survey
        self._profiles = Counter[tuple[str, bool]]()

    def results(self, work: Callable[[Image.Image], T], progress: Progress, what: str) -> Iterator[tuple[int, T]]:
        """Row and result of ``work``, for each image that can be used; as :func:`decoded` does it."""

        def with_profile(image: Image.Image) -> tuple[T, ColorProfile | None]:
            return work(image), profile_of(image)

        rows, survey = range(len(self._source.labels)), self._survey
        for row, result in decoded(
            self._source, rows, with_profile, survey.sides[1], survey.most_pixels, progress, what
        ):
            if isinstance(result, Exception):
                self.unreadable.add(row, result)
                continue
            value, profile = result
            if profile:
                self._profiles[profile.outcome] += 1
            yield row, value

    def summary(self) -> SourceSummary:
        """The survey with what the pass has shown, once all results are taken."""
        survey = replace(
            self._survey,
            images=len(self._source.labels) - self.unreadable.count,
            notes=self._survey.notes + profile_notes(self._profiles),
        )
        return self.unreadable.noted(survey)


def _threads(most_pixels: int) -> int:
    """As many as there are processors, or as decode their largest images at once in half of the free memory."""
    fitting = psutil.virtual_memory().available // 2 // max(1, most_pixels * PIXEL_BYTES)
    return max(1, min(usable_processors(), fitting))


def _readers(source: ImageSource, rows: Sequence[int]) -> Iterator[Callable[[], Image.Image]]:
    for row in rows:
        try:
            yield source.reader(row)
        except (DataError, OSError, ValueError) as error:
            yield partial(_fail, error)


def _fail(error: Exception) -> Image.Image:
    raise error


def in_order(work: Callable[[S], T], items: Iterable[S], workers: int) -> Generator[T]:
    """What ``work`` makes of each item, in their order; a bounded number of items is taken ahead.

    Decoders work outside Python's lock, so that threads are as fast as processes, and share what is in memory. Closed
    early, it waits for the items that are being worked on, and begins no more.

    Args:
        work: called in one of the threads; what it raises is raised here.
        items: taken in the thread that asks for results.
        workers: threads; with one of them, the work is done here.
    """
    if workers == 1:
        yield from map(work, items)
        return
    has_ended = threading.Event()

    def part(some: tuple[S, ...]) -> list[T]:
        return [work(item) for item in some if not has_ended.is_set()]

    left = iter(items)
    pending: deque[Future[list[T]]] = deque()
    # Readers silence warnings of damaged files, each for itself; threads that do so undo each other's work.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(workers, "images") as pool:
        try:
            while some := tuple(islice(left, TOGETHER)):
                pending.append(pool.submit(part, some))
                if len(pending) >= AHEAD * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            has_ended.set()
            pool.shutdown(cancel_futures=True)


def scan_headers(source: ImageSource, progress: Progress = silent) -> SourceSummary:
    """What :func:`read_headers` says of a source; of one that was packed and did not change, from the cache.

    Then no image is opened: tables and archives would be read to their last byte.
    """
    # Headers of other sources than those of files are in memory.
    return (kept_summary(source, source.identity()) if source.is_concurrent else None) or read_headers(source, progress)


def kept_summary(source: ImageSource, identity: str) -> SourceSummary | None:
    """The survey of a source in the cache; None if there is none that can be used, so that it is made anew."""
    try:
        kept = _KeptSummary.model_validate(read_json(_summary_folder(identity) / SURVEY))
    except (OSError, ValueError):
        return None
    return of_source(source, kept.survey) if kept.of == len(source.labels) else None


def own_summary(source: ImageSource, survey: SourceSummary) -> SourceSummary:
    """What a survey says of the images alone, for the cache: what opening a source says, it says again."""
    return replace(survey, location="", notes=survey.notes[len(source.notes) :])


def of_source(source: ImageSource, own: SourceSummary) -> SourceSummary:
    """A survey from the cache with what the opened source says: folders without images, say, change no image."""
    return replace(own, location=source.location, notes=source.notes + own.notes)


def keep_summary(source: ImageSource, identity: str, survey: SourceSummary) -> None:
    """Put the summary of a source into the cache."""
    with new_folder(_summary_folder(identity)) as partial:
        content = {"survey": asdict(own_summary(source, survey)), "of": len(source.labels)}
        (partial / SURVEY).write_bytes(json_bytes(content, indent=None))


def _summary_folder(identity: str) -> Path:
    return cache_folder() / "surveys" / hashlib.sha256(utf8(f"{identity} surveyed-{FORMAT}")).hexdigest()[:24]


class _KeptSummary(Settings):
    """``survey.json``."""

    survey: SourceSummary
    of: int
    """Images that were looked at."""

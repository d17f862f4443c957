"""Finding a class among very many by part of its name."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from unicodedata import normalize

from ctfgan.core.class_index import caseless

MAX_LIMIT = 200
MAX_OFFSET = 10_000  # of a search; who has seen so many hits rather types another letter


class ClassSearch:
    """Class names by part of them; case and the encoding of accents do not count.

    The name that is typed comes first, then names that begin with it, then those that hold it, each in label order.
    All names are lines of one text, through which a search runs in milliseconds, even if there are a million.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        lines = [_line(name) for name in names]
        self._text = "\n".join(["", *lines, ""])
        self._starts = list(accumulate((len(line) + 1 for line in lines), initial=1))  # of the lines, and the end

    def find(self, part: str, limit: int, offset: int = 0) -> tuple[list[str], bool]:
        """Names that hold ``part``, all if it is empty, and whether there are more of them."""
        if not part.strip():
            end = offset + limit
            return list(self.names[offset:end]), end < len(self.names)
        hits = list(islice(self._hits(part), offset, offset + limit + 1))
        return [self.names[label] for label in hits[:limit]], len(hits) > limit

    def _hits(self, part: str) -> Iterator[int]:
        typed, exact = _line(part), normalize("NFC", part)
        equal = self._labels(f"\n{typed}\n")
        yield from sorted(equal, key=lambda label: normalize("NFC", self.names[label]) != exact)
        for label in self._labels(f"\n{typed}"):
            if self._starts[label] + len(typed) + 1 < self._starts[label + 1]:  # longer than what is typed
                yield label
        for label in self._labels(typed):
            if not self._text.startswith(typed, self._starts[label]):
                yield label

    def _labels(self, part: str) -> Iterator[int]:
        """Lines with a part, each once; the part may begin with the end of the line before."""
        position = self._text.find(part)
        while position >= 0:
            label = bisect_right(self._starts, position + part.startswith("\n")) - 1
            yield label
            position = self._text.find(part, self._starts[label + 1] - 1)


def _line(name: str) -> str:
    return caseless(name).replace("\n", " ")

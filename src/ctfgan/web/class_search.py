"""Finding a class among very many by part of its name."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from unicodedata import normalize

MAX_LIMIT = 200
MAX_OFFSET = 10_000  # of a search; who has seen so many hits rather types another letter


class ClassSearch:
    """All names in one text, which the fastest search of Python runs through: a million names in milliseconds.

    Case and the encoding of accents do not count. The name that is typed comes first, then names that begin with
    it, then those that hold it, each in label order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._numbers = {normalize("NFC", name): label for label, name in enumerate(names)}
        folded = [_folded(name) for name in names]
        self._text = "\n" + "\n".join(folded) + "\n"
        self._starts = []
        position = 1
        for name in folded:
            self._starts.append(position)
            position += len(name) + 1

    def find(self, part: str, limit: int, offset: int = 0) -> tuple[list[str], bool]:
        """Names that hold ``part``, all if it is empty, and whether there are more of them."""
        if not part.strip():
            end = offset + limit
            return list(self.names[offset:end]), end < len(self.names)
        found = list(islice(self._hits(part), offset, offset + limit + 1))
        return [self.names[label] for label in found[:limit]], len(found) > limit

    def _hits(self, part: str) -> Iterator[int]:
        exact = self._numbers.get(normalize("NFC", part))
        if exact is not None:
            yield exact
        sought = _folded(part)
        first = [self._lines("\n" + sought + "\n"), self._lines("\n" + sought), self._lines(sought)]
        for rank, labels in enumerate(first):
            for label in labels:
                if label != exact and self._rank(label, sought) == rank:
                    yield label

    def _rank(self, label: int, sought: str) -> int:
        """0 for the whole name, 1 for its beginning, 2 for a part."""
        start = self._starts[label]
        if not self._text.startswith(sought, start):
            return 2
        return 0 if self._text[start + len(sought)] == "\n" else 1

    def _lines(self, sought: str) -> Iterator[int]:
        """Labels of the lines that a text occurs in, each once."""
        skip = sought.startswith("\n")
        position = self._text.find(sought)
        while position >= 0:
            label = bisect_right(self._starts, position + skip) - 1
            yield label
            # The next hit is in the next line at the earliest; the line break before it may belong to it.
            position = self._text.find(sought, self._text.index("\n", position + skip))


def _folded(name: str) -> str:
    return " ".join(normalize("NFC", name).casefold().splitlines())

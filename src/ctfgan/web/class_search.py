"""Finding a class among very many by part of its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from unicodedata import normalize

from ctfgan.core.class_index import caseless

MAX_LIMIT = 200
MAX_OFFSET = 10_000  # of a search; who has seen so many hits rather types another letter


class ClassSearch:
    """Class names by part of them; case and the encoding of accents do not count.

    The name that is typed comes first, then names that begin with it, then those that hold it, each in label order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._caseless = [caseless(name) for name in names]

    def find(self, part: str, limit: int, offset: int = 0) -> tuple[list[str], bool]:
        """Names that hold ``part``, all if it is empty, and whether there are more of them."""
        if not part.strip():
            end = offset + limit
            return list(self.names[offset:end]), end < len(self.names)
        hits = list(islice(self._hits(part), offset, offset + limit + 1))
        return [self.names[label] for label in hits[:limit]], len(hits) > limit

    def _hits(self, part: str) -> Iterator[int]:
        typed, exact = caseless(part), normalize("NFC", part)
        equal = [label for label, name in enumerate(self._caseless) if name == typed]
        yield from sorted(equal, key=lambda label: normalize("NFC", self.names[label]) != exact)
        for label, name in enumerate(self._caseless):
            if name.startswith(typed) and name != typed:
                yield label
        for label, name in enumerate(self._caseless):
            if typed in name and not name.startswith(typed):
                yield label

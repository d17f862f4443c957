"""From the name of a class to its number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from unicodedata import normalize

from ctfgan.core.errors import ConfigError, suggestion

MOST_NAMED = 30  # classes that a message lists


class ClassIndex:
    """Class numbers by name, however its accents are encoded.

    Args:
        names: of classes; the last one of a name counts.
        numbers: of each; None counts from 0.
    """

    def __init__(self, names: Sequence[str], numbers: Iterable[int] | None = None) -> None:
        self._numbers = dict(zip(map(_composed, names), range(len(names)) if numbers is None else numbers, strict=True))

    def find(self, names: Iterable[str]) -> list[int]:
        """The number of each class; -1 for one that is not there."""
        return [self._numbers.get(_composed(name), -1) for name in names]

    def require(self, names: Sequence[str]) -> list[int]:
        """The number of each class.

        Raises:
            ConfigError: an unknown class, with the nearest match.
        """
        numbers = self.find(names)
        for name, number in zip(names, numbers, strict=True):
            if number < 0:
                near = suggestion(name, list(self._numbers))
                if not near.startswith("Did") and len(self._numbers) > MOST_NAMED:
                    near = f"The model has {len(self._numbers):,} classes."
                raise ConfigError(f"Unknown class {_composed(name)!r}. {near}")
        return numbers


def caseless(name: str) -> str:
    """What names share that differ in case, or in how their accents are encoded, alone."""
    return _composed(name).casefold()


def _composed(name: str) -> str:
    return normalize("NFC", name)

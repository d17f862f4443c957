"""Names of very many classes as two arrays, which open at once and decode a name when it is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ctfgan.core.text import is_printable


class ClassNames(Sequence[str]):
    """Class names in label order; each is decoded when it is asked for.

    Args:
        text: uint8, all names in UTF-8, end to end.
        offsets: int64 ``(C+1,)``, where in ``text`` each name begins, and the end.
    """

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        # Plain views: numpy's class for mapped files makes every access several times as slow.
        self._text = np.asarray(text)
        self._offsets = np.asarray(offsets)

    @property
    def text(self) -> NDArray[np.uint8]:
        """All names in UTF-8, end to end."""
        return self._text

    @property
    def offsets(self) -> NDArray[np.int64]:
        """``(C+1,)``: where in the text of all names each begins, and the end."""
        return self._offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]  # negative numbers count from the end; too large ones are refused
        return self._text[self._offsets[number] : self._offsets[number + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ClassNames):
            return np.array_equal(self._offsets, other._offsets) and np.array_equal(self._text, other._text)
        return self.all() == other

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, names: Sequence[str]) -> ClassNames:
        """The same names, in memory unless they are :class:`ClassNames` already."""
        if isinstance(names, ClassNames):
            return names
        encoded = [name.encode() for name in names]
        lengths = np.array([len(name) for name in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), starts_of(lengths))

    def followed_by(self, names: Sequence[str]) -> ClassNames:
        """These names and then others, in memory."""
        more = ClassNames.of(names)
        ends = self._offsets[-1] + more.offsets[1:]
        return ClassNames(np.concatenate([self._text, more.text]), np.concatenate([self._offsets, ends]))

    def any_contains(self, letter: str) -> bool:
        """Whether an ASCII character occurs in some name."""
        return bool((self._text == ord(letter)).any())

    def are_fit(self) -> bool:
        """Whether names are distinct texts for one line, as ``check_names`` asks of others; none is decoded alone."""
        try:
            whole = self._text.tobytes().decode()
        except UnicodeDecodeError:
            return False
        lengths, starts = np.diff(self._offsets), self._offsets[:-1]
        inside = (self._text[starts[lengths > 0]] & 0xC0) == 0x80  # a name that begins within a character
        if not is_printable(whole) or (lengths < 1).any() or inside.any():
            return False
        for length in np.unique(lengths):
            alike = self._text[starts[lengths == length][:, None] + np.arange(length)]
            if len(np.unique(alike.view(f"V{length}"))) < len(alike):
                return False
        return True

    def are_numbers(self) -> bool:
        """Whether all names are written in the digits 0 to 9."""
        return bool(((self._text >= ord("0")) & (self._text <= ord("9"))).all())

    def all(self) -> tuple[str, ...]:
        """Every name, decoded in one go."""
        text = self._text.tobytes()
        ends = self._offsets.tolist()
        return tuple(text[start:end].decode() for start, end in itertools.pairwise(ends))


def starts_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of some pieces of these lengths, end to end, begins, and the end of the last, ``(C+1,)``."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

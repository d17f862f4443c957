"""The errors that a user can cause, and the one lookup from a name to an object.

::

    CtfganError            one sentence: the value, the rule, the way out; exit code 2
    |-- ConfigError        a recipe, setting or option
    |-- DataError          images, labels, folders, data files
    |-- RunError           a run folder or one of its checkpoints
    |-- BundleError        a released generator
    |-- Interrupted        a signal stopped the run after its state was saved; exit code 128 + its number
    `-- ProcessLost        one of several processes of a run died; exit code 1
"""

from __future__ import annotations

import copyreg
import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

LONGEST_NAME = 100
"""Letters of a name that is compared with known ones; looking for likenesses takes the square of the length."""
COMPARED_NAMES = 10_000  # with an unknown one; among very many the nearest takes minutes to find
NAMED = 5  # names in a sentence, before it only counts them
_ZEROS = re.compile(r"(?<![0-9.,])0+(?=[0-9])")
_BLANK = re.compile(r"[\s_]+|(?<=[^\W_])-+(?=[^\W_])")
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class CtfganError(Exception):
    """A mistake that its user can mend; the message is one sentence that says how.

    What it quotes of files and names cannot move the cursor, break the line or turn its direction.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(shown(message))

    def __reduce__(self) -> tuple[Any, ...]:
        # As it is, without a second call of an __init__ that may want more than the message: for other processes.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ConfigError(CtfganError):
    """A recipe, a setting or an option is wrong."""


class DataError(CtfganError):
    """Images, labels or the files that hold them are wrong."""


class RunError(CtfganError):
    """A run folder or a checkpoint cannot be used."""


class BundleError(CtfganError):
    """A bundle is damaged or was not written by this program."""


class Interrupted(CtfganError):
    """A signal ended the run early; its state is on disk."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP where nobody asks for it between steps: it unwinds what is being done, like Ctrl-C."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


class ProcessLost(CtfganError):
    """Another process of the run is gone, so this one cannot go on.

    Attributes:
        has_saved: whether this process has saved the run's state, and should say so.
    """

    exit_code = 1

    def __init__(self, message: str, *, has_saved: bool = False) -> None:
        super().__init__(message)
        self.has_saved = has_saved


def is_shown_whole(text: str) -> bool:
    """Whether a text can be written down on one line as it is: no control characters, lone surrogates or overrides of
    its direction.
    """
    return not _UNSHOWN.search(text)


def shown(text: str) -> str:
    """A text for one line of a terminal: what :func:`is_shown_whole` refuses becomes a question mark in a diamond."""
    return _UNSHOWN.sub("\ufffd", text)


def excerpt(foreign: object, longest: int = 200) -> str:
    """What a message quotes of something that we did not write, such as a library's error: its first line, cut."""
    text = str(foreign).strip()
    line = text.splitlines()[0] if text else type(foreign).__name__
    return shown(line[:longest]) + (" ..." if len(line) > longest else "")


def a_few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest


def many(count: int, one: str, several: str | None = None) -> str:
    """A number of things in words."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def suggestion(name: str, known: Sequence[str]) -> str:
    """One sentence that points from an unknown name to the nearest known one, or lists them all.

    Those whose :func:`folded` forms agree, and single letters in the other case, are nearest.
    """
    sought, alike = folded(name[:LONGEST_NAME]).casefold(), defaultdict(list)
    for one in known:
        alike[folded(one).casefold()].append(one)
    nearest = [sought] if sought in alike else []
    if not nearest and len(known) <= COMPARED_NAMES:
        nearest = difflib.get_close_matches(sought, alike, n=1)
    if nearest:
        return f"Did you mean {' or '.join(map(repr, alike[nearest[0]][:NAMED]))}?"
    return f"Known: {', '.join(sorted(known))}."


def folded(name: str) -> str:
    """A name without what the eye passes over: case, blanks, hyphens, forms of a character, zeros before a number.

    A single character is a class of its own in either case: a and A are not written alike.
    """
    plain = unicodedata.normalize("NFKC", name).strip()
    if len(plain) <= 1:
        return plain
    text = _BLANK.sub(" ", unicodedata.normalize("NFKC", plain.casefold())).strip()
    return _ZEROS.sub("", text) or plain


def pick(table: Mapping[str, T], name: str, what: str) -> T:
    """Return ``table[name]``.

    Raises:
        ConfigError: no such name, with the nearest match: ``Unknown recipe 'ctf-glyph'. Did you mean 'ctf-glyphs'?``
    """
    if name in table:
        return table[name]
    raise ConfigError(f"Unknown {what} {excerpt(repr(name))}. {suggestion(name, list(table))}")

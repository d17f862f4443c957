"""The errors that a user can cause, the one lookup from a name to an object, and the import of optional libraries.

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
import importlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ctfgan.core.text import MOST_LISTED, excerpt, fold_name, printable

T = TypeVar("T")

LONGEST_NAME = 100
"""Letters of a name that is compared with known ones; looking for likenesses takes the square of the length."""
COMPARED_NAMES = 10_000  # with an unknown one; among very many the nearest takes minutes to find


class CtfganError(Exception):
    """A mistake that its user can mend; the message is one sentence that says how.

    What it quotes of files and names cannot move the cursor, break the line or turn its direction.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))

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


def suggestion(name: str, known: Sequence[str]) -> str:
    """One sentence that points from an unknown name to the nearest known one, or lists them all.

    Those whose :func:`~ctfgan.core.text.fold_name` forms agree, and single letters in the other case, are nearest.
    """
    sought, alike = fold_name(name[:LONGEST_NAME]).casefold(), defaultdict(list)
    for one in known:
        alike[fold_name(one).casefold()].append(one)
    nearest = [sought] if sought in alike else []
    if not nearest and len(known) <= COMPARED_NAMES:
        nearest = difflib.get_close_matches(sought, alike, n=1)
    if nearest:
        return f"Did you mean {' or '.join(map(repr, alike[nearest[0]][:MOST_LISTED]))}?"
    return f"Known: {', '.join(sorted(known))}."


def pick(table: Mapping[str, T], name: str, what: str) -> T:
    """Return ``table[name]``.

    Raises:
        ConfigError: no such name, with the nearest match: ``Unknown recipe 'ctf-glyph'. Did you mean 'ctf-glyphs'?``
    """
    if name in table:
        return table[name]
    raise ConfigError(f"Unknown {what} {excerpt(repr(name))}. {suggestion(name, list(table))}")


def library(name: str, what: str, extra: str = "hub") -> Any:
    """Import an optional library when something needs it: ``what``, which the library's ``extra`` installs.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise ConfigError(f"{what} needs the library {package}; install it: pip install 'ctfgan[{extra}]'") from error

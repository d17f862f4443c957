"""Standard output and error of a command: neither a letter that they lack nor a reader who goes away ends it."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

import click

PRINTING = ("recipes", "doctor", "data check", "data list", "classes show")
"""Commands that are done where nobody reads on, since they print and do nothing else."""
READER_GONE = (errno.EPIPE, errno.EIO, *([errno.EINVAL] if sys.platform == "win32" else []))
"""Of a pipe; of a terminal; of a pipe as Windows says it."""

ASCII_FORMS = {"↑": "^", "↓": "v", "±": "+-", "…": "...", "×": "x"}


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Handler of what an encoding lacks: symbols as people type them, letters of names as their numbers, so that two
    names stay two.
    """
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    text = "".join(ASCII_FORMS.get(letter, letter.encode("ascii", "backslashreplace").decode()) for letter in letters)
    return text, error.end


codecs.register_error("ctfgan-spell", _spell)


class DurableStream:
    """A text stream that can be written to whatever becomes of its reader.

    What cannot be written is lost, for the work goes on without it; but where a command does nothing but print, it ends
    when its reader goes away, and a full disk is an error.

    Args:
        stream: everything but the writing is its own.
        prints: whether what a command is there to print comes out here.
    """

    def __init__(self, stream: TextIO, *, prints: bool) -> None:
        self._stream = stream
        self._prints = prints

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # past which click would write UTF-8 where it does not believe in ASCII
            raise AttributeError(name)
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be; returns the number of letters as if that were all.

        Raises:
            SystemExit: nobody reads what the command prints.
            OSError: what the command prints cannot be written.
        """
        try:
            self._stream.write(self._writable(text))
        except OSError as error:
            self._on_error(error)
        return len(text)

    def flush(self) -> None:
        """The same for what is not written yet."""
        try:
            self._stream.flush()
        except OSError as error:
            self._on_error(error)

    def give_up_rest(self) -> None:
        """What could not be written does not make Python complain when it ends."""
        try:
            self._stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def _writable(self, text: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        return text.encode(encoding, "ctfgan-spell").decode(encoding)

    def _on_error(self, error: OSError) -> None:
        if not (self._prints and _command() in PRINTING):
            return
        if error.errno in READER_GONE:
            raise SystemExit(0)
        raise error


@contextmanager
def durable_streams() -> Iterator[None]:
    """While the block lasts, standard output and error are :class:`DurableStream`; closed ones lead nowhere."""
    _open_closed()
    before = sys.stdout, sys.stderr
    out, err = DurableStream(sys.stdout, prints=True), DurableStream(sys.stderr, prints=False)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        out.give_up_rest()
        err.give_up_rest()


def _open_closed() -> None:
    """Give closed descriptors a place, or the next file that is opened gets the number, and the output, of one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _command() -> str:
    """Name of the command under way, such as ``data list``; empty in other threads than its own."""
    names: list[str] = []
    context = click.get_current_context(silent=True)
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name or "")
        context = context.parent
    return " ".join(names)

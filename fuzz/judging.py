"""What is expected of a reader, whatever it is given."""

from __future__ import annotations

import traceback
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ctfgan.core.errors import CtfganError

LONGEST_MESSAGE = 1_000
WAYS_OUT = (";", "Did you mean", "Known:", "must", "needs", "should", "but ", "lists all")
"""One of these stands where a message says what to do."""

OVERRIDES = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


class Unsound(Exception):
    """A reader accepted what is wrong."""


@dataclass(frozen=True)
class Reader:
    """A reader under test."""

    name: str
    seeds: Callable[[], list[bytes]]
    """Valid inputs."""
    change: Callable[[bytes, Random], bytes]
    """Another input made of a valid one."""
    one_input: Callable[[bytes], None]
    """Read it; raises CtfganError where it is refused, Unsound where it is accepted and should not be."""
    seconds: float = 1.0
    """Of computing that an input may take."""
    memory: int = 512 << 20
    """Bytes that the peak of resident memory may rise by for one input."""

    def inputs(self, rng: Random, seeds: list[bytes]) -> bytes:
        """The next input: mostly a changed seed, rarely one that is changed twice, or noise."""
        kind = rng.random()
        if kind < 0.01:
            return rng.randbytes(rng.randrange(200))
        content = self.change(rng.choice(seeds), rng)
        return self.change(content, rng) if kind < 0.2 else content


@dataclass(frozen=True)
class Verdict:
    """What came of one input."""

    accepted: bool
    finding: str = ""
    """What is wrong with how it was read; empty if nothing is. Equal findings have one cause."""
    detail: str = ""


def judged(reader: Reader, content: bytes) -> Verdict:
    """Read one input and judge what comes of it."""
    try:
        reader.one_input(content)
    except CtfganError as error:
        wrong = fault(error)
        return Verdict(False, f"{wrong} ({_place(error)})" if wrong else "", str(error)[:300])
    except Unsound as error:
        return Verdict(True, f"accepted: {error}"[:300])
    except Exception as error:
        return Verdict(False, f"{type(error).__name__} ({_place(error)})", traceback.format_exc()[-1500:])
    return Verdict(True)


def fault(error: CtfganError) -> str:
    """What is wrong with a refusal; empty if nothing is."""
    message, cause = str(error), error.__cause__
    while cause is not None:
        if isinstance(cause, MemoryError):
            return "memory ran out before it was refused"
        cause = cause.__cause__
    if len(message.splitlines()) != 1 or not is_clean(message):
        return "the message is not one line of printable text"
    if len(message) > LONGEST_MESSAGE:
        return "the message is too long"
    return "" if any(way in message for way in WAYS_OUT) else "the message shows no way out"


def check(holds: bool, what: str) -> None:
    """Raise Unsound unless something holds."""
    if not holds:
        raise Unsound(what)


def is_clean(text: str) -> bool:
    """Whether a text can be written down and does nothing to a terminal."""
    return text.isprintable() or not any(map(_is_odd, text))


def _is_odd(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(letter) in OVERRIDES


def _place(error: BaseException) -> str:
    """The innermost line of our own code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/ctfgan/" in frame.filename]
    frames = frames or traceback.extract_tb(error.__traceback__)[-1:]
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"

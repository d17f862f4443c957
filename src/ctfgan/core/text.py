"""Numbers, sizes and names in words; and text from elsewhere made fit for one line of a terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

MOST_LISTED = 5  # names in a sentence, before it only counts them
_ZEROS = re.compile(r"(?<![0-9.,])0+(?=[0-9])")
_BLANK = re.compile(r"[\s_]+|(?<=[^\W_])-+(?=[^\W_])")
_GAP = re.compile(r"(?<=[^\W\d]) (?=\d)")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plural(count: int, one: str, several: str | None = None) -> str:
    """A number of things: ``1 class``, ``1,204 images``; the plural is the singular and an s unless it is given."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def times(count: int) -> str:
    """How often: ``once``, ``3 times``."""
    return "once" if count == 1 else f"{count:,} times"


def format_bytes(count: float) -> str:
    """Bytes as people say them: ``528 KiB``, ``3.2 GiB``."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"


def duration(seconds: float) -> str:
    """Seconds in words: ``3 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def a_few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    rest = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + rest


def is_printable(text: str) -> bool:
    """Whether a text can stand on one line as it is: no control characters, lone surrogates or overrides of its
    direction.
    """
    return not _UNPRINTABLE.search(text)


def printable(text: str) -> str:
    """A text for one line of a terminal: what :func:`is_printable` refuses becomes a question mark in a diamond."""
    return _UNPRINTABLE.sub("\ufffd", text)


def utf8(text: str) -> bytes:
    """A text as the content of a file; of a path that is no UTF-8 odd bytes become escapes, which JSON reads back."""
    return text.encode(errors="backslashreplace")


def json_bytes(content: Any, *, indent: int | None = 1) -> bytes:
    """JSON as the content of a file, with letters of all scripts as they are; on one line if ``indent`` is None."""
    return utf8(json.dumps(content, ensure_ascii=False, indent=indent))


def excerpt(foreign: object, longest: int = 200) -> str:
    """What a message quotes of something that we did not write, such as a library's error: its first line, cut."""
    text = str(foreign).strip()
    line = text.splitlines()[0] if text else type(foreign).__name__
    return printable(line[:longest]) + (" ..." if len(line) > longest else "")


def fold_name(name: str) -> str:
    """A name without what the eye passes over: case, blanks, hyphens, forms of a character, characters that show
    nothing, the gap before a number and zeros at its beginning.

    A single character is a class of its own in either case: a and A are not written alike.
    """
    plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", name)).strip()
    if len(plain) <= 1:
        return plain
    text = _BLANK.sub(" ", unicodedata.normalize("NFKC", plain.casefold())).strip()
    return _ZEROS.sub("", _GAP.sub("", text)) or plain

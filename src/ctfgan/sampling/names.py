"""Names of classes as names of folders and files."""

from __future__ import annotations

import itertools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import quote

UNSAFE = frozenset('/\\:*?"<>|%') | {chr(code) for code in range(32)}
LONGEST = 200  # bytes; file systems allow 255, of which a suffix and a number take some


def folder_names(classes: Sequence[str]) -> list[str]:
    """Class names as names of folders; what some file system refuses is percent-encoded, all else stays.

    Names that differ only in case, such as A and a, get a number: on some file systems they would be one folder. Of a
    name that is too long the end is replaced by a hash.
    """
    names = ["".join(quote(letter, safe="") if letter in UNSAFE else letter for letter in name) for name in classes]
    names = [name.replace(".", "%2E") if name.startswith(".") or name.endswith((".", " ")) else name for name in names]
    names = [_short(name) for name in names]
    count = Counter(map(_folded, names))
    taken = {folded for folded, times in count.items() if times == 1}
    unique = []
    for name in names:
        candidate = name
        for number in itertools.count(1):
            if count[_folded(name)] == 1 or _folded(candidate := f"{name}.{number}") not in taken:
                break
        taken.add(_folded(candidate))
        unique.append(candidate)
    return unique


def _short(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= LONGEST:
        return name
    mark = f"~{sha256(encoded).hexdigest()[:16]}"
    return encoded[: LONGEST - len(mark)].decode(errors="ignore") + mark


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()

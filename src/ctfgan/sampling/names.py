"""Names of classes as names of folders and files."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import PurePath

from ctfgan.core.class_index import caseless

UNSAFE = {letter: ord(letter) for letter in '/\\:*?"<>|%'} | {chr(code): code for code in range(32)}
"""Letters that some file system refuses, and what they are encoded as."""
UNSAFE |= {chr(0xDC00 + byte): byte for byte in range(0x80, 0x100)}  # how Python reads names that are no UTF-8
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)
"""What Windows takes for a device, whatever comes after a dot."""
LONGEST = 200  # bytes; file systems allow 255, of which a suffix and a number take some


def folder_names(classes: Sequence[str]) -> list[str]:
    """Class names as names of folders; what some file system refuses is percent-encoded, all else stays.

    That is letters with a meaning, a dot at the beginning, a dot or a blank at the end, which Windows drops, and the
    first letter of its devices. Names that differ only in case, such as A and a, get a number: on some file systems
    they would be one folder. Of a name that is too long the end is replaced by a hash.
    """
    names = [_short(_encoded(name)) for name in classes]
    count = Counter(map(caseless, names))
    taken = {folded for folded, times in count.items() if times == 1}
    unique = []
    for name in names:
        candidate = name
        for number in itertools.count(1):
            if count[caseless(name)] == 1 or caseless(candidate := f"{name}.{number}") not in taken:
                break
        taken.add(caseless(candidate))
        unique.append(candidate)
    return unique


def path_names(paths: Sequence[PurePath]) -> list[str]:
    """Relative paths, joined by ``/``; every part is called as :func:`folder_names` calls it within its folder."""
    folders = sorted({folder for path in paths for folder in path.parents if folder.parts})
    names, below = [""] * len(paths), {PurePath(): ""}
    for parent, places in _by_parent(folders).items():  # which is there already, since it sorts before
        inside = [folders[place] for place in places]
        for folder, name in zip(inside, folder_names([folder.name for folder in inside]), strict=True):
            below[folder] = f"{below[parent]}{name}/"
    for parent, places in _by_parent(paths).items():
        for place, name in zip(places, folder_names([paths[place].name for place in places]), strict=True):
            names[place] = f"{below[parent]}{name}"
    return names


def _by_parent(paths: Sequence[PurePath]) -> dict[PurePath, list[int]]:
    places = defaultdict(list)
    for place, path in enumerate(paths):
        places[path.parent].append(place)
    return places


def _encoded(name: str) -> str:
    letters = [f"%{UNSAFE[letter]:02X}" if letter in UNSAFE else letter for letter in name]
    if name.startswith(".") or DEVICES.fullmatch(name):
        letters[0] = f"%{ord(name[0]):02X}"
    if name.endswith((".", " ")):
        letters[-1] = f"%{ord(name[-1]):02X}"
    return "".join(letters)


def _short(name: str) -> str:
    encoded = name.encode()
    if len(encoded) <= LONGEST:
        return name
    mark = f"~{sha256(encoded).hexdigest()[:16]}"
    return encoded[: LONGEST - len(mark)].decode(errors="ignore") + mark

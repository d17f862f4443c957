"""Files that lie in folders, on disk or in an archive, whoever holds them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ctfgan.core.text import plural, printable
from ctfgan.data.sources.encoded import is_image_name
from ctfgan.data.sources.strays import RESOURCE_FORK, stray_part


@dataclass(frozen=True)
class Listing:
    """What lies where; all paths begin below the root and have ``/`` between their parts."""

    images: list[str] = field(default_factory=list)
    """Files whose names are those of images, in the order in which they are numbered."""
    others: list[str] = field(default_factory=list)
    """All other files."""
    folders: list[str] = field(default_factory=list)
    """Every folder, the root excepted, whether or not something is in it."""
    strays: Counter[str] = field(default_factory=Counter)
    """Images that are nobody's data, by the name that tells."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Links that lead nowhere and folders that cannot be opened, with the reason."""

    def add(self, path: str) -> None:
        """Put a file where it belongs."""
        stray = stray_part(path)
        if stray is None:
            (self.images if is_image_name(path) else self.others).append(path)
        elif not path.rpartition("/")[2].startswith(RESOURCE_FORK) and is_image_name(path):
            self.strays[stray] += 1


class Tree(ABC):
    """Files by their paths below a root."""

    location: str
    """What the user called it, for messages."""
    listing: Listing
    base: str = ""
    """The folder that all is in, with ``/`` behind it, where that is no part of the classes' names."""
    damage: tuple[str, ...] = ()
    """What could not be listed, one sentence each."""

    @abstractmethod
    def place(self, path: str) -> str:
        """How a message calls a file, a folder, or, for an empty path, the whole."""

    @abstractmethod
    def content(self, path: str) -> Path | bytes:
        """A file; raises DataError or OSError if it cannot be read."""

    def beginning(self, path: str) -> Path | bytes:
        """As much of a file as is easily had; for an image, mostly enough to know its size."""
        return self.content(path)

    @abstractmethod
    def small(self, path: str, longest: int) -> bytes:
        """The content of a file.

        Raises:
            DataError: more than ``longest`` bytes, or unreadable.
        """

    @abstractmethod
    def identity(self, paths: Iterable[str]) -> str:
        """A string that changes whenever these files may have changed."""


def readable(name: str) -> str:
    """A file name that can be printed: bytes that are no UTF-8 become question marks in a diamond, and so do characters
    that control a terminal.
    """
    return printable(os.fsencode(name).decode(errors="replace"))


def common_folder(paths: Sequence[str]) -> str:
    """The innermost folder that holds all of some files, with ``/`` behind it; empty if that is the root."""
    first, last = min(paths).split("/")[:-1], max(paths).split("/")[:-1]
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return "".join(f"{name}/" for name in first[:shared])


def inner_path(name: str) -> str | None:
    """The path of an archive's member with ``/`` between its parts; None if it leads out of the archive."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return None if ".." in parts or not parts else "/".join(parts)


def leading_out(count: int) -> str:
    """A sentence about members without an inner path."""
    files = plural(
        count, "file whose path leads out of the archive was", "files whose paths lead out of the archive were"
    )
    return f"{files} passed over"


def list_members(listing: Listing, files: Iterable[str], folders: Iterable[str]) -> None:
    """Put an archive's members into a listing as if they lay on a disk: by folder, sorted."""
    above: set[str] = set()
    for path in (*files, *(f"{folder}/" for folder in folders)):
        folder = path.rpartition("/")[0]
        while folder and folder not in above:
            above.add(folder)
            folder = folder.rpartition("/")[0]
    for path in sorted(files, key=lambda path: (path.split("/")[:-1], path)):
        listing.add(path)
    listing.folders.extend(sorted(folder for folder in above if stray_part(folder) is None))

"""Files that lie in folders, on disk or in an archive, without what is nobody's data."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from ctfgan.core.errors import DataError
from ctfgan.core.text import a_few, excerpt, plural, printable
from ctfgan.data.sources.base import file_identity
from ctfgan.data.sources.encoded import HEADER_BYTES, LARGEST_FILE, is_image_name
from ctfgan.storage.run_folder import JOURNAL, RECIPE

_STRAYS = frozenset(
    name.casefold()
    for name in (
        # of NAS and file servers
        "@eaDir", "@SynoResource", "@sharebin", "@tmp", "#recycle", "#snapshot", "~snapshot", "@Recycle",
        "@Recently-Snapshot", "@__thumb", "@Transcode", "lost+found",
        # of macOS (all others begin with a dot)
        "__MACOSX", "Network Trash Folder", "Temporary Items", "Icon\r",
        # of Windows
        "$RECYCLE.BIN", "RECYCLER", "System Volume Information", "WPSystem", "$Extend", "found.000", "Thumbs.db",
        "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
        # of Android
        "LOST.DIR",
        # of programs
        "__pycache__", "_gsdata_", "_vti_cnf",
    )
)  # fmt: skip
_WINDOWS_ORIGIN = ":zone.identifier"
"""How the name of a file ends in which Windows notes where a download comes from, once it is copied elsewhere."""
BROKEN_LINK = "a broken link"
RUN_FILES = frozenset({RECIPE, JOURNAL})
RUN = "a run of ctfgan"
_RESOURCE_FORK = "._"
"""How macOS calls what it knows of ``x.png`` on a foreign disk: ``._x.png`` is no image, whatever its suffix says."""


def is_stray(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data: hidden, or left behind by a system or a program."""
    folded = name.casefold()
    return name.startswith(".") or folded in _STRAYS or folded.endswith(_WINDOWS_ORIGIN)


def stray_part(path: str) -> str | None:
    """The outermost name of a path with ``/`` that makes it nobody's data; None if it is somebody's."""
    return next((name for name in path.split("/") if is_stray(name)), None)


def readable(name: str) -> str:
    """A file name that can be printed: bytes that are no UTF-8 become question marks in a diamond, and so do characters
    that control a terminal.
    """
    return printable(os.fsencode(name).decode(errors="replace"))


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

    def add(self, path: str, stray: str | None = None) -> None:
        """Put a file where it belongs; ``stray`` makes it nobody's data, whatever its path says."""
        stray = stray or stray_part(path)
        if stray is None:
            (self.images if is_image_name(path) else self.others).append(path)
        elif not path.rpartition("/")[2].startswith(_RESOURCE_FORK) and is_image_name(path):
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

    def strays_note(self) -> tuple[str, ...]:
        """A sentence about images that are nobody's data, if there are any."""
        strays = self.listing.strays
        if not strays:
            return ()
        names = a_few([f"{readable(name)}: {count:,}" for name, count in strays.most_common()])
        were = plural(
            strays.total(),
            "image that is hidden or in a system folder was",
            "images that are hidden or in system folders were",
        )
        return (f"{were} passed over ({names})",)


class FolderTree(Tree):
    """The files below a folder, each folder's before those of its subfolders, both sorted.

    Links are followed, but not in circles. Runs of ctfgan below the root hold nobody's images: they come after those
    that it was trained on.
    """

    def __init__(self, root: Path) -> None:
        self.location = str(root)
        self.root = root
        self.listing = Listing()
        run = ""  # the run of ctfgan that the walk is in
        for folder, subfolders, names in os.walk(root, followlinks=True, onerror=self._note_closed):
            below = self._below(folder)
            prefix = f"{below}/" if below else ""
            subfolders[:] = sorted(name for name in subfolders if not _leads_back(Path(folder, name)))
            run = run if run and f"{below}/".startswith(f"{run}/") else below if {*names} >= RUN_FILES else ""
            is_ours = stray_part(below) is None and not run
            if run == below and run in self.listing.folders:
                self.listing.folders.remove(run)
            self.listing.folders.extend(f"{prefix}{name}" for name in subfolders if is_ours and not is_stray(name))
            for name in sorted(names):
                if is_ours and not is_image_name(name) and not is_stray(name) and _is_broken(Path(folder, name)):
                    self.listing.unusable[f"{prefix}{name}"] = BROKEN_LINK
                else:
                    self.listing.add(f"{prefix}{name}", RUN if run else None)

    def place(self, path: str) -> str:
        return readable(str(self.root / path))

    def content(self, path: str) -> Path:
        return self.root / path

    def small(self, path: str, longest: int) -> bytes:
        file = self.root / path
        if not file.is_file():  # opening a pipe would block until somebody writes to it
            raise DataError(f"{self.place(path)} is no file; take it away")
        try:
            with file.open("rb") as opened:
                content = opened.read(longest + 1)
        except OSError as error:
            raise DataError(f"{self.place(path)} cannot be read ({excerpt(error)}); take it away") from error
        if len(content) > longest:
            raise DataError(f"{self.place(path)} has more than {longest:,} bytes; split the set, or take it away")
        return content

    def identity(self, paths: Iterable[str]) -> str:
        root = str(self.root.absolute())
        return file_identity(os.path.join(root, path) for path in paths)  # noqa: PTH118 - there may be millions

    def _below(self, folder: str) -> str:
        below = Path(folder).relative_to(self.root).as_posix()
        return "" if below == "." else below

    def _note_closed(self, error: OSError) -> None:
        below = self._below(error.filename)
        if not below:
            raise DataError(f"{readable(self.location)} cannot be opened ({error.strerror}); allow it") from error
        if stray_part(below) is None:
            self.listing.unusable[below] = f"cannot be opened: {error.strerror}"


def _is_broken(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one of the folders it lies in; following it would never end."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


class ArchiveMember(Protocol):
    """A file in an archive."""

    @property
    def archive(self) -> Path:
        """What the user named."""

    @property
    def size(self) -> int:
        """Bytes of its content."""

    def read(self, most: int | None = None) -> bytes:
        """Its content, or the first bytes of it; raises DataError or OSError if it is damaged."""


class ArchiveTree(Tree):
    """The files of archives as if they were unpacked into one folder, by folder, sorted; nothing is unpacked to disk.

    A folder that all images lie in is no part of the classes' names: an archive of ``photos`` means what is in photos.

    Args:
        location: what the user called it.
        archives: all of them.
        members: regular files, by :func:`inner_path`.
        folders: that the archives list, the same way.
        outside: how many members had no inner path.
        damage: what could not be listed.
    """

    def __init__(
        self,
        location: str,
        archives: Iterable[Path],
        members: Mapping[str, ArchiveMember],
        folders: Iterable[str],
        outside: int,
        damage: tuple[str, ...] = (),
    ) -> None:
        self.location = location
        self.damage = damage
        if outside:
            files = plural(
                outside,
                "file whose path leads out of the archive was",
                "files whose paths lead out of the archive were",
            )
            self.damage += (f"{files} passed over",)
        self._archives = [*archives]
        self._members = members
        self.listing = Listing()
        for path in sorted(members, key=lambda path: (path.split("/")[:-1], path)):
            self.listing.add(path)
        around = folders_around([*members, *(f"{folder}/" for folder in folders)])
        self.listing.folders.extend(sorted(folder for folder in around if stray_part(folder) is None))
        if self.listing.images:
            self.base = common_folder(self.listing.images)

    def place(self, path: str) -> str:
        archive = str(self._members[path].archive) if path in self._members else self.location
        return readable(f"{archive}:{path}" if path else archive)

    def content(self, path: str) -> bytes:
        member = self._members[path]
        if member.size > LARGEST_FILE:
            raise DataError(f"{member.size:,} bytes, more than {LARGEST_FILE:,}")
        return member.read()

    def beginning(self, path: str) -> bytes:
        return self._members[path].read(HEADER_BYTES)

    def small(self, path: str, longest: int) -> bytes:
        member = self._members[path]
        if member.size > longest:
            raise DataError(f"{self.place(path)} has more than {longest:,} bytes; split the set, or take it away")
        try:
            return member.read()
        except (DataError, OSError) as error:
            raise DataError(f"{self.place(path)} cannot be read: {error}; unpack the archive, or mend it") from error

    def identity(self, paths: Iterable[str]) -> str:
        # Several parts may lie in one archive, each with an identity of its own.
        chosen = "\0".join(paths).encode(errors="surrogatepass")
        return f"{file_identity(self._archives)} {hashlib.sha256(chosen).hexdigest()}"


def folders_around(paths: Iterable[str]) -> set[str]:
    """All folders that some files lie in, but for the root."""
    around: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in around:
            around.add(folder)
            folder = folder.rpartition("/")[0]
    return around


def inner_path(name: str) -> str | None:
    """The path of an archive's member with ``/`` between its parts; None if it leads out of the archive."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return None if ".." in parts or not parts else "/".join(parts)


def common_folder(paths: Iterable[str]) -> str:
    """The innermost folder that holds all of some files, with ``/`` behind it; empty if that is the root."""
    first, last = min(paths).split("/")[:-1], max(paths).split("/")[:-1]
    common = takewhile(lambda names: names[0] == names[1], zip(first, last, strict=False))
    return "".join(f"{name}/" for name, _ in common)

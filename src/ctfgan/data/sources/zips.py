"""Files in a zip archive.

Sizes are known before memory is taken, and no more is unpacked than the archive's directory promises.
"""

from __future__ import annotations

import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt, plural
from ctfgan.data.sources.tree import ArchiveTree, inner_path, readable

ZIP = ".zip"
_ENCRYPTED, _UTF8 = 1, 0x800


@dataclass(frozen=True)
class _OpenZip:
    """An archive that several threads may read, one after the other: zipfile counts its readers without a lock."""

    path: Path
    file: zipfile.ZipFile
    lock: threading.Lock


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file in a zip archive."""

    container: _OpenZip
    info: zipfile.ZipInfo

    @property
    def archive(self) -> Path:
        return self.container.path

    @property
    def size(self) -> int:
        return self.info.file_size

    def read(self, most: int | None = None) -> bytes:
        if self.info.flag_bits & _ENCRYPTED:
            raise DataError("encrypted")
        if self.info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"packed by zip's method {self.info.compress_type}, and only stored and deflate are read")
        try:
            with self.container.lock, self.container.file.open(self.info) as file:
                content = file.read(self.size if most is None else most)
        except Exception as error:  # zipfile and zlib raise whatever the remains of a member run into
            raise DataError(f"damaged ({excerpt(error)})") from error
        if most is None and len(content) < self.size:
            raise DataError("damaged (cut off)")
        return content


def open_zip(path: Path) -> ArchiveTree:
    """The files of a zip archive.

    Raises:
        DataError: no zip archive.
    """
    try:
        container = _OpenZip(path, zipfile.ZipFile(path), threading.Lock())
    except Exception as error:  # zipfile raises whatever the remains of a directory run into
        raise DataError(
            f"{path} is no readable zip archive ({excerpt(error)}); fetch it again, or unpack it"
        ) from error
    members, folders, outside, unknown = dict[str, ZipMember](), set[str](), 0, list[str]()
    for info in container.file.infolist():
        decoded = _decoded(info)
        if decoded is None:
            unknown.append(info.filename)
        name = inner_path(decoded or info.filename)
        if name is None:
            outside += 1
        elif info.is_dir() or info.filename.endswith("\\"):
            folders.add(name)
        else:
            members[name] = ZipMember(container, info)
    damage: tuple[str, ...] = ()
    if unknown:
        names = f"{plural(len(unknown), 'name')} is not told (first: {readable(unknown[0])})"
        damage = (
            f"the encoding of {names}; if class names come out wrong, unpack the archive with a program that knows it",
        )
    return ArchiveTree(str(path), [path], members, folders, outside, damage)


def _decoded(info: zipfile.ZipInfo) -> str | None:
    """A member's name; many programs write UTF-8 without the mark that says so. None if it is in some code page."""
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return None

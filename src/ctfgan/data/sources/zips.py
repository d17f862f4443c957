"""Image files in a zip archive; nothing is unpacked to the disk.

Sizes are known before memory is taken, and no more is unpacked than the archive's directory promises.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt, plural
from ctfgan.data.sources.base import archive_identity
from ctfgan.data.sources.columns import Columns
from ctfgan.data.sources.encoded import HEADER_BYTES, LARGEST_FILE
from ctfgan.data.sources.layout import tree_parts
from ctfgan.data.sources.published_splits import Opener
from ctfgan.data.sources.tree import Listing, Tree, common_folder, inner_path, leading_out, list_members, readable

ZIP = ".zip"
LOCAL_HEADER = 30
"""Bytes before the name in the header that stands before a member's content."""
_ENCRYPTED, _UTF8 = 1, 0x800


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a file lies in the archive, and how it is packed."""

    offset: int
    packed: int
    size: int
    checksum: int
    method: int
    flags: int


def zip_parts(path: Path, columns: Columns) -> dict[str, Opener]:
    """A zip archive of image files, by the rules of layout.py.

    Raises:
        DataError: no zip archive.
    """
    return tree_parts(ZipTree(path), columns)


class ZipTree(Tree):
    """The files of a zip archive.

    A folder that all images lie in is no part of the classes' names: an archive of ``photos`` means what is in photos.

    Raises:
        DataError: no zip archive.
    """

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._path = path
        self._members: dict[str, _Member] = {}
        self.listing, folders, outside, unknown = Listing(), set[str](), 0, list[str]()
        for info in self._directory():
            decoded = _decoded(info)
            unknown += [info.filename] if decoded is None else []
            name = inner_path(info.filename if decoded is None else decoded)
            if name is None:
                outside += 1
            elif info.is_dir() or info.filename.endswith("\\"):
                folders.add(name)
            else:
                self._members[name] = _Member(
                    info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type, info.flag_bits
                )
        list_members(self.listing, self._members, folders)
        if outside:
            self.damage = (leading_out(outside),)
        if unknown:
            self.damage += (
                f"the encoding of {plural(len(unknown), 'name')} is not told (first: {readable(unknown[0])}); if class "
                "names come out wrong, unpack the archive with a program that knows it",
            )
        if self.listing.images:
            self.base = common_folder(self.listing.images)

    def place(self, path: str) -> str:
        return readable(f"{self._path}:{path}" if path else str(self._path))

    def content(self, path: str) -> bytes:
        return self._unpacked(path, LARGEST_FILE)

    def beginning(self, path: str) -> bytes:
        return self._unpacked(path, LARGEST_FILE, HEADER_BYTES)

    def small(self, path: str, longest: int) -> bytes:
        try:
            return self._unpacked(path, longest)
        except (DataError, OSError) as error:
            raise DataError(f"{self.place(path)} cannot be read: {error}; unpack the archive, or mend it") from error

    def identity(self, paths: Iterable[str]) -> str:
        return archive_identity([self._path], paths)

    def _directory(self) -> list[zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(self._path) as archive:
                return archive.infolist()
        except Exception as error:  # zipfile raises whatever the remains of a directory run into
            raise DataError(
                f"{self._path} is no readable zip archive ({excerpt(error)}); fetch it again, or unpack it"
            ) from error

    def _unpacked(self, path: str, longest: int, first: int | None = None) -> bytes:
        """A member's content, or its first bytes; every call opens the file anew, so that threads do not meet."""
        member = self._members[path]
        if member.flags & _ENCRYPTED:
            raise DataError("encrypted")
        if member.size > longest:
            raise DataError(f"{member.size:,} bytes, more than {longest:,}")
        if member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"packed by zip's method {member.method}, and only stored and deflate are read")
        wanted = member.size if first is None else min(first, member.size)
        if member.offset < 0:
            raise DataError("damaged (it would lie before the archive)")
        with self._path.open("rb") as file:
            file.seek(member.offset)
            header = file.read(LOCAL_HEADER)
            if len(header) < LOCAL_HEADER or header[:4] != b"PK\3\4":
                raise DataError("damaged (no header before its content)")
            file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
            if member.method == zipfile.ZIP_STORED:
                content = file.read(wanted)
            else:
                # What deflate cannot pack grows by less than a hundredth; more is not asked for, whatever is claimed.
                content = _inflated(file.read(min(member.packed, wanted + wanted // 100 + HEADER_BYTES)), wanted)
        if first is None and (len(content) < member.size or zlib.crc32(content) != member.checksum):
            raise DataError("damaged (another checksum than the archive says, or cut off)")
        return content


def _decoded(info: zipfile.ZipInfo) -> str | None:
    """A member's name; many programs write UTF-8 without the mark that says so. None if it is in some code page."""
    if info.flag_bits & _UTF8 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return None


def _inflated(packed: bytes, wanted: int) -> bytes:
    try:
        # A limit of 0 would be none.
        return b"" if wanted == 0 else zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, wanted)
    except zlib.error as error:
        raise DataError(f"damaged ({excerpt(error)})") from error

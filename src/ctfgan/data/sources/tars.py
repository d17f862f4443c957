"""What lies where in tar archives; nothing is unpacked, but for archives that are compressed as a whole."""

from __future__ import annotations

import importlib
import io
import os
import shutil
import tarfile
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ctfgan.core.errors import CtfganError, DataError
from ctfgan.core.text import excerpt, printable
from ctfgan.data.sources.base import archive_identity
from ctfgan.data.sources.encoded import HEADER_BYTES, LARGEST_FILE
from ctfgan.data.sources.tree import Listing, Tree, common_folder, inner_path, leading_out, list_members, readable

TAR = ".tar"
COMPRESSED = {".tar.gz": "gzip", ".tgz": "gzip", ".tar.bz2": "bz2", ".tbz2": "bz2", ".tar.xz": "lzma", ".txz": "lzma"}
"""The module that opens a tar that is compressed as a whole, by the end of its name; Python may be built without it."""
LONGEST_HEADER = 1 << 20
"""Bytes of the name in an extended header."""
CHUNK = 1 << 20
MOST_TIMES = 200
"""Its own size that unpacking an archive may take: image files hardly pack, thousands of times are a trap."""
FREE_AFTERWARDS = 1 << 30
"""Bytes of the disk that unpacking leaves free."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar archive."""

    name: str
    offset: int
    """Of its content."""
    size: int


@dataclass(frozen=True)
class Scan:
    """What a tar archive holds."""

    shard: Path
    """What the user named."""
    plain: Path
    """The archive itself, or what it was unpacked to."""
    members: list[Member]
    folders: list[str]
    damage: str
    """A sentence about where it is damaged or cut off; empty if it is not."""
    unpacked: object = None
    """What deletes the file that it was unpacked to, once nobody has this any more."""

    def read(self, member: Member, most: int | None = None) -> bytes:
        """The content of a file, or its first bytes."""
        with self.plain.open("rb") as file:
            file.seek(member.offset)
            return file.read(member.size if most is None else min(member.size, most))


def is_tar(name: str) -> bool:
    """Whether a file is called like a tar archive, compressed or not."""
    return name.lower().endswith((TAR, *COMPRESSED))


def scan(shard: Path) -> Scan:
    """The files of a tar archive in order; of one that is cut off, those before.

    A compressed one is unpacked to a temporary file first, which goes with the process.

    Raises:
        DataError: no tar archive, one with holes, or no room to unpack it.
    """
    opener = next((COMPRESSED[end] for end in COMPRESSED if shard.name.lower().endswith(end)), None)
    if opener is None:
        return _scan(shard, shard)
    unpacked = _Unpacked()
    damage = unpacked.take(shard, importlib.import_module(opener))
    content = _scan(shard, unpacked.path)
    return replace(content, damage=damage or content.damage, unpacked=unpacked)


class TarTree(Tree):
    """The files of some tar archives as if they were unpacked into one folder; of one path the last file counts.

    A folder that all images lie in is no part of the classes' names.
    """

    def __init__(self, location: str, scans: Sequence[Scan]) -> None:
        self.location = location
        self.damage = tuple(one.damage for one in scans if one.damage)
        self._shards = [one.shard for one in scans]
        self._files: dict[str, tuple[Scan, Member]] = {}
        self.listing, folders, outside = Listing(), set[str](), 0
        for one in scans:
            folders |= {name for folder in one.folders if (name := inner_path(folder))}
            for member in one.members:
                name = inner_path(member.name)
                if name is None:
                    outside += 1
                else:
                    self._files[name] = one, member
        if outside:
            self.damage += (leading_out(outside),)
        list_members(self.listing, self._files, folders)
        if self.listing.images:
            self.base = common_folder(self.listing.images)

    def place(self, path: str) -> str:
        shard = self._files[path][0].shard if path in self._files else self.location
        return readable(f"{shard}:{path}")

    def content(self, path: str) -> bytes:
        one, member = self._files[path]
        if member.size > LARGEST_FILE:
            raise DataError(f"{member.size:,} bytes, more than {LARGEST_FILE:,}")
        return one.read(member)

    def beginning(self, path: str) -> bytes:
        one, member = self._files[path]
        return one.read(member, HEADER_BYTES)

    def small(self, path: str, longest: int) -> bytes:
        one, member = self._files[path]
        if member.size > longest:
            raise DataError(f"{self.place(path)} has more than {longest:,} bytes; split the set, or take it away")
        return one.read(member)

    def identity(self, paths: Iterable[str]) -> str:
        return archive_identity(self._shards, paths)


class _Shard(io.BufferedReader):
    """A file for tarfile, which would ask for as many bytes as the header of a long name claims to have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return super().read(size)


def _scan(shard: Path, plain: Path) -> Scan:
    with ExitStack() as opened:
        try:
            file = opened.enter_context(_Shard(io.FileIO(plain)))
            tar = opened.enter_context(tarfile.open(fileobj=file, mode="r:"))
        except Exception as error:  # tarfile raises what the remains of an extended header run into
            raise DataError(
                f"{shard} is no plain tar file ({excerpt(error)}); unpack it if it is compressed, or fetch it again"
            ) from error
        members, folders = list[Member](), list[str]()
        return Scan(shard, plain, members, folders, _take_all(shard, plain, tar, members, folders))


def _take_all(shard: Path, plain: Path, tar: tarfile.TarFile, members: list[Member], folders: list[str]) -> str:
    """Note every file and folder; returns a sentence about damage, if there is any."""
    end = plain.stat().st_size
    tar.offset = 0  # opening has passed over the first header
    while True:
        offset = tar.offset
        try:
            # Unlike next(), this keeps no list of all headers, and does not take a damaged one for the end.
            member = _header_at(tar, offset)
        except Exception as error:  # tarfile raises what the remains of an extended header run into
            return "" if _is_end_mark(plain, offset) else _cut_off(shard, offset, excerpt(error))
        if member.size < 0 or tar.offset <= offset:  # it would lead back, for ever
            return _cut_off(shard, offset, f"{member.name} has {member.size} bytes")
        if member.issparse():  # its content does not lie there in one piece
            raise DataError(f"{shard}:{member.name} is packed with holes; the shard must be made without tar --sparse")
        # An extended header may tell another size than the one that the next header is looked for by.
        if max(member.offset_data + member.size, tar.offset - tarfile.BLOCKSIZE) > end:
            return _cut_off(shard, offset, f"{member.name} is not whole")
        if member.isreg():
            members.append(Member(member.name, member.offset_data, member.size))
        elif member.isdir():
            folders.append(member.name)


def _header_at(tar: tarfile.TarFile, offset: int) -> tarfile.TarInfo:
    assert tar.fileobj is not None, "the file is open"
    tar.fileobj.seek(offset)
    return tarfile.TarInfo.fromtarfile(tar)


def _is_end_mark(shard: Path, offset: int) -> bool:
    """Whether a tar file ends as it should where a header failed: with a block of zeros."""
    with shard.open("rb") as file:
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _cut_off(shard: Path, offset: int, reason: str) -> str:
    return printable(f"{shard} is damaged or cut off at byte {offset:,} ({reason}); the files before it are used")


class _Unpacked:
    """A temporary file with what a compressed archive holds; deleted with the last reference, or with the process."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="ctfgan-", suffix=TAR)
        os.close(handle)
        self.path = Path(name)
        weakref.finalize(self, _delete, self.path, os.getpid())

    def take(self, shard: Path, opener: Any) -> str:
        """Unpack an archive; returns a sentence about damage, if there is any.

        Raises:
            DataError: no room for it, or more than image files pack to.
        """
        most, size = shard.stat().st_size * MOST_TIMES + CHUNK, 0
        with self.path.open("wb") as file:
            try:
                with opener.open(shard) as packed:
                    while part := packed.read1(CHUNK):  # what was unpacked before damage is not lost
                        size += len(part)
                        self._check_room(shard, size, most)
                        file.write(part)
            except CtfganError:
                raise
            except Exception as error:  # each of the modules has an error of its own
                return printable(f"{shard} is damaged or cut off ({excerpt(error)}); the files before that are used")
        return ""

    def _check_room(self, shard: Path, size: int, most: int) -> None:
        if size > most:
            raise DataError(
                f"{shard} unpacks to more than {MOST_TIMES} times its size, which images do not; unpack it yourself if "
                "that is what you expect"
            )
        if shutil.disk_usage(self.path.parent).free < FREE_AFTERWARDS:
            raise DataError(
                f"{shard} does not fit into {self.path.parent} when it is unpacked; set TMPDIR to a folder on a larger "
                "disk, or unpack it yourself"
            )


def _delete(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a copy of the process does not have the file for itself
        path.unlink(missing_ok=True)

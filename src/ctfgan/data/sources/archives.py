"""Files in zip and tar archives, as trees; nothing is unpacked, but for tar archives that are compressed as a whole.

Sizes are known before memory is taken, and no more is unpacked than an archive's headers promise.
"""

from __future__ import annotations

import importlib
import io
import os
import posixpath
import shutil
import tarfile
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakValueDictionary

from ctfgan.core.errors import CtfganError, DataError
from ctfgan.core.text import excerpt, plural, printable
from ctfgan.data.sources.base import file_identity
from ctfgan.data.sources.tree import ArchiveTree, inner_path, readable

ZIP = ".zip"
_ENCRYPTED, _UTF8 = 1, 0x800


class _AnyName(str):
    """Equal to every name. A member bears its name twice, and zipfile refuses one that a rare writer spelt in two ways;
    that the directory leads to the right content, its checksum tells.
    """

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, str)


_ANY_NAME = _AnyName("any")


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
            info.orig_filename = _ANY_NAME
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


@dataclass(frozen=True)
class TarFiles:
    """A tar archive on disk."""

    archive: Path
    """What the user named."""
    plain: Path
    """The archive itself, or the temporary file that it was unpacked to, which goes when nobody has this any more."""
    damage: str = ""
    """A sentence about what could not be unpacked; empty if there is nothing to say."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """A regular file in a tar archive."""

    files: TarFiles
    name: str
    offset: int
    """Of its content."""
    size: int

    @property
    def archive(self) -> Path:
        return self.files.archive

    def read(self, most: int | None = None) -> bytes:
        with self.files.plain.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size if most is None else min(self.size, most))


@dataclass(frozen=True)
class TarContent:
    """What a tar archive holds."""

    archive: Path
    members: list[TarMember]
    """In order; of an archive that is cut off, those before."""
    folders: list[str]
    damage: str
    """A sentence about where it is damaged or cut off; empty if it is not."""
    links: dict[str, str] = field(default_factory=dict)
    """Names of links, which lie nowhere, and the inner path that each leads to; those to files become members."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be said of it, one sentence each."""
        if not self.links:
            return (self.damage,) * bool(self.damage)
        lead = plural(len(self.links), "link leads", "links lead")
        first = readable(next(iter(self.links)))
        return (*((self.damage,) * bool(self.damage)), f"{lead} to no file in {self.archive} (first: {first})")

    def follow_links(self) -> None:
        """Make members of the links that lead to some, also by way of other links."""
        targets = {inner_path(member.name): member for member in self.members}
        while ready := [name for name, target in self.links.items() if target in targets]:
            for name in ready:
                member = replace(targets[self.links.pop(name)], name=name)
                self.members.append(member)
                targets[inner_path(name)] = member


def is_tar(name: str) -> bool:
    """Whether a file is called like a tar archive, compressed or not."""
    return name.lower().endswith((TAR, *COMPRESSED))


def tar_content(archive: Path) -> TarContent:
    """Everything in a tar archive.

    Raises:
        DataError: no tar archive, one with holes, or no room to unpack it.
    """
    opener = next((COMPRESSED[end] for end in COMPRESSED if archive.name.lower().endswith(end)), None)
    files = TarFiles(archive, archive) if opener is None else _unpacked(archive, opener)
    content = TarContent(archive, [], [], files.damage)
    with ExitStack() as opened:
        try:
            file = opened.enter_context(_BoundedFile(io.FileIO(files.plain)))
            tar = opened.enter_context(tarfile.open(fileobj=file, mode="r:"))
        except Exception as error:  # tarfile raises what the remains of an extended header run into
            raise DataError(
                f"{archive} is no plain tar file ({excerpt(error)}); unpack it if it is compressed, or fetch it again"
            ) from error
        cut = _take_all(files, tar, content)
    content.follow_links()
    return content if files.damage else replace(content, damage=cut)


def tar_tree(location: str, contents: Iterable[TarContent]) -> ArchiveTree:
    """The files of some tar archives as one tree; of one path the last file counts."""
    contents = [*contents]
    members, folders, outside = dict[str, TarMember](), set[str](), 0
    for content in contents:
        folders |= {name for folder in content.folders if (name := inner_path(folder))}
        for member in content.members:
            name = inner_path(member.name)
            if name is None:
                outside += 1
            else:
                members[name] = member
    damage = tuple(note for content in contents for note in content.notes)
    return ArchiveTree(location, [content.archive for content in contents], members, folders, outside, damage)


class _BoundedFile(io.BufferedReader):
    """A file for tarfile, which would ask for as many bytes as the header of a long name claims to have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return super().read(size)


def _take_all(files: TarFiles, tar: tarfile.TarFile, content: TarContent) -> str:
    """Note every file and folder; returns a sentence about damage, if there is any."""
    end = files.plain.stat().st_size
    assert tar.fileobj is not None, "the file is open"
    tar.offset = 0  # opening has passed over the first header
    while True:
        offset = tar.offset
        tar.fileobj.seek(offset)
        try:
            # Unlike next(), this keeps no list of all headers, and does not take a damaged one for the end.
            member = tarfile.TarInfo.fromtarfile(tar)
        except Exception as error:  # tarfile raises what the remains of an extended header run into
            return "" if _is_end_mark(files.plain, offset) else _cut_off(files, offset, excerpt(error))
        if member.size < 0 or tar.offset <= offset:  # it would lead back, for ever
            return _cut_off(files, offset, f"{member.name} has {member.size} bytes")
        if member.issparse():  # its content does not lie there in one piece
            raise DataError(
                f"{files.archive}:{member.name} is packed with holes; the shard must be made without tar --sparse"
            )
        # An extended header may tell another size than the one that the next header is looked for by.
        if max(member.offset_data + member.size, tar.offset - tarfile.BLOCKSIZE) > end:
            return _cut_off(files, offset, f"{member.name} is not whole")
        if member.isreg():
            content.members.append(TarMember(files, member.name, member.offset_data, member.size))
        elif member.isdir():
            content.folders.append(member.name)
        elif member.islnk() or member.issym():  # a hard link's target is a path in the archive
            beside = member.name.rpartition("/")[0] if member.issym() else ""
            content.links[member.name] = inner_path(posixpath.normpath(f"{beside}/{member.linkname}")) or ""


def _is_end_mark(plain: Path, offset: int) -> bool:
    """Whether a tar file ends as it should where a header failed: with a block of zeros."""
    with plain.open("rb") as file:
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _cut_off(files: TarFiles, offset: int, reason: str) -> str:
    return printable(
        f"{files.archive} is damaged or cut off at byte {offset:,} ({reason}); the files before it are used"
    )


_in_use: WeakValueDictionary[tuple[Path, str, int], TarFiles] = WeakValueDictionary()
"""What compressed archives were unpacked to, by their identity, while somebody has it."""


def _unpacked(archive: Path, opener: str) -> TarFiles:
    """A compressed archive and its plain file; the same for all who have it at one time, such as two of its parts."""
    key = archive, file_identity([archive]), os.getpid()  # another process deletes its own when it likes
    files = _in_use.get(key)
    if files is None:
        handle, name = tempfile.mkstemp(prefix="ctfgan-", suffix=TAR)
        os.close(handle)
        plain = Path(name)
        try:
            files = TarFiles(archive, plain, _unpack(archive, plain, opener))
        except BaseException:
            plain.unlink()
            raise
        weakref.finalize(files, _delete, plain, os.getpid())
        _in_use[key] = files
    return files


def _unpack(archive: Path, plain: Path, opener: str) -> str:
    """Unpack a compressed archive to a plain file; returns a sentence about damage, if there is any.

    Raises:
        DataError: no room for it, or more than image files pack to.
    """
    most, size = archive.stat().st_size * MOST_TIMES + CHUNK, 0
    try:
        with plain.open("wb") as unpacked, importlib.import_module(opener).open(archive) as packed:
            while part := packed.read1(CHUNK):  # what was unpacked before damage is not lost
                size += len(part)
                _check_room(archive, plain.parent, size, most)
                unpacked.write(part)
    except CtfganError:
        raise
    except Exception as error:  # each of the modules has an error of its own
        return printable(f"{archive} is damaged or cut off ({excerpt(error)}); the files before that are used")
    return ""


def _check_room(archive: Path, folder: Path, size: int, most: int) -> None:
    if size > most:
        raise DataError(
            f"{archive} unpacks to more than {MOST_TIMES} times its size, which images do not; unpack it "
            "yourself if that is what you expect"
        )
    if shutil.disk_usage(folder).free < FREE_AFTERWARDS:
        raise DataError(
            f"{archive} does not fit into {folder} when it is unpacked; set TMPDIR to a folder on a "
            "larger disk, or unpack it yourself"
        )


def _delete(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a copy of the process does not have the file for itself
        path.unlink(missing_ok=True)

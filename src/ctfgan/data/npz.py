"""Plain arrays from ``.npz`` files that anybody may have written: looked at first, then read.

Every size is known before memory is taken, and must agree with the size of the archive's member. Members may be packed
in every way that Python's zipfile reads: stored, deflate, bzip2 and LZMA. Nothing is unpickled.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import psutil
from numpy.typing import NDArray

from ctfgan.core.errors import CtfganError, DataError
from ctfgan.core.text import excerpt, format_bytes

if TYPE_CHECKING:
    from bz2 import BZ2Decompressor
    from lzma import LZMADecompressor

SUFFIX = ".npy"
CHUNK = 1 << 20
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
LARGEST_DICTIONARY = 1 << 28
"""Bytes that LZMA may ask for: 7-Zip's highest level does, a forged header asks for 4 GB."""
LONGEST_HEADER = 10_000
"""Bytes of an array's header; numpy refuses longer ones, too, but has read them by then."""
_ENCRYPTED = 1
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class ArrayHeader:
    """What a member says about itself."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool

    @property
    def nbytes(self) -> int:
        """Of the whole array."""
        return math.prod(self.shape) * self.dtype.itemsize


class _Member(Protocol):
    """The unpacked content of an archive's member, from its beginning on."""

    def read(self, size: int, /) -> bytes:
        """As many bytes as are asked for, fewer only at the end."""


@dataclass(frozen=True)
class NpzArray:
    """An array of an archive, not read yet."""

    file: NpzFile
    name: str
    header: ArrayHeader

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its values."""
        return self.header.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As its header says."""
        return self.header.shape

    def read(self) -> NDArray[Any]:
        """All of it; raises what :meth:`NpzFile.read` does."""
        return self.file.read(self.name)


class NpzFile:
    """The arrays of an archive, by name; opening reads their names alone.

    Raises:
        DataError: no archive, or a member that is no plain array of the promised size.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file() or not zipfile.is_zipfile(path):
            raise DataError(f"{path} is no .npz file, or only the beginning of one; write it with numpy.savez")
        with self._damage(), zipfile.ZipFile(path) as archive:
            members = archive.namelist()
        self.names = tuple(name.removesuffix(SUFFIX) for name in members if name.endswith(SUFFIX))

    def header(self, name: str) -> ArrayHeader:
        """Type and shape of an array, which has the size that they promise."""
        with self._member(name) as (_, header):
            return header

    def array(self, name: str) -> NpzArray:
        """An array that is read when it is asked for; its header is read now."""
        return NpzArray(self, name, self.header(name))

    def read(self, name: str) -> NDArray[Any]:
        """One array.

        Raises:
            DataError: it is damaged, or larger than the free memory.
        """
        with self._member(name) as (member, header):
            check_memory(self._path, header.nbytes)
            content = np.empty(header.nbytes, dtype=np.uint8)
            for start in range(0, header.nbytes, CHUNK):
                size = min(CHUNK, header.nbytes - start)
                part = member.read(size)
                if len(part) < size:
                    raise ValueError(f"{excerpt(name, 60)} is shorter than its header says")
                content[start : start + size] = np.frombuffer(part, dtype=np.uint8)
            if member.read(1):
                raise ValueError(f"{excerpt(name, 60)} is longer than its header says")
            if not content.size:
                return _empty(header)
            return content.view(header.dtype).reshape(header.shape, order="F" if header.is_fortran else "C")

    @contextmanager
    def _member(self, name: str) -> Iterator[tuple[_Member, ArrayHeader]]:
        with self._damage(), zipfile.ZipFile(self._path) as archive, _unpacked(archive, name + SUFFIX) as member:
            header, start = _header(member)
            held = archive.getinfo(name + SUFFIX).file_size - start
            if held != header.nbytes:
                promised = f"{header.shape} of {header.dtype} in {held:,} bytes"
                raise ValueError(f"{excerpt(name, 60)} promises {promised}")
            yield member, header

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Say which file it is that cannot be read."""
        try:
            yield
        except CtfganError:
            raise
        except Exception as error:  # zipfile, the decompressors and numpy's headers raise whatever the remains run into
            way_out = "write it with numpy.savez, or fetch it again"
            raise DataError(
                f"{self._path} is no readable .npz of plain arrays ({excerpt(error)}); {way_out}"
            ) from error


def check_memory(path: Path, needed: int) -> None:
    """Refuse to read what would not fit into memory.

    Raises:
        DataError: fewer bytes are free.
    """
    free = psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"{path} would take {format_bytes(needed)} of memory, of which {format_bytes(free)} are free; unpack it "
            "into a folder of image files, which are read one by one"
        )


@contextmanager
def _unpacked(archive: zipfile.ZipFile, name: str) -> Iterator[_Member]:
    info = archive.getinfo(name)
    if info.flag_bits & _ENCRYPTED:
        raise ValueError(f"{excerpt(name, 60)} is encrypted, and only plain members are read")
    if info.compress_type not in PACKINGS:
        method = f"packed by zip's method {info.compress_type}"
        raise ValueError(f"{excerpt(name, 60)} is {method}, and only stored, deflate, bzip2 and LZMA are read")
    if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with archive.open(info) as member:
            yield member
        return
    # zipfile unpacks these without a limit, so it only hands over the packed bytes, which have no checksum.
    packed = copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    del packed.CRC
    with archive.open(packed) as member:
        yield _Limited(member, info)


class _Limited:
    """A member packed by bzip2 or LZMA: no more is unpacked than is asked for."""

    def __init__(self, packed: _Member, info: zipfile.ZipInfo) -> None:
        self._packed, self._expected = packed, info.CRC
        self._decompressor = _lzma(packed) if info.compress_type == zipfile.ZIP_LZMA else _bzip2()
        self._checksum = 0

    def read(self, size: int, /) -> bytes:
        """As many bytes as are asked for, fewer only at the end.

        Raises:
            BadZipFile: the end, with another checksum than the archive says.
        """
        decompressor, content = self._decompressor, bytearray()
        while len(content) < size and not decompressor.eof:
            more = self._packed.read(CHUNK) if decompressor.needs_input else b""
            if decompressor.needs_input and not more:
                break  # LZMA need not mark its end
            content += decompressor.decompress(more, size - len(content))
        self._checksum = zlib.crc32(content, self._checksum)
        if len(content) < size and self._checksum != self._expected:
            raise zipfile.BadZipFile("what is unpacked has another checksum, or is cut off")
        return bytes(content)


def _bzip2() -> BZ2Decompressor:
    from bz2 import BZ2Decompressor  # Python may be built without it

    return BZ2Decompressor()


def _lzma(packed: _Member) -> LZMADecompressor:
    """For a raw stream, after zip's header of it: version (2 bytes), length (2), properties (1), dictionary (4)."""
    from lzma import FILTER_LZMA1, FORMAT_RAW, LZMADecompressor  # Python may be built without it

    header = packed.read(9)
    if len(header) < 9 or header[2:4] != b"\5\0":
        raise ValueError("no header of LZMA")
    dictionary = int.from_bytes(header[5:], "little")
    if dictionary > LARGEST_DICTIONARY:
        raise ValueError(f"LZMA with a dictionary of {dictionary:,} bytes, more than {LARGEST_DICTIONARY:,}")
    rest, lc = divmod(header[4], 9)
    pb, lp = divmod(rest, 5)
    if pb > 4 or lc + lp > 4:
        raise ValueError(f"LZMA with lc={lc}, lp={lp} and pb={pb}, which are too large")
    return LZMADecompressor(
        FORMAT_RAW, filters=[{"id": FILTER_LZMA1, "dict_size": dictionary, "lc": lc, "lp": lp, "pb": pb}]
    )


def _header(member: _Member) -> tuple[ArrayHeader, int]:
    """Of the array, and the number of bytes before its content."""
    beginning = member.read(np.lib.format.MAGIC_LEN)
    version = np.lib.format.read_magic(io.BytesIO(beginning))
    if version not in _HEADERS:
        raise ValueError(f"version {version} of numpy's format")
    length = member.read(2 if version == (1, 0) else 4)
    size = int.from_bytes(length, "little")
    if size > LONGEST_HEADER:
        raise ValueError(f"a header of {size:,} bytes, more than {LONGEST_HEADER:,}")
    shape, is_fortran, dtype = _HEADERS[version](io.BytesIO(length + member.read(size)))
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"values of type {excerpt(dtype, 60)}, not plain numbers or texts (allow_pickle is off)")
    if len(shape) > 8 or any(side < 0 for side in shape):
        raise ValueError(f"the shape {excerpt(shape, 60)}")
    return ArrayHeader(dtype, shape, is_fortran), len(beginning) + len(length) + size


def _empty(header: ArrayHeader) -> NDArray[Any]:
    """An array without content, of any claimed shape."""
    return np.empty([min(side, CHUNK) for side in header.shape], dtype=header.dtype)

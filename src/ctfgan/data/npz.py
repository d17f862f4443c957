"""Plain arrays from ``.npz`` files that anybody may have written: looked at first, then read.

Every size is known before memory is taken, and must agree with the size of the archive's member. Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from ctfgan.errors import CtfganError, DataError, excerpt

SUFFIX = ".npy"
CHUNK = 1 << 20
STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How numpy packs arrays."""
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

    def read(self, name: str) -> NDArray[Any]:
        """One array.

        Raises:
            DataError: it is damaged, or larger than the free memory.
        """
        with self._member(name) as (member, header):
            check_memory(self._path, header.nbytes)
            content = np.empty(header.nbytes, dtype=np.uint8)
            for start in range(0, header.nbytes, CHUNK):
                part = member.read(min(CHUNK, header.nbytes - start))
                content[start : start + len(part)] = np.frombuffer(part, dtype=np.uint8)
            if member.read(1):
                raise ValueError(f"{name} is longer than its header says")
            if not content.size:
                return _empty(header)
            return content.view(header.dtype).reshape(header.shape, order="F" if header.is_fortran else "C")

    @contextmanager
    def _member(self, name: str) -> Iterator[tuple[IO[bytes], ArrayHeader]]:
        with self._damage(), zipfile.ZipFile(self._path) as archive:
            info = archive.getinfo(name + SUFFIX)
            if info.compress_type not in STORED or info.flag_bits & 1:
                raise ValueError(f"{name} is encrypted, or packed as numpy does not")
            with archive.open(info) as member:
                header = _header(member)
                start = member.tell()
                if info.file_size - start != header.nbytes:
                    promised = f"{header.shape} of {header.dtype} in {info.file_size - start:,} bytes"
                    raise ValueError(f"{name} promises {promised}")
                yield member, header

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Say which file it is that cannot be read."""
        try:
            yield
        except CtfganError:
            raise
        except Exception as error:  # zipfile, zlib and numpy's headers raise whatever the remains run into
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
            f"{path} would take {needed / 1e9:,.1f} GB of memory, of which {free / 1e9:,.1f} GB are free; unpack it "
            "into a folder of image files, which are read one by one"
        )


def _header(member: IO[bytes]) -> ArrayHeader:
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of numpy's format")
    shape, is_fortran, dtype = _HEADERS[version](member)
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"values of type {excerpt(dtype, 60)}, not plain numbers or texts (allow_pickle is off)")
    if len(shape) > 8 or any(side < 0 for side in shape):
        raise ValueError(f"the shape {excerpt(shape, 60)}")
    return ArrayHeader(dtype, shape, is_fortran)


def _empty(header: ArrayHeader) -> NDArray[Any]:
    """An array without content, of any claimed shape."""
    return np.empty([min(side, CHUNK) for side in header.shape], dtype=header.dtype)

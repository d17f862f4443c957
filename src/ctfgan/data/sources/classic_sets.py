"""The sets that everybody knows, as they are published: CIFAR-10 and CIFAR-100 (binary and Python version), STL-10, and
MNIST's idx files.
"""

from __future__ import annotations

import gzip
import math
import pickle
import struct
import zlib
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt
from ctfgan.data.npz import check_memory
from ctfgan.data.sources.arrays import ArraySource
from ctfgan.data.sources.base import TEST, TRAIN, WHOLE, Opener, by_split, part_location
from ctfgan.data.sources.tree import is_stray

LONGEST_LIST = 1 << 20
"""Letters of a text file of class names that are read."""
BATCHES = [f"data_batch_{part}" for part in range(1, 6)]


def is_cifar(folder: Path) -> bool:
    """Whether a folder is an unpacked CIFAR-10 or CIFAR-100, binary or Python version."""
    return any((folder / name).is_file() for name in ("data_batch_1.bin", "data_batch_1", "train.bin", "train"))


def cifar_parts(folder: Path) -> dict[str, Opener]:
    """The training and the test images of CIFAR-10 or CIFAR-100 (fine labels)."""
    if (folder / "data_batch_1.bin").is_file():
        files = {TRAIN: [f"{name}.bin" for name in BATCHES], TEST: ["test_batch.bin"]}
        opened = partial(_binary, folder, label_bytes=1, meta="batches.meta.txt")
    elif (folder / "train.bin").is_file():
        files = {TRAIN: ["train.bin"], TEST: ["test.bin"]}
        opened = partial(_binary, folder, label_bytes=2, meta="fine_label_names.txt")
    elif (folder / "data_batch_1").is_file():
        files = {TRAIN: BATCHES, TEST: ["test_batch"]}
        opened = partial(_python, folder, label_key="labels", meta="batches.meta", name_key="label_names")
    else:
        files = {TRAIN: ["train"], TEST: ["test"]}
        opened = partial(_python, folder, label_key="fine_labels", meta="meta", name_key="fine_label_names")
    return {
        split: partial(opened, split, names)
        for split, names in files.items()
        if any((folder / name).is_file() for name in names)
    }


def _binary(folder: Path, split: str, names: list[str], *, label_bytes: int, meta: str) -> ArraySource:
    """Records of label bytes (the last is the class) and 3 x 32 x 32 bytes."""
    size = label_bytes + 3072
    parts = []
    files, notes = _there(folder, names)
    for file in files:
        data = np.fromfile(file, dtype=np.uint8)
        if len(data) % size:
            raise DataError(f"{file} has {len(data):,} bytes, no multiple of {size}; fetch it again")
        parts.append(data.reshape(-1, size))
    records = np.concatenate(parts)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    meta_files, _ = _there(folder, [meta])
    classes = _names_in(meta_files[0]) if meta_files else None
    labels = records[:, label_bytes - 1]
    return ArraySource(part_location(folder, split), images, labels, classes, files + meta_files, notes=notes)


def _python(folder: Path, split: str, names: list[str], *, label_key: str, meta: str, name_key: str) -> ArraySource:
    files, notes = _there(folder, names)
    meta_files, _ = _there(folder, [meta])
    parts = [_unpickled(file) for file in files]
    class_names = _unpickled(meta_files[0]).get(name_key) if meta_files else []
    try:
        images = (
            np.concatenate([_as_array(part["data"]) for part in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        )
        labels = np.concatenate([_as_array(part[label_key]) for part in parts])
        if not isinstance(class_names, list) or not all(isinstance(name, str) for name in class_names):
            raise TypeError(f"{name_key} that are no list of texts")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = excerpt(repr(error))
        raise DataError(f"{folder} is no CIFAR folder (in its batches: {reason}); fetch it again") from error
    return ArraySource(
        part_location(folder, split), images, labels, tuple(class_names) or None, files + meta_files, notes=notes
    )


def _there(folder: Path, names: list[str]) -> tuple[list[Path], tuple[str, ...]]:
    """The files that are there, and a sentence about those that are not."""
    files = [folder / name for name in names if (folder / name).is_file()]
    missing = [name for name in names if folder / name not in files]
    return files, ((f"of {folder} these files are missing: {', '.join(missing)}",) if missing else ())


class _StoredType:
    """Stands for ``numpy.dtype`` while a pickle is read."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code
        self.byte_order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = state[1]


class _StoredArray:
    """Stands for a ``numpy.ndarray`` while a pickle is read: what is stored of it, built by nobody yet."""

    def __init__(self, *_: object) -> None:
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


def _from_buffer(data: bytes, kind: _StoredType, shape: tuple[int, ...], order: str) -> _StoredArray:
    array = _StoredArray()
    array.state = (1, shape, kind, order == "F", data)
    return array


_STORED = {"ndarray": _StoredArray, "dtype": _StoredType, "_reconstruct": _StoredArray, "_frombuffer": _from_buffer}


class _PlainUnpickler(pickle._Unpickler):
    """Reads dictionaries, lists, text and the content of numpy arrays, and runs nothing else: a pickle may hold code.

    In Python, since the one in C takes as much memory as a damaged pickle tells it to.
    """

    def load_bytearray8(self) -> None:
        """As Python's own, which takes the memory before it looks whether so many bytes are there."""
        length = int.from_bytes(self.read(8), "little")  # type: ignore[attr-defined]
        self.append(bytearray(self.read(length)))  # type: ignore[attr-defined]

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in _STORED:
            return _STORED[name]
        if (module, name) == ("_codecs", "encode"):
            return _encoded
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")


def _encoded(text: str, encoding: str) -> bytes:
    """How Python 3 stores bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {encoding}")
    return text.encode("latin1")


def _unpickled(path: Path) -> dict[str, Any]:
    try:
        content = _PlainUnpickler(BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises whatever its remains run into
        reason = excerpt(error)
        raise DataError(f"{path} is no CIFAR batch of plain arrays ({reason}); fetch it again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; a CIFAR batch must be a dictionary")
    return content


def _as_array(stored: Any) -> NDArray[Any]:
    """The numbers of a list or of an array in a pickle.

    Raises:
        TypeError: other types than those of integers, or something else than numbers.
        ValueError: a shape that does not fit the content.
    """
    if isinstance(stored, list):
        if not all(type(value) is int for value in stored):
            raise TypeError("labels that are no integers")
        return np.array(stored, dtype=np.int64)
    _, shape, kind, is_fortran, data = stored.state if isinstance(stored, _StoredArray) else (0, (), None, False, None)
    data = data.encode("latin1") if isinstance(data, str) else data  # Python 2's
    if not isinstance(kind, _StoredType) or kind.code not in _INTEGERS or not isinstance(data, bytes | bytearray):
        raise TypeError("no array of integers")
    byte_order = kind.byte_order if kind.byte_order in ("<", ">") else ""
    return np.frombuffer(data, np.dtype(byte_order + kind.code)).reshape(shape, order="F" if is_fortran else "C")


_INTEGERS = [f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)]

STL10_SHAPE = (3, 96, 96)
"""Of one image: planes, columns, rows."""


def stl10_folder(folder: Path) -> Path | None:
    """Where below a folder STL-10 lies: here, or in ``stl10_binary`` as its archive unpacks; None if it does not."""
    places = (folder, folder / "stl10_binary")
    return next((place for place in places if (place / "train_X.bin").is_file()), None)


def stl10_parts(folder: Path) -> dict[str, Opener]:
    """The training and the test images; the unlabelled images beside them are left alone."""
    splits = [split for split in (TRAIN, TEST) if (folder / f"{split}_X.bin").is_file()]
    return {split: partial(_open_stl10, folder, split) for split in splits}


def _open_stl10(folder: Path, split: str) -> ArraySource:
    pixels, labels, names = (folder / name for name in (f"{split}_X.bin", f"{split}_y.bin", "class_names.txt"))
    size, image = pixels.stat().st_size, int(np.prod(STL10_SHAPE))
    if size % image or not size:
        raise DataError(f"{pixels} has {size:,} bytes, no multiple of {image}; fetch it again")
    if not labels.is_file():
        raise DataError(f"{labels} does not exist; put the labels file beside {pixels.name}")
    columns = np.memmap(pixels, dtype=np.uint8, mode="r").reshape(-1, *STL10_SHAPE)
    numbers = np.fromfile(labels, dtype=np.uint8).astype(np.int64) - 1  # published from 1 on
    if (numbers < 0).any():
        raise DataError(f"{labels}: label 0 of image {int(numbers.argmin())} is outside 1 ... 255; fetch it again")
    classes = _names_in(names) if names.is_file() else None
    files = [pixels, labels, *([names] if names.is_file() else [])]
    return ArraySource(part_location(folder, split), columns.transpose(0, 3, 2, 1), numbers, classes, files)


IDX_IMAGES = "*idx3-ubyte*"
DEFLATED_AT_MOST = 1_033
"""Bytes that one packed byte can stand for."""
MOST_DIMENSIONS = 8


def idx_parts(path: Path) -> dict[str, Opener]:
    """MNIST's format: a folder, or one images file with its labels file beside it (``.gz`` or not)."""
    if path.is_file():
        return {WHOLE: partial(_open_idx, path, WHOLE, [path])}
    # A folder often holds the same file twice, packed and unpacked.
    packed_first = sorted(idx_images(path), key=lambda file: (file.suffix != ".gz", file))
    files = {file.with_name(file.name.removesuffix(".gz")): file for file in packed_first}
    labelled = sum(_labels_of(file).exists() for file in files.values())
    if labelled not in (0, len(files)):
        raise DataError(f"{path} holds {len(files)} idx3 files but {labelled} idx1 files; one labels file for each")
    groups = by_split(path, sorted(files.values()))
    return {split: partial(_open_idx, path, split, images) for split, images in groups.items()}


def _open_idx(path: Path, split: str, image_files: list[Path]) -> ArraySource:
    images = [_read_idx(file) for file in image_files]
    shapes = {array.shape[1:] for array in images}
    if len(shapes) > 1:
        raise DataError(f"{path} holds images of different shapes {sorted(shapes)}; point at one of the files")
    label_files = [file for file in map(_labels_of, image_files) if file.exists()]
    labels = np.concatenate([_read_idx(file) for file in label_files]) if label_files else None
    return ArraySource(part_location(path, split), np.concatenate(images), labels, None, [*image_files, *label_files])


def _labels_of(file: Path) -> Path:
    return file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))


def idx_images(folder: Path) -> list[Path]:
    """The files of MNIST's format with images in a folder."""
    return [file for file in folder.glob(IDX_IMAGES) if not is_stray(file.name)]


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Big endian: two zero bytes, a type byte (8 = uint8), the number of dimensions, each as u32, then the data."""
    is_packed, size = path.suffix == ".gz", path.stat().st_size
    try:
        with gzip.open(path) if is_packed else path.open("rb") as file:
            shape = _idx_shape(path, file)
            promised, header = math.prod(shape), 4 + 4 * len(shape)
            possible = size * DEFLATED_AT_MOST if is_packed else size - header
            if promised <= possible:
                check_memory(path, promised)
            # Not much more than is promised: a small .gz may unpack to anything.
            data = file.read(promised + 1) if promised <= possible else b""
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({excerpt(error)}); fetch it again") from error
    held = len(data) if is_packed else size - header
    if held != promised:
        amount = f"{held:,}" if not is_packed else "more" if held > promised else "less"
        raise DataError(f"{path} promises {promised:,} bytes of data and holds {amount}; fetch it again")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _idx_shape(path: Path, file: IO[bytes] | gzip.GzipFile) -> tuple[int, ...]:
    beginning = file.read(4)
    if len(beginning) < 4 or beginning[:3] != b"\x00\x00\x08":
        raise DataError(f"{path} is no idx file of unsigned bytes; it must begin with 00 00 08")
    sides = file.read(4 * beginning[3])
    if len(sides) < 4 * beginning[3]:
        header = 4 + 4 * beginning[3]
        raise DataError(f"{path} ends after {4 + len(sides)} bytes, inside its header of {header}; fetch it again")
    if not 1 <= beginning[3] <= MOST_DIMENSIONS:
        raise DataError(f"{path} holds an array of {beginning[3]} dimensions; images must have 3 and labels 1")
    return struct.unpack(f">{beginning[3]}I", sides)


def _names_in(file: Path) -> tuple[str, ...]:
    """The class names of a text file, one word each.

    Raises:
        DataError: no text.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            return tuple(lines.read(LONGEST_LIST).split())
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is no text file of class names ({excerpt(error)}); fetch it again") from error

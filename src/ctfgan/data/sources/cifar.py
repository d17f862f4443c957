"""CIFAR-10 and CIFAR-100 in both published versions, binary and Python."""

from __future__ import annotations

import pickle
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt
from ctfgan.data.sources.base import ArraySource, names_in
from ctfgan.data.sources.published_splits import TEST, TRAIN, Opener, part_location

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
    classes = names_in(meta_files[0]) if meta_files else None
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

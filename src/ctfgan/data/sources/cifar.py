"""CIFAR-10 and CIFAR-100 in both published versions, binary and Python."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ctfgan.data.sources.base import ArraySource
from ctfgan.data.sources.parts import TEST, TRAIN, Opener, part_location
from ctfgan.errors import DataError

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
    classes = tuple(meta_files[0].read_text().split()) if meta_files else None
    labels = records[:, label_bytes - 1]
    return ArraySource(part_location(folder, split), images, labels, classes, files + meta_files, notes=notes)


def _python(folder: Path, split: str, names: list[str], *, label_key: str, meta: str, name_key: str) -> ArraySource:
    files, notes = _there(folder, names)
    meta_files, _ = _there(folder, [meta])
    try:
        parts = [_unpickle_arrays(file) for file in files]
        images = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = np.concatenate([np.asarray(part[label_key]) for part in parts]).astype(np.int64)
        classes = tuple(map(str, _unpickle_arrays(meta_files[0])[name_key])) if meta_files else None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder} is no CIFAR folder (in its batches: {error!r}); fetch it again") from error
    return ArraySource(part_location(folder, split), images, labels, classes, files + meta_files, notes=notes)


def _there(folder: Path, names: list[str]) -> tuple[list[Path], tuple[str, ...]]:
    """The files that are there, and a sentence about those that are not."""
    files = [folder / name for name in names if (folder / name).is_file()]
    missing = [name for name in names if folder / name not in files]
    return files, ((f"of {folder} these files are missing: {', '.join(missing)}",) if missing else ())


_ARRAY_BUILDERS = {
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "_reconstruct": np.empty(0).__reduce__()[0],
    "_frombuffer": lambda buffer, dtype, shape, order: np.frombuffer(buffer, dtype).reshape(shape, order=order),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads dictionaries, lists, text and numpy arrays, and runs nothing else: a pickle may hold code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in _ARRAY_BUILDERS:
            return _ARRAY_BUILDERS[name]
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode(encoding)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")


def _unpickle_arrays(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises whatever its remains run into
        raise DataError(f"{path} is no CIFAR batch of plain arrays ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; a CIFAR batch is a dictionary")
    return content

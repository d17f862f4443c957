"""Readers of array files: npz, MNIST's idx, CIFAR-10 and CIFAR-100 in both published versions."""

from __future__ import annotations

import gzip
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctfgan.data.sources.base import ArraySource
from ctfgan.errors import DataError

IMAGE_KEYS = ("images", "x", "x_train")
LABEL_KEYS = ("labels", "label", "y", "y_train")
CLASS_KEYS = ("classes", "class_names", "class_name", "char")

IDX_IMAGES = "*idx3-ubyte*"


def open_npz(path: Path) -> ArraySource:
    """An ``.npz`` with ``images`` (uint8), ``labels`` (integers) and, if the classes have names, ``classes``.

    ``x``/``y`` and ``x_train``/``y_train`` are accepted too; ``x_test``/``y_test`` are left alone.
    """
    if path.is_file() and not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no .npz file, or only the beginning of one; write it with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in (*IMAGE_KEYS, *LABEL_KEYS, *CLASS_KEYS) if key in archive}
            held = ", ".join(archive.files)
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} is no readable .npz of plain arrays ({error})") from error
    images = next((arrays[key] for key in IMAGE_KEYS if key in arrays), None)
    if images is None:
        raise DataError(f"{path} holds {held}; it needs an array named {' or '.join(IMAGE_KEYS)}")
    labels = next((arrays[key] for key in LABEL_KEYS if key in arrays), None)
    if labels is not None and not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: labels have type {labels.dtype}; they must be integers")
    names = next((arrays[key] for key in CLASS_KEYS if key in arrays), None)
    classes = None if names is None else tuple(str(name) for name in names.reshape(-1))
    return ArraySource(str(path), images, labels, classes, [path])


def open_idx(path: Path) -> ArraySource:
    """MNIST's format: a folder, or one images file with its labels file beside it (``.gz`` or not)."""
    image_files = [path]
    if path.is_dir():  # often holds the same file twice, packed and unpacked
        image_files = sorted(
            {file.with_name(file.name.removesuffix(".gz")): file for file in _packed_first(path)}.values()
        )
    images, labels, files = [], [], []
    for file in image_files:
        label_file = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
        images.append(_read_idx(file))
        if label_file.exists():
            labels.append(_read_idx(label_file))
            files.append(label_file)
    if labels and len(labels) != len(images):
        raise DataError(f"{path} holds {len(images)} idx3 files but {len(labels)} idx1 files; one labels file for each")
    shapes = {part.shape[1:] for part in images}
    if len(shapes) > 1:
        raise DataError(f"{path} holds images of different shapes {sorted(shapes)}; point at one of the files")
    joined = np.concatenate(labels) if labels else None
    return ArraySource(str(path), np.concatenate(images), joined, None, [*image_files, *files])


def _packed_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(IDX_IMAGES), key=lambda file: (file.suffix != ".gz", file))


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Big endian: two zero bytes, a type byte (8 = uint8), the number of dimensions, each as u32, then the data."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error})") from error
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise DataError(f"{path} is no idx file of unsigned bytes; it must begin with 00 00 08")
    header = 4 + 4 * data[3]
    if len(data) < header:
        raise DataError(f"{path} ends after {len(data)} bytes, inside its header of {header}; fetch it again")
    shape = struct.unpack(f">{data[3]}I", data[4:header])
    promised = int(np.prod(shape, dtype=object))
    if len(data) - header != promised:
        raise DataError(f"{path} promises {promised:,} bytes of data and holds {len(data) - header:,}; fetch it again")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)


def is_cifar(folder: Path) -> bool:
    """Whether a folder is an unpacked CIFAR-10 or CIFAR-100, binary or Python version."""
    return any((folder / name).is_file() for name in ("data_batch_1.bin", "data_batch_1", "train.bin", "train"))


def open_cifar(folder: Path) -> ArraySource:
    """The training images of CIFAR-10 or CIFAR-100 (fine labels)."""
    if (folder / "data_batch_1.bin").is_file():
        return _cifar_binary(folder, [f"data_batch_{part}.bin" for part in range(1, 6)], 1, "batches.meta.txt")
    if (folder / "train.bin").is_file():
        return _cifar_binary(folder, ["train.bin"], 2, "fine_label_names.txt")
    if (folder / "data_batch_1").is_file():
        names = [f"data_batch_{part}" for part in range(1, 6)]
        return _cifar_python(folder, names, "labels", "batches.meta", "label_names")
    return _cifar_python(folder, ["train"], "fine_labels", "meta", "fine_label_names")


def _cifar_binary(folder: Path, names: list[str], label_bytes: int, meta: str) -> ArraySource:
    """Records of label bytes (the last is the class) and 3 x 32 x 32 bytes."""
    size = label_bytes + 3072
    parts = []
    files = [folder / name for name in names if (folder / name).is_file()]
    for file in files:
        data = np.fromfile(file, dtype=np.uint8)
        if len(data) % size:
            raise DataError(f"{file} has {len(data):,} bytes, no multiple of {size}; fetch it again")
        parts.append(data.reshape(-1, size))
    records = np.concatenate(parts)
    images = np.ascontiguousarray(records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    meta_files = [file for file in [folder / meta] if file.is_file()]
    classes = tuple(meta_files[0].read_text().split()) if meta_files else None
    return ArraySource(str(folder), images, records[:, label_bytes - 1], classes, files + meta_files)


def _cifar_python(folder: Path, names: list[str], label_key: str, meta: str, name_key: str) -> ArraySource:
    files = [folder / name for name in names if (folder / name).is_file()]
    meta_files = [file for file in [folder / meta] if file.is_file()]
    try:
        parts = [_unpickle_arrays(file) for file in files]
        images = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = np.concatenate([np.asarray(part[label_key]) for part in parts]).astype(np.int64)
        classes = tuple(map(str, _unpickle_arrays(meta_files[0])[name_key])) if meta_files else None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder} is no CIFAR folder (in its batches: {error!r}); fetch it again") from error
    return ArraySource(str(folder), np.ascontiguousarray(images), labels, classes, files + meta_files)


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

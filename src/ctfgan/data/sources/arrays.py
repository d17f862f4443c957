"""Readers of array files: npz and MNIST's idx."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctfgan.data.sources.base import ArraySource
from ctfgan.data.sources.parts import TEST, TRAIN, WHOLE, Opener, by_split, part_location
from ctfgan.errors import DataError

IMAGE_KEYS = ("images", "x", "x_train")
LABEL_KEYS = ("labels", "label", "y", "y_train")
TEST_IMAGE_KEYS = ("images_test", "x_test")
TEST_LABEL_KEYS = ("labels_test", "y_test")
CLASS_KEYS = ("classes", "class_names", "class_name", "char")

IDX_IMAGES = "*idx3-ubyte*"


def npz_parts(path: Path) -> dict[str, Opener]:
    """An ``.npz`` with ``images`` (uint8), ``labels`` (integers) and, if the classes have names, ``classes``.

    ``x``/``y`` and ``x_train``/``y_train`` are accepted too. If there is ``x_test`` or ``images_test`` (with ``y_test``
    or ``labels_test``), it is the test part and the others are the training part.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no .npz file, or only the beginning of one; write it with numpy.savez")
    names = _from_npz(path)
    if not any(key in names for key in IMAGE_KEYS):
        raise DataError(f"{path} holds {', '.join(names)}; it needs an array named {' or '.join(IMAGE_KEYS)}")
    if not any(key in names for key in TEST_IMAGE_KEYS):
        return {WHOLE: partial(_open_npz, path, WHOLE, IMAGE_KEYS, LABEL_KEYS)}
    return {
        TRAIN: partial(_open_npz, path, TRAIN, IMAGE_KEYS, LABEL_KEYS),
        TEST: partial(_open_npz, path, TEST, TEST_IMAGE_KEYS, TEST_LABEL_KEYS),
    }


def _open_npz(path: Path, split: str, image_keys: tuple[str, ...], label_keys: tuple[str, ...]) -> ArraySource:
    location = part_location(path, split)
    arrays = _from_npz(path, *image_keys, *label_keys, *CLASS_KEYS)
    images = next(arrays[key] for key in image_keys if key in arrays)
    labels = next((arrays[key] for key in label_keys if key in arrays), None)
    if labels is not None and not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{location}: labels have type {labels.dtype}; they must be integers")
    names = next((arrays[key] for key in CLASS_KEYS if key in arrays), None)
    classes = None if names is None else tuple(str(name) for name in names.reshape(-1))
    return ArraySource(location, images, labels, classes, [path], split)


def _from_npz(path: Path, *keys: str) -> dict[str, NDArray[Any]]:
    """The arrays of the given names that an ``.npz`` holds; without names, the names of all, with empty arrays."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not keys:
                return {key: np.empty(0) for key in archive.files}
            return {key: archive[key] for key in keys if key in archive}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} is no readable .npz of plain arrays ({error})") from error


def idx_parts(path: Path) -> dict[str, Opener]:
    """MNIST's format: a folder, or one images file with its labels file beside it (``.gz`` or not)."""
    if path.is_file():
        return {WHOLE: partial(_open_idx, path, WHOLE, [path])}
    # A folder often holds the same file twice, packed and unpacked.
    files = {file.with_name(file.name.removesuffix(".gz")): file for file in _packed_first(path)}
    labelled = sum(_labels_of(file).exists() for file in files.values())
    if labelled not in (0, len(files)):
        raise DataError(f"{path} holds {len(files)} idx3 files but {labelled} idx1 files; one labels file for each")
    groups = by_split(path, sorted(files.values()))
    return {split: partial(_open_idx, path, split, images) for split, images in groups.items()}


def _open_idx(path: Path, split: str, image_files: list[Path]) -> ArraySource:
    images = [_read_idx(file) for file in image_files]
    shapes = {part.shape[1:] for part in images}
    if len(shapes) > 1:
        raise DataError(f"{path} holds images of different shapes {sorted(shapes)}; point at one of the files")
    label_files = [file for file in map(_labels_of, image_files) if file.exists()]
    labels = np.concatenate([_read_idx(file) for file in label_files]) if label_files else None
    return ArraySource(part_location(path, split), np.concatenate(images), labels, None, [*image_files, *label_files])


def _labels_of(file: Path) -> Path:
    return file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))


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

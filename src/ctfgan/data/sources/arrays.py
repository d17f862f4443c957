"""Readers of array files: npz and MNIST's idx."""

from __future__ import annotations

import gzip
import math
import struct
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ctfgan.data.npz import NpzFile, check_memory
from ctfgan.data.sources.base import ArraySource, check_images
from ctfgan.data.sources.parts import TEST, TRAIN, WHOLE, Opener, by_split, part_location
from ctfgan.errors import DataError, excerpt

IMAGE_KEYS = ("images", "x", "x_train")
LABEL_KEYS = ("labels", "label", "y", "y_train")
TEST_IMAGE_KEYS = ("images_test", "x_test")
TEST_LABEL_KEYS = ("labels_test", "y_test")
CLASS_KEYS = ("classes", "class_names", "class_name", "char")

IDX_IMAGES = "*idx3-ubyte*"
DEFLATED_AT_MOST = 1_033
"""Bytes that one packed byte can stand for."""
MOST_DIMENSIONS = 8


def npz_parts(path: Path) -> dict[str, Opener]:
    """An ``.npz`` with ``images`` (uint8), ``labels`` (integers) and, if the classes have names, ``classes``.

    ``x``/``y`` and ``x_train``/``y_train`` are accepted too. If there is ``x_test`` or ``images_test`` (with ``y_test``
    or ``labels_test``), it is the test part and the others are the training part.
    """
    names = NpzFile(path).names
    if not any(key in names for key in IMAGE_KEYS):
        held = excerpt(", ".join(names)) if names else "no arrays"
        raise DataError(f"{path} holds {held}; it needs an array named {' or '.join(IMAGE_KEYS)}")
    if not any(key in names for key in TEST_IMAGE_KEYS):
        return {WHOLE: partial(_open_npz, path, WHOLE, IMAGE_KEYS, LABEL_KEYS)}
    return {
        TRAIN: partial(_open_npz, path, TRAIN, IMAGE_KEYS, LABEL_KEYS),
        TEST: partial(_open_npz, path, TEST, TEST_IMAGE_KEYS, TEST_LABEL_KEYS),
    }


def _open_npz(path: Path, split: str, image_keys: tuple[str, ...], label_keys: tuple[str, ...]) -> ArraySource:
    location, file = part_location(path, split), NpzFile(path)
    of_images, of_labels, of_classes = (
        next((key for key in keys if key in file.names), None) for keys in (image_keys, label_keys, CLASS_KEYS)
    )
    assert of_images is not None, "the part is there because its images are"
    found = file.header(of_images)
    check_images(location, found.dtype, found.shape)
    labels = None if of_labels is None else file.read(of_labels)
    classes = None if of_classes is None else _names(location, file.read(of_classes))
    return ArraySource(location, file.read(of_images), labels, classes, [path], split)


def _names(location: str, names: NDArray[Any]) -> tuple[str, ...]:
    """Class names from an array of texts, of UTF-8 bytes or of whole numbers."""
    if names.dtype.kind not in "USiu":
        raise DataError(f"{location}: class names have type {names.dtype}; they must be texts")
    if names.dtype.kind == "U" and names.nbytes:
        # numpy makes texts of any numbers, even of those that are no characters.
        codes = np.ascontiguousarray(names).reshape(-1).view(np.dtype(np.uint32).newbyteorder(names.dtype.byteorder))
        if codes.max() > sys.maxunicode:
            raise DataError(
                f"{location}: the class names are no texts ({codes.max()} is no character); write them anew"
            )
    try:
        values = names.reshape(-1).tolist()
        return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in values)
    except ValueError as error:  # no UTF-8, no Unicode
        raise DataError(f"{location}: the class names are no texts ({excerpt(error)}); write them as texts") from error


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
        told = f"{held:,}" if not is_packed else "more" if held > promised else "less"
        raise DataError(f"{path} promises {promised:,} bytes of data and holds {told}; fetch it again")
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

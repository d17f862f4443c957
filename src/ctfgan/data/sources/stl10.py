"""STL-10 as published: ``train_X.bin``, ``train_y.bin``, ``test_X.bin``, ``test_y.bin`` and ``class_names.txt``.

The unlabelled images beside them are left alone: "all" is the 13,000 labelled ones.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from ctfgan.core.errors import DataError
from ctfgan.data.sources.base import ArraySource, names_in
from ctfgan.data.sources.published_splits import TEST, TRAIN, Opener, part_location

SHAPE = (3, 96, 96)
"""Of one image: planes, columns, rows."""


def stl10_folder(folder: Path) -> Path | None:
    """Where below a folder STL-10 lies: here, or in ``stl10_binary`` as its archive unpacks; None if it does not."""
    places = (folder, folder / "stl10_binary")
    return next((place for place in places if (place / "train_X.bin").is_file()), None)


def stl10_parts(folder: Path) -> dict[str, Opener]:
    """The training and the test images."""
    splits = [split for split in (TRAIN, TEST) if (folder / f"{split}_X.bin").is_file()]
    return {split: partial(_open, folder, split) for split in splits}


def _open(folder: Path, split: str) -> ArraySource:
    pixels, labels, names = (folder / name for name in (f"{split}_X.bin", f"{split}_y.bin", "class_names.txt"))
    size, image = pixels.stat().st_size, int(np.prod(SHAPE))
    if size % image or not size:
        raise DataError(f"{pixels} has {size:,} bytes, no multiple of {image}; fetch it again")
    if not labels.is_file():
        raise DataError(f"{labels} does not exist; put the labels file beside {pixels.name}")
    columns = np.memmap(pixels, dtype=np.uint8, mode="r").reshape(-1, *SHAPE)
    numbers = np.fromfile(labels, dtype=np.uint8).astype(np.int64) - 1  # published from 1 on
    if (numbers < 0).any():
        raise DataError(f"{labels}: label 0 of image {int(numbers.argmin())} is outside 1 ... 255; fetch it again")
    classes = names_in(names) if names.is_file() else None
    files = [pixels, labels, *([names] if names.is_file() else [])]
    return ArraySource(part_location(folder, split), columns.transpose(0, 3, 2, 1), numbers, classes, files)

"""From a path to the reader of its format."""

from __future__ import annotations

from pathlib import Path

from ctfgan.data.catalogue import is_published, locate
from ctfgan.data.packed import is_packed
from ctfgan.data.sources.arrays import IDX_IMAGES, is_cifar, open_cifar, open_idx, open_npz
from ctfgan.data.sources.base import ImageSource
from ctfgan.data.sources.folder import FolderSource
from ctfgan.data.sources.packed import PackedSource
from ctfgan.errors import DataError


def open_source(location: str) -> ImageSource:
    """Open images by what is found at a path: class folders, ``.npz``, idx (MNIST), CIFAR-10 or CIFAR-100.

    Raises:
        DataError: nothing there, no known format, or an empty set.
    """
    path = locate(location) if is_published(location) else Path(location).expanduser()
    if not path.exists():
        raise DataError(f"{location} does not exist; give a folder with one subfolder per class, or an .npz file")
    source = _reader(path)
    if len(source.labels) == 0:
        raise DataError(f"{location} holds no images; give a folder with one subfolder per class, or an .npz file")
    return source


def _reader(path: Path) -> ImageSource:
    if path.is_dir():
        if is_packed(path):
            return PackedSource(path)
        if any(path.glob(IDX_IMAGES)):
            return open_idx(path)
        return open_cifar(path) if is_cifar(path) else FolderSource(path)
    if path.suffix == ".npz":
        return open_npz(path)
    if "idx3-ubyte" in path.name:
        return open_idx(path)
    raise DataError(f"{path} has no known format; give a folder of class folders, an .npz or an idx3-ubyte file")

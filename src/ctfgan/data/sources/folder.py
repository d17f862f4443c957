"""Folders of image files. A class is a folder that directly holds images, named by its path below the root.

One rule covers plain class folders, Omniglot's alphabet/character folders, and unlabelled folders (images directly in
the root). A root chosen one level too high shows in the class names instead of silently mislabelling everything.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from ctfgan.data.images import check_size
from ctfgan.data.sources.base import UNLABELLED, Labels, file_identity
from ctfgan.errors import DataError

SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".pgm",
        ".ppm",
        ".pbm",
        ".pnm",
        ".tga",
        ".jp2",
        ".avif",
    ]
)


class FolderSource:
    """Images below a folder, in sorted order."""

    def __init__(self, root: Path) -> None:
        self.location = str(root)
        self._root = root
        self._files: list[Path] = []
        others: Counter[str] = Counter()
        for folder, subfolders, names in os.walk(root, followlinks=True):
            subfolders[:] = sorted(
                name for name in subfolders if not name.startswith(".") and not _leads_back(Path(folder, name))
            )
            for name in sorted(name for name in names if not name.startswith(".")):
                path = Path(folder, name)
                if path.suffix.lower() in SUFFIXES:
                    self._files.append(path)
                else:
                    others[path.suffix.lower() or "no suffix"] += 1
        if not self._files:
            raise DataError(f"{root} holds no images; put one subfolder per class in it, with images inside")
        folders = [file.parent.relative_to(root).as_posix() for file in self._files]
        self.classes: tuple[str, ...] = tuple(sorted(set(folders)))
        for name in self.classes:
            if readable(name) != name:
                raise DataError(f"the folder name {readable(name)!r} in {root} is not valid UTF-8; rename the folder")
        self.notes: tuple[str, ...] = ()
        if others:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
            self.notes = (f"{sum(others.values())} files that are no images were ignored ({kinds})",)
        if self.classes == (".",):
            self.classes = ()
            self.labels: Labels = np.full(len(self._files), UNLABELLED, dtype=np.int64)
            return
        if "." in self.classes:
            first = self._files[folders.index(".")].name
            raise DataError(
                f"{root} holds {folders.count('.')} images beside its class folders (first: {first}); "
                "move them into a class folder"
            )
        number = {name: index for index, name in enumerate(self.classes)}
        self.labels = np.array([number[name] for name in folders], dtype=np.int64)

    def identity(self) -> str:
        return file_identity(self._files)

    def name(self, index: int) -> str:
        return readable(str(self._files[index]))

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        with _opened(self._files[index]) as image:
            return image.mode, image.size

    def read(self, index: int) -> Image.Image:
        return read_image(self._files[index])


def readable(name: str) -> str:
    """A file name that can be printed: bytes that are no UTF-8 become question marks in a diamond."""
    return os.fsencode(name).decode(errors="replace")


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one of the folders it lies in; following it would never end."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def read_image(path: Path) -> Image.Image:
    """Decode one image file.

    Raises:
        DataError: too small, too large, empty, truncated or not an image; the message does not name the file.
    """
    with _opened(path) as image:
        try:
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                image.load()
        except Exception as error:  # each of Pillow's decoders raises what it likes
            raise DataError(f"damaged ({error})") from error
        return image.copy()


def _opened(path: Path) -> Image.Image:
    if path.stat().st_size == 0:
        raise DataError("zero bytes")
    # Pillow warns of large images before we can look at the size; our own limit follows at once.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of damaged metadata
            image = Image.open(path)
    except Exception as error:  # each of Pillow's formats raises what it likes
        raise DataError("not an image that Pillow can read") from error
    try:
        check_size(image.size)
    except DataError:
        image.close()
        raise
    return image

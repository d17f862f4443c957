"""Folders of image files. A class is a folder that directly holds images, named by its path below the root.

One rule covers plain class folders, Omniglot's alphabet/character folders, and unlabelled folders (images directly in
the root). A root chosen one level too high shows in the class names instead of silently mislabelling everything.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from ctfgan.data.images import check_size
from ctfgan.data.sources.base import UNLABELLED, Labels, file_identity
from ctfgan.errors import DataError

SUFFIXES = frozenset(".png .jpg .jpeg .webp .bmp .gif .tif .tiff .pgm .ppm .pbm .pnm .tga .jp2 .avif".split())


class FolderSource:
    """Images below a folder, in sorted order."""

    def __init__(self, root: Path) -> None:
        self.location = str(root)
        self._root = root
        self._files: list[Path] = []
        others: Counter[str] = Counter()
        for folder, subfolders, names in os.walk(root, followlinks=True):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
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
        self.notes: tuple[str, ...] = ()
        if others:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
            self.notes = (f"{sum(others.values())} files that are no images were ignored ({kinds})",)
        if self.classes == (".",):
            self.classes = ()
            self.labels: Labels = np.full(len(self._files), UNLABELLED, dtype=np.int64)
            return
        if "." in self.classes:
            strays = folders.count(".")
            raise DataError(
                f"{root} holds {strays} images beside its class folders (first: {self._files[folders.index('.')].name}); "
                "move them into a class folder"
            )
        number = {name: index for index, name in enumerate(self.classes)}
        self.labels = np.array([number[name] for name in folders], dtype=np.int64)

    def identity(self) -> str:
        return file_identity(self._files)

    def name(self, index: int) -> str:
        return str(self._files[index])

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        with _opened(self._files[index]) as image:
            return image.mode, image.size

    def read(self, index: int) -> Image.Image:
        return read_image(self._files[index])


def read_image(path: Path) -> Image.Image:
    """Decode one image file.

    Raises:
        DataError: too small, too large, empty, truncated or not an image; the message does not name the file.
    """
    with _opened(path) as image:
        try:
            image.load()
        except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
            raise DataError(f"damaged ({error})") from error
        return image.copy()


def _opened(path: Path) -> Image.Image:
    if path.stat().st_size == 0:
        raise DataError("zero bytes")
    # Pillow warns of large images before we can look at the size; our own limit follows at once.
    Image.MAX_IMAGE_PIXELS = None
    try:
        image = Image.open(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError("not an image that Pillow can read") from error
    check_size(image.size)
    return image

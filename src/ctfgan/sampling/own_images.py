"""Low-quality images that the user brings: files that are named, and folders that hold more than images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctfgan.core.errors import DataError
from ctfgan.core.text import plural
from ctfgan.data.images import Bytes
from ctfgan.data.sources.encoded import read_image
from ctfgan.data.sources.tree import FolderTree, readable
from ctfgan.sampling.model import Model


@dataclass(frozen=True)
class OwnImages:
    """Low-quality images of the user's."""

    files: list[Path]
    """Where each comes from."""
    pixels: Bytes
    """``(N, r, r, K)``."""
    notes: tuple[str, ...]
    """What was passed over, a sentence for each folder."""


def read_own_images(model: Model, paths: Sequence[Path]) -> OwnImages:
    """The low-quality images among files and folders, in the model's size and colour; each once.

    What cannot be read in a folder is passed over and counted, as training does; a file that was named is an error.

    Raises:
        DataError: a path that does not exist, a named file that cannot be read, or a folder without images.
        ConfigError: the method uses no low-quality images.
    """
    pixels, notes, known = dict[Path, Bytes](), list[str](), set[Path]()
    for path in paths:
        files, strays = _image_files(path)
        broken = list[str]()
        for file in files:
            if (resolved := file.resolve()) in known:
                continue
            try:
                pixels[file] = _read(model, file)
                known.add(resolved)
            except DataError as error:
                if not path.is_dir():
                    raise
                broken.append(str(error))
        notes += [f"{path}: {note}" for note in strays]
        if len(broken) == len(files):
            raise DataError(f"{path}: none of {len(broken):,} images can be read (first: {broken[0]})")
        if broken:
            were = plural(len(broken), "image was", "images were")
            notes.append(f"{path}: {were} passed over (first: {broken[0].partition('; ')[0]})")
    return OwnImages(list(pixels), np.stack(list(pixels.values())), tuple(notes))


def _image_files(path: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Image files of a path, and what is said of those that are nobody's data."""
    if not path.exists():
        raise DataError(f"{path} does not exist; give image files or folders of them")
    if not path.is_dir():
        return [path], ()
    tree = FolderTree(path)
    if not tree.listing.images:
        raise DataError(f"{path} holds no images; give image files or folders of them")
    return sorted(path / name for name in tree.listing.images), tree.strays_note()


def _read(model: Model, file: Path) -> Bytes:
    try:
        return model.fitted(read_image(file))
    except (DataError, OSError, ValueError) as error:
        raise DataError(f"{readable(str(file))} cannot be read: {error}; leave it out or replace it") from error

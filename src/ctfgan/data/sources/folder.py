"""Folders of image files. A class is a folder that directly holds images, named by its path below the root.

One rule covers plain class folders, Omniglot's alphabet/character folders, and unlabelled folders (images directly in
the root). A root chosen one level too high shows in the class names instead of silently mislabelling everything.
A set that ``ctfgan sample`` made says itself which folder holds which class.
Only ImageNet's layout, ``train/<class>`` beside ``val/<class>``, is known as two parts of one data set.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ctfgan.data.sources.base import UNLABELLED, Labels, file_identity, label_identity
from ctfgan.data.sources.encoded import SUFFIXES, EncodedSource
from ctfgan.data.sources.generated import SET_MANIFEST, classes_of_folders
from ctfgan.data.sources.parts import TEST, TRAIN, VALIDATION, WHOLE, Opener
from ctfgan.errors import DataError, shown

SPLIT_FOLDERS = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}


class FolderSource(EncodedSource):
    """Images below a folder, in sorted order."""

    def __init__(self, root: Path) -> None:
        self.location = str(root)
        self._files: list[Path] = []
        others: Counter[str] = Counter()
        self._given = given = classes_of_folders(root)
        for files in walk(root):
            for path in files:
                if path.suffix.lower() in SUFFIXES:
                    self._files.append(path)
                elif not (given and path == root / SET_MANIFEST):
                    others[path.suffix.lower() or "no suffix"] += 1
        if not self._files:
            raise DataError(f"{root} holds no images; put one subfolder per class in it, with images inside")
        folders = [file.parent.relative_to(root).as_posix() for file in self._files]
        folders = [given.get(folder, folder) for folder in folders]
        self.classes: tuple[str, ...] = tuple(sorted(set(folders)))
        for name in self.classes:
            if readable(name) != name:
                raise DataError(
                    f"the folder name {readable(name)!r} in {root} is not valid UTF-8, or holds characters that "
                    "control a terminal; rename the folder"
                )
        self.notes: tuple[str, ...] = ()
        if others:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
            self.notes = (readable(f"{sum(others.values())} files that are no images were ignored ({kinds})"),)
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
        identity = file_identity(self._files)
        return f"{identity} {label_identity(self.labels, self.classes)}" if self._given else identity

    def name(self, index: int) -> str:
        return readable(str(self._files[index]))

    def content(self, index: int) -> Path:
        return self._files[index]


def folder_parts(root: Path) -> dict[str, Opener]:
    """The parts of a folder in ImageNet's layout; any other folder is one whole.

    The layout: all images lie in subfolders named train and val, valid, validation or test, those of train in class
    folders.
    """
    whole: dict[str, Opener] = {WHOLE: partial(FolderSource, root)}
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if TRAIN not in [folder.name.lower() for folder in folders]:
        return whole
    holding = [folder for folder in folders if any(map(_has_images, walk(folder)))]
    splits = {SPLIT_FOLDERS.get(folder.name.lower(), WHOLE): folder for folder in holding}
    is_layout = TRAIN in splits and WHOLE not in splits and len(splits) == len(holding) > 1
    if not is_layout or any(_has_images(_files(folder)) for folder in (root, splits[TRAIN])):
        return whole
    return {split: partial(FolderSource, folder) for split, folder in splits.items()}


def walk(root: Path) -> Iterator[list[Path]]:
    """The files of each folder below a root, sorted, without hidden ones; links are followed, but not in circles."""
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and not _leads_back(Path(folder, name))
        )
        yield [Path(folder, name) for name in sorted(names) if not name.startswith(".")]


def readable(name: str) -> str:
    """A file name that can be printed: bytes that are no UTF-8 become question marks in a diamond, and so do characters
    that control a terminal.
    """
    return shown(os.fsencode(name).decode(errors="replace"))


def _files(folder: Path) -> list[Path]:
    return next(walk(folder), [])


def _has_images(files: list[Path]) -> bool:
    return any(file.suffix.lower() in SUFFIXES for file in files)


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one of the folders it lies in; following it would never end."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())

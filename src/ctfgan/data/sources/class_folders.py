"""Folders of image files on disk; what their layout means is said in layout.py."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt
from ctfgan.data.sources.base import file_identity
from ctfgan.data.sources.columns import Columns
from ctfgan.data.sources.encoded import is_image_name
from ctfgan.data.sources.layout import TreeSource, strays_note, tree_parts
from ctfgan.data.sources.published_splits import Opener
from ctfgan.data.sources.sample_set import classes_of_folders
from ctfgan.data.sources.strays import is_stray, stray_part
from ctfgan.data.sources.tree import Listing, Tree, readable


class FolderTree(Tree):
    """The files below a folder. Links are followed, but not in circles."""

    def __init__(self, root: Path) -> None:
        self.location = str(root)
        self.root = root
        self.listing = _listed(root)

    def place(self, path: str) -> str:
        return readable(str(self.root / path))

    def content(self, path: str) -> Path:
        return self.root / path

    def small(self, path: str, longest: int) -> bytes:
        file = self.root / path
        if not file.is_file():  # whoever opens a pipe waits for its other end
            raise DataError(f"{readable(str(file))} is no file; take it away")
        try:
            with file.open("rb") as opened:
                content = opened.read(longest + 1)
        except OSError as error:
            raise DataError(f"{readable(str(file))} cannot be read ({excerpt(error)}); take it away") from error
        if len(content) > longest:
            raise DataError(f"{readable(str(file))} has more than {longest:,} bytes; split the set, or take it away")
        return content

    def identity(self, paths: Iterable[str]) -> str:
        root = str(self.root.absolute())
        return file_identity(os.path.join(root, path) for path in paths)  # noqa: PTH118 - there may be millions


class FolderSource(TreeSource):
    """Images below a folder."""

    def __init__(self, root: Path) -> None:
        tree = FolderTree(root)
        super().__init__(tree, class_of_folder=classes_of_folders(root), notes=strays_note(tree))


def folder_parts(root: Path, columns: Columns) -> dict[str, Opener]:
    """The published parts of a folder of images; of most, one whole.

    A set that ``ctfgan sample`` made says itself which folder holds which class.
    """
    tree = FolderTree(root)
    return tree_parts(tree, columns, class_of_folder=classes_of_folders(root))


def walk(root: Path) -> Iterator[list[Path]]:
    """The files of each folder below a root, sorted, without what is nobody's data; links are followed, but not in
    circles.
    """
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders[:] = sorted(
            name for name in subfolders if not is_stray(name) and not _leads_back(Path(folder, name))
        )
        yield [Path(folder, name) for name in sorted(names) if not is_stray(name)]


def _listed(root: Path) -> Listing:
    """Everything below a root, each folder's files before its subfolders, both sorted."""
    listing = Listing()

    def note_closed(error: OSError) -> None:
        below = Path(error.filename).relative_to(root).as_posix()
        if below == ".":
            raise DataError(f"{readable(str(root))} cannot be opened ({error.strerror}); allow it") from error
        if stray_part(below) is None:
            listing.unusable[below] = f"cannot be opened: {error.strerror}"

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=note_closed):
        below = Path(folder).relative_to(root).as_posix()
        prefix = "" if below == "." else f"{below}/"
        subfolders[:] = sorted(name for name in subfolders if not _leads_back(Path(folder, name)))
        is_ours = not any(map(is_stray, prefix.split("/")))
        listing.folders.extend(f"{prefix}{name}" for name in subfolders if is_ours and not is_stray(name))
        for name in sorted(names):
            if is_ours and not is_image_name(name) and not is_stray(name) and _is_broken(Path(folder, name)):
                listing.unusable[f"{prefix}{name}"] = "a broken link"
            else:
                listing.add(f"{prefix}{name}")
    return listing


def _is_broken(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one of the folders it lies in; following it would never end."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())

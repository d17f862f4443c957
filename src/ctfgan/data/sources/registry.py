"""From a location to the reader of its format."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ctfgan.core.errors import DataError
from ctfgan.core.files import expanded
from ctfgan.core.text import plural
from ctfgan.data.packed import is_packed
from ctfgan.data.published import is_published, locate
from ctfgan.data.settings import HUB
from ctfgan.data.sources.archives import TAR, ZIP, is_tar, open_zip
from ctfgan.data.sources.arrays import npz_parts
from ctfgan.data.sources.base import (
    TEST,
    TRAIN,
    VALIDATION,
    WHOLE,
    ImageSource,
    JoinedSource,
    Opener,
    PublishedSplit,
    by_split,
    check_names,
    labelled_only,
    part_location,
)
from ctfgan.data.sources.classic_sets import cifar_parts, idx_images, idx_parts, is_cifar, stl10_folder, stl10_parts
from ctfgan.data.sources.columns import Columns
from ctfgan.data.sources.gnt import GntSource
from ctfgan.data.sources.hugging_face import ParquetSource, hub_parts, is_saved, saved_parts
from ctfgan.data.sources.layout import tree_parts
from ctfgan.data.sources.packed_set import PackedSource
from ctfgan.data.sources.sample_set import classes_of_folders
from ctfgan.data.sources.tree import BROKEN_LINK, FolderTree
from ctfgan.data.sources.webdataset import tar_parts

FORMS = (
    "a folder with one subfolder per class or a .zip or .tar of one, an .npz, .gnt, .parquet or .tar file, a folder of "
    f"MNIST's idx files, of CIFAR or STL-10, a name of 'ctfgan data list', or {HUB}owner/name of the Hugging Face Hub"
)
GNT, PARQUET = ".gnt", ".parquet"


def open_source(
    location: str, part: PublishedSplit = "all", columns: Columns | None = None, *, keep_unlabelled: bool = False
) -> ImageSource:
    """Open images by what is found at a location.

    Args:
        location: a path, the name of a published data set (data/published.py), or ``hf:owner/name[@config]`` for
            one of the Hugging Face Hub.
        part: ``all`` is every labelled image (every image, if none has a label); ``train`` and ``test`` are the split
            that the data set publishes, where the test images have no labels, as in ImageNet, its validation images.
        columns: where images and labels are, if that cannot be told; formats without columns or folders have no use for
            it.
        keep_unlabelled: whether images without a label stay beside labelled ones, as low-quality images do.

    Raises:
        DataError: nothing there, no known format, an empty set, or no such part.
        ConfigError: a library is missing that the format needs.
    """
    splits = _splits(location, columns or Columns())
    source = _all(location, splits, keep_unlabelled) if part == "all" else _published(location, splits, part)
    if len(source.labels) == 0:
        raise DataError(f"{location} holds no images; give {FORMS}")
    if not isinstance(source, PackedSource):  # its names are bytes of a file and were looked at there
        check_names(location, source.classes)
    return source if keep_unlabelled else labelled_only(source)


def absolute(location: str) -> str:
    """A location that means the same from another working folder; a name stays a name, unless something here has it."""
    if location.startswith(HUB) or (is_published(location) and not Path(location).exists()):
        return location
    return str(expanded(location).absolute())


def path_of(location: str) -> Path | None:
    """Where on this machine a location is; None for a set of the Hugging Face Hub.

    Raises:
        DataError: nothing is there.
    """
    if location.startswith(HUB):
        return None
    path = locate(location) if is_published(location) else expanded(location)
    if not path.exists():
        raise DataError(f"{location} does not exist; give {FORMS}")
    return path


def _splits(location: str, columns: Columns) -> dict[str, Opener]:
    path = path_of(location)
    if path is None:
        return hub_parts(location, columns)
    suffix = path.suffix.lower()
    if path.is_dir():
        return _folder(path, columns)
    if suffix == ".npz":
        return npz_parts(path, columns)
    if suffix == ZIP:
        return tree_parts(open_zip(path), columns)
    if is_tar(path.name):
        return tar_parts(path, [path], columns)
    if "idx3-ubyte" in path.name:
        return idx_parts(path)
    if suffix in (GNT, PARQUET):
        return _shard_parts(path, [path], columns)
    raise DataError(f"{path} has no known format; give {FORMS}")


def _folder(path: Path, columns: Columns) -> dict[str, Opener]:
    class_of_folder = classes_of_folders(path)
    if is_packed(path):
        return {WHOLE: partial(PackedSource, path)}
    if idx_images(path):
        return idx_parts(path)
    if is_cifar(path):
        return cifar_parts(path)
    if stl10 := stl10_folder(path):
        return stl10_parts(stl10)
    if is_saved(path):
        return saved_parts(path, columns)
    tree = FolderTree(path)
    shards = _shards(tree)
    suffixes = {file.suffix.lower(): file for file in shards}
    if len(suffixes) > 1 or (shards and tree.listing.images):
        images = [path / image for image in tree.listing.images[:1]]
        both = " and ".join(str(file) for file in [*suffixes.values(), *images][:2])
        raise DataError(f"{path} holds images in more than one form ({both}); give the folder or file of one of them")
    if shards:
        return _shard_parts(path, shards, columns)
    return tree_parts(tree, columns, class_of_folder=class_of_folder)


def _shards(tree: FolderTree) -> list[Path]:
    """The shards below a folder, up to the first folder of image files: from there on, other files are passed over.

    Raises:
        DataError: one of them is a broken link.
    """
    images = tree.listing.images

    def folders(file: str) -> list[str]:
        return file.split("/")[:-1]

    def is_shard(file: str) -> bool:
        is_before = not images or folders(file) < folders(images[0])
        return is_before and Path(file).suffix.lower() in (GNT, PARQUET, TAR)

    for file, reason in tree.listing.unusable.items():
        if reason == BROKEN_LINK and (is_shard(file) or (is_tar(file) and not images)):
            raise DataError(
                f"{tree.place(file)} is {reason}, and shards are opened all or none; mend the link, or take it away"
            )
    return [tree.root / file for file in tree.listing.others if is_shard(file)]


def _shard_parts(root: Path, shards: list[Path], columns: Columns) -> dict[str, Opener]:
    """The parts that the names of files or folders speak of: ``train-00000-of-00294.parquet``, ``HWDB1.1tst_gnt``."""
    suffix = shards[0].suffix.lower()
    if suffix == TAR:
        return tar_parts(root, shards, columns)
    return {
        split: partial(GntSource, part_location(root, split), files)
        if suffix == GNT
        else partial(ParquetSource, part_location(root, split), files, columns)
        for split, files in by_split(root, shards).items()
    }


def _published(location: str, splits: dict[str, Opener], part: PublishedSplit) -> ImageSource:
    way_out = (
        "name other images of the same classes with data.reference=PATH, or leave data.reference out to hold some back"
    )
    tests = [splits[split] for split in (TEST, VALIDATION) if split in splits]
    if TRAIN not in splits or not tests:
        raise DataError(f"{location} has no published training and test parts; {way_out}")
    for opener in [splits[TRAIN]] if part == "train" else tests:
        source = opener()
        if source.classes:
            return source
    raise DataError(f"the published {part} part of {location} has no labels; {way_out}")


def _all(location: str, splits: dict[str, Opener], keep_unlabelled: bool) -> ImageSource:
    sources = [splits[split]() for split in (TRAIN, VALIDATION, TEST, WHOLE) if split in splits]
    if len(sources) == 1:
        return sources[0]
    labelled = [source for source in sources if source.classes]
    if keep_unlabelled or not labelled:
        return JoinedSource(location, sources)
    notes = tuple(
        f"{plural(len(source.labels), 'image is', 'images are')} unused, as {source.location} has no labels"
        for source in sources
        if not source.classes
    )
    return JoinedSource(location, labelled, notes)

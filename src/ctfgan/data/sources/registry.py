"""From a location to the reader of its format."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ctfgan.core.errors import DataError
from ctfgan.core.files import expanded
from ctfgan.data.packed import is_packed
from ctfgan.data.published import is_published, locate
from ctfgan.data.sources.arrays import idx_images, idx_parts, npz_parts
from ctfgan.data.sources.base import ImageSource, check_names
from ctfgan.data.sources.cifar import cifar_parts, is_cifar
from ctfgan.data.sources.class_folders import folder_parts, walk
from ctfgan.data.sources.columns import Columns
from ctfgan.data.sources.combine import labelled_only
from ctfgan.data.sources.encoded import is_image_name
from ctfgan.data.sources.gnt import gnt_parts
from ctfgan.data.sources.hugging_face import HUB, hub_parts, is_saved, saved_parts
from ctfgan.data.sources.packed_set import PackedSource
from ctfgan.data.sources.parquet import parquet_parts
from ctfgan.data.sources.published_splits import WHOLE, Opener, Part, take_part
from ctfgan.data.sources.sample_set import check_finished
from ctfgan.data.sources.stl10 import stl10_folder, stl10_parts
from ctfgan.data.sources.tars import is_tar
from ctfgan.data.sources.webdataset import tar_parts
from ctfgan.data.sources.zips import ZIP, zip_parts

FORMS = (
    "a folder with one subfolder per class or a .zip or .tar of one, an .npz, .gnt, .parquet or .tar file, a folder of "
    f"MNIST's idx files, of CIFAR or STL-10, a name of 'ctfgan data list', or {HUB}owner/name of the Hugging Face Hub"
)
GNT, PARQUET, TAR = ".gnt", ".parquet", ".tar"


def open_source(
    location: str, part: Part = "all", columns: Columns | None = None, *, keep_unlabelled: bool = False
) -> ImageSource:
    """Open images by what is found at a location.

    Args:
        location: a path, the name of a published data set (catalogue.py), or ``hf:owner/name[@config]`` for one of the
            Hugging Face Hub.
        part: ``all`` is every labelled image (every image, if none has a label); ``train`` and ``test`` are the split
            that the data set publishes.
        columns: where images and labels are, if that cannot be told; formats without columns or folders have no use for
            it.
        keep_unlabelled: whether images without a label stay beside labelled ones, as low-quality images do.

    Raises:
        DataError: nothing there, no known format, an empty set, or no such part.
        ConfigError: a library is missing that the format needs.
    """
    source = take_part(location, _parts(location, columns or Columns()), part, keep_unlabelled=keep_unlabelled)
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


def name_of(location: str) -> str:
    """What a location is called, without the folders of this machine that lead to it; for what others get to read."""
    return location if location.startswith(HUB) else Path(location).name or location


def _parts(location: str, columns: Columns) -> dict[str, Opener]:
    if location.startswith(HUB):
        return hub_parts(location, columns)
    path = locate(location) if is_published(location) else expanded(location)
    if not path.exists():
        raise DataError(f"{location} does not exist; give {FORMS}")
    if path.is_dir():
        return _folder(path, columns)
    if path.suffix.lower() == ".npz":
        return npz_parts(path, columns)
    if path.suffix.lower() == ZIP:
        return zip_parts(path, columns)
    if is_tar(path.name):
        return tar_parts(path, [path], columns)
    if "idx3-ubyte" in path.name:
        return idx_parts(path)
    if path.suffix.lower() in (GNT, PARQUET):
        return _shards(path, path.suffix.lower(), [path], columns)
    raise DataError(f"{path} has no known format; give {FORMS}")


def _folder(path: Path, columns: Columns) -> dict[str, Opener]:
    check_finished(path)
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
    suffix = _shards_inside(path)
    if suffix is None:
        return folder_parts(path, columns)
    return _shards(
        path, suffix, [file for files in walk(path) for file in files if file.suffix.lower() == suffix], columns
    )


def _shards(root: Path, suffix: str, files: list[Path], columns: Columns) -> dict[str, Opener]:
    if suffix == GNT:
        return gnt_parts(root, files)
    return parquet_parts(root, files, columns) if suffix == PARQUET else tar_parts(root, files, columns)


def _shards_inside(root: Path) -> str | None:
    """The suffix of the shards below a folder; None if it holds image files, or nothing that we know.

    The search ends at the first folder with image files: among them, other files are passed over.

    Raises:
        DataError: more than one of these outside the folders of images.
    """
    found: dict[str, Path] = {}
    for files in walk(root):
        image = next((file for file in files if is_image_name(file.name)), None)
        if image is not None:
            found[""] = image
            break
        found |= {file.suffix.lower(): file for file in files if file.suffix.lower() in (GNT, PARQUET, TAR)}
    if len(found) > 1:
        both = " and ".join(str(file) for file in list(found.values())[:2])
        raise DataError(f"{root} holds images in more than one form ({both}); give the folder or file of one of them")
    return next(iter(found), None) or None

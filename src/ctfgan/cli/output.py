"""Images to a sheet or to folders; nothing that exists is written over."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctfgan.data.images import Bytes, to_picture
from ctfgan.errors import ConfigError
from ctfgan.files import is_taken, new_folder, write_file
from ctfgan.sampling import Samples, check_set_folder
from ctfgan.sampling.names import folder_names
from ctfgan.sampling.sheets import enlarged, png, sheet_of_columns

OTHER_IMAGES = frozenset({".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pdf", ".svg"})


def check_output(out: Path, option: str = "--out") -> None:
    """Refuse an output that exists, before any work.

    Raises:
        ConfigError: something is at ``out`` already, its parent folder is missing, or it names another image format.
    """
    _check_name(out)
    if is_taken(out):
        raise ConfigError(f"{out} exists already; choose another {option}, or move it away")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"folder {out.absolute().parent} does not exist; make it first, or choose another {option}")


def check_set_output(out: Path) -> None:
    """The same for a set of samples, which may be there in part already.

    Raises:
        ConfigError: as :func:`check_output`, but for a set that was begun there.
    """
    _check_name(out)
    check_set_folder(out)


def _check_name(out: Path) -> None:
    if out.suffix.lower() in OTHER_IMAGES:
        raise ConfigError(f"{out} names a format that is not written; end it in .png for a sheet")


def write_sheet(samples: Samples, count: int, out: Path) -> None:
    """A sheet with one column per class."""
    headings = [samples.classes[label] for label in samples.labels[::count]]
    write_file(out, png(sheet_of_columns(samples.images, count, headings)))


def write_enhanced(files: list[Path], low_quality: Bytes, images: Bytes, class_name: str, out: Path) -> None:
    """A sheet with inputs above outputs, or a folder of outputs called like their inputs."""
    if out.suffix.lower() == ".png":
        pairs = np.stack([enlarged(low_quality, images.shape[1]), images], axis=1).reshape(-1, *images.shape[1:])
        write_file(out, png(sheet_of_columns(pairs, 2, [class_name] * len(images))))
        return
    names = folder_names([file.stem for file in files])
    with new_folder(out) as folder:
        for name, image in zip(names, images, strict=True):
            to_picture(image).save(folder / f"{name}.png")

"""Images to a sheet or to folders; nothing that exists is written over."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ctfgan.data.images import Bytes, sheet, to_picture, zoom_for
from ctfgan.errors import ConfigError
from ctfgan.files import is_taken, new_folder, write_file
from ctfgan.sampling import Samples, check_set_folder
from ctfgan.sampling.names import folder_names

SHEET_COLUMNS = 32
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
    classes = [samples.classes[label] for label in samples.labels[::count]]
    pages = []
    for start in range(0, len(classes), SHEET_COLUMNS):
        chosen = classes[start : start + SHEET_COLUMNS]
        block = samples.images[start * count : (start + len(chosen)) * count]
        columns = block.reshape(len(chosen), count, *block.shape[1:]).swapaxes(0, 1).reshape(block.shape)
        pages.append(_page(columns, chosen))
    _save(_stacked(pages), out)


def write_enhanced(files: list[Path], low_quality: Bytes, images: Bytes, class_name: str, out: Path) -> None:
    """A sheet with inputs above outputs, or a folder of outputs called like their inputs."""
    if out.suffix.lower() != ".png":
        names = folder_names([file.stem for file in files])
        with new_folder(out) as folder:
            for name, image in zip(names, images, strict=True):
                to_picture(image).save(folder / f"{name}.png")
        return
    side = images.shape[1]
    pages = []
    for start in range(0, len(images), SHEET_COLUMNS):
        outputs = images[start : start + SHEET_COLUMNS]
        inputs = [
            np.asarray(to_picture(image).resize((side, side), Image.Resampling.NEAREST)).reshape(outputs.shape[1:])
            for image in low_quality[start : start + SHEET_COLUMNS]
        ]
        pages.append(_page(np.concatenate([np.stack(inputs), outputs]), [class_name] * len(outputs)))
    _save(_stacked(pages), out)


def _page(images: Bytes, headings: list[str]) -> Image.Image:
    return sheet(images, len(headings), headings, zoom_for(images.shape[1], len(headings)))


def _stacked(pages: list[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (max(page.width for page in pages), sum(page.height for page in pages)), "white")
    top = 0
    for page in pages:
        whole.paste(page, (0, top))
        top += page.height
    return whole


def _save(picture: Image.Image, out: Path) -> None:
    content = BytesIO()
    picture.save(content, format="PNG")
    write_file(out, content.getvalue())

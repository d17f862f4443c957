"""Images to a sheet or to folders; nothing that exists is written over."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from ctfgan.data.images import Bytes, sheet, to_picture
from ctfgan.errors import ConfigError
from ctfgan.files import new_folder, write_file
from ctfgan.sampling import Samples

SHEET_COLUMNS = 64


def check_output(out: Path) -> None:
    """Refuse an output that exists, before any work.

    Raises:
        ConfigError: something is at ``out`` already, or its parent folder is missing.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out} exists already; choose another --out, or move it away")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"folder {out.absolute().parent} does not exist; make it first, or choose another --out")


def write_samples(samples: Samples, count: int, out: Path) -> None:
    """A sheet with one column per class, or folders ``out/<class>/00000.png``."""
    classes = [samples.classes[label] for label in samples.labels[::count]]
    if out.suffix.lower() != ".png":
        with new_folder(out) as folder:
            for index, image in enumerate(samples.images):
                place = folder / file_name(classes[index // count])
                place.mkdir(exist_ok=True)
                to_picture(image).save(place / f"{index % count:05d}.png")
        return
    pages = []
    for start in range(0, len(classes), SHEET_COLUMNS):
        chosen = classes[start : start + SHEET_COLUMNS]
        block = samples.images[start * count : (start + len(chosen)) * count]
        columns = block.reshape(len(chosen), count, *block.shape[1:]).swapaxes(0, 1).reshape(block.shape)
        pages.append(_page(columns, chosen))
    _save(_stacked(pages), out)


def write_enhanced(low_quality: Bytes, images: Bytes, class_name: str, out: Path) -> None:
    """A sheet with inputs above outputs, or a folder of outputs in the order of the inputs."""
    if out.suffix.lower() != ".png":
        with new_folder(out) as folder:
            for index, image in enumerate(images):
                to_picture(image).save(folder / f"{index:05d}.png")
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


def file_name(class_name: str) -> str:
    """A class name as the name of a folder: letters, digits and ``-_.~`` stay, all else is percent-encoded."""
    name = quote(class_name, safe="")
    return name if name not in {".", ".."} else name.replace(".", "%2E")


def _page(images: Bytes, headings: list[str]) -> Image.Image:
    return sheet(images, len(headings), headings, scale=max(1, 1_600 // (images.shape[1] * len(headings)) or 1))


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

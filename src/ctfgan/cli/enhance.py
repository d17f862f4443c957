"""``ctfgan enhance``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import click

from ctfgan.cli.options import DEVICE, MODEL, PATH, SEED, free_output, write_new
from ctfgan.core.text import plural

if TYPE_CHECKING:
    from ctfgan.data.images import Bytes

SHEET = "enhanced.png"


@click.command()
@MODEL
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...", type=PATH)
@click.option("--class", "class_name", required=True, metavar="NAME", help="The class that the images show.")
@SEED
@click.option("--out", metavar="DIR|PNG", type=PATH,
              help="A sheet with inputs above outputs if it ends in .png, else a new folder with a file for each "
              f"input [default: {SHEET}, or the next free name].")  # fmt: skip
@DEVICE
def enhance(model: Path, images: tuple[Path, ...], class_name: str, seed: int, out: Path | None, device: str) -> None:
    """Turn low-quality images (files or folders) of a class into high-quality ones, by G_LH.

    It is the first stage of a ctf-gan model alone; images of any size are read. Files of a folder that cannot be read
    are passed over and counted. What it makes looks like images of the class, which need not be what the low-quality
    image once was.

    \b
    ctfgan enhance runs/mine blurred.png --class cat
    ctfgan enhance runs/mine thumbnails --class cat --out enhanced
    """
    from ctfgan.cli import console
    from ctfgan.sampling.model import load
    from ctfgan.sampling.own_images import read_own_images
    from ctfgan.sampling.sheets import check_sheet

    is_sheet = out is None or out.suffix.lower() == ".png"
    place = free_output(out, SHEET, is_file=is_sheet)
    loaded = load(model, device)
    own = read_own_images(loaded, images)
    for note in own.notes:
        console.say(f"note: {note}")
    if is_sheet:
        check_sheet(len(own.files), 2, loaded.bundle.recipe.data.resolution)
    names = output_names(images, own.files)
    place = _write(names, own.pixels, loaded.enhance(own.pixels, class_name, seed=seed), place)
    console.say(f"{plural(len(own.pixels), 'image')} of class {class_name}: {place}")


def _write(names: Sequence[str], low_quality: Bytes, images: Bytes, out: Path) -> Path:
    """A sheet with inputs above outputs, or a folder of outputs called like their inputs; returns where it is.

    Args:
        names: of the outputs, from :func:`output_names`.
        low_quality: uint8 ``(N, r, r, K)``.
        images: what became of them, uint8 ``(N, R, R, K)``.
        out: where to.
    """
    import numpy as np

    from ctfgan.core.files import new_folder
    from ctfgan.data.images import png, to_picture
    from ctfgan.sampling.sheets import enlarged, sheet_of_columns

    if out.suffix.lower() == ".png":
        pairs = np.stack([enlarged(low_quality, images.shape[1]), images], axis=1).reshape(-1, *images.shape[1:])
        return write_new(out, png(sheet_of_columns(pairs, 2, list(names))))
    with new_folder(out) as folder:
        for name, image in zip(names, images, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            to_picture(image).save(folder / name)
    return out


def output_names(given: Sequence[Path], files: Sequence[Path]) -> list[str]:
    """A name for each output, with ``/`` between its parts, that leads back to its input: its path from the folder that
    was given; where that names two of them, from the folder that all of them are in, or from the drive. Inputs that
    differ in their suffix alone keep it.

    Args:
        given: files and folders, as the user named them.
        files: different ones, each one of these or in one of these.
    """
    from ctfgan.sampling.names import path_names

    paths = [_below(given, file) for file in files]
    if len({path.with_suffix("") for path in paths}) < len({file.with_suffix("") for file in files}):
        whole = [PurePath(os.path.abspath(file)) for file in files]  # noqa: PTH100 (links stay links)
        if len({file.drive for file in whole}) > 1:
            paths = [PurePath(file.drive.strip(":\\/") or "root", *file.parts[1:]) for file in whole]
        else:
            above = os.path.commonpath([file.parent for file in whole])
            paths = [file.relative_to(above) for file in whole]
    stems = Counter(path.with_suffix("") for path in set(paths))
    kept = [path.with_suffix("") if stems[path.with_suffix("")] == 1 else path for path in paths]
    return [f"{name}.png" for name in path_names(kept)]


def _below(given: Sequence[Path], file: Path) -> PurePath:
    """The path of a file from the folder in which it was given."""
    folder = next(path if path != file else path.parent for path in given if file.is_relative_to(path))
    return PurePath(file.relative_to(folder))

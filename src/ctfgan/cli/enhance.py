"""``ctfgan enhance``."""

from __future__ import annotations

from pathlib import Path

import click

from ctfgan.cli.options import DEVICE, SEED

SHEET = "enhanced.png"


@click.command()
@click.argument("model", metavar="RUN_OR_BUNDLE", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...", type=click.Path(path_type=Path))
@click.option("--class", "class_name", required=True, metavar="NAME", help="The class that the images show.")
@SEED
@click.option("--out", metavar="DIR|PNG", type=click.Path(path_type=Path),
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
    from ctfgan.cli.output import free_output, output_names, write_enhanced
    from ctfgan.core.text import plural
    from ctfgan.sampling.model import load
    from ctfgan.sampling.own_images import read_own_images
    from ctfgan.sampling.sheets import check_sheet

    loaded = load(model, device)
    place = free_output(out, SHEET)
    own = read_own_images(loaded, images)
    for note in own.notes:
        console.say(f"note: {note}")
    if place.suffix.lower() == ".png":
        check_sheet(len(own.files), 2, loaded.bundle.recipe.data.resolution)
    names = output_names(images, own.files)
    place = write_enhanced(names, own.pixels, loaded.enhance(own.pixels, class_name, seed=seed), place)
    console.say(f"{plural(len(own.pixels), 'image')} of class {class_name}: {place}")

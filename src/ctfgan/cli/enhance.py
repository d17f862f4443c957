"""``ctfgan enhance``."""

from __future__ import annotations

from pathlib import Path

import click

from ctfgan.cli.options import DEVICE, SEED


@click.command()
@click.argument("model", metavar="RUN_OR_BUNDLE", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...", type=click.Path(path_type=Path))
@click.option("--class", "class_name", required=True, metavar="NAME", help="The class that the images show.")
@SEED
@click.option("--out", default="enhanced.png", show_default=True, metavar="DIR|PNG", type=click.Path(path_type=Path),
              help="A sheet with inputs above outputs if it ends in .png, else a new folder.")  # fmt: skip
@DEVICE
def enhance(model: Path, images: tuple[Path, ...], class_name: str, seed: int, out: Path, device: str) -> None:
    """Turn low-quality images (files or folders) of a class into high-quality ones, by G_LH.

    It is the first stage of a ctf-gan model alone; images of any size are read. Files of a folder that cannot be read
    are passed over and counted. What it makes looks like images of the class, which need not be what the low-quality
    image once was.

    \b
    ctfgan enhance runs/mine blurred.png --class cat
    ctfgan enhance runs/mine thumbnails --class cat --out enhanced
    """
    from ctfgan.cli import show
    from ctfgan.cli.output import check_output, write_enhanced
    from ctfgan.sampling import load

    loaded = load(model, device)
    check_output(out)
    own = loaded.read_all(images)
    for note in own.notes:
        show.say(f"note: {note}")
    write_enhanced(own.files, own.pixels, loaded.enhance(own.pixels, class_name, seed=seed), class_name, out)
    show.say(f"{len(own.pixels):,} images of class {class_name}: {out}")

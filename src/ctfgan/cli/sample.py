"""``ctfgan sample``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("model", metavar="RUN_OR_BUNDLE", type=click.Path(path_type=Path))
@click.option("--class", "classes", multiple=True, metavar="NAME", help="A class; may be repeated. Without it: all.")
@click.option("-n", "count", default=16, show_default=True, type=click.IntRange(min=1), help="Images of each class.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**48 - 1))
@click.option("--lq", "low_quality", multiple=True, metavar="IMAGES", type=click.Path(path_type=Path),
              help="Own low-quality images, files or folders, in place of the bundle's; may be repeated.")  # fmt: skip
@click.option("--out", default="samples.png", show_default=True, metavar="DIR|PNG", type=click.Path(path_type=Path),
              help="A sheet if it ends in .png, else a new folder with one subfolder per class.")  # fmt: skip
@click.option("--device", default="auto", show_default=True)
def sample(
    model: Path,
    classes: tuple[str, ...],
    count: int,
    seed: int,
    low_quality: tuple[Path, ...],
    out: Path,
    device: str,
) -> None:
    """Make images of chosen classes.

    \b
    ctfgan sample runs/my-run --class A --class B -n 8 --out sheet.png
    ctfgan sample bundle --class A -n 500 --seed 1 --out more-of-A
    """
    from ctfgan.cli import show
    from ctfgan.cli.output import check_output, write_samples
    from ctfgan.sampling import image_files, load
    from ctfgan.training.runtime import start_engine

    engine = start_engine(device)
    loaded = load(model, engine=engine)
    engine.processes.on_main(lambda: check_output(out))
    images = loaded.read(image_files(low_quality)) if low_quality else None
    samples = loaded.sample(list(dict.fromkeys(classes)) or None, count, seed=seed, low_quality=images)
    engine.processes.on_main(lambda: write_samples(samples, count, out))
    of = len(samples.images) // count
    kinds = f" of {of:,} class{'es' * (of != 1)}" if loaded.bundle.recipe.method.is_conditional else ""
    show.say(f"{len(samples.images):,} images{kinds}: {out}")

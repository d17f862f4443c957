"""``ctfgan export``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ctfgan.cli.options import MODEL, PATH, check_output
from ctfgan.core.errors import ConfigError
from ctfgan.core.text import format_bytes

HUB = "hub"
GRAPHS = ("onnx", "torch-export")
PARTS = ("generator", "enhancer")


@click.command()
@MODEL
@click.option("--to", required=True, type=click.Choice([*GRAPHS, HUB]), help="What to write.")
@click.option("--out", required=True, metavar="DIR", type=PATH, help="The new folder.")
@click.option("--part", type=click.Choice(PARTS), help="Only this graph of a ctf-gan model; both without it.")
@click.option("--license", "licence", metavar="ID", help="Licence of the weights as the Hub writes it, such as "
              "cc-by-4.0. Without it the folder says that none was stated.")  # fmt: skip
@click.option("--dataset", "datasets", multiple=True, metavar="OWNER/NAME",
              help="A data set of the Hub that the model was trained on, for its card; may be repeated.")  # fmt: skip
def export(model: Path, to: str, out: Path, part: str | None, licence: str | None, datasets: tuple[str, ...]) -> None:
    """Write a trained model for other programs and compare what was written with the original.

    onnx and torch-export write one graph for each part, with class id, noise and low-quality image as inputs and any
    batch size: the generator, and for ctf-gan the enhancer (G_LH). A README in the folder has lines of Python to start
    from. hub writes a bundle with a model card, for 'hf upload' and ctfgan.from_pretrained.

    \b
    ctfgan export runs/my-run --to onnx --out my-model-onnx
    ctfgan export runs/my-run --to hub --license cc-by-4.0 --out my-model
    """
    from ctfgan.bundle.bundle import open_bundle
    from ctfgan.cli import console
    from ctfgan.export import export_graphs, export_hub

    check_output(out, is_file=False)
    if to == HUB and part is not None:
        raise ConfigError(f"--part {part} is for graphs, but --to hub writes the whole bundle; leave it out")
    if to != HUB and datasets:
        raise ConfigError(f"--dataset {datasets[0]} is for the model card of --to hub; leave it out")
    bundle = open_bundle(model)
    name = shlex.quote(str(out))
    if to == HUB:
        error = export_hub(bundle, out, license=licence, datasets=datasets)
        size = sum(file.stat().st_size for file in out.iterdir())
        console.say(f"read again: max error {error:g}; {format_bytes(size)}: {name}. Next: hf upload OWNER/NAME {name}")
        return
    exported = export_graphs(bundle, to, out, part=part, license=licence, say=console.say)
    worst = max(one.max_error for one in exported)
    files = ", ".join(f"{one.file.name} {format_bytes(one.bytes)}" for one in exported)
    levels = worst * 127.5
    console.say(
        f"max error {worst:.2e} ({levels:.2g} of 255 grey levels); {files}: {name}. Next: read {name}/README.md"
    )

"""``ctfgan classes``: change the classes of a trained model; the result is a new bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctfgan.cli.options import DEVICE, MODEL, PATH
from ctfgan.core.errors import ConfigError
from ctfgan.core.files import require_free
from ctfgan.core.text import plural

if TYPE_CHECKING:
    from ctfgan.bundle.bundle import Bundle

OUT = click.option("--out", required=True, metavar="DIR", type=PATH, help="The new bundle.")


@click.group()
def classes() -> None:
    """Rename, drop, map or add classes of a trained model.

    The result is a new bundle; the old one stays as it is. Nothing but what it keeps of each class changes, so classes
    that keep their name make the same images as before. 'ctfgan train --from' then trains the new bundle on.

    \b
    ctfgan classes add bundle new-letters --out more
    ctfgan sample more --out sheet.png
    ctfgan train --hq all-letters --from more
    """


@classes.command()
@MODEL
def show(model: Path) -> None:
    """List the classes of a model, one per line, and what was changed about them on standard error."""
    bundle = _load(model)
    for name in bundle.classes:
        click.echo(name)
    for entry in bundle.provenance.get("history", []):
        click.echo(f"{entry['date']}: {entry['change']}", err=True)


@classes.command()
@MODEL
@click.option("--class", "pairs", nargs=2, multiple=True, required=True, metavar="OLD NEW",
              help="A class and its new name; may be repeated. Two classes may swap names.")  # fmt: skip
@OUT
def rename(model: Path, pairs: tuple[tuple[str, str], ...], out: Path) -> None:
    """Give classes other names.

    \b
    ctfgan classes rename bundle --class A alpha --class B beta --out renamed
    """
    from ctfgan.bundle.class_editing import rename as rename_classes

    names = dict(pairs)
    if len(names) < len(pairs):
        raise ConfigError("--class renames one class twice; give each class one new name")
    require_free(out)
    _save(rename_classes(_load(model), names), out)


@classes.command()
@MODEL
@click.option("--class", "names", multiple=True, required=True, metavar="NAME", help="A class; may be repeated.")
@OUT
def drop(model: Path, names: tuple[str, ...], out: Path) -> None:
    """Take classes out.

    \b
    ctfgan classes drop bundle --class A --class B --out fewer
    """
    from ctfgan.bundle.class_editing import drop as drop_classes

    require_free(out)
    _save(drop_classes(_load(model), list(dict.fromkeys(names))), out)


@classes.command(name="map")
@MODEL
@click.argument("table", type=PATH)
@OUT
def map_(model: Path, table: Path, out: Path) -> None:
    """Make a new label space from the old one, as TABLE says.

    TABLE is a .csv or .tsv file of lines 'new name, old name' without headings, or a .json object {"new": "old"}.
    Several new classes may begin as the same old one; classes that are not named are gone; the order is the file's.

    \b
    ctfgan classes map bundle table.csv --out mapped
    """
    from ctfgan.bundle.class_editing import map_classes, read_table

    require_free(out)
    _save(map_classes(_load(model), read_table(table)), out)


@classes.command()
@MODEL
@click.argument("images", metavar="IMAGES")
@click.option("--lq", metavar="PATH", help="Low-quality images of the new classes, which a model needs that was "
              "trained with --lq of the same classes. Without it: degraded copies, as in training.")  # fmt: skip
@DEVICE
@OUT
def add(model: Path, images: str, lq: str | None, device: str, out: Path) -> None:
    """Add the classes that IMAGES show: a folder with one subfolder per class, or what 'ctfgan train --hq' takes.

    One image of a class is enough, five are better: the model knows a class by a code, which these images give. Nothing
    is trained. For a model that was trained with class_tables=codes. Train the new bundle on with 'ctfgan train --from'
    to teach it what the code does not tell.

    \b
    ctfgan classes add bundle new-letters --out more
    ctfgan classes add bundle new-letters --lq new-cheap --out more    trained with --lq of the same classes
    """
    from ctfgan.bundle.new_classes import add as add_classes
    from ctfgan.cli import console
    from ctfgan.distributed.engine import choose_device

    require_free(out)
    bundle, added = add_classes(_load(model), images, lq, choose_device(device), console.progress)
    rows = [[one.name, f"{one.images:,}", one.nearest, f"{one.likeness:.2f}"] for one in added]
    console.print_table(["class", "images", "most like", "likeness of codes"], rows)
    _save(bundle, out)


def _load(model: Path) -> Bundle:
    from ctfgan.bundle.bundle import open_bundle

    return open_bundle(model)


def _save(bundle: Bundle, out: Path) -> None:
    from ctfgan.bundle.bundle import save_bundle
    from ctfgan.cli import console

    save_bundle(bundle, out)
    name = shlex.quote(str(out))
    change, left = bundle.provenance["history"][-1]["change"], plural(len(bundle.classes), "class", "classes")
    console.say(f"{change}: {name}, {left}. Next: ctfgan sample {name} --out sheet.png")

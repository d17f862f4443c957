"""Options that several commands share, and files that commands write: nothing that exists is written over.

Nothing here needs torch or numpy, so that help pages come at once.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from ctfgan.core.errors import ConfigError
from ctfgan.core.files import require_free, write_file

PATH = click.Path(path_type=Path)


def existing_model(context: click.Context, parameter: click.Parameter, model: Path | None) -> Path | None:
    """Refuse a run or a bundle that is not there: a misspelt one must not wait for torch."""
    from ctfgan.data.settings import HUB
    from ctfgan.storage.run_folder import bundle_folder

    if model is not None and not str(model).startswith(HUB):
        bundle_folder(model)
    return model


MODEL = click.argument("model", metavar="RUN_OR_BUNDLE", type=PATH, callback=existing_model)
SEED = click.option("--seed", default=0, show_default=True, metavar="N", type=click.IntRange(0, 2**48 - 1),
                    help="Of noise, and of what is drawn from low-quality images.")  # fmt: skip
DEVICE = click.option("--device", default="auto", show_default=True, metavar="NAME",
                      help="auto, cpu, cuda, cuda:1 or mps.")  # fmt: skip
OTHER_DEVICE = click.option("--device", metavar="NAME", help="Another device than the run's recipe names.")
TOP_K = click.option("--top-k", type=click.IntRange(min=1), metavar="K",
                     help="With --keep-readable: the class may be among the first K [default: 1].")  # fmt: skip
TRIES = click.option("--tries", type=click.IntRange(1, 254), metavar="N",
                     help="With --keep-readable: draw each image N times at most [default: 20].")  # fmt: skip

OTHER_IMAGES = frozenset({".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pdf", ".svg"})


def check_readable(keep_readable: bool | None, top_k: int | None, tries: int | None) -> None:
    """Refuse what says how images are chosen where none are."""
    if not keep_readable and (top_k or tries):
        raise click.UsageError(f"{'--top-k' if top_k else '--tries'} says how --keep-readable chooses; add that")


def check_image_name(out: Path) -> None:
    """Refuse a name that promises another format than a sheet has.

    Raises:
        ConfigError: it ends in the suffix of another image format than PNG.
    """
    if out.suffix.lower() in OTHER_IMAGES:
        raise ConfigError(f"{out} names a format that is not written; end it in .png for a sheet")


def check_output(out: Path, option: str = "--out", *, is_file: bool = True) -> None:
    """Refuse output that exists, or that cannot be written there; an empty folder may become one that holds something.

    Raises:
        ConfigError: something is at ``out`` already, its parent folder is missing or takes no files, or it names
            another image format.
    """
    check_image_name(out)
    require_free(out, option, is_file=is_file)
    parent = out.absolute().parent
    if not parent.is_dir():
        raise ConfigError(f"folder {parent} does not exist; make it first, or choose another {option}")
    check_writable(parent, option)


def check_writable(folder: Path, option: str = "--out") -> None:
    """Refuse a folder that takes no files before the work, not after it.

    Raises:
        ConfigError: this user may not write there.
    """
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"you may not write into {folder}; choose another place with {option}")


def free_output(out: Path | None, default: str, *, is_file: bool = True) -> Path:
    """Where output goes: to the place that was asked for, else to the first free of ``name.png``, ``name-2.png``, ...

    Raises:
        ConfigError: as :func:`check_output`.
    """
    if out is None:
        out = next(place for place in _numbered(Path(default)) if not place.exists())
    check_output(out, is_file=is_file)
    return out


def write_new(out: Path, content: bytes) -> Path:
    """Write a file where none is, and say where: if another command has taken the name meanwhile, under the next one.

    Raises:
        CtfganError: it cannot be written.
    """
    for place in _numbered(out):
        with suppress(OSError):  # which writing says in a sentence
            try:
                place.open("xb").close()
            except FileExistsError:
                continue
        try:
            write_file(place, content)
        except BaseException:
            place.unlink(missing_ok=True)
            raise
        return place
    raise AssertionError("numbers do not end")


def _numbered(name: Path) -> Iterator[Path]:
    """``name.png``, ``name-2.png``, ``name-3.png`` ..."""
    yield name
    for number in itertools.count(2):
        yield name.with_stem(f"{name.stem}-{number}")

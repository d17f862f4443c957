"""Images to a sheet or to folders; nothing that exists is written over."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

import numpy as np

from ctfgan.core.errors import ConfigError
from ctfgan.core.files import is_taken, new_folder, write_file
from ctfgan.data.images import Bytes, to_picture
from ctfgan.sampling.model import Model, Samples
from ctfgan.sampling.names import path_names
from ctfgan.sampling.set_folder import check_set_folder
from ctfgan.sampling.sheets import check_sheet, columns_that_fit, enlarged, png, sheet_of_columns
from ctfgan.training.validation import spread_evenly

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


def free_output(out: Path | None, default: str) -> Path:
    """Where a file goes: to the place that was asked for, else to the first free of ``name.png``, ``name-2.png``, ...

    Raises:
        ConfigError: as :func:`check_output`.
    """
    if out is None:
        out = next(place for place in _numbered(Path(default)) if not place.exists())
    check_output(out)
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


def sheet_classes(model: Model, chosen: list[str] | None, count: int, *, all_classes: bool) -> list[str] | None:
    """Classes of a sheet with ``count`` images of each: the chosen ones, all if they are few, else some of all.

    These are as many as a sheet of training has, spread as evenly. None stands for all.

    Raises:
        ConfigError: the sheet would be too large.
    """
    recipe, side = model.bundle.recipe, model.bundle.recipe.data.resolution
    if chosen is None and not all_classes and recipe.method.is_conditional:
        most = columns_that_fit(min(recipe.training.checks.sheet_classes, len(model.classes)), count, side)
        if most < len(model.classes):
            chosen = [model.classes[label] for label in spread_evenly(len(model.classes), most)]
    everything = len(model.classes) if recipe.method.is_conditional else 1
    check_sheet(everything if chosen is None else len(chosen), count, side)
    return chosen


def write_sheet(samples: Samples, count: int, out: Path) -> Path:
    """A sheet with one column per class; returns where it is, as :func:`write_new` does."""
    headings = [samples.classes[label] for label in samples.labels[::count]]
    return write_new(out, png(sheet_of_columns(samples.images, count, headings)))


def write_enhanced(names: Sequence[str], low_quality: Bytes, images: Bytes, out: Path) -> Path:
    """A sheet with inputs above outputs, or a folder of outputs called like their inputs; returns where it is.

    Args:
        names: of the outputs, from :func:`output_names`.
        low_quality: uint8 ``(N, r, r, K)``.
        images: what became of them, uint8 ``(N, R, R, K)``.
        out: where to.
    """
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

"""The sheets that ``ctfgan sample`` makes."""

from __future__ import annotations

from pathlib import Path

from ctfgan.cli.options import check_image_name, write_new
from ctfgan.sampling.model import Model, Samples
from ctfgan.sampling.sets import check_set_folder
from ctfgan.sampling.sheets import check_sheet, columns_that_fit, png, sheet_of_columns
from ctfgan.training.validation import spread_evenly


def check_set_output(out: Path) -> Path:
    """Refuse an output for a set of samples, which may be there in part already.

    Raises:
        ConfigError: something else than a set that was begun is there, or it names an image format.
    """
    check_image_name(out)
    check_set_folder(out)
    return out


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

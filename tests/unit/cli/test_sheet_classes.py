"""Which classes a sheet shows where none are named."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from ctfgan.cli.sample import sheet_classes
from ctfgan.core.errors import ConfigError
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings


def model(classes: int, name: str = "projection-glyphs", **settings: object) -> Any:
    """What is asked of a model: its classes and its recipe."""
    recipe = with_settings(named_recipe(name), settings, ())
    return SimpleNamespace(classes=range(classes), bundle=SimpleNamespace(recipe=recipe))


@pytest.mark.parametrize("classes", [63, 3_755, 1_000_000])
def test_of_very_many_classes_a_sheet_shows_62_from_the_first_to_the_last(classes: int) -> None:
    chosen = sheet_classes(model(classes), None, 16, all_classes=False)
    assert chosen is not None
    assert (len(chosen), chosen[0], chosen[-1]) == (62, 0, classes - 1)
    steps = {after - before for before, after in itertools.pairwise(chosen)}
    assert max(steps) - min(steps) <= 1


def test_as_many_as_a_sheet_of_training_has() -> None:
    chosen = sheet_classes(model(1_000, **{"training.checks.sheet_classes": 5}), None, 16, all_classes=False)
    assert chosen is not None
    assert len(chosen) == 5


def test_few_classes_are_all_shown_and_named_ones_as_they_are() -> None:
    assert sheet_classes(model(62), None, 16, all_classes=False) is None
    assert sheet_classes(model(5_000), ["b", "a"], 16, all_classes=False) == ["b", "a"]
    assert sheet_classes(model(100), None, 16, all_classes=True) is None
    assert sheet_classes(model(1, "sn-gan-folders"), None, 16, all_classes=False) is None


def test_all_classes_on_one_sheet_are_refused_where_they_are_too_many() -> None:
    with pytest.raises(ConfigError, match=r"a sheet of 3,755 x 16 images .* a folder with --out DIR"):
        sheet_classes(model(3_755), None, 16, all_classes=True)

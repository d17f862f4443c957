"""Folders of the runs of ``sweep --vary``: one for each value, and always the same one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import ctfgan
from ctfgan.core.errors import ConfigError, DataError
from ctfgan.evaluation.sweeps import _folders, plan_sweep, vary
from ctfgan.recipes.catalogue import named_recipe

BASE = named_recipe("ctf-glyphs")


def folders(*settings: tuple[str, tuple[str, ...]], seeds: int = 1) -> list[str]:
    return [point.name for point in vary(BASE, settings, seeds).points]


def test_ordinary_values_keep_their_folders() -> None:
    pairing = ("data.pairing", ("matched", "independent"))
    assert folders(("data.degradation.size", ("8", "16")), pairing, seeds=2)[::2] == [
        "data.pairing=matched/8.0-seed0", "data.pairing=matched/16.0-seed0",
        "data.pairing=independent/8.0-seed0", "data.pairing=independent/16.0-seed0",
    ]  # fmt: skip
    assert folders(("transfer.generator_rate", ("1e-5", "0.0002"))) == [
        "ctf-glyphs/1e-05-seed0",
        "ctf-glyphs/0.0002-seed0",
    ]
    names = {point.name for point in plan_sweep("ablations", BASE, 1).points}
    assert {"ctf-gan/whole-method-seed0", "ctf-gan/no-lq-baseline-seed0"} <= names


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["1.0", "-1.0"], ["1.0", "%2D1.0"]),
        (["a/b", "a-b"], ["a%2Fb", "a-b"]),
        (["A", "a", "b"], ["%41", "a", "b"]),
        (["X", "x "], ["%58", "x%20"]),
        (["True", "None"], ["true", "none"]),
        (["a_b", "a--b"], ["a%5Fb", "a%2D%2Db"]),
    ],
)
def test_what_sign_case_or_stroke_alone_tell_apart_has_folders_of_its_own(texts: list[str], names: list[str]) -> None:
    assert list(_folders(texts).values()) == names


@given(st.lists(st.text("aAbß宪-/_+. =%1", min_size=1, max_size=5), max_size=12, unique=True))
@example(["%41", "A", "a", "41"])
def test_folders_of_any_values_are_apart_and_lead_back(texts: list[str]) -> None:
    names = _folders(texts)
    assert len({name.casefold() for name in names.values()}) == len(texts)
    assert all(unquote(name) == text for text, name in names.items() if "%" in name)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("data.degradation.share", ("0.5", "0.50")),
        ("method.spectral_norm", ("true", "True")),
        ("data.degradation.size", ("8", "8")),
    ],
)
def test_one_value_twice_is_refused_before_anything_runs(name: str, values: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=rf"^--vary gives '{values[0]}' and '{values[1]}', which are the same run"):
        vary(BASE, [(name, values)], 1)


def test_one_setting_in_two_options_is_refused_since_the_second_would_undo_the_first() -> None:
    with pytest.raises(ConfigError, match=r"^--vary names 'data\.pairing' twice; name it once"):
        vary(BASE, [("data.pairing", ("matched",)), ("pairing", ("independent",))], 1)


def test_classes_that_a_value_names_are_looked_for_before_anything_runs(
    tmp_path: Path, write_classes: Callable[..., Path]
) -> None:
    images = write_classes(tmp_path / "good", {"cat": 6, "dog": 6})
    base = ctfgan.recipe("ctf-folders", f"data.high_quality={images}", "data.only=['cat', 'dog']")
    with pytest.raises(DataError, match=r"data\.only is 'cats', which is no named set"):
        vary(base, [("data.only", ("none", "cats"))], 1)


def test_seeds_that_are_varied_and_repeated_are_refused_where_they_meet() -> None:
    with pytest.raises(ConfigError, match="--vary gives '0' and '1', which are the same run"):
        vary(BASE, [("seed", ("0", "1"))], 2)
    assert len(vary(BASE, [("seed", ("0", "2"))], 2).points) == 4

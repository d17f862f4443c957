from __future__ import annotations

import time

import pytest

from ctfgan.core.class_index import ClassIndex
from ctfgan.core.errors import ConfigError, suggestion


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("STAR", ["bear", "star", "start"], "Did you mean 'star'?"),
        ("001", ["1", "10", "100"], "Did you mean '1'?"),
        ("7", ["0007", "77"], "Did you mean '0007'?"),
        ("class 1", ["Class  01", "class 11"], "Did you mean 'Class  01'?"),
        ("ＡＢＣ", ["abd", "abc"], "Did you mean 'abc'?"),
        ("\u212bngström", ["a\u030angstro\u0308m"], "Did you mean 'a\u030angstro\u0308m'?"),
        ("ea", ["eA", "EA", "b"], "Did you mean 'eA' or 'EA'?"),
        ("KATZE", ["Katzen", "Hunde"], "Did you mean 'Katzen'?"),
        ("q", ["b", "a"], "Known: a, b."),
        ("0", ["00", "1"], "Did you mean '00'?"),
    ],
)
def test_a_name_that_differs_in_case_form_blanks_or_zeros_alone_is_nearest(
    name: str, known: list[str], sentence: str
) -> None:
    assert suggestion(name, known) == sentence


def test_a_class_is_suggested_and_never_taken() -> None:
    with pytest.raises(ConfigError, match=r"^Unknown class 'STAR'. Did you mean 'star'\?$"):
        ClassIndex(["moon", "star"]).require(["STAR"])
    with pytest.raises(ConfigError, match=r"^Unknown class '001'. Did you mean '1'\?$"):
        ClassIndex([str(number) for number in range(2_000)]).require(["001"])


def test_among_very_many_classes_the_same_name_in_another_case_is_still_suggested_soon() -> None:
    index = ClassIndex([f"class {number:05d}" for number in range(50_000)])
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"Did you mean 'class 04711'\?"):
        index.require(["Class 4711"])
    with pytest.raises(ConfigError, match=r"Unknown class 'klass 4711'. The model has 50,000 classes."):
        index.require(["klass 4711"])
    assert time.monotonic() - started < 10

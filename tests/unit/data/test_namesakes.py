"""Which class of the two sides is which, and what is said of it, in training as in ``ctfgan data check``."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctfgan.core.errors import DataError
from ctfgan.core.text import fold_name
from ctfgan.data.namesakes import pairing_lines, resolve_pairing

AB, BA, ABC, AX, XY = ("a", "b"), ("b", "a"), ("a", "b", "c"), ("a", "x"), ("x", "y")
DIGITS = tuple("0123456789")
ANIMALS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")


def lines(classes: tuple[str, ...], low_quality_classes: tuple[str, ...], asked: str = "auto") -> str:
    return "\n".join(pairing_lines(resolve_pairing(asked, classes, low_quality_classes), classes, low_quality_classes))


@pytest.mark.parametrize(
    ("asked", "classes", "low_quality_classes", "expected"),
    [
        ("auto", AB, BA, "matched"),
        ("auto", AB, ABC, "matched"),
        ("auto", AX, ABC, "independent"),
        ("auto", DIGITS, (*DIGITS, "10", "11"), "independent"),
        ("auto", DIGITS, (*DIGITS, "ten"), "matched"),
        ("auto", DIGITS, DIGITS[::-1], "matched"),
        ("auto", DIGITS, DIGITS[:6], "matched"),
        ("auto", DIGITS, DIGITS[:5], "independent"),
        ("matched", DIGITS, (*DIGITS, "10"), "matched"),
        ("auto", ABC, AB, "matched"),
        ("auto", AB, XY, "independent"),
        ("auto", AB, (), "independent"),
        ("matched", AB, BA, "matched"),
        ("matched", AB, ABC, "matched"),
        ("matched", AX, ABC, "matched"),
        ("independent", AB, AB, "independent"),
        ("independent", AB, (), "independent"),
    ],
)
def test_pairing_is_matched_if_most_classes_have_a_namesake(
    asked: str, classes: tuple[str, ...], low_quality_classes: tuple[str, ...], expected: str
) -> None:
    assert resolve_pairing(asked, classes, low_quality_classes).pairing == expected


@pytest.mark.parametrize("low_quality_classes", [XY, ()])
def test_matched_pairing_without_any_namesake_is_refused(low_quality_classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"none of 3 classes .*'a', 'b', 'c'|which have no labels; .*independent"):
        resolve_pairing("matched", ABC, low_quality_classes)


def test_one_stray_folder_leaves_the_pairing_matched_and_its_images_without_a_label() -> None:
    namesakes = resolve_pairing("auto", ANIMALS, (*ANIMALS, "Unsorted"))
    assert namesakes.pairing == "matched"
    assert namesakes.label_of_class.tolist() == list(range(10))
    assert namesakes.spare.tolist() == namesakes.unsorted.tolist() == [10]
    assert "low-quality images of 1 class ('Unsorted') count as images without a label" in lines(
        ANIMALS, (*ANIMALS, "Unsorted")
    )


def test_what_lies_in_a_folder_that_nobody_sorted_or_in_another_of_its_name_has_no_label() -> None:
    strays = ("unsorted/2020", "New Folder (2)", "_unsorted", "unsorted 3", "Unsorted images", "neuer Ordner")
    namesakes = resolve_pairing("auto", ANIMALS, (*ANIMALS, *strays, "New Zealand", "antelope 2"))
    assert namesakes.unsorted.tolist() == [10, 11, 12, 13, 14, 15]
    assert namesakes.sorted_spare.tolist() == [16, 17]


def test_a_folder_called_unsorted_is_a_class_if_both_sides_have_it() -> None:
    assert resolve_pairing("auto", ("cat", "other", "dog"), ("other", "cat", "pig")).unsorted.tolist() == []


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("big cat", "big  cat "), ("big cat", "Big_Cat"), ("1", "01"),
        ("big-cat", "big cat"), ("class 007", "Class_7"), ("\uff21\uff22", "ab"), ("stra\u00dfe", "STRASSE"),
        ("10", "0010"), ("class1", "class_01"), ("c\u200bat", "cat\ufeff"), ("cat\u00ad", "cat"),
    ],
)  # fmt: skip
def test_names_that_the_eye_takes_for_the_same_are_namesakes_and_that_is_said(name: str, other: str) -> None:
    classes, low = ("ant", "bee", name), (other, "bee", "ant")
    namesakes = resolve_pairing("auto", classes, low)
    assert namesakes.label_of_class.tolist() == [2, 1, 0]
    assert f"spelled differently: {name!r} = {other!r}" in lines(classes, low)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("a", "A"),
        ("1", "-1"),
        ("1.0", "1"),
        ("caf\u00e9", "cafe"),
        ("10", "1"),
        ("1.05", "1.5"),
        ("A-", "A+"),
        ("o-", "o_x"),
    ],
)
def test_names_that_mean_something_else_are_no_namesakes(name: str, other: str) -> None:
    assert resolve_pairing("auto", ("ant", "bee", name), ("ant", "bee", other)).label_of_class.tolist() == [0, 1, -1]


def test_a_folded_name_that_several_classes_of_a_side_have_is_nobodys_namesake() -> None:
    namesakes = resolve_pairing("auto", ("ant", "Cat", "CAT", "dog", "eel"), ("ant", "cat", "dog", "eel"))
    assert namesakes.label_of_class.tolist() == [0, -1, -1, 2, 3]
    namesakes = resolve_pairing("auto", ("ant", "cat", "dog"), ("ant", "dog", "Cat", "CAT"))
    assert namesakes.label_of_class.tolist() == [0, -1, 1]


def test_a_folder_around_all_classes_of_one_side_is_no_part_of_their_names() -> None:
    around = tuple(f"photos/{name}" for name in ANIMALS)
    for classes, low in ((ANIMALS, around), (around, ANIMALS)):
        assert resolve_pairing("auto", classes, low).label_of_class.tolist() == list(range(10))
        assert f"spelled differently: {classes[0]!r} = {low[0]!r}" in lines(classes, low)
    assert resolve_pairing("auto", ("a", "A"), ("x/A", "x/a")).label_of_class.tolist() == [1, 0]
    two_alphabets = resolve_pairing("auto", ("Greek/1", "Greek/2"), ("Latin/1", "Latin/2"))
    assert two_alphabets.label_of_class.tolist() == [-1, -1]
    assert resolve_pairing("auto", DIGITS, tuple(f"x/{digit}" for digit in (*DIGITS, "10"))).pairing == "independent"


@pytest.mark.parametrize(
    ("classes", "low", "setting"),
    [
        (("cat", "dog"), ("cat/2020", "cat/2021", "dog/2020"), "data.low_quality_class_level=1"),
        (("cat/2020", "Dog/2020"), ("cat", "dog"), "data.class_level=1"),
        (("cat", "dog", "eel"), ("2020/cat", "2020/dog", "2021/cat"), "data.low_quality_class_level=2"),
        (("cat", "dog"), ("ant/2020", "bee/2020"), ""),
    ],
)
def test_a_level_of_folders_that_is_called_as_the_other_side_is_named_with_its_setting(
    classes: tuple[str, ...], low: tuple[str, ...], setting: str
) -> None:
    assert resolve_pairing("auto", classes, low).level_setting == setting
    assert (f"{setting} makes them the classes" in lines(classes, low)) == bool(setting)


def test_exact_names_come_first() -> None:
    assert resolve_pairing("auto", ("Cat", "cat"), ("cat", "Cat")).label_of_class.tolist() == [1, 0]


def test_classes_of_one_side_are_named() -> None:
    text = lines(ANIMALS, (*ANIMALS[:8], "zebra"))
    assert "matched (auto: 8 of 10 classes of the high-quality images are among the low-quality ones)" in text
    assert "no low-quality images of 2 classes ('ibis', 'jay'); those of any class take their place" in text
    assert "low-quality images only of 1 class ('zebra')" in text


def test_the_weaker_pairing_is_never_taken_without_a_reason() -> None:
    few = lines(ANIMALS, (*ANIMALS[:3], "zebra"))
    assert "independent (auto: only 3 of 10 classes of the high-quality images are among the low-quality ones; " in few
    assert "use data.pairing=matched)" in few
    assert "no class name in common, such as 'a', 'b' and 'x', 'y'; if some mean the same, rename those of" in lines(
        AB, XY
    )
    assert "low-quality images have no labels" in lines(AB, ())
    assert "more classes, and all names are numbers" in lines(DIGITS, (*DIGITS, "10"))


def test_typing_errors_are_named_and_not_mended() -> None:
    classes, low = ("ant", "tomato", "potato", "leek"), ("ant", "tomatoe", "potato", "leek")
    assert resolve_pairing("auto", classes, low).label_of_class.tolist() == [0, -1, 2, 3]
    assert "names that may be meant for the same: 'tomato' = 'tomatoe'; if so, rename those of one side" in lines(
        classes, low
    )


@pytest.mark.parametrize(
    ("name", "other"),
    [("caf\u00e9", "cafe"), ("\u043f\u0451\u0441", "\u043f\u0435\u0441"), ("cat", "c\u0430t")],
)
def test_names_that_differ_in_accents_or_in_letters_of_another_script_are_named_and_not_mended(
    name: str, other: str
) -> None:
    classes, low = ("ant", "bee", name), ("ant", "bee", other)
    assert resolve_pairing("auto", classes, low).label_of_class.tolist() == [0, 1, -1]
    assert f"names that may be meant for the same: {name!r} = {other!r}; if so" in lines(classes, low)


def test_a_second_spelling_of_a_class_beside_its_namesake_is_named() -> None:
    assert "may be meant for the same: 'cat' = 'Cat'; if so" in lines(("cat", "dog"), ("Cat", "cat", "dog"))


def test_two_letters_changed_about_are_a_typing_error_and_numbered_names_are_none() -> None:
    assert "'dog' = 'dgo'" in lines(("ant", "cat", "dog"), ("ant", "cat", "dgo"))
    numbered = tuple(f"kind {number}x" for number in range(40))
    assert "may be meant" not in lines(("ant", *numbered), ("ant", *(f"kind {number}y" for number in range(40))))


def test_classes_too_small_to_take_part_do_not_make_numbers_coincide_by_accident() -> None:
    assert resolve_pairing("auto", DIGITS[:9], DIGITS).pairing == "independent"
    assert resolve_pairing("auto", DIGITS[:9], DIGITS, small=("9",)).pairing == "matched"


def test_of_very_many_names_few_are_listed_and_no_typing_errors_looked_for() -> None:
    classes = tuple(f"class {number}" for number in range(5_000))
    text = lines(classes, tuple(f"group {number}" for number in range(5_000)))
    assert len(text) < 300


@given(st.text(max_size=8))
def test_folding_a_name_twice_changes_nothing_more(name: str) -> None:
    assert fold_name(fold_name(name)) == fold_name(name)
    assert fold_name(name) == fold_name(f"  {unicodedata.normalize('NFD', name)} ")

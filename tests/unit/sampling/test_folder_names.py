from __future__ import annotations

from ctfgan.sampling.names import folder_names


def test_ordinary_names_stay() -> None:
    assert folder_names(["cat", "dog-2", "x_y.z"]) == ["cat", "dog-2", "x_y.z"]


def test_no_name_leaves_the_folder() -> None:
    for name in folder_names(["..", ".", "a/b", "/etc", "a\\b", "宪"]):
        assert "/" not in name
        assert "\\" not in name
        assert name not in {".", ".."}


def test_names_stay_apart_where_case_does_not_count() -> None:
    names = folder_names(["A", "a", "b", "straße", "STRASSE"])
    assert len({name.casefold() for name in names}) == 5
    assert names[2] == "b"


def test_a_number_does_not_make_a_name_that_is_there_already() -> None:
    names = folder_names(["A", "a", "A.1", "a.2"])
    assert len({name.casefold() for name in names}) == 4
    assert names[2:] == ["A.1", "a.2"]


def test_long_names_stay_apart_and_are_short_enough_for_any_file_system() -> None:
    long = ["宪" * 100, "宪" * 101, "x" * 255, "x" * 200]
    names = folder_names(long)
    assert len(set(names)) == 4
    assert all(len(name.encode()) <= 200 for name in names)
    assert names[3] == long[3]
    assert names[0].startswith("宪宪宪")

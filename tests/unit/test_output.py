from __future__ import annotations

from ctfgan.cli.output import folder_names


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

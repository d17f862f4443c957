from __future__ import annotations

from pathlib import Path, PurePath, PureWindowsPath
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ctfgan.cli.enhance import output_names
from ctfgan.cli.options import write_new
from ctfgan.core.errors import CtfganError
from ctfgan.sampling.names import folder_names, path_names


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


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("CON", "%43ON"), ("nul", "%6Eul"), ("Com1", "%43om1"), ("LPT1.2024", "%4CPT1.2024"),
        ("aux.tar.gz", "%61ux.tar.gz"),
        ("prn ", "%70rn%20"), ("COM²", "%43OM²"), ("CONIN$", "%43ONIN$"), ("trailing ", "trailing%20"),
        ("a.b ", "a.b%20"),
        ("a.b.", "a.b%2E"), ("v1. .", "v1. %2E"), (".hidden.x", "%2Ehidden.x"), ("100 %", "100 %25"),
    ],
)  # fmt: skip
def test_what_windows_refuses_is_percent_encoded(name: str, folder: str) -> None:
    assert folder_names([name]) == [folder]


@pytest.mark.parametrize("name", ["console", "null", "COM", "com10", "lpt", "auxiliary.x", "x.con", " con", "a b"])
def test_what_windows_takes_stays(name: str) -> None:
    assert folder_names([name]) == [name]


PARTS = st.sampled_from(["con", "NUL", "Com1", "lpt9", "aux", ".", " ", "/", "\\", "%", "a", "A", "宪", "\n", "ß", "$"])


@given(st.lists(st.lists(PARTS, min_size=1, max_size=4).map("".join), min_size=1, max_size=8, unique=True))
@example(["con", "CON", "%63on"])
def test_folders_of_any_names_are_apart_lead_back_and_exist_on_windows(names: list[str]) -> None:
    folders = folder_names(names)
    assert len({folder.casefold() for folder in folders}) == len(names)
    for folder in folders:
        assert not PureWindowsPath(folder).is_reserved()
        assert folder[-1] not in ". "
        assert not set(folder) & set('/\\:*?"<>|\n')
    for name, folder in zip(names, folders, strict=True):
        assert name in (unquote(folder), unquote(folder.rpartition(".")[0])), "the name, or the name and a number"


def test_a_path_keeps_its_folders_and_each_part_is_safe_where_it_is() -> None:
    paths = [PurePath(path) for path in ("a/x", "a/con/x", "A/y", "x", "b/a/x", "b/a/X")]
    assert path_names(paths) == ["a.2/x", "a.2/%63on/x", "A.1/y", "x", "b/a/x.1", "b/a/X.2"]


@pytest.mark.parametrize(
    ("given", "files", "outputs"),
    [
        (["in"], ["in/cat/0.png", "in/dog/0.png", "in/1.jpg"], ["cat/0.png", "dog/0.png", "1.png"]),
        (["in/0.png", "more"], ["in/0.png", "more/a/0.png"], ["0.png", "a/0.png"]),
        (["one", "two"], ["one/0.png", "two/0.png"], ["one/0.png", "two/0.png"]),
        (["p/in", "q/in"], ["p/in/0.png", "q/in/0.jpg", "q/in/1.jpg"], ["p/in/0.png", "q/in/0.png", "q/in/1.png"]),
        (["in"], ["in/x.jpg", "in/x.png", "in/y.png"], ["x.jpg.png", "x.png.png", "y.png"]),
        (["in"], ["in/a.png", "in/A.png"], ["a.1.png", "A.2.png"]),
        (["in"], ["in/nul.png"], ["%6Eul.png"]),
        (["."], ["cat/v1.2.png"], ["cat/v1.2.png"]),
        (["e/x/../y", "e/x"], ["e/x/../y/a.png", "e/x/a.png"], ["y/a.png", "x/a.png"]),
    ],
)
def test_an_output_is_called_so_that_its_input_is_known(given: list[str], files: list[str], outputs: list[str]) -> None:
    assert output_names([Path(path) for path in given], [Path(file) for file in files]) == outputs


def test_a_name_that_was_taken_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    assert write_new(tmp_path / "x.png", b"one") == tmp_path / "x.png"
    assert write_new(tmp_path / "x.png", b"two") == tmp_path / "x-2.png"
    assert [(tmp_path / name).read_bytes() for name in ("x.png", "x-2.png")] == [b"one", b"two"]
    with pytest.raises(CtfganError, match="cannot be written"):
        write_new(tmp_path / "none" / "x.png", b"three")

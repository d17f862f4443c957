"""Names of files are bytes, and old archives and disks have some that are no UTF-8: they end no command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path, PurePath

import pytest

import ctfgan
from ctfgan.cli.enhance import output_names
from ctfgan.core.errors import ConfigError
from ctfgan.core.files import read_json
from ctfgan.core.text import utf8
from ctfgan.data.fonts import FontKind, cached_faces
from ctfgan.data.sources.registry import open_source
from ctfgan.reports.document import Heading, write_document
from ctfgan.sampling.names import folder_names
from tests.conftest import Outcome

LATIN_1 = os.fsdecode("M\u00fcller".encode("latin-1"))

only_bytes = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are letters here")


@pytest.fixture
def root(tmp_path: Path, cache: Path, write_classes: Callable[..., Path]) -> Path:
    return write_classes(tmp_path / LATIN_1, {"a": 6, "b": 6})


@only_bytes
def test_a_checked_folder_has_its_name_in_the_report(root: Path, run_cli: Callable[..., Outcome]) -> None:
    outcome = run_cli("data", "check", root, "--json", root.parent / "report.json")
    assert outcome.code == 0, outcome
    assert json.loads((root.parent / "report.json").read_text(encoding="utf-8"))["sets"][0]["location"] == str(root)


@only_bytes
def test_a_folder_is_packed_and_says_where_it_came_from(root: Path, run_cli: Callable[..., Outcome]) -> None:
    outcome = run_cli("data", "build", root, root.parent / "built")
    assert outcome.code == 0, outcome
    assert read_json(root.parent / "built/packed.json")["survey"]["location"] == str(root)
    assert open_source(str(root.parent / "built")).classes == ("a", "b")


@only_bytes
def test_fonts_are_looked_for_in_such_a_folder(root: Path) -> None:
    def damaged(file: Path, characters: str) -> list[object]:
        raise ValueError("no font")

    (root / "x.ttf").write_bytes(b"x")
    kind = FontKind((".ttf",), damaged, keeps_drawings=False, version="1")  # type: ignore[arg-type]
    for _ in range(2):  # from the file, then from the cache
        faces, _ = cached_faces(kind, "ab", [root / "x.ttf"])
        assert faces.unreadable == ((str(root / "x.ttf"), "no font"),)


def test_a_recipe_names_the_setting_that_is_no_text() -> None:
    place = f"data.high_quality=/home/{LATIN_1}"
    with pytest.raises(ConfigError, match=r"data\.high_quality is '/home/M\\udcfcller', which is no text in UTF-8; "):
        ctfgan.recipe("ctf-folders", place)


def test_results_have_names_of_letters_that_lead_back() -> None:
    assert folder_names([LATIN_1]) == ["M%FCller"]
    assert output_names([Path("scans")], [Path("scans", LATIN_1, "1.png")]) == ["M%FCller/1.png"]


def test_reports_spell_what_is_no_letter_as_screens_do(tmp_path: Path) -> None:
    for file in write_document([Heading(f"Run {LATIN_1}", 1)], tmp_path, "report"):
        assert "Run M\\udcfcller" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [LATIN_1, f"\\{LATIN_1}\\", '"\udcff"', "宪", "\\udcff"])
def test_json_reads_back_what_was_written(name: str) -> None:
    assert json.loads(utf8(json.dumps(PurePath(name).name, ensure_ascii=False))) == PurePath(name).name

"""Places that cannot be written to, and users without a home: what is said, and what works all the same."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ctfgan
from ctfgan.core import files
from ctfgan.core.errors import ConfigError, CtfganError, RunError
from ctfgan.core.files import cache_folder, expanded, make_room, new_folder, write_file
from ctfgan.data.published import data_home
from ctfgan.evaluation import Evaluation
from ctfgan.evaluation.result import are_figures
from ctfgan.storage.run_folder import RunFolder
from tests.conftest import Outcome


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run that nobody measured."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "figures.json").unlink(missing_ok=True)
    return run


@pytest.fixture
def read_only(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose folder takes no file; the superuser of a test may write anywhere."""
    beside, access = files._beside, os.access

    def nowhere(path: Path, kind: str) -> Path:
        return (run / "recipe.json" / path.name) if run in path.parents else beside(path, kind)

    monkeypatch.setattr("ctfgan.core.files._beside", nowhere)
    monkeypatch.setattr(
        "os.access",
        lambda path, mode, **more: (
            access(path, mode, **more) and not (mode == os.W_OK and Path(path).is_relative_to(run))
        ),
    )
    return run


def content(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_figures_are_shown_before_they_are_stored(read_only: Path) -> None:
    shown: list[Evaluation] = []
    with pytest.raises(RunError, match=r"the figures are not stored: .*figures.json cannot be written .*--out FILE"):
        ctfgan.evaluate(read_only, images=100, show=shown.append)
    assert [result.protocol.fake for result in shown] == [100]


def test_the_command_shows_them_and_says_so_before_and_after(read_only: Path, run_cli: Callable[..., Outcome]) -> None:
    outcome = run_cli("evaluate", read_only, "--images", 100)
    assert outcome.code == 2
    assert outcome.out.startswith(f"note: {read_only} is no folder that you may write to; the figures are shown")
    assert "protocol: n real" in outcome.out
    assert len(outcome.err.splitlines()) == 1
    assert "--out FILE stores them elsewhere" in outcome.err


def test_figures_go_where_they_are_asked_to_and_the_run_stays_as_it_is(
    read_only: Path, run_cli: Callable[..., Outcome], tmp_path: Path
) -> None:
    before = content(read_only)
    out = tmp_path / "else.json"
    outcome = run_cli("evaluate", read_only, "--images", 100, "--out", out)
    assert outcome.code == 0, outcome
    assert f"written to {out}" in outcome.out
    assert content(read_only) == before
    assert json.loads(out.read_text())["protocol"]["fake"] == 100


def test_figures_elsewhere_are_those_that_the_run_would_have(run: Path, tmp_path: Path) -> None:
    ctfgan.evaluate(run, images=100, out=tmp_path / "else.json")
    ctfgan.evaluate(run, images=100)
    assert json.loads((tmp_path / "else.json").read_text()) == json.loads((run / "figures.json").read_text())


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"format": 3'])
def test_a_file_that_holds_no_figures_is_not_written_over(text: str, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.json"
    out.write_text(text)
    with pytest.raises(ConfigError, match=r"holds no figures.*choose another --out"):
        ctfgan.evaluate(run, out=out)
    assert out.read_text() == text


def test_a_place_for_figures_that_cannot_be_is_refused_before_anything_is_measured(run: Path) -> None:
    with pytest.raises(CtfganError, match="cannot be written"):
        ctfgan.evaluate(run, out=run / "recipe.json" / "figures.json", show=lambda result: pytest.fail("measured"))


def test_a_report_of_such_a_run_wants_another_place_before_it_works(
    read_only: Path, run_cli: Callable[..., Outcome], tmp_path: Path
) -> None:
    refused = run_cli("report", read_only)
    assert (refused.code, refused.out) == (2, "")
    assert f"you may not write into {read_only}; choose another place with --out" in refused.err
    assert run_cli("report", read_only, "--out", tmp_path / "page.html", "--images", 100).code == 0


def test_reading_commands_need_no_room_in_the_run(
    read_only: Path, run_cli: Callable[..., Outcome], tmp_path: Path
) -> None:
    before = content(read_only)
    assert run_cli("compare", read_only, "--out", tmp_path / "plot.png").code == 0
    assert run_cli("sample", read_only, "--out", tmp_path / "sheet.png").code == 0
    assert content(read_only) == before


@pytest.mark.parametrize(
    "command",
    [("sample", "RUN"), ("enhance", "RUN", "RUN", "--class", "A"), ("export", "RUN", "--to", "onnx", "--out", "graphs"),
     ("data", "check", "RUN", "--json", "report.json")],
    ids=lambda command: command[0],
)  # fmt: skip
def test_a_place_that_takes_no_files_is_refused_before_the_work(
    command: tuple[str, ...], read_only: Path, run_cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    for work in ("ctfgan.sampling.model.load", "ctfgan.export.export_graphs", "ctfgan.data.inspection.inspect"):
        monkeypatch.setattr(work, lambda *_: pytest.fail("it works first"))
    monkeypatch.chdir(read_only)
    refused = run_cli(*(str(read_only) if word == "RUN" else word for word in command))
    option = "--json" if command[0] == "data" else "--out"
    assert refused.err == f"ctfgan: you may not write into {read_only}; choose another place with {option}\n"
    assert refused.code == 2


def test_a_run_that_cannot_be_written_to_is_not_trained(tmp_path: Path) -> None:
    (tmp_path / "run" / ".lock").mkdir(parents=True)  # where the lock should be
    with (
        pytest.raises(RunError, match=r"run .*/run cannot be written to \(.*; make its folder writable, or go on with"),
        RunFolder(tmp_path / "run").held(),
    ):
        pytest.fail("held")


# The cache


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CTFGAN_CACHE", str(tmp_path / "file" / "cache"))
    return tmp_path / "file" / "cache"


def write_folder(path: Path) -> None:
    with new_folder(path):
        pytest.fail("there is no such place")


@pytest.mark.parametrize("write", [write_folder, make_room, lambda path: write_file(path, b"")])
def test_a_cache_that_cannot_be_written_names_the_variable_that_moves_it(
    write: Callable[[Path], None], no_cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(CtfganError, match=r"cannot be written .*; set CTFGAN_CACHE to a folder that you may write to"):
        write(no_cache / "images" / "x")
    with pytest.raises(CtfganError, match=r"cannot be written .*; choose a folder that you may write to"):
        write(tmp_path / "file" / "other")


def test_the_folder_of_a_recogniser_is_made_before_it_is_trained(
    no_cache: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ctfgan.metrics.eval_classifier.EvalClassifierTrainer._train", lambda *_: pytest.fail("trained")
    )
    monkeypatch.delenv("CTFGAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(no_cache))
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["recogniser"]
    with pytest.raises(CtfganError, match="set CTFGAN_CACHE"):
        ctfgan.train(ctfgan.recipes.recipe.parse_recipe(recipe, "test"), run.parent / "new")


# Homes


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("CTFGAN_CACHE", "CTFGAN_DATA", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_is_told_the_variables(
    tmp_path: Path, run_cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CtfganError, match="no home folder; set CTFGAN_CACHE to a folder that you may write to"):
        cache_folder()
    with pytest.raises(CtfganError, match="no home folder; set CTFGAN_DATA"):
        data_home()
    write_file(tmp_path / "x", b"")  # needs no cache
    with pytest.raises(CtfganError, match="choose a folder that you may write to"):
        write_file(tmp_path / "x" / "y", b"")
    outcome = run_cli("train", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert outcome.err == "ctfgan: this user has no home folder; set CTFGAN_CACHE to a folder that you may write to\n"


def test_a_tilde_of_nobody_is_a_name_like_in_a_shell(
    tmp_path: Path, run_cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/x") == tmp_path / "x"
    assert expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    for option in ("--hq", "--from", "--fonts"):
        outcome = run_cli("train", option, "~nobody-of-this-name/x", "--out", tmp_path / "run")
        assert outcome.code == 2, outcome
        assert "~nobody-of-this-name/x" in outcome.err
        assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    "content", [{"format": "folders"}, {"format": 1, "rows": {}}, {"protocol": {"extractors": {}}, "rows": {"x": 3}}]
)
def test_what_only_looks_like_figures_is_not_written_over(content: dict[str, object]) -> None:
    assert not are_figures(content)
    assert are_figures({"protocol": {"extractors": {}}, "rows": {"x": {}}})

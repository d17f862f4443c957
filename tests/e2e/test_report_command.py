"""``ctfgan report`` as a user types it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunCli = Callable[..., Any]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(finished_run, "run"))


def test_a_page_is_written_into_the_run_and_again_whenever_it_is_asked_for(run_cli: RunCli, run: Path) -> None:
    first = run_cli("report", run, "--images", 100)
    assert first.code == 0, first
    assert "report: run/report.html (" in first.out
    page = (run / "report.html").read_text()
    assert "image/svg+xml" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    shutil.rmtree(run / "bundle")
    again = run_cli("report", run, "--images", 100)
    assert again.code == 0, again
    assert "unfinished" in (run / "report.html").read_text()


@pytest.mark.slow
def test_two_runs_share_a_page_in_the_folder_where_one_is(run_cli: RunCli, run: Path) -> None:
    done = run_cli("report", run, run, "--images", 100)
    assert done.code == 0, done
    assert "2 runs side by side" in Path("report.html").read_text()
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none is no run folder; give the folder that 'ctfgan train' printed"),
        (["run", "none"], "none is no run folder"),
        (["run/sheets"], "run/sheets has no recipe.json, so it is no run folder"),
        (["run", "--out", "page.pdf"], "page.pdf does not end in .html"),
        (["run", "--out", "none/page.html"], "none does not exist; make it first"),
        (["run", "--out", "mine.html"], "mine.html exists already; choose another --out, or move it away"),
        (["run", "--out", "empty.html"], "empty.html exists already; choose another --out, or move it away"),
        (["run", "--device", "gpu9"], "device 'gpu9' is not available here"),
        (["run", "--images", "3"], "3 is not in the range x>=100"),
    ],
)
def test_what_cannot_be_reported_is_refused_before_any_work(
    refused: Callable[..., str], run: Path, arguments: list[str], message: str
) -> None:
    Path("mine.html").write_text("<p>my notes on ctfgan report</p>")
    Path("empty.html").mkdir()
    assert message in refused("report", *arguments)


def test_a_file_of_somebody_else_in_the_runs_folder_is_left_alone(refused: Callable[..., str], run: Path) -> None:
    (run / "report.html").write_text("mine")
    assert "run/report.html exists already; choose another --out" in refused("report", "run")


def test_training_and_evaluation_point_to_the_report(run_cli: RunCli, run: Path) -> None:
    assert run_cli("evaluate", run, "--images", 100).out.endswith("Next: ctfgan report run\n")
    assert run_cli("resume", run).out.endswith("All about it on one page: ctfgan report run\n")

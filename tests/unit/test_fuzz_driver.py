"""The command ``python -m fuzz``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from fuzz import guided
from fuzz.driver import main

ROOT = Path(__file__).parents[2]
BROKEN = """
import sys
from dataclasses import replace
from pathlib import Path
from fuzz.driver import Run
from fuzz.judging import check
from fuzz.readers.gnt import READER

def one_input(content):
    READER.one_input(content)
    check(len(content) % 2 == 0, "an odd size")

seeds = [content * 2 for content in READER.seeds()]
reader = replace(READER, one_input=one_input, seeds=lambda: seeds)
Run(reader, 0, Path(sys.argv[1]) / "out", Path(sys.argv[1]) / "last").go(300, sys.argv[2] == "atheris")
"""


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def engines() -> list[object]:
    missing = guided.find_spec("atheris") is None
    marks = [pytest.mark.slow, pytest.mark.skipif(missing, reason="atheris is not installed")]
    return [pytest.param("random", marks=pytest.mark.slow), pytest.param("atheris", marks=marks)]


@pytest.mark.parametrize("engine", engines())
def test_a_sound_reader_ends_with_a_summary_and_code_0(engine: str, tmp_path: Path) -> None:
    done = ran("-m", "fuzz", "gnt", "--runs=200", f"--engine={engine}", f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["inputs"], summary["findings"]) == (200, 0)
    assert summary["accepted"] > 20
    assert summary["refused"] > 20
    assert "\tNEW" not in done.stderr
    assert (tmp_path / "gnt-corpus").is_dir() == (engine == "atheris")


@pytest.mark.parametrize("engine", engines())
def test_a_finding_is_saved_and_told_by_the_exit_code(engine: str, tmp_path: Path) -> None:
    done = ran("-c", BROKEN, str(tmp_path), engine)
    assert done.returncode == 3, done.stderr
    summary, finding = done.stdout.splitlines()
    assert json.loads(summary)["causes"] == 1
    assert "accepted: an odd size" in finding
    assert len((tmp_path / "out" / "gnt-001.input").read_bytes()) % 2 == 1


def test_without_atheris_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guided, "find_spec", lambda name: None)
    done = CliRunner().invoke(main, ["gnt", "--engine=atheris"])
    assert done.exit_code == 2
    assert "Error: --engine atheris needs atheris; pip install -e '.[fuzz]', or leave the option out" in done.output

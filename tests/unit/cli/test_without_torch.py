"""What a command says before torch is imported, which takes seconds: help, lists, the first line, and mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Where torch cannot be imported, whoever needs it fails with a trace.
RUN = """
import sys
sys.modules["torch"] = None
sys.argv[0] = "ctfgan"
from ctfgan.cli.main import main
main()
"""


def answer(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--help"], "Train a generator"),
        (["train", "--help"], "--hq-fraction"),
        (["recipes"], "ctf-folders"),
        (["recipes", "ctf-folders"], '"resolution"'),
        (["data", "list"], "cifar10"),
    ],
)
def test_help_and_lists_need_no_torch(arguments: list[str], text: str, tmp_path: Path) -> None:
    ended = answer(tmp_path, *arguments)
    assert (ended.returncode, text in ended.stdout) == (0, True), ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "--hqq", "x"], "No such option '--hqq'"),
        (["train", "--recipe", "ctf-folder"], "Did you mean 'ctf-folders'?"),
        (["train", "--set", "genrate.steps=3"], "Did you mean 'method.generate.steps'?"),
        (["train", "--hq", "nowhere"], "nowhere does not exist"),
        (["train", "--hq", "there", "--lq", "nowhere"], "nowhere does not exist"),
        (["train", "--hq", "there", "--reference", "nowhere"], "nowhere does not exist"),
        (["train", "--hq", "cifar10"], "ctfgan data fetch cifar10"),
        (["train", "--out", "there"], "there exists already"),
        (["resume", "nowhere"], "nowhere is no run folder"),
        (["evaluate", "nowhere"], "nowhere is no run folder"),
        (["report", "nowhere"], "nowhere is no run folder"),
        (["compare", "nowhere"], "nowhere is no run folder"),
        (["sample", "nowhere"], "nowhere does not exist; give a run folder or a bundle folder"),
        (["enhance", "nowhere", "image.png", "--class", "A"], "nowhere does not exist"),
        (["serve", "nowhere"], "nowhere does not exist"),
        (["export", "nowhere", "--to", "onnx", "--out", "graphs"], "nowhere does not exist"),
        (["classes", "show", "nowhere"], "nowhere does not exist"),
        (["train", "--hq", "there", "--from", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_told_before_torch_is_there(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTFGAN_DATA", str(tmp_path / "data"))
    (tmp_path / "there" / "class").mkdir(parents=True)
    ended = answer(tmp_path, *arguments)
    assert (ended.returncode, message in ended.stderr) == (2, True), ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_first_line_of_a_training_says_what_is_trained_before_torch_is_there(tmp_path: Path) -> None:
    ended = answer(tmp_path, "train", "--recipe", "projection-glyphs", "--set", "adversarial.steps=7")
    assert ended.stdout.splitlines() == ["recipe projection-glyphs with method.adversarial.steps=7"]
    assert "import of torch halted" in ended.stderr  # so it is torch that came next

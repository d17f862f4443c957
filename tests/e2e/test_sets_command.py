"""``ctfgan sample --out DIR`` as a user types it: a set of samples, interrupted, gone on with, balanced, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import snapshot

PATIENCE = 120.0  # seconds are usual, but machines can be busy


def images(folder: Path) -> dict[str, int]:
    return {place.name: len(list(place.glob("*.png"))) for place in sorted(folder.iterdir()) if place.is_dir()}


def test_a_set_is_announced_made_checked_and_read_back(
    run_cli: Callable, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("sample", finished_run, "--all-classes", "-n", 33, "--out", "more", "--device", "cpu")
    planned = run_cli(*arguments, "--dry-run")
    assert planned.code == 0, planned
    assert "more: 132 images of 4 classes, 33 each, as folders" in planned.out
    assert "at most 528 KiB on disk" in planned.out
    assert not Path("more").exists()
    made = run_cli(*arguments)
    assert made.code == 0, made
    assert "132 images, " in made.out
    assert images(Path("more")) == dict.fromkeys("ABCD", 33)
    again = run_cli(*arguments)
    assert (again.code, "more is complete already: 132 images" in again.out) == (0, True)
    shutil.rmtree("more/B")
    mended = run_cli(*arguments)
    assert "132 images (99 were there already)" in mended.out
    checked = run_cli("data", "check", "more")
    assert checked.code == 0, checked
    assert "132 images of 4 classes" in checked.out
    assert "ignored" not in checked.out


def test_real_images_are_filled_up_in_shards(
    run_cli: Callable, write_classes: Callable, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_classes(Path("real"), {"A": 5, "C": 2, "E": 9})
    made = run_cli("sample", finished_run, "--balance-with", "real", "--out", "shards", "--format", "parquet")
    assert made.code == 0, made
    for words in ("real: 7 real images of 4 classes, 0 to 5 each, to be filled up to 5 each (1 full already)",
                  "1 class of real unknown to the model, left alone: 'E'",
                  "2 classes without a real image, made of generated ones alone: 'B', 'D'",
                  "shards: 13 images of 3 classes, 3 to 5 each, as parquet"):  # fmt: skip
        assert words in made.out
    checked = run_cli("data", "check", "shards")
    assert "13 images of 4 classes" in checked.out, "labels count all classes, also one that lacks no image"
    full = run_cli("sample", finished_run, "--balance-with", "real", "--class", "A", "-n", 4, "--out", "none")
    assert (full.code, "nothing to make: no class lacks an image" in full.out) == (0, True)
    assert not Path("none").exists()


def start(finished_run: Path, out: Path) -> subprocess.Popen[str]:
    """Make a set of which at least one more image is there, but not all."""
    command = [sys.executable, "-m", "ctfgan", "sample", str(finished_run), "--device", "cpu", "--class", "A",
               "--class", "B", "-n", "1000", "--out", str(out)]  # fmt: skip
    before = sum(images(out).values()) if out.exists() else 0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if out.exists() and sum(images(out).values()) > before:
            return process
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"no image was written: {process.communicate()}")


@pytest.mark.slow
def test_a_set_outlives_ctrl_c_and_kill(finished_run: Path, tmp_path: Path) -> None:
    """Three processes: one is interrupted, one is killed, the last one ends what they began."""
    out = tmp_path / "set"
    process = start(finished_run, out)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    (line,) = error.splitlines()
    assert line.startswith("ctfgan: stopped after ")
    assert line.endswith(f" of 2,000 images, which stay in {out}; run the same command again to go on")
    kept = snapshot(out / "A")
    process = start(finished_run, out)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert json.loads((out / "manifest.json").read_text())["complete"] is False
    process = start(finished_run, out)
    told, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, error
    assert "were there already), " in told
    assert images(out) == {"A": 1000, "B": 1000}
    assert kept.items() <= snapshot(out / "A").items()
    assert sorted(path.name for path in out.iterdir()) == ["A", "B", "manifest.json"]
    assert json.loads((out / "manifest.json").read_text())["complete"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--all-classes", "--class", "A", "--out", "new"], "--all-classes and --class contradict each other"),
        (["--format", "parquet"], "--format is for a set of samples and samples.png is a sheet; name a folder"),
        (["--balance-with", "real", "--out", "a.png"], "--balance-with is for a set of samples and a.png is a sheet"),
        (["--dry-run"], "--dry-run is for a set of samples"),
        (["--out", "other"], "other exists already; choose another --out, or move it away"),
        (["--out", "file"], "file exists already; choose another --out"),
        (["--out", "none/new"], "does not exist; make it first, or choose another --out"),
        (["--out", "new.jpg"], "new.jpg names a format that is not written"),
        (["--class", "Ä", "--out", "new"], "Unknown class 'Ä'. Known: A, B, C, D."),
        (["--balance-with", "gone", "--out", "new"], "gone does not exist; give a folder"),
        (["--balance-with", "other", "--out", "new"], "none of the model's classes (it has 'x'"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_sentence(
    refused: Callable, write_classes: Callable, finished_run: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    write_classes(tmp_path / "other", {"x": 2, "y": 2})
    (tmp_path / "file").write_text("mine")
    assert message in refused("sample", finished_run, *options)


def test_the_help_shows_how_to_make_a_training_set() -> None:
    names = os.environ | {"COLUMNS": "100"}
    command = [sys.executable, "-m", "ctfgan", "sample", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=names).stdout
    for words in ("--all-classes -n 100 --out more", "--balance-with photos", "--cas", "[default: 16]"):
        assert words in shown

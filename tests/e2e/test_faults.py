"""The disk is full, the images are gone, the process is killed: the real command line, and what one types next."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ctfgan.storage.run_folder import RunFolder
from tests.conftest import Outcome

pytestmark = pytest.mark.slow

SETTINGS = (
    "glyphs.characters=0123", "glyphs.images_per_class=12", "data.resolution=16", "device=cpu", "keep_checkpoints=1",
    "transfer.steps=2", "generate.steps=2", "transfer.batch_size=6", "generate.batch_size=6",
    "generator_width=0.05", "discriminator_width=0.05", "checks.every=1", "checks.images=16", "checks.sheet_rows=1",
    "recogniser.images=256", "recogniser.width=4", "journal_every=1", "evaluation.images=100",
)  # fmt: skip
TRAIN = ("train", *(part for setting in SETTINGS for part in ("--set", setting)), "--out")
REPOSITORY = Path(__file__).parents[2]


class SmallDisk:
    """A file system of its own, of 16 MB."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, room: int) -> None:
        """Fill it up but for ``room`` bytes."""
        self.clear()
        stat = os.statvfs(self.path)
        with (self.path / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, stat.f_bavail * stat.f_frsize - room))

    def clear(self) -> None:
        """Free what :meth:`leave` took."""
        (self.path / "ballast").unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)]
    if not sys.platform.startswith("linux") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here (needs Linux and root)")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    subprocess.run([sys.executable, "-m", "ctfgan", *TRAIN, str(run)], check=True, capture_output=True)
    return run


def result(run: Path) -> dict[str, object]:
    """What a run ended in, but for measured seconds."""
    files = [run / "bundle/model.safetensors", *(run / "sheets").iterdir()]
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    found: dict[str, object] = {str(file.relative_to(run)): file.read_bytes() for file in files}
    found["journal"] = [{**line, "seconds": 0} for line in lines]
    found["checkpoints"] = [path.name for path in RunFolder(run).checkpoints()]
    return found


def remains(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name != ".lock"]


def sentence(outcome: Outcome) -> str:
    """The one line that a refused command ended with."""
    assert outcome.code == 2, outcome
    (line,) = outcome.err.splitlines()
    return line


KB = 1 << 10
# What is written when a disk with so much room becomes full.
ROOMS = {0: "recipe", 12 * KB: "recogniser", 300 * KB: "step-00000000"}
LATER = [600 * KB, 820 * KB, 832 * KB, 844 * KB, 1000 * KB, 1400 * KB]


@pytest.mark.parametrize("room", [0, 300 * KB, *(pytest.param(room, marks=pytest.mark.slow) for room in
                                                [12 * KB, *LATER])])  # fmt: skip
def test_a_full_disk_ends_in_one_sentence_and_costs_nothing_that_was_saved(
    room: int, run_cli: Callable[..., Outcome], whole: Path, disk: SmallDisk
) -> None:
    run = disk.path / "run"
    disk.leave(room)
    line = sentence(run_cli(*TRAIN, run))
    assert "free some space" in line
    assert ROOMS.get(room, "") in line
    assert remains(disk.path) == []
    for checkpoint in RunFolder(run).checkpoints():
        RunFolder(run).load(checkpoint)
    disk.clear()
    again = run_cli("resume", run) if (run / "recipe.json").exists() else run_cli(*TRAIN, run)
    assert again.code == 0, (line, again)
    assert result(run) == result(whole), line


def test_a_disk_that_is_full_when_the_bundle_is_written_or_figures_are(
    run_cli: Callable[..., Outcome], whole: Path, disk: SmallDisk
) -> None:
    run = shutil.copytree(whole, disk.path / "run", ignore=shutil.ignore_patterns("bundle"))
    disk.leave(40 * KB)
    assert f"the disk is full, {run}/bundle was not written; free some space" in sentence(run_cli("resume", run))
    assert not (run / "bundle").exists()
    disk.clear()
    assert run_cli("resume", run).code == 0
    assert result(run) == result(whole)
    disk.leave(0)
    assert f"the disk is full, {run}/figures.json was not written" in sentence(run_cli("evaluate", run))
    assert not (run / "figures.json").exists()
    disk.clear()
    assert run_cli("evaluate", run).code == 0
    assert "figures" in json.loads((run / "bundle/provenance.json").read_text())
    assert remains(disk.path) == []


@pytest.mark.parametrize("room", [0, 8 * KB])
def test_a_disk_that_is_full_when_images_are_packed(
    room: int, run_cli: Callable[..., Outcome], disk: SmallDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTFGAN_CACHE", str(disk.path / "cache"))
    disk.leave(room)
    assert "the disk is full" in sentence(run_cli(*TRAIN, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert remains(disk.path) == []


def test_images_that_go_away_do_not_end_training_but_are_missed_afterwards(
    write_classes: Callable[..., Path], run_cli: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(tmp_path / "hq", {"a": 12, "b": 12})
    with monkeypatch.context() as patch:
        patch.setattr(
            "ctfgan.cli.console.TrainingView.on_stage_end", lambda *_: _remove(tmp_path / "hq", tmp_path / "x")
        )
        trained = run_cli(*TRAIN, tmp_path / "run", "--hq", tmp_path / "hq", "--recipe", "ctf-folders")
    assert trained.code == 0, trained
    assert not (tmp_path / "hq").exists()
    for command in ("evaluate", "resume"):
        if command == "resume":
            shutil.rmtree(tmp_path / "run/bundle")
        line = sentence(run_cli(command, tmp_path / "run"))
        assert str(tmp_path / "hq") in line
        assert line.endswith(f"(if the images moved, write their new place into {tmp_path}/run/recipe.json)")
    (tmp_path / "x").rename(tmp_path / "hq")
    assert run_cli("resume", tmp_path / "run").code == 0
    assert run_cli("evaluate", tmp_path / "run").code == 0


def _remove(folder: Path, to: Path) -> None:
    if folder.exists():
        folder.rename(to)


def test_packed_images_that_are_cut_off_under_a_run_end_it_and_are_named_by_the_next(
    write_classes: Callable[..., Path], run_cli: Callable[..., Outcome], tmp_path: Path
) -> None:
    """The file is mapped, so SIGBUS ends the process; the checkpoints stay."""
    write_classes(tmp_path / "hq", {"a": 300, "b": 300})
    assert run_cli("data", "build", tmp_path / "hq", tmp_path / "packed", "--size", 16).code == 0
    settings = [setting for setting in SETTINGS if not setting.startswith(("transfer.", "generate.", "glyphs."))]
    settings += ["adversarial.steps=100", "adversarial.batch_size=6"]
    arguments = ["train", "--recipe", "projection-folders", "--hq", tmp_path / "packed", "--out", tmp_path / "run"]
    arguments += [part for setting in settings for part in ("--set", setting)]
    lines = (
        "import os, sys, ctfgan.runs.new_run\nfrom ctfgan.cli.main import main\n"
        "from ctfgan.training.trainer import Trainer\n"
        "check = Trainer._check\n"
        f"Trainer._check = lambda *given: (check(*given), os.truncate({str(tmp_path / 'packed/images.npy')!r}, 4096))\n"
        f"sys.argv = {['ctfgan', *map(str, arguments)]!r}\nmain()\n"
    )
    ended = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGBUS, ended
    assert "Bus error" in ended.stderr
    folder = RunFolder(tmp_path / "run")
    folder.load(folder.checkpoints()[-1])
    line = sentence(run_cli("resume", tmp_path / "run"))
    assert f"{tmp_path}/packed/images.npy is damaged" in line


@pytest.mark.slow
@pytest.mark.parametrize("what", [("kill", "--kills", "4"), ("race", "--trials", "4")])
def test_killed_runs_resume_to_the_same_bits_and_one_of_two_at_once_is_refused(
    what: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, str(REPOSITORY / "benchmarks/faults.py"), *what, "--folder", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

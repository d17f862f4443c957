"""The terminal is closed, the reader of the output goes away: what becomes of a training, and of its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ctfgan.storage.run_folder import RunFolder
from tests.conftest import Outcome
from tests.e2e.test_faults import TRAIN

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and terminals")]

COMMAND = (sys.executable, "-m", "ctfgan", *TRAIN)
LONG = ("--set", "transfer.steps=3000", "--set", "checks.every=3000")
MEANWHILE = 100  # seconds


def wait_for(journal: Path) -> None:
    """Until steps are written down, so that training is under way."""
    deadline = time.monotonic() + MEANWHILE
    while not (journal.is_file() and b'"step"' in journal.read_bytes()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_finished(run: Path) -> bool:
    return (run / "bundle/model.safetensors").is_file()


def test_a_closed_terminal_saves_what_was_trained(run_cli: Callable[..., Outcome], tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen([*COMMAND, run, *LONG], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(run / "journal.jsonl")
    for _ in range(3):
        process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=MEANWHILE)
    assert process.returncode == 129
    assert "state saved; go on with 'ctfgan resume" in err
    newest = RunFolder(run).manifest(RunFolder(run).checkpoints()[-1])
    assert 0 < newest["stage_step"] < 3_000
    assert newest["stage"] == "transfer"


@pytest.mark.parametrize("ignored", [False, True], ids=["closed", "closed under nohup"])
def test_the_terminal_itself_goes_away(ignored: bool, tmp_path: Path) -> None:
    """A real one, with the bar on it: every write fails from then on."""
    run = tmp_path / "run"
    ours, theirs = os.openpty()
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" if ignored else ""
    # The leader of a session, whose first terminal becomes its own and tells it when it closes.
    program = (
        f"{ignore}import os, sys; os.setsid(); end = os.open(os.ttyname({theirs}), os.O_RDWR)\n"
        "for number in range(3): os.dup2(end, number)\n"
        f"os.close({ours}); os.close({theirs}); os.execv(sys.argv[1], sys.argv[1:])"
    )
    steps = () if ignored else LONG
    process = subprocess.Popen(
        [sys.executable, "-c", program, *COMMAND, run, *steps],
        pass_fds=(ours, theirs),
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    wait_for(run / "journal.jsonl") if not ignored else os.read(ours, 1)
    os.close(ours)
    assert process.wait(timeout=MEANWHILE) == (0 if ignored else 129)
    assert is_finished(run) == ignored
    if not ignored:
        assert RunFolder(run).manifest(RunFolder(run).checkpoints()[-1])["stage_step"] > 0


@pytest.mark.parametrize("reader", ["| head -n 1", "| true", "> /dev/full 2>&1", ">&- 2>&-"])
def test_a_training_ends_as_it_would_whoever_reads(reader: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    code = tmp_path / "code"
    script = f'("$@"; echo $? > {code}) {reader}'
    subprocess.run(["sh", "-c", script, "sh", *COMMAND, run], check=False, capture_output=True, timeout=MEANWHILE)
    assert code.read_text() == "0\n"
    assert is_finished(run)


def test_a_start_that_a_closed_terminal_ends_leaves_nothing_half_done(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen([*COMMAND, run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # what was found of the data
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=MEANWHILE)
    assert process.returncode == 129, err
    assert len(err.splitlines()) == 1
    assert not run.exists() or RunFolder(run).checkpoints() == []

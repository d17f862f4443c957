"""The scripts of ``examples/`` run as a reader would run them, only with fewer steps."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.storage.run_folder import RunFolder
from tests.conftest import TINY_RUN

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ("device=cpu", "generator_width=0.05", "discriminator_width=0.05", "recogniser.images=2000", "checks.images=32",
         "checks.every=4", "evaluation.images=200")  # fmt: skip

pytestmark = pytest.mark.slow


def run_example(name: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def options(*assignments: str) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


def test_one_file_trains_both_stages_and_draws_a_sheet(tmp_path: Path) -> None:
    run_example("ctf_in_one_file.py", "--steps", "2", "--out", str(tmp_path / "letters.png"))
    with Image.open(tmp_path / "letters.png") as picture:
        levels = np.asarray(picture.convert("L"))
    rows = levels[22:].reshape(8, -1)  # good, bad, G_LH's, five of G_A's; each with a margin
    assert levels.shape[1] == 10 * 50
    assert rows.std(axis=1).min() > 5, "a row of the sheet is empty"


def test_two_folders_become_a_generator(tmp_path: Path) -> None:
    out = run_example("own_folders.py", str(tmp_path / "shapes"), "--steps", "12", "--good", "40", "--cheap", "30",
                      *options(*QUICK))  # fmt: skip
    assert "top-1" in out
    assert "8 images of (32, 32, 3), labels [0, 0, 0, 0, 1, 1, 1, 1]" in out
    assert (tmp_path / "shapes/run/bundle").is_dir()
    counts = RunFolder(tmp_path / "shapes/run").read_json("data.json")["counts"]
    assert counts["high_quality"] + counts["reference"] <= 4 * 40


def test_an_observer_keeps_the_best_sheet(tmp_path: Path) -> None:
    out = run_example("watch_training.py", str(tmp_path / "run"), *options(*TINY_RUN[1:], "transfer.steps=8"))
    checks = RunFolder(tmp_path / "run").journal().read("check")
    best = min(checks, key=lambda check: check["distance"])
    assert f"best: {best['stage']}, step {best['step']}" in out
    assert out.count("distance") == len(checks) == 3
    assert (tmp_path / "run/best-sheet.png").is_file()


def test_networks_and_data_of_ones_own_learn_the_classes() -> None:
    *_, last = run_example("plain_objects.py").splitlines()
    widths = [float(text) for text in re.findall(r"'([\d.]+)'", last)]
    assert widths == pytest.approx([2, 6, 10, 14], abs=1)


def test_the_readme_shows_the_example_as_it_is() -> None:
    lines = (EXAMPLES / "plain_objects.py").read_text().splitlines()[1:]
    shown = (EXAMPLES.parent / "README.md").read_text()
    assert "\n".join(f"    {line}" for line in lines if line) in "\n".join(line for line in shown.splitlines() if line)


def shim(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def test_the_slurm_script_saves_when_its_time_is_over_and_resumes_in_the_next_job(tmp_path: Path) -> None:
    """The commands of Slurm are played by three-line scripts; torchrun, ctfgan and the signal are real."""
    tools, run = tmp_path / "bin", tmp_path / "run"
    shim(tools, "scontrol", f'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> {tmp_path}/requeued; fi')
    shim(tools, "srun", 'exec "$@"')
    shim(tools, "torchrun", f'exec {sys.executable} -m torch.distributed.run "$@"')
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NNODES": "1", "SLURM_GPUS_ON_NODE": "1", "SLURM_JOB_NODELIST": "n"}
    environment = {**os.environ, **job, "PATH": f"{tools}:{os.environ['PATH']}"}
    endless = options(*TINY_RUN, "transfer.steps=100000", "checks.every=100000", "journal_every=1")
    command = ["bash", str(EXAMPLES / "slurm.sbatch"), str(run), *endless]
    seen = 0
    for number in (1, 2):
        script = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seen = wait_for_step(run, seen, script)
        script.send_signal(signal.SIGTERM)
        out, _ = script.communicate(timeout=60)
        assert f"state saved; go on with 'ctfgan resume {run}'" in out
        assert (tmp_path / "requeued").read_text().count(f"requeue {os.getpid()}") == number
        folder = RunFolder(run)
        assert folder.manifest(folder.checkpoints()[-1])["stage_step"] >= seen


def wait_for_step(run: Path, more_than: int, script: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        steps = [line["step"] for line in RunFolder(run).journal().read("step")]
        if steps and steps[-1] > more_than + 2:
            return int(steps[-1])
        assert script.poll() is None, script.communicate()
        time.sleep(0.1)
    raise AssertionError(f"no step after {more_than}")

"""The real command line on two processes (gloo): a signal, a death, another number of processes, a user's mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import ctfgan
from ctfgan.sampling.plan import plan
from ctfgan.sampling.sets import layout_for, write_set
from ctfgan.storage.run_folder import RunFolder
from tests.conftest import TINY_RUN
from tests.processes import environment, free_port

ENDLESS = ("transfer.steps=100000", "checks.every=100000", "journal_every=1", "keep_checkpoints=20")
PATIENCE = 240.0  # seconds until a process must have done something; seconds are usual, but machines can be busy


def settings(*assignments: str) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]


def start(arguments: list[str], extra: dict[str, str]) -> subprocess.Popen[str]:
    names = {**os.environ, "OMP_NUM_THREADS": "1", **extra}
    return subprocess.Popen(arguments, env=names, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_two(*command: str) -> list[subprocess.Popen[str]]:
    """Two workers as a launcher would start them, but without one that ends them together."""
    port = free_port()
    return [start([sys.executable, "-m", "ctfgan", *command], environment(rank, 2, port)) for rank in range(2)]


def wait_for_steps(run: Path, more_than: int, workers: list[subprocess.Popen[str]]) -> int:
    """Wait until the journal tells of more steps; returns the newest one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        steps = [line["step"] for line in RunFolder(run).journal().read("step")]
        if steps and steps[-1] > more_than:
            return int(steps[-1])
        assert all(worker.poll() is None for worker in workers), workers[0].communicate()
        time.sleep(0.05)
    raise AssertionError(f"no step after {more_than} within {PATIENCE:.0f} s")


def newest_step(run: Path) -> int:
    folder = RunFolder(run)
    return int(folder.manifest(folder.checkpoints()[-1])["stage_step"])


@pytest.mark.slow
def test_a_stopped_a_broken_and_an_ordinary_process_go_on_with_one_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Two processes of a launcher, which is told to stop.
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port",
                str(free_port()), "-m", "ctfgan"]  # fmt: skip
    agent = start([*launcher, "train", "--out", str(run), *settings(*TINY_RUN, *ENDLESS)], {})
    seen = wait_for_steps(run, 2, [agent])
    agent.send_signal(signal.SIGTERM)
    out, err = agent.communicate(timeout=PATIENCE)
    assert agent.returncode != 0
    saved = newest_step(run)
    assert saved >= seen
    assert err.count("ctfgan: ") == 1, err
    assert f"after step {saved}, state saved; go on with 'ctfgan resume {run}'" in err
    assert out.count("pairing: matched") == 1, "the main process alone speaks"
    assert RunFolder(run).read_json("data.json")["device"].startswith("2 processes, each on cpu")

    # Two processes again, of which the main one is killed: the other one saves.
    workers = start_two("resume", str(run))
    wait_for_steps(run, saved + 2, workers)
    workers[0].kill()
    _, err = workers[1].communicate(timeout=PATIENCE)
    workers[0].communicate()
    assert workers[1].returncode == 1
    after = newest_step(run)
    assert after > saved + 1
    assert len(err.strip().splitlines()) == 1, err
    assert f"after step {after}, state saved; go on with 'ctfgan resume {run}'" in err

    # One process ends what two began.
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["method"]["transfer"]["steps"] = after + 2
    (run / "recipe.json").write_text(json.dumps(recipe))
    ctfgan.resume(run)
    steps = [line["step"] for line in RunFolder(run).journal().read("step") if line["stage"] == "transfer"]
    assert steps == list(range(1, after + 3))
    assert ctfgan.load(run).sample(["A"], 2).images.shape == (2, 16, 16, 1)


@pytest.mark.slow
def test_two_processes_measure_and_sample_like_one_and_share_a_mistake(finished_run: Path, tmp_path: Path) -> None:
    script = tmp_path / "both.py"
    # One start of two processes for three commands.
    script.write_text(
        "import sys\nfrom ctfgan.cli.main import main\n"
        f"for arguments in (['evaluate', {str(finished_run)!r}, '--images', '300',\n"
        "                   '--keep-readable', '--top-k', '3'],\n"
        f"                  ['sample', {str(finished_run)!r}, '-n', '80', '--device', 'cpu',\n"
        "                   '--keep-readable', '--top-k', '3',\n"
        f"                   '--out', {str(tmp_path / 'two')!r}],\n"
        "                  ['train', '--device', 'cpu', '--set', 'transfer.batch_size=7']):\n"
        "    sys.argv = ['ctfgan', *arguments]\n    main()\n"
    )
    port = free_port()
    workers = [start([sys.executable, str(script)], environment(rank, 2, port)) for rank in range(2)]
    told = [worker.communicate(timeout=2 * PATIENCE) for worker in workers]
    assert [worker.returncode for worker in workers] == [2, 2], told
    assert told[1][1] == "", "the main process alone speaks"
    (line,) = told[0][1].splitlines()
    assert line.startswith("ctfgan: method.transfer.batch_size is 7, which 2 processes cannot share evenly")
    assert "make it a multiple of 2, such as --set transfer.batch_size=8" in line
    together = json.loads((finished_run / "figures.json").read_text())["rows"]
    alone = ctfgan.evaluate(finished_run, images=300, keep_readable=True, top_k=3).rows
    assert any("read as their class" in name for name in alone)
    for name, row in alone.items():
        for key, figures in row.items():
            assert together[name][key]["frechet"] == pytest.approx(figures.frechet, rel=1e-3)
            assert together[name][key]["fake"] == figures.fake
    model = ctfgan.load(finished_run, "cpu")
    sampler = model.rejection_sampler(finished_run, top_k=3)
    write_set(model, layout_for(model, plan(model, None, 80), "folders", 0), tmp_path / "one", sampler=sampler)
    one, two = (
        {str(file.relative_to(tmp_path / name)): file.read_bytes() for file in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )
    assert one == two
    assert ".tries" in one


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed by Linux")
def test_no_thread_of_the_exchange_is_left_when_python_tears_itself_down() -> None:
    """One that drops a tensor then aborts the process, once in some hundred times."""
    pairs = [sys.executable, "-m", "tests.leaving", "3"]
    done = subprocess.run(pairs, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=3 * PATIENCE)
    assert done.stdout.split() == ["2"] * 6, done.stderr
    lines = sorted(done.stderr.splitlines())
    assert lines[:3] == ["ctfgan: made on purpose"] * 3
    assert [line.split()[1:] for line in lines[3:]] == [[line.split()[1]] for line in lines[3:]]
    assert len(lines) == 9


def test_what_cannot_be_shared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert "asked for several processes and started one" in refused("train")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert "use --set training.precision=bfloat16" in refused("train")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    assert "RANK and LOCAL_RANK and MASTER_PORT is not set" in refused("train")
    for name, value in environment(0, 2, 1).items():
        monkeypatch.setenv(name, value)
    assert "2 processes were started, but 'ctfgan sweep' works on one" in refused("sweep")
    if not torch.cuda.is_available():
        assert "device 'cuda:1' is a single one" in refused("train", "--device", "cuda:1")

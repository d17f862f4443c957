from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from ctfgan.errors import CtfganError, RunError
from ctfgan.training.run_folder import Checkpoint, Journal, RunFolder


def checkpoint(value: float) -> Checkpoint:
    return Checkpoint({"weight": torch.full((3,), value)}, {"rng": torch.arange(4), "step": 7, "names": ["a"]})


def note(distance: float | None = None, stage: str = "transfer") -> dict[str, Any]:
    return {"stage": stage, "stage_step": 1, "distance": distance}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", "{}")


def values(run: RunFolder) -> list[float]:
    return [run.load(folder).tensors["weight"][0].item() for folder in run.checkpoints()]


def test_what_was_saved_is_loaded(run: RunFolder) -> None:
    folder = run.save(12, checkpoint(1.5), note(3.25))
    loaded = run.load(folder)
    assert torch.equal(loaded.tensors["weight"], torch.full((3,), 1.5))
    assert torch.equal(loaded.state["rng"], torch.arange(4))
    assert (loaded.state["step"], loaded.state["names"]) == (7, ["a"])
    assert (run.manifest(folder)["step"], run.manifest(folder)["distance"]) == (12, 3.25)


FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("os.fsync", OSError(errno.ENOSPC, FULL)),
        ("ctfgan.training.tensor_files.save_file", OSError(errno.ENOSPC, FULL)),
        ("ctfgan.training.tensor_files.save_file", SafetensorError(f"I/O error: {FULL} (os error 28)")),
        ("torch.save", OSError(errno.ENOSPC, FULL)),
    ],
)
@pytest.mark.parametrize("step", [1, 2])
def test_a_full_disk_costs_no_checkpoint_that_is_complete(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception, step: int
) -> None:
    run.save(1, checkpoint(1.0), note())

    def fail(*arguments: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises(CtfganError, match=r"^the disk is full, .*/step-0000000\d was not written; free some space"):
            run.save(step, checkpoint(2.0), note())
    assert values(run) == [1.0]
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-00000001"]
    run.save(step, checkpoint(2.0), note())
    assert values(run)[-1] == 2.0


@pytest.mark.parametrize("name", ["networks.safetensors", "state.pt"])
def test_a_damaged_checkpoint_is_refused_by_name(run: RunFolder, name: str) -> None:
    folder = run.save(1, checkpoint(1.0), note())
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"{name} is missing or damaged; delete .*step-00000001"):
        run.load(folder)
    (folder / name).unlink()
    with pytest.raises(RunError, match=rf"{name} is missing or damaged"):
        run.load(folder)


def test_a_checkpoint_without_its_manifest_does_not_count(run: RunFolder) -> None:
    run.save(1, checkpoint(1.0), note())
    (run.save(2, checkpoint(2.0), note()) / "checkpoint.json").unlink()
    assert values(run) == [1.0]


class Attack:
    """Unpickled by ``torch.load`` without care, it makes a folder."""

    def __init__(self, victim: Path) -> None:
        self._victim = str(victim)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self._victim,)


def test_a_checkpoint_runs_no_code(run: RunFolder, tmp_path: Path) -> None:
    folder = run.save(1, Checkpoint({"weight": torch.zeros(1)}, {"more": Attack(tmp_path / "victim")}), note())
    with pytest.raises(RunError, match=r"state.pt is missing or damaged"):
        run.load(folder)
    assert not (tmp_path / "victim").exists()


def test_pruning_keeps_the_newest_and_the_best_of_the_newest_stage(run: RunFolder) -> None:
    for step, distance in enumerate([1.0, 9.0, 4.0, 6.0, 5.0, None]):
        run.save(step, checkpoint(step), note(distance, "transfer" if step < 2 else "generate"))
    assert run.best().name == "step-00000002"
    run.prune(keep=2)
    assert values(run) == [2.0, 4.0, 5.0]


def test_the_journal_gives_back_what_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.read() == []
    journal.write("step", step=1, name="一")
    size = journal.size()
    journal.write("check", distance=2.5)
    journal.write("step", step=2)
    assert journal.read("check") == [{"event": "check", "distance": 2.5}]
    assert [line["step"] for line in journal.read("step")] == [1, 2]
    journal.truncate(size)
    assert journal.read() == [json.loads('{"event": "step", "step": 1, "name": "一"}')]


@pytest.mark.parametrize("content", ["", "{", '{"step": 1}'])
def test_a_damaged_manifest_is_named(run: RunFolder, content: str) -> None:
    folder = run.save(1, checkpoint(1.0), note())
    (folder / "checkpoint.json").write_text(content)
    with pytest.raises(RunError, match=r"step-00000001/checkpoint.json is missing or damaged; delete"):
        run.load(folder)


def test_a_run_that_never_saved_is_to_be_deleted_and_not_resumed(run: RunFolder) -> None:
    with pytest.raises(RunError, match="ended before its first checkpoint; delete it"):
        RunFolder.check_free(run.path)
    run.save(1, checkpoint(1.0), note())
    with pytest.raises(RunError, match="go on with 'ctfgan resume"):
        RunFolder.check_free(run.path)


def test_two_processes_cannot_work_on_one_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", "{}")
    with folder.held():
        other = RunFolder(folder.path)
        with pytest.raises(RunError, match="another process is at work on run"), other.held():
            pass
    with folder.held():  # and afterwards it is free
        pass

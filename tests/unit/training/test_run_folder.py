from __future__ import annotations

import errno
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

import ctfgan
from ctfgan.core.errors import CtfganError, RunError
from ctfgan.storage.checkpoints import Checkpoint, write_checkpoint
from ctfgan.storage.journal import Journal
from ctfgan.storage.run_folder import RunFolder
from tests.conftest import snapshot


def checkpoint(value: float) -> Checkpoint:
    return Checkpoint({"weight": torch.full((3,), value)}, {"rng": torch.arange(4), "step": 7, "names": ["a"]})


def note(distance: float | None = None, stage: str = "transfer") -> dict[str, Any]:
    return {"good": True, "stage": stage, "stage_step": 1, "distance": distance}


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
        ("safetensors.torch.save_file", OSError(errno.ENOSPC, FULL)),
        ("safetensors.torch.save_file", SafetensorError(f"I/O error: {FULL} (os error 28)")),
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
    with pytest.raises(RunError, match=rf"step-00000001/{name} is missing or damaged; restore it, or resume the run"):
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
    with pytest.raises(RunError, match=r"step-00000001/checkpoint.json is missing or damaged; restore"):
        run.load(folder)


def test_a_run_that_never_saved_is_resumed_and_not_written_over(run: RunFolder) -> None:
    with pytest.raises(RunError, match=r"exists already; go on with 'ctfgan resume"):
        RunFolder.check_free(run.path)
    with pytest.raises(RunError, match=r"no complete checkpoint yet; go on with 'ctfgan resume"):
        RunFolder.open(run.path)
    assert RunFolder.begun(run.path).is_untrained()
    run.save(1, checkpoint(1.0), note())
    assert not RunFolder.open(run.path).is_untrained()


def test_a_folder_that_a_killed_start_left_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".recipe.json.partial-123").write_text("{")
    run = RunFolder.create(tmp_path / "run", "{}")
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "recipe.json"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".lock").touch()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(RunError, match="exists already and is no run"):
        RunFolder.create(tmp_path / "other", "{}")


@pytest.mark.parametrize("name", ["networks.safetensors", "state.pt", "checkpoint.json"])
@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_damaged_checkpoint_is_named_put_aside_and_no_longer_counts(run: RunFolder, name: str, which: int) -> None:
    for step in (1, 2, 3):
        run.save(step, checkpoint(step), note(4.0 if step != which else 1.0))
    victim = run.path / f"checkpoints/step-0000000{which}"
    (victim / name).unlink()
    told: list[str] = []
    newest = run.newest_intact(told.append)
    stored = run.load(newest, is_checked=True)
    assert told == [f"{victim / name} is missing or damaged; put aside as damaged-{victim.name}"]
    assert stored.tensors["weight"][0].item() == (3 if which != 3 else 2)
    assert newest == run.checkpoints()[-1]
    assert len(run.checkpoints()) == 2
    assert not run.has(which)
    assert run.best() != victim, "it had the smallest distance"
    run.save(which, checkpoint(which), note())
    (run.path / f"checkpoints/step-0000000{which}" / name).unlink()
    run.newest_intact(told.append)
    assert told[1].endswith(f"put aside as damaged-{victim.name}.2")
    assert not run.is_untrained()


def test_a_run_without_an_intact_checkpoint_is_not_begun_anew(run: RunFolder) -> None:
    (run.save(1, checkpoint(1.0), note()) / "state.pt").write_bytes(b"")
    with pytest.raises(RunError, match="has no intact checkpoint; restore one from a copy, or train again"):
        run.newest_intact(print)
    assert not run.is_untrained()


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", '{"step": 1}'])
def test_choosing_and_deleting_checkpoints_stands_a_damaged_manifest(run: RunFolder, content: str) -> None:
    for step, distance in enumerate([3.0, 1.0, 2.0, 4.0], start=1):
        run.save(step, checkpoint(step), note(distance))
    for step in (2, 4):
        (run.path / f"checkpoints/step-0000000{step}/checkpoint.json").write_text(content)
    assert run.best().name == "step-00000003"
    run.prune(keep=1)
    assert [path.name for path in run.checkpoints()] == ["step-00000003", "step-00000004"]


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder.create(tmp_path_factory.mktemp("two") / "run", "{}")
    for step in (1, 2):
        tensors = {"weight": torch.full((3,), float(step)), "table": torch.arange(step, 400 + step).view(100, 4)}
        with pytest.MonkeyPatch.context() as patch:  # so that the table takes shards
            patch.setattr(write_checkpoint, "__defaults__", (600,))
            run.save(step, Checkpoint(tensors, {"step": step}), note(2.5))
    assert len(list((run.path / "checkpoints/step-00000002").iterdir())) == 10
    return run


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_and_no_lost_end_of_any_file_is_loaded(two_checkpoints: RunFolder, data: st.DataObject) -> None:
    run, newest = two_checkpoints, two_checkpoints.path / "checkpoints/step-00000002"
    file = data.draw(st.sampled_from(sorted(newest.iterdir())), label="file")
    whole = file.read_bytes()
    if data.draw(st.booleans(), label="truncated"):
        broken = whole[: data.draw(st.integers(0, len(whole) - 1), label="length")]
    else:
        bit = data.draw(st.integers(0, 8 * len(whole) - 1), label="bit")
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
    told: list[str] = []
    try:
        file.write_bytes(broken)
        folder = run.newest_intact(told.append)
        stored = run.load(folder, is_checked=True)
        assert folder.name == "step-00000001"
        assert stored.tensors["weight"].tolist() == [1.0] * 3
        assert told == [f"{file} is missing or damaged; put aside as damaged-step-00000002"]
    finally:
        aside = newest.with_name("damaged-step-00000002")
        if aside.exists():
            aside.rename(newest)
        file.write_bytes(whole)
    assert run.newest_intact(told.append) == newest


@pytest.mark.parametrize("room", [0, 1, 20])
def test_a_journal_line_that_finds_no_room_leaves_no_half(tmp_path: Path, room: int) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write("step", step=1)
    size = journal.size()
    with limited_file_size(size + room), pytest.raises(RunError, match=r"journal.jsonl cannot be written .*free some"):
        journal.write("step", step=2, name="一" * 10)
    assert journal.size() == size
    journal.write("step", step=3)
    assert [line["step"] for line in journal.read()] == [1, 3]


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """What this process writes beyond so many bytes of a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_two_processes_cannot_work_on_one_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", "{}")
    with folder.held():
        other = RunFolder(folder.path)
        with pytest.raises(RunError, match="another process is at work on run"), other.held():
            pass
    with folder.held():  # and afterwards it is free
        pass


def test_where_files_cannot_be_locked_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path / "run", "{}")

    def no_locks(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", no_locks)
    told: list[str] = []
    with folder.held(told.append):
        pass
    (line,) = told
    assert "cannot be locked here" in line
    assert "see to it that no other process works on it" in line


def test_a_bundle_is_no_run_and_stays_as_it_is(finished_run: Path) -> None:
    bundle = finished_run / "bundle"
    before = snapshot(bundle)
    for command in (RunFolder.begun, RunFolder.open, ctfgan.resume, ctfgan.evaluate):
        with pytest.raises(RunError, match="is a bundle, not a run"):
            command(bundle)
    assert snapshot(bundle) == before


def test_lines_that_are_kept_are_told_to_nobody_a_second_time(tmp_path: Path) -> None:
    told: list[str] = []
    journal = Journal(tmp_path / "journal.jsonl", [lambda line: told.append(line["event"])])
    journal.write("rollback", step=3)
    lines = journal.read()
    journal.truncate(0)
    journal.keep(lines)
    assert journal.read() == lines
    assert told == ["rollback"]

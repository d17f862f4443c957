from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ctfgan.core.errors import CtfganError, DataError
from ctfgan.core.files import clear_remains, delete_folder, lock, new_folder, sha256, write_file


def fail_with(number: int) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def fill_and_fail(path: Path, error: BaseException) -> None:
    with new_folder(path) as folder:
        (folder / "new").touch()
        raise error


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"old")
    write_file(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert names(tmp_path) == ["x"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with new_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "x").write_bytes(b"1")
        assert not target.exists()
    assert (target / "sub" / "x").read_bytes() == b"1"
    with new_folder(target) as folder:
        (folder / "y").write_bytes(b"2")
        assert names(target) == ["sub"]
    assert names(target) == ["y"]
    assert names(target.parent) == ["folder"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug"), DataError("a mistake")])
def test_an_error_in_the_middle_passes_through_and_leaves_the_old_folder(tmp_path: Path, error: BaseException) -> None:
    with new_folder(tmp_path / "x") as folder:
        (folder / "old").touch()
    with pytest.raises(type(error)) as caught:
        fill_and_fail(tmp_path / "x", error)
    assert caught.value is error
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == ["old"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_what_was_there_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write_file(tmp_path / "file", b"old")
    with new_folder(tmp_path / "folder") as folder:
        (folder / "old").touch()
    monkeypatch.setattr(os, "fsync", fail_with(number))
    message = r"^the disk is full, .*/{} was not written; free some space and try again$"
    with pytest.raises(CtfganError, match=message.format("file")):
        write_file(tmp_path / "file", b"new")
    with pytest.raises(CtfganError, match=message.format("folder")), new_folder(tmp_path / "folder") as folder:
        (folder / "new").touch()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path / "folder") == ["old"]
    assert names(tmp_path) == ["file", "folder"]


def test_a_full_disk_is_known_in_the_words_of_safetensors(tmp_path: Path) -> None:
    with pytest.raises(CtfganError, match="the disk is full"), new_folder(tmp_path / "x"):
        raise Exception("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_full_disk_is_known_where_torch_does_not_mention_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", fail_with(errno.ENOSPC))
    with pytest.raises(CtfganError, match="the disk is full"), new_folder(tmp_path / "x"):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")


def test_a_place_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for write in (lambda: write_file(tmp_path / "file" / "x", b""), new_folder(tmp_path / "file" / "x").__enter__):
        with pytest.raises(
            CtfganError, match=r"/file/x cannot be written \(.*\); choose a folder that you may write to"
        ):
            write()


@pytest.mark.parametrize("content", [b"", b"abc", bytes(100_000)])
def test_the_hash_is_sha_256(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def killed(source: str) -> None:
    """Run Python lines in a process of their own, which must kill itself."""
    process = subprocess.Popen([sys.executable, "-c", f"{source}\n"])
    assert process.wait() == -signal.SIGKILL


DYING = """
import os, signal
from pathlib import Path
from ctfgan.core.files import {function}
def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)
path = Path({path!r})
"""


def test_what_a_killed_process_left_goes_away(tmp_path: Path) -> None:
    lines = DYING.format(function="new_folder", path=str(tmp_path / "x"))
    killed(lines + "with new_folder(path) as folder:\n    (folder / 'half').touch()\n    die()")
    lines = DYING.format(function="write_file", path=str(tmp_path / "y"))
    killed(lines + "os.fsync = die\nwrite_file(path, b'half')")
    assert [re.sub("-.*", "", name) for name in names(tmp_path)] == [".x.partial", ".y.partial"]
    (tmp_path / ".w.partial-4711").mkdir()  # of an earlier version
    (tmp_path / ".z.partial-notes").touch()  # somebody else's
    clear_remains(tmp_path)
    assert names(tmp_path) == [".z.partial-notes"]


def test_an_old_folder_comes_back_after_a_death_between_the_two_renames(tmp_path: Path) -> None:
    with new_folder(tmp_path / "in" / "x") as folder:
        (folder / "old").touch()
    lines = DYING.format(function="new_folder", path=str(tmp_path / "in" / "x"))
    lines += "rename = Path.rename\n"
    lines += (
        "Path.rename = lambda self, target: (rename(self, target), die()) if self == path else rename(self, target)\n"
    )
    killed(lines + "with new_folder(path) as folder:\n    (folder / 'new').touch()")
    assert not (tmp_path / "in" / "x").exists()
    clear_remains(tmp_path)  # of a folder in it, too
    assert names(tmp_path / "in") == ["x"]
    assert names(tmp_path / "in" / "x") == ["old"]


def test_a_folder_that_is_being_deleted_is_gone_at_once(tmp_path: Path) -> None:
    (tmp_path / "x" / "deep").mkdir(parents=True)
    lines = DYING.format(function="delete_folder", path=str(tmp_path / "x"))
    killed(lines + "import shutil\nshutil.rmtree = die\ndelete_folder(path)")
    assert not (tmp_path / "x").exists()
    clear_remains(tmp_path)
    assert names(tmp_path) == []
    (tmp_path / "y").mkdir()
    delete_folder(tmp_path / "y")
    assert names(tmp_path) == []


def test_a_partial_folder_of_the_dead_is_cleared_and_one_of_the_living_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = DYING.format(function="new_folder", path=str(tmp_path / "x"))
    killed(lines + "with new_folder(path) as folder:\n    die()")
    (dead,) = names(tmp_path)
    alive = subprocess.Popen(
        [sys.executable, "-c", lines + "with new_folder(path) as folder:\n    print(1, flush=True)\n    input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert alive.stdout is not None
    alive.stdout.readline()
    (living,) = set(names(tmp_path)) - {dead}
    with new_folder(tmp_path / "x"):
        assert dead in names(tmp_path), "too young to judge"
    monkeypatch.setattr("ctfgan.core.files.YOUNG_SECONDS", 0.0)
    with new_folder(tmp_path / "x") as folder:
        assert names(tmp_path) == sorted([living, folder.parent.name, "x"])
    alive.communicate(b"\n")
    assert alive.returncode == 0
    assert names(tmp_path) == ["x"]


MAKING = """
import os, sys
from pathlib import Path
from ctfgan.core.files import new_folder
os.getpid = lambda: 1  # as in two containers
path = Path({path!r})
with new_folder(path, unless="whole") as folder:
    for number in range(50):
        (folder / str(number)).write_text("all of it")
        if number == 25:
            print(1, flush=True)
            input()
    (folder / "whole").touch()
print(len(list(path.iterdir())), flush=True)
"""


def test_two_processes_with_one_number_that_make_a_folder_at_once_both_end_with_a_whole_one(tmp_path: Path) -> None:
    source = MAKING.format(path=str(tmp_path / "cache" / "x"))
    both = [
        subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:  # each is in the middle before one goes on
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in both] == ["51\n", "51\n"]
    assert names(tmp_path / "cache") == ["x"]


def test_a_folder_that_another_process_made_meanwhile_stays_or_is_replaced_as_asked(tmp_path: Path) -> None:
    def made_twice(name: str, unless: str | None) -> str:
        path = tmp_path / name
        with new_folder(path, unless) as slow:
            (slow / "whole").write_text("slow")
            with new_folder(path) as fast:
                (fast / "whole").write_text("fast")
        return (path / "whole").read_text()

    assert made_twice("a", unless="whole") == "fast"
    assert made_twice("b", unless="another") == "slow"
    assert made_twice("c", unless=None) == "slow"
    assert names(tmp_path) == ["a", "b", "c"]


def test_a_folder_that_appears_between_the_two_renames_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rename, rivals = tmp_path / "x", Path.rename, ["one", "two"]

    def slow(self: Path, target: Path) -> Path:
        if target == path and rivals:
            path.mkdir()
            (path / rivals.pop()).touch()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", slow)
    with new_folder(path) as folder:
        (folder / "mine").touch()
    assert names(path) == ["mine"]
    assert names(tmp_path) == ["x"]


def test_what_is_written_may_be_read_by_those_whom_the_umask_lets(tmp_path: Path) -> None:
    with new_folder(tmp_path / "folder"):
        pass
    write_file(tmp_path / "file", b"")
    (tmp_path / "usual").mkdir()
    (tmp_path / "plain").touch()
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_lock_holds_against_another_opening_of_the_file_until_it_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as first, (tmp_path / "x").open("a") as second:
        lock(first)
        with pytest.raises(BlockingIOError):
            lock(second)
        first.close()
        lock(second)


def test_what_another_user_left_there_does_not_stand_in_the_way(tmp_path: Path) -> None:
    remains = tmp_path / ".x.partial-abcdefgh"
    (remains / ".lock").mkdir(parents=True)  # which cannot be opened, like a file of another user's
    os.utime(remains, (0, 0))
    with new_folder(tmp_path / "x") as folder:
        (folder / "new").touch()
    assert names(tmp_path / "x") == ["new"]
    assert remains.is_dir()

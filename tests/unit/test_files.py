from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ctfgan.errors import CtfganError, DataError
from ctfgan.files import new_folder, sha256, write_file


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

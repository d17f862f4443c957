"""Writing that never leaves a half: files and folders appear whole, under their final name, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctfgan.errors import CtfganError


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; at the end flush it to disk and rename it to ``path``.

    A folder that is there already is replaced, once the new one is complete.

    Raises:
        CtfganError: the disk is full or not writable; what was at ``path`` before is untouched.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    replaced = path.with_name(f".{path.name}.replaced-{os.getpid()}")
    with _disk_errors(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        with _disk_errors(path):
            yield partial
            for file in partial.rglob("*"):
                if file.is_file():
                    _flush(file)
            _flush(partial)
            if path.exists():
                path.rename(replaced)
            partial.rename(path)
            _flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def write_file(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step.

    Raises:
        CtfganError: the disk is full or not writable; the old content is untouched.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with _disk_errors(path):
            partial.write_bytes(content)
            _flush(partial)
            partial.replace(path)
            _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CtfganError(f"the disk is full, {path} was not written; free some space and try again") from error
        raise CtfganError(f"{path} cannot be written ({error}); choose a folder that you may write to") from error

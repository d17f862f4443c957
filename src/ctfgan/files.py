"""Writing that never leaves a half: files and folders appear whole, under their final name, or not at all.

Reading JSON that anybody may have written is here, too, and where what can be made again is kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]
from typing import Any

from ctfgan.errors import CtfganError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
LONGEST_JSON = 1 << 24
"""Bytes of a JSON file that is read, unless more are expected."""


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; at the end flush it to disk and rename it to ``path``.

    A folder that is there already is replaced, once the new one is complete.

    Raises:
        CtfganError: the disk is full or not writable; what was at ``path`` before is untouched.
    """
    path = path.absolute()
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    replaced = path.with_name(f".{path.name}.replaced-{os.getpid()}")
    with _disk_errors(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        with _disk_errors(path):
            try:
                yield partial
            except Exception as error:
                if _tells_of_full_disk(error, partial):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                raise
            for file in partial.rglob("*"):
                if file.is_file():
                    _flush(file)
            _flush(partial)
            if path.exists():
                path.rename(replaced)
            partial.rename(path)
            _flush(path.parent)
    finally:
        if replaced.exists() and not path.exists():  # interrupted between the two renames
            replaced.rename(path)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def write_file(path: Path, content: bytes, *, flush: bool = True) -> None:
    """Replace ``path`` by ``content`` in one step.

    Args:
        path: of the file.
        content: all of it.
        flush: whether it is on the disk afterwards. Of thousands of small files each would wait for the disk; without,
            :func:`flush_all` waits once for all of them.

    Raises:
        CtfganError: the disk is full or not writable; the old content is untouched.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with _disk_errors(path):
            partial.write_bytes(content)
            if flush:
                _flush(partial)
            partial.replace(path)
            if flush:
                _flush(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


def flush_all() -> None:
    """Wait until everything that was written is on the disk; where the system cannot be asked to, it decides itself."""
    if hasattr(os, "sync"):
        os.sync()


def is_taken(path: Path) -> bool:
    """Whether something is at a path that writing there would mix with or replace; an empty folder is nothing."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def try_lock(file: IO[str]) -> bool:
    """Whether an open file is now this process's own, until it is closed; where files cannot be locked it always is."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_json(path: Path, longest: int = LONGEST_JSON) -> dict[str, Any]:
    """The JSON object in a file, which may come from anywhere.

    Raises:
        OSError: it cannot be read.
        ValueError: too long, nested too deeply, no JSON in UTF-8, or no object.
    """
    if (size := path.stat().st_size) > longest:
        raise ValueError(f"{size:,} bytes are more than the {longest:,} that are read")
    try:
        content = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("values nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content


def cache_folder() -> Path:
    """Where packed images and recognisers are kept: ``$CTFGAN_CACHE``, else the user's cache folder."""
    if "CTFGAN_CACHE" in os.environ:
        return Path(os.environ["CTFGAN_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ctfgan"


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


def _tells_of_full_disk(error: Exception, folder: Path) -> bool:
    """Whether an error is a full disk in the words of safetensors (the system's text) or of torch.save (no word)."""
    if isinstance(error, (OSError, CtfganError)):
        return False
    if any(os.strerror(number) in str(error) for number in FULL_DISK):
        return True
    probe = folder / ".probe"
    try:
        probe.write_bytes(bytes(1 << 16))
        _flush(probe)
    except OSError as full:
        return full.errno in FULL_DISK
    return False


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise CtfganError(f"the disk is full, {path} was not written; free some space and try again") from error
        raise CtfganError(f"{path} cannot be written ({error}); choose a folder that you may write to") from error

"""Writing that never leaves a half: files and folders appear whole, under their final name, or not at all.

Reading JSON that anybody may have written is here, too, and where what can be made again is kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import lock_descriptor

from ctfgan.core.errors import ConfigError, CtfganError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
LONGEST_JSON = 1 << 24
"""Bytes of a JSON file that is read, unless more are expected."""
REMAINS = re.compile(r"\.(?P<name>.+)\.(?P<kind>partial|replaced|deleted)-(\d+|[a-z0-9_]{8})")
"""What a killed process leaves behind; numbers alone are of processes of earlier versions."""
YOUNG_SECONDS = 60.0  # the owner of a younger folder may not have locked it yet
CONTENT = "content"  # in a work folder
LOCK = ".lock"  # in a folder that one process works in; hidden, and so nobody's data


@contextmanager
def new_folder(path: Path, unless: str | None = None) -> Iterator[Path]:
    """Yield a temporary folder on the disk of ``path``; at the end flush it and rename it to ``path``.

    A folder that is there already is replaced, once the new one is complete. Processes that make the same folder at
    the same time do not meet before that. What processes that were killed left of earlier attempts goes away.

    Args:
        path: of the folder.
        unless: a file in it, such as a cache's: if another process has made a folder with it meanwhile, that one
            stays, so that nobody who reads it is disturbed.

    Raises:
        CtfganError: the disk is full or not writable; what was at ``path`` before is untouched.
    """
    path = path.absolute()
    with _disk_errors(path):
        _clear_abandoned(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.partial-", dir=path.parent))
    try:
        with _disk_errors(path), _locked(work):
            content = work / CONTENT
            content.mkdir()  # which others may read, unlike a folder of tempfile
            try:
                yield content
            except Exception as error:
                if _tells_of_full_disk(error, content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                raise
            for file in content.rglob("*"):
                if file.is_file():
                    flush(file)
            flush(content)
            while not (unless is not None and (path / unless).exists()) and not _has_replaced(path, content):
                pass  # another process was faster; in the next round its folder is there
            flush(path.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace ``path`` by ``content`` in one step.

    Args:
        path: of the file.
        content: all of it.
        durable: whether it is on the disk afterwards. Of thousands of small files each would wait for the disk;
            without, :func:`flush_all` waits once for all of them.

    Raises:
        CtfganError: the disk is full or not writable; the old content is untouched.
    """
    partial = _beside(path, "partial")
    try:
        with _disk_errors(path):
            with partial.open("xb") as file:
                file.write(content)
            if durable:
                flush(partial)
            partial.replace(path)
            if durable:
                flush(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


def flush_all() -> None:
    """Wait until everything that was written is on the disk; where the system cannot be asked to, it decides itself."""
    if hasattr(os, "sync"):
        os.sync()


def delete_folder(path: Path) -> None:
    """Delete a folder; it disappears at once, so that nobody takes a rest of it for the whole."""
    doomed = _beside(path.absolute(), "deleted")
    path.rename(doomed)
    shutil.rmtree(doomed)


def clear_remains(folder: Path) -> None:
    """Tidy up a folder, and those in it, after processes that were killed while they wrote or deleted something there.

    What was about to be replaced comes back. Only for who knows that nobody is writing there, by holding a lock.
    """
    for place in [folder, *(path for path in folder.iterdir() if path.is_dir() and not is_remains(path))]:
        for path in [path for path in place.iterdir() if is_remains(path)]:
            found = REMAINS.fullmatch(path.name)
            assert found is not None
            whole = path.with_name(found["name"])
            if found["kind"] == "replaced" and not whole.exists():
                path.rename(whole)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def is_remains(path: Path) -> bool:
    """Whether a path is called like what a process leaves behind that is killed while it writes or deletes."""
    return REMAINS.fullmatch(path.name) is not None


def is_taken(path: Path) -> bool:
    """Whether something is at a path that writing there would mix with or replace; an empty folder is nothing."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def require_free(path: Path, option: str = "--out", *, is_file: bool = False) -> None:
    """Refuse a path where something is already, before any work.

    Args:
        path: where a file or folder is to be.
        option: what the user would change.
        is_file: a file is to be there, which cannot take the place of an empty folder.

    Raises:
        ConfigError: something is there.
    """
    if path.exists() if is_file else is_taken(path):
        raise ConfigError(f"{path} exists already; choose another {option}, or move it away")


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
    """Where packed images and recognisers are kept: ``$CTFGAN_CACHE``, else the user's cache folder.

    Raises:
        CtfganError: there is neither.
    """
    if "CTFGAN_CACHE" in os.environ:
        return Path(os.environ["CTFGAN_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or home_folder("CTFGAN_CACHE") / ".cache") / "ctfgan"


def home_folder(variable: str) -> Path:
    """The user's home folder.

    Args:
        variable: of the environment, which names a folder instead.

    Raises:
        CtfganError: nobody knows it, as in a container whose user has no entry in the system's list.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        raise CtfganError(f"this user has no home folder; set {variable} to a folder that you may write to") from error


def expanded(path: str | Path) -> Path:
    """A path with ``~`` and ``~user`` replaced by home folders; as it is if there is no such user, like in a shell."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def make_room(file: Path) -> None:
    """Make the folder of a file that is about to be worked for.

    Raises:
        CtfganError: it cannot be written to; better now than when the work is done.
    """
    with _disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(file.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file.parent))


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock(file: IO[Any] | int) -> None:
    """Lock an open file for this process, until it is closed or the process ends, however it ends.

    Raises:
        BlockingIOError: another process has it.
        OSError: files cannot be locked here.
    """
    if not lock_descriptor(file if isinstance(file, int) else file.fileno(), blocking=False):
        raise BlockingIOError(errno.EAGAIN, "another process has locked it")


@contextmanager
def hold_lock(path: Path) -> Iterator[bool]:
    """Keep out other processes that want the same lock: a file that is made for it and goes away at the end.

    Yields:
        Whether they are kept out, which they are not where files cannot be locked (some network file systems).

    Raises:
        BlockingIOError: another process has it, or has given it back just now.
        OSError: the file cannot be made.
    """
    with path.open("wb") as file:
        try:
            lock(file)
            is_locked = True
        except BlockingIOError:
            raise
        except OSError:
            is_locked = False
        if is_locked and not _is_at(path, file):
            raise BlockingIOError(errno.EAGAIN, "another process has just deleted it")
        try:
            yield is_locked
        finally:
            with suppress(OSError):  # Windows keeps a file that is open; it does no harm
                path.unlink()


def flush(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk itself."""
    if sys.platform == "win32" and path.is_dir():  # which cannot be opened there
        return
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_at(path: Path, file: IO[Any]) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{secrets.token_hex(4)}")


def _has_replaced(path: Path, content: Path) -> bool:
    """Put a folder in the place of what is at ``path``, if anything; False if another process was faster there."""
    replaced = _beside(path, "replaced")
    try:
        with suppress(FileNotFoundError):
            path.rename(replaced)
        try:
            content.rename(path)
        except OSError:
            if not path.exists():
                raise
            return False
        return True
    finally:
        if replaced.exists() and not path.exists():  # interrupted between the two renames
            replaced.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _locked(work: Path) -> Iterator[bool]:
    """Lock a work folder, and tell whether that worked; the lock goes with the process, however that ends."""
    with ExitStack() as opened:
        try:
            lock(opened.enter_context((work / LOCK).open("wb")))
            has_lock = True
        except OSError:  # another one's, another user's, or on a file system that knows no locks
            has_lock = False
        yield has_lock


def _clear_abandoned(path: Path) -> None:
    """Delete work folders of ``path`` whose owners are dead; in a cache, others may be at work on the same."""
    if not path.parent.is_dir():
        return
    for remains in path.parent.iterdir():
        match = REMAINS.fullmatch(remains.name)
        if match is None or (match["name"], match["kind"]) != (path.name, "partial"):
            continue
        with suppress(OSError):  # another process clears up, too; what is another user's, is theirs to clear
            if remains.is_dir() and time.time() - remains.stat().st_mtime > YOUNG_SECONDS:
                with _locked(remains) as is_abandoned:
                    pass
                if is_abandoned:  # and nobody takes it again: the next one makes a folder of its own
                    shutil.rmtree(remains)


def _tells_of_full_disk(error: Exception, folder: Path) -> bool:
    """Whether an error is a full disk in the words of safetensors (the system's text) or of torch.save (no word)."""
    if isinstance(error, (OSError, CtfganError)):
        return False
    if any(os.strerror(number) in str(error) for number in FULL_DISK):
        return True
    probe = folder / ".probe"
    try:
        probe.write_bytes(bytes(1 << 16))
        flush(probe)
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
        way_out = "set CTFGAN_CACHE to" if _is_cached(path) else "choose"
        raise CtfganError(f"{path} cannot be written ({error}); {way_out} a folder that you may write to") from error


def _is_cached(path: Path) -> bool:
    try:
        return path.absolute().is_relative_to(cache_folder().absolute())
    except CtfganError:  # there is no cache
        return False

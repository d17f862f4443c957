"""Download a published data set: to a temporary name, verified, unpacked beside its place, renamed."""

from __future__ import annotations

import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from ctfgan.core.errors import DataError
from ctfgan.core.files import is_taken, lock, new_folder, sha256
from ctfgan.core.progress import Progress, silent
from ctfgan.data.published import PublishedFile, PublishedSet, downloads

TIMEOUT_SECONDS = 30.0
CHUNK = 1 << 20
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def fetch(published: PublishedSet, root: Path, progress: Progress = silent) -> Path:
    """Put a data set below a data home and return the folder to open; nothing is done if it is there.

    An archive that lies in the downloads folder already is used in place of a download, and stays there. An
    interrupted download goes on where it stopped.

    Raises:
        DataError: it is given out only to who registers; another process fetches it; no connection; a transfer cut
            short; a wrong checksum; an archive that is damaged or reaches out of its folder. The set's folder is then
            as it was.
    """
    if published.is_in(root):
        return published.home(root) / published.folder
    if not published.files:
        raise DataError(f"{published.name} cannot be downloaded: {published.needs(root)}")
    home = published.home(root)
    if is_taken(home):
        raise DataError(f"{home} exists and does not hold all of {published.name}; move it away, then run this again")
    with _held(published, downloads(root)):
        if not published.is_in(root):  # which another process may have finished just now
            _fill(home, published, downloads(root), progress)
    return home / published.folder


@contextmanager
def _held(published: PublishedSet, folder: Path) -> Iterator[None]:
    """Keep other processes from downloading the same set, since both would write to the same partial files.

    What is made for that goes away, so that a set that cannot be reached leaves no trace.
    """
    made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    place = folder / f".{published.name}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = place.open("wb")
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error}); set CTFGAN_DATA to a folder of yours") from error
    try:
        with file:
            if not _is_ours(file, place):
                raise DataError(
                    f"another process is fetching {published.name} into {folder}; wait for it, or stop it and run this "
                    "again"
                )
            try:
                yield
            finally:
                with suppress(PermissionError):  # Windows keeps a file that is open; it does no harm
                    place.unlink()
    finally:
        with suppress(OSError):  # the first that holds something
            for empty in made:
                empty.rmdir()


def _is_ours(file: IO[Any], place: Path) -> bool:
    """Lock a file; False if another process has it, or has just taken away the one that was opened."""
    try:
        lock(file)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: the checksum still tells of files that two processes have spoiled
        return True
    try:
        return os.path.samestat(os.fstat(file.fileno()), place.stat())
    except FileNotFoundError:
        return False


def _fill(home: Path, published: PublishedSet, waiting: Path, progress: Progress) -> None:
    downloaded = [_obtain(published, file, waiting, progress) for file in published.files]
    with new_folder(home) as partial:
        number = len(published.files)
        for index in progress(range(number), number, f"unpacking {published.name} (archives)"):
            _unpack(waiting / published.files[index].name, partial)
        assert published.is_complete(partial), "the checksums are right and the files are not there"
    for file, new in zip(published.files, downloaded, strict=True):
        if new:
            (waiting / file.name).unlink()


def _obtain(published: PublishedSet, file: PublishedFile, folder: Path, progress: Progress) -> bool:
    """Have a verified file in the downloads folder; returns whether it was downloaded now."""
    final, partial = folder / file.name, folder / f"{file.name}.part"
    if final.is_file():
        if sha256(final) != file.sha256:
            raise DataError(f"{final} is damaged (its SHA-256 must be {file.sha256}); delete it and run this again")
        return False
    try:
        _download(file.url, partial, file.size, progress)
    except NETWORK_ERRORS as error:
        reason = error.reason if type(error) is urllib.error.URLError else error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DataError(
            f"{file.url} cannot be reached ({reason}); try again later, or get {file.name} elsewhere, put it into "
            f"{folder} and run this again"
        ) from error
    size = partial.stat().st_size
    if size < file.size:
        raise DataError(
            f"the transfer of {file.url} ended after {size:,} of {file.size:,} bytes; run this again, it goes on from "
            "there"
        )
    found = sha256(partial)
    if found != file.sha256:
        partial.unlink()
        raise DataError(
            f"what {file.url} sent has SHA-256 {found} instead of {file.sha256} and was deleted; try again, or get "
            f"{file.name} elsewhere and put it into {folder}"
        )
    partial.replace(final)
    return True


def _download(url: str, partial: Path, size: int, progress: Progress) -> None:
    """Append to a partial file what is missing of it; where the server cannot go on it begins anew."""
    have = partial.stat().st_size if partial.is_file() else 0
    if have == size:  # complete, but the checksum was not looked at before the interruption
        return
    have = have if have < size else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        if getattr(response, "status", None) != http.client.PARTIAL_CONTENT:
            have = 0
        chunks = -(-(size - have) // CHUNK)
        host = urlsplit(url).hostname or "this machine"
        with partial.open("ab" if have else "wb") as file:
            for _ in progress(range(chunks), chunks, f"fetching {partial.stem} from {host} (MiB)"):
                try:
                    content = response.read(CHUNK)
                except (OSError, http.client.HTTPException):  # cut off: what has come is kept, the caller counts it
                    return
                file.write(content)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip into a folder; copy anything else into it."""
    try:
        if archive.suffix == ".zip":
            _unzip(archive, folder)
        elif ".tar" in archive.suffixes:
            with tarfile.open(archive) as content:
                content.extractall(folder, filter="data")
        else:
            shutil.copyfile(archive, folder / archive.name)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked ({error}); delete it and run this again") from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                raise DataError(f"{archive} would write {name!r} outside its folder; do not trust this archive")
        content.extractall(folder)

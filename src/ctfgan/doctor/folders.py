"""Places on disk: may they be written to, is there room, do locks hold; weights and fonts that are there."""

from __future__ import annotations

import shutil
import string
import tempfile
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from ctfgan.core.files import cache_folder, lock, sha256
from ctfgan.core.text import format_bytes
from ctfgan.data.published import CATALOGUE, data_home
from ctfgan.doctor.findings import Finding, reason

LITTLE_ROOM = 5 << 30
NO_ROOM = 200 << 20
FEW_FACES = 4


def places() -> Iterator[Finding]:
    """Where runs, packed images and data sets are written."""
    wanted = (
        ("working folder", Path.cwd(), "change to a folder of yours, or use --out"),
        ("cache", cache_folder(), "set CTFGAN_CACHE to a folder of yours"),
        ("data folder", data_home(), "set CTFGAN_DATA to a folder of yours"),
    )
    for name, folder, remedy in wanted:
        yield _writable(name, folder, remedy)
    yield _locks(Path.cwd())
    yield _shared_memory()


def weights() -> Iterator[Finding]:
    """The published Inception, recognisers and packed images of the cache, published data sets."""
    import torch

    from ctfgan.metrics.inception import FILE, SHA256_PREFIX

    file = Path(torch.hub.get_dir(), "checkpoints", FILE)
    if not file.is_file():
        where = "is downloaded there when figures are first asked of it, or named with --inception-weights"
        yield Finding("ok", "Inception", f"not at {file}; {where}")
    elif sha256(file).startswith(SHA256_PREFIX):
        yield Finding("ok", "Inception", f"{file}, as published")
    else:
        yield Finding("warn", "Inception", f"{file} is not the published file", "delete it, and it is downloaded anew")
    for name in ("recognisers", "class-means", "images", "surveys", "faces"):
        files = [path for path in (cache_folder() / name).rglob("*") if path.is_file()]
        count = len([*(cache_folder() / name).glob("*")])
        yield Finding("ok", f"cached {name}", f"{count}, {format_bytes(sum(path.stat().st_size for path in files))}")
    there = [name for name, published in CATALOGUE.items() if published.is_in(data_home())]
    yield Finding("ok", "data sets", ", ".join(there) or "none ('ctfgan data list' shows what there could be)")


def fonts() -> Iterator[Finding]:
    """Faces that the embedded glyphs are drawn with."""
    from ctfgan.data.glyphs import faces_of

    faces = set().union(*faces_of(string.digits + string.ascii_letters, ()))
    text = f"{len(faces)} for letters and digits"
    if len(faces) < FEW_FACES:
        yield Finding("warn", "faces", text, "install matplotlib again, whose fonts are used, or add some with --fonts")
    else:
        yield Finding("ok", "faces", text)


def _writable(name: str, folder: Path, remedy: str) -> Finding:
    """Really write, read back and remove; a folder that is not there yet is tried where it would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".ctfgan-doctor-", dir=place) as probe:
            file = Path(probe, "probe")
            file.write_bytes(b"probe")
            came_back = file.read_bytes() == b"probe"
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding("fail", name, f"{folder} cannot be written ({reason(error)})", remedy)
    text = f"{folder}{'' if folder.exists() else ' (will be made)'}, {format_bytes(free)} free"
    if not came_back:
        return Finding("fail", name, f"{text}; what is written does not come back", remedy)
    if free < NO_ROOM:
        return Finding("fail", name, text, f"free some space, or {remedy}")
    if free < LITTLE_ROOM:
        return Finding("warn", name, text, f"a run and its checkpoints may not fit; free some space, or {remedy}")
    return Finding("ok", name, f"{text}, writable")


def _locks(folder: Path) -> Finding:
    """Whether a second process would be kept from a run: some network file systems promise a lock and hold none."""
    try:
        with (
            tempfile.NamedTemporaryFile(prefix=".ctfgan-doctor-", dir=folder) as first,
            Path(first.name).open("rb") as second,
        ):
            lock(first.fileno())
            try:
                lock(second.fileno())
            except BlockingIOError:
                return Finding("ok", "locks", "two processes cannot work on one run here")
    except OSError as error:
        return Finding("warn", "locks", f"do not work here ({reason(error)})", "keep runs on a local disk")
    return Finding("warn", "locks", "do not hold here", "keep runs on a local disk, or never resume one twice at once")


def _shared_memory() -> Finding:
    """What several processes on one machine talk through."""
    try:
        memory = SharedMemory(create=True, size=1 << 20)
        memory.close()
        memory.unlink()
    except (OSError, ValueError) as error:
        remedy = "several processes on one machine may not meet; give a container more with --shm-size"
        return Finding("warn", "shared memory", f"cannot be taken ({reason(error)})", remedy)
    return Finding("ok", "shared memory", "works")

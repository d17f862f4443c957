"""Zip and tar archives of class folders."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from contextlib import suppress
from random import Random

from PIL import Image

from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.registry import open_source
from fuzz.changes import changed_bytes, number
from fuzz.judging import Reader, check
from fuzz.places import look_at, put

NAMES = (
    "../x.png",
    "/a/x.png",
    "a/../../x.png",
    "a\\b\\x.png",
    "__MACOSX/a/._x.png",
    "@eaDir/x.png",
    "a/.x.png",
    "a/metadata.csv",
    "dataset.json",
    "train/a/x.png",
    "test/a/x.png",
    "a\x1b[2J/x.png",
    "\u202egnp/x.png",
    "a" * 300 + "/x.png",
    "/".join("a" * 200) + "/x.png",
    "x.png",
    "a/",
    "",
    ".",
)
FIELDS = ((b"PK\1\2", ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (42, 4))), (b"PK\3\4", ((6, 2), (8, 2), (26, 2))))
"""Of the headers of a zip's members: flags, method, checksum, sizes, where it lies, length of the name."""


def seeds() -> list[bytes]:
    """Class folders, parts and a wrapper, in zips and tars, with and without compression."""
    sets = (
        {"a/1.png": _png(1), "a/2.png": _png(2), "b/3.png": _png(3)},
        {"x/train/a/1.png": _png(1), "x/train/b/2.png": _png(2), "x/test/a/3.png": _png(3)},
        {"1.png": _png(1), "2.png": _png(2), "metadata.csv": b"file_name,label\n1.png,a\n2.png,b\n"},
        {"0/1.png": _png(1), "1/2.png": _png(2), "dataset.json": b'{"labels": [["0/1.png", 3], ["1/2.png", 5]]}'},
    )
    zips = [_zip(files, method) for files in sets for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)]
    return zips + [_tar(files, mode) for files in sets for mode in ("w", "w:gz")]


def change(content: bytes, rng: Random) -> bytes:
    """Bytes, a number in a header of a zip, or other members."""
    kind = rng.randrange(4)
    if kind == 0:
        return changed_bytes(content, rng)
    if kind == 1 and content[:2] == b"PK":
        return _other_number(content, rng)
    files = dict(list(_files(content).items())[:20])
    if not files:
        return changed_bytes(content, rng)
    name = rng.choice(list(files))
    match rng.randrange(4):
        case 0:
            files[rng.choice(NAMES)] = files[name]
        case 1:
            files[rng.choice(NAMES)] = files.pop(name)
        case 2:
            files[name] = changed_bytes(files[name], rng)
        case _:
            files[name] = bytes(3_000_000) if rng.random() < 0.1 else b""
    with suppress(ValueError, struct.error, UnicodeError):
        if content[:2] == b"PK":
            return _zip(files, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))
        return _tar(files, "w:gz" if content[:1] == b"\x1f" else "w")
    return changed_bytes(content, rng)


def one_input(content: bytes) -> None:
    """Every image has the content that another reader of archives finds under its name."""
    end = ".zip" if content[:2] == b"PK" else ".tar.gz" if content[:1] == b"\x1f" else ".tar"
    path = put(f"x{end}", content)
    source = open_source(str(path))
    look_at(source)
    inside = _files(content)
    for index in range(min(5, len(source.labels))):
        name = source.name(index).removeprefix(f"{path}:")
        is_plain = not isinstance(source, TreeSource)  # of a WebDataset shard no name means a path
        check(is_plain or ".." not in name.split("/"), "a path that leads out of the archive")
        by_path = {"/".join(part for part in known.replace("\\", "/").split("/") if part not in ("", ".")): data
                   for known, data in inside.items()}  # fmt: skip
        if hasattr(source, "content") and name in by_path:
            with suppress(Exception):  # a damaged member, which both may refuse
                check(source.content(index) == by_path[name], "other bytes")


def _other_number(content: bytes, rng: Random) -> bytes:
    data = bytearray(content)
    mark, fields = rng.choice(FIELDS)
    places = [at for at in range(len(data) - 46) if data[at : at + 4] == mark]
    if not places:
        return changed_bytes(content, rng)
    (start, size), at = rng.choice(fields), rng.choice(places)
    data[at + start : at + start + size] = (number(rng) % 256**size).to_bytes(size, "little")
    return bytes(data)


def _files(content: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with suppress(Exception):
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for info in archive.infolist():
                    with suppress(Exception):
                        files[info.filename] = archive.read(info) if info.file_size < 1 << 24 else b""
        else:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isreg() and member.size < 1 << 24 else None
                    if file is not None:
                        files[member.name] = file.read()
    return files


def _zip(files: dict[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name or "x"), content, method)
    return file.getvalue()


def _tar(files: dict[str, bytes], mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (5, 5), grey).save(file, "PNG")
    return file.getvalue()


READER = Reader("archive", seeds, change, one_input)

"""Folders of image files: names, links and things that are no files."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from random import Random

from PIL import Image

from ctfgan.data.sources.registry import open_source
from fuzz.changes import changed_bytes
from fuzz.judging import Reader, check
from fuzz.places import look_at, workspace

MOST = 12
"""Entries of an input."""


def _png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (5, 5), grey).save(file, "PNG")
    return file.getvalue()


CONTENTS = (_png(9), _png(200), b"", b"text", _png(3)[:40])


def seeds() -> list[bytes]:
    """Each line makes one entry: what it is (a digit: a file of CONTENTS), and its path."""
    return [
        b"0a/0.png\n1a/1.png\n0b/0.png\n1b/1.PNG\n3b/notes.txt",
        b"0x.png\n1y.jpg\n2z.tif",
        b"0train/a/0.png\n0train/b/0.png\n1val/a/0.png\n3.hidden/x",
        b"0a/0.png\nlb/c a\nda/x.png\np b/fifo.png\n0caf\xe9/0.png",
        b"0a/data.parquet\n0b/y.tar\n0c/train-images-idx3-ubyte\n0d.gnt",
        b"0packed.json\n0train_X.bin\n0data_batch_1\n0state.json",
    ]


def change(content: bytes, rng: Random) -> bytes:
    """Lines swapped, doubled or changed."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            lines[at] = changed_bytes(lines[at], rng)
        case 1:
            lines[at] = rng.choice((b"0", b"1", b"2", b"3", b"l", b"d", b"p", b"4")) + lines[at][1:]
        case 2:
            lines.append(rng.choice(seeds()).split(b"\n")[0])
        case 3:
            odd = (
                b"..",
                b".",
                b"\x1b[2Jx",
                b"\xe2\x80\xaegnp.png",
                b"\r.png",
                b"a" * 250 + b".png",
                b"\xff.png",
                b" .png",
            )
            lines[at] = lines[at] + b"/" + rng.choice(odd)
        case _:
            lines[at] = lines[at].replace(b"a", rng.choice((b"b", b"A", b"a/", b"train", b"\t", b"\xcc\x81")))
    return b"\n".join(lines)


def one_input(content: bytes) -> None:
    """Compare the images found with a walk of another kind."""
    root = workspace() / "folder"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for line in content.split(b"\n")[:MOST]:
        _make(root, line)
    source = open_source(str(root))
    look_at(source)
    if any(path.is_symlink() for path in root.rglob("*")):
        return
    named = [
        path for path in root.glob("**/*") if not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    suffixes = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff")
    images = [path for path in named if path.suffix.lower() in suffixes and not path.is_dir()]
    if all(hasattr(source, name) for name in ("content",)) and not (root / "packed.json").exists():
        check(len(source.labels) == len(images), "another number of images")
        found = {os.path.relpath(path.parent, root) for path in images}
        check(found == {"."} or {*source.classes} == found, "other classes")


def _make(root: Path, line: bytes) -> None:
    kind, name = line[:1], os.fsdecode(line[1:].strip(b"/ "))
    name, _, target = name.partition(" ")
    path = Path(os.path.normpath(root / name)) if "\0" not in name else root
    if not path.is_relative_to(root) or path == root:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == b"l":
            path.symlink_to(target.replace("\0", "") or ".")
        elif kind == b"d":
            path.mkdir()
        elif kind == b"p":
            os.mkfifo(path)
        elif not path.exists():
            path.write_bytes(CONTENTS[kind[0] % len(CONTENTS)] if kind else b"")
    except OSError:
        return  # the system has no such name, or something is there


READER = Reader("folder", seeds, change, one_input)

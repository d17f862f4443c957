"""What tests share: caches that are thrown away, images of which each one is known, a tiny finished run."""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: parallel tests would slow each other down

TINY_RUN = (
    "data.glyphs.characters=ABCD", "glyphs.images_per_class=40", "data.resolution=16", "device=cpu",
    "transfer.steps=4", "generate.steps=4", "transfer.batch_size=8", "generate.batch_size=8",
    "generator_width=0.05", "discriminator_width=0.05", "checks.every=4", "checks.images=32", "recogniser.images=2000",
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _session_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CTFGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("CTFGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 characters and 4 + 4 steps, with its bundle. Tests that change it must copy it."""
    import ctfgan

    return ctfgan.train(ctfgan.recipe("ctf-glyphs", *TINY_RUN), tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(scope="session")
def coded_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with codes of the classes in the place of tables."""
    import ctfgan

    settings = (*TINY_RUN, "class_tables=codes", "class_code=16")
    return ctfgan.train(ctfgan.recipe("ctf-glyphs", *settings), tmp_path_factory.mktemp("coded") / "run")


@dataclass(frozen=True)
class Outcome:
    """What a command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``run_cli("train", "--out", path)``: the command ``ctfgan`` in this process."""
    from ctfgan.cli.main import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["ctfgan", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        assert isinstance(code, int)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def refused(run_cli: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command, in ``tmp_path``, that must fail as a user's mistake does; returns what it said.

    That is: exit code 2, one line on standard error, no traceback, no file created or changed below ``tmp_path``.
    """
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        before = snapshot(tmp_path)
        outcome = run_cli(*arguments)
        assert outcome.code == 2, outcome
        assert outcome.err.endswith("\n"), outcome
        assert len(outcome.err.splitlines()) == 1, outcome
        assert "Traceback" not in outcome.err + outcome.out
        assert snapshot(tmp_path) == before
        return outcome.err

    return run


def snapshot(folder: Path) -> dict[str, str]:
    """Every path below a folder, with a hash of each file's content."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def write_classes() -> Callable[..., Path]:
    """``write_classes(root, {"a": 4, "b/c": 6}, size=16)``: PNGs ``root/a/0.png`` ..., each of another grey.

    The greys begin at ``first``, so that two sets need not share an image.
    """

    def write(root: Path, counts: Mapping[str, int], size: int = 16, first: int = 0) -> Path:
        grey = first
        for name, count in counts.items():
            (root / name).mkdir(parents=True)
            for number in range(count):
                Image.new("L", (size, size), grey % 256).save(root / name / f"{number}.png")
                grey += 1
        return root

    return write


@pytest.fixture
def write_npz() -> Callable[..., Path]:
    """``write_npz(path, classes=4, per_class=10, size=16)``: image number i is grey level i all over, class i mod 4.

    The grey level says which image one is looking at, wherever it turns up.
    """

    def write(path: Path, classes: int, per_class: int, size: int = 16) -> Path:
        count = classes * per_class
        assert count <= 256, "a grey level per image"
        greys = np.arange(count, dtype=np.uint8)[:, None, None]
        images = np.broadcast_to(greys, (count, size, size))
        np.savez(path, images=images, labels=np.arange(count) % classes)
        return path

    return write


@pytest.fixture(scope="session")
def bad_images() -> dict[str, bytes]:
    """Contents of files that end in .png and hold no usable image, by what is wrong with them."""
    return {
        "zero bytes": b"",
        "text": b"Dear diary,\n",
        "truncated": _png(np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8))[:400],
        "1x1": _png(np.zeros((1, 1), dtype=np.uint8)),
        "20000x20000": _png_header(20_000, 20_000),
    }


def _png(pixels: NDArray[np.uint8]) -> bytes:
    content = BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def _png_header(width: int, height: int) -> bytes:
    """A grey PNG that promises its pixels and holds none: whoever decodes it has read too far."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(b"")}
    framed = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in
              chunks.items())  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)

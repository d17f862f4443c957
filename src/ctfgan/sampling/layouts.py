"""How a set of samples lies on disk: class folders, parquet shards, WebDataset shards.

A set is written piece by piece. A piece is a shard, or up to 1,000 images of a class folder; it is complete or it is
made again, and its bytes follow from its images alone.
"""

from __future__ import annotations

import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from ctfgan.core.errors import library, pick
from ctfgan.core.files import write_file
from ctfgan.data.sources.base import Labels
from ctfgan.sampling.plan import Plan

FOLDER_PIECE = 1_000  # images of a class that are written at once
SHARD_IMAGES = 10_000  # images of a shard, at most
SHARD_PIXELS = 64 << 20  # bytes of the pixels of a shard, at most
ROW_GROUP = 1_000  # rows of a parquet file that a reader decodes at once
BLOCK = 4_096  # bytes that a small file takes on most file systems
HEADER = 150  # bytes of an encoded image besides its pixels, about


@dataclass(frozen=True)
class Piece:
    """Images that are written together."""

    path: str
    """Of the shard or the class folder, below the set's folder."""
    start: int
    """The first image in the order of the set."""
    count: int
    first: int
    """The number of the first image in its class folder; 0 for a shard."""

    @property
    def stop(self) -> int:
        """The end in the order of the set."""
        return self.start + self.count


@dataclass(frozen=True)
class Row:
    """One encoded image and what it shows."""

    content: bytes
    """A PNG file."""
    place: int
    """Its class, as a place in the plan."""
    number: int
    """Which image of its class it is, from 0."""


class Layout(ABC):
    """One way to lay out a set.

    Args:
        plan: what the set consists of.
        folders: a folder name for each class of the plan.
        pixels: bytes of the pixels of one image.
        seed: of the order, where images of all classes are mixed.
    """

    name: str
    """As ``--format`` calls it."""

    def __init__(self, plan: Plan, folders: Sequence[str], pixels: int, seed: int) -> None:
        self.plan = plan
        self.folders = folders
        self.pixels = pixels
        self.seed = seed

    @abstractmethod
    def order(self) -> tuple[Labels, Labels]:
        """Class (as a place in the plan) and number in its class of each image, in the order of the set."""

    @abstractmethod
    def pieces(self) -> list[Piece]:
        """The pieces, in the order of the set."""

    @abstractmethod
    def write(self, root: Path, piece: Piece, rows: Sequence[Row]) -> None:
        """Write a complete piece; what is there is replaced."""

    @abstractmethod
    def files(self, root: Path, piece: Piece) -> list[Path]:
        """The files of a piece, in order."""

    @abstractmethod
    def most_bytes(self) -> int:
        """What the set takes on disk, at most."""

    def digest(self, root: Path, piece: Piece) -> tuple[int, str] | None:
        """Bytes of a piece on disk, and the SHA-256 of its files one after the other; None if a file is missing."""
        size, digest = 0, sha256()
        for file in self.files(root, piece):
            try:
                content = file.read_bytes()
            except FileNotFoundError:
                return None
            size += len(content)
            digest.update(content)
        return size, digest.hexdigest()

    def _class_by_class(self) -> tuple[Labels, Labels]:
        counts = self.plan.counts
        places = np.repeat(np.arange(len(counts)), counts)
        return places, np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)

    def _file(self, row: Row) -> str:
        return f"{self.folders[row.place]}/{row.number:05d}.png"


class ClassFolders(Layout):
    """``CLASS/00000.png``, class by class."""

    name = "folders"

    def order(self) -> tuple[Labels, Labels]:
        """Class by class."""
        return self._class_by_class()

    def pieces(self) -> list[Piece]:
        """Up to 1,000 images of a class each."""
        pieces, start = [], 0
        for place, count in enumerate(self.plan.counts.tolist()):
            for first in range(0, count, FOLDER_PIECE):
                pieces.append(Piece(self.folders[place], start + first, min(FOLDER_PIECE, count - first), first))
            start += count
        return pieces

    def write(self, root: Path, piece: Piece, rows: Sequence[Row]) -> None:
        """One file for each image; whether they got to the disk is seen when the set is gone on with."""
        (root / piece.path).mkdir(exist_ok=True)
        for file, row in zip(self.files(root, piece), rows, strict=True):
            write_file(file, row.content, durable=False)

    def files(self, root: Path, piece: Piece) -> list[Path]:
        """One for each image."""
        numbers = range(piece.first, piece.first + piece.count)
        return [root / piece.path / f"{number:05d}.png" for number in numbers]

    def most_bytes(self) -> int:
        """Every file takes whole blocks."""
        return self.plan.total * -(-(self.pixels + HEADER) // BLOCK) * BLOCK


class Shards(Layout):
    """Files with images of all classes, mixed by the seed: who reads them in order meets all classes alike."""

    suffix: str
    overhead: int
    """Bytes of an image in a shard besides those of its file, at most."""

    @abstractmethod
    def encode(self, piece: Piece, rows: Sequence[Row]) -> bytes:
        """The content of a shard."""

    def order(self) -> tuple[Labels, Labels]:
        """All classes mixed."""
        places, numbers = self._class_by_class()
        mixed = np.random.default_rng(self.seed).permutation(len(places))
        return places[mixed], numbers[mixed]

    def pieces(self) -> list[Piece]:
        """Shards of nearly the same number of images."""
        total = self.plan.total
        count = -(-total // max(1, min(SHARD_IMAGES, SHARD_PIXELS // self.pixels)))
        stops = [total * number // count for number in range(count + 1)]
        # The word 'train' in the name tells 'datasets' which files to read, and keeps manifest.json out.
        return [
            Piece(
                f"train-{number:05d}-of-{count:05d}{self.suffix}", stops[number], stops[number + 1] - stops[number], 0
            )
            for number in range(count)
        ]

    def write(self, root: Path, piece: Piece, rows: Sequence[Row]) -> None:
        """One file for all."""
        write_file(root / piece.path, self.encode(piece, rows))

    def files(self, root: Path, piece: Piece) -> list[Path]:
        """The shard."""
        return [root / piece.path]

    def most_bytes(self) -> int:
        """Pixels that compress not at all."""
        return self.plan.total * (self.pixels + HEADER + self.overhead)


class Parquet(Shards):
    """Columns ``image`` (bytes, path) and ``label``, with the class names, as the Hugging Face Hub has them."""

    name, suffix, overhead = "parquet", ".parquet", 100

    def __init__(self, plan: Plan, folders: Sequence[str], pixels: int, seed: int) -> None:
        super().__init__(plan, folders, pixels, seed)
        self._arrow, self._parquet = (library(part, "--format parquet") for part in ("pyarrow", "pyarrow.parquet"))

    def encode(self, piece: Piece, rows: Sequence[Row]) -> bytes:
        """A table; images are compressed already."""
        arrow = self._arrow
        names = {"names": list(self.plan.classes), "_type": "ClassLabel"}
        features = {"image": {"_type": "Image"}, "label": names}
        schema = arrow.schema(
            [
                ("image", arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])),
                ("label", arrow.int64()),
            ],
            metadata={"huggingface": json.dumps({"info": {"features": features}})},
        )
        images = [{"bytes": row.content, "path": self._file(row)} for row in rows]
        table = arrow.table({"image": images, "label": [row.place for row in rows]}, schema=schema)
        content = io.BytesIO()
        self._parquet.write_table(table, content, row_group_size=ROW_GROUP, compression="none", use_dictionary=False)
        return content.getvalue()


class WebDataset(Shards):
    """Tar files with ``KEY.json`` (class name and number), ``KEY.cls`` (place of the class) and ``KEY.png``."""

    name, suffix, overhead = "webdataset", ".tar", 6 * tarfile.BLOCKSIZE

    def encode(self, piece: Piece, rows: Sequence[Row]) -> bytes:
        """Headers without times and owners: the same images make the same bytes."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for key, row in enumerate(rows, piece.start):
                told = json.dumps({"label": self.plan.classes[row.place], "number": row.number}, ensure_ascii=False)
                # The name comes first: of several labels of a sample our reader takes the first.
                files = {"json": told.encode(), "cls": str(row.place).encode(), "png": row.content}
                for kind, data in files.items():
                    member = tarfile.TarInfo(f"{key:09d}.{kind}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        return content.getvalue()


LAYOUTS: dict[str, type[Layout]] = {layout.name: layout for layout in (ClassFolders, Parquet, WebDataset)}


def layout_named(name: str) -> type[Layout]:
    """A layout by its name.

    Raises:
        ConfigError: no such one.
    """
    return pick(LAYOUTS, name, "format")

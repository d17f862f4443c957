"""How a set of samples lies on disk: class folders, parquet shards, WebDataset shards.

A set is a number of files, each with one or more of its images; the bytes of a file follow from its images alone.
"""

from __future__ import annotations

import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctfgan.core.errors import library, pick
from ctfgan.core.files import write_file
from ctfgan.data.sources.base import Labels
from ctfgan.sampling.plan import SamplePlan

SHARD_IMAGES = 10_000  # images of a shard, at most
SHARD_PIXELS = 64 << 20  # bytes of the pixels of a shard, at most
ROW_GROUP = 1_000  # rows of a parquet file that a reader decodes at once
BLOCK = 4_096  # bytes that a small file takes on most file systems
HEADER = 150  # bytes of an encoded image besides its pixels, about


@dataclass(frozen=True)
class EncodedImage:
    """One image and what it shows."""

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

    Attributes:
        places: the class of each image as a place in the plan, in the order of the set, ``(N,)``.
        numbers: which image of its class each one is, ``(N,)``.
    """

    name: str
    """As ``--format`` calls it."""

    def __init__(self, plan: SamplePlan, folders: Sequence[str], pixels: int, seed: int) -> None:
        self.plan = plan
        self.folders = folders
        self.pixels = pixels
        self.seed = seed
        counts = plan.counts
        self.places = np.repeat(np.arange(len(counts)), counts)
        self.numbers = np.arange(len(self.places)) - np.repeat(np.cumsum(counts) - counts, counts)

    @abstractmethod
    def sizes(self) -> Labels:
        """How many images each file has, in the order of the set, ``(F,)``."""

    @abstractmethod
    def path(self, file: int) -> str:
        """Where a file is below the set's folder."""

    @abstractmethod
    def write(self, path: Path, images: Sequence[EncodedImage], start: int) -> None:
        """Write a file.

        Args:
            path: of the file.
            images: all of its images.
            start: the place of the first of them in the order of the set.
        """

    @abstractmethod
    def most_bytes(self) -> int:
        """What the set takes on disk, at most."""

    def file_name(self, place: int, number: int) -> str:
        """What an image is called by its class and number."""
        return f"{self.folders[place]}/{number:05d}.png"


class ClassFolders(Layout):
    """``CLASS/00000.png``, class by class."""

    name = "folders"

    def sizes(self) -> Labels:
        """A file for each image."""
        return np.ones(self.plan.total, dtype=np.int64)

    def path(self, file: int) -> str:
        """That of an image."""
        return self.file_name(int(self.places[file]), int(self.numbers[file]))

    def write(self, path: Path, images: Sequence[EncodedImage], start: int) -> None:
        """One image; it gets to the disk when all are there."""
        path.parent.mkdir(exist_ok=True)
        write_file(path, images[0].content, durable=False)

    def most_bytes(self) -> int:
        """Every file takes whole blocks."""
        return self.plan.total * -(-(self.pixels + HEADER) // BLOCK) * BLOCK


class Shards(Layout):
    """Files with images of all classes, mixed by the seed: who reads them in order meets all classes alike."""

    suffix: str
    overhead: int
    """Bytes of an image in a shard besides those of its file, at most."""

    def __init__(self, plan: SamplePlan, folders: Sequence[str], pixels: int, seed: int) -> None:
        super().__init__(plan, folders, pixels, seed)
        mixed = np.random.default_rng(seed).permutation(plan.total)
        self.places, self.numbers = self.places[mixed], self.numbers[mixed]
        self.shards = -(-plan.total // max(1, min(SHARD_IMAGES, SHARD_PIXELS // pixels)))

    @abstractmethod
    def encode(self, images: Sequence[EncodedImage], start: int) -> bytes:
        """The content of a shard whose first image is at ``start`` in the order of the set."""

    def sizes(self) -> Labels:
        """Nearly the same number of images in all shards."""
        return np.diff(self.plan.total * np.arange(self.shards + 1) // self.shards)

    def path(self, file: int) -> str:
        """That of a shard."""
        # The word 'train' in the name tells 'datasets' which files to read, and keeps manifest.json out.
        return f"train-{file:05d}-of-{self.shards:05d}{self.suffix}"

    def write(self, path: Path, images: Sequence[EncodedImage], start: int) -> None:
        """A shard."""
        write_file(path, self.encode(images, start))

    def most_bytes(self) -> int:
        """Pixels that compress not at all."""
        return self.plan.total * (self.pixels + HEADER + self.overhead)


class Parquet(Shards):
    """Columns ``image`` (bytes, path) and ``label``, with the class names, as the Hugging Face Hub has them."""

    name, suffix, overhead = "parquet", ".parquet", 100

    def __init__(self, plan: SamplePlan, folders: Sequence[str], pixels: int, seed: int) -> None:
        super().__init__(plan, folders, pixels, seed)
        self._arrow, self._parquet = (library(part, "--format parquet") for part in ("pyarrow", "pyarrow.parquet"))

    def encode(self, images: Sequence[EncodedImage], start: int) -> bytes:
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
        column = [{"bytes": image.content, "path": self.file_name(image.place, image.number)} for image in images]
        table = arrow.table({"image": column, "label": [image.place for image in images]}, schema=schema)
        content = io.BytesIO()
        self._parquet.write_table(table, content, row_group_size=ROW_GROUP, compression="none", use_dictionary=False)
        return content.getvalue()


class WebDataset(Shards):
    """Tar files with ``KEY.json`` (class name and number), ``KEY.cls`` (place of the class) and ``KEY.png``."""

    name, suffix, overhead = "webdataset", ".tar", 6 * tarfile.BLOCKSIZE

    def encode(self, images: Sequence[EncodedImage], start: int) -> bytes:
        """Headers without times and owners: the same images make the same bytes."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for key, image in enumerate(images, start):
                label = {"label": self.plan.classes[image.place], "number": image.number}
                # The name comes first: of several labels of a sample our reader takes the first.
                members = {
                    "json": json.dumps(label, ensure_ascii=False).encode(),
                    "cls": str(image.place).encode(),
                    "png": image.content,
                }
                for kind, data in members.items():
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

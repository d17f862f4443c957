"""WebDataset shards: tar files in which the files of one sample share a name, such as ``7.jpg`` and ``7.cls``."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ctfgan.data.sources.base import file_identity
from ctfgan.data.sources.encoded import SUFFIXES, EncodedSource, open_image
from ctfgan.data.sources.parts import Opener, by_split, part_location
from ctfgan.data.sources.tables import numbered
from ctfgan.errors import DataError, excerpt, shown

HEADER_BYTES = 1 << 16
"""Enough of an encoded image to know its size, unless its metadata are unusually long."""
LONGEST_LABEL = 1 << 20
"""Bytes of a file with a label, and of the name in an extended header; a .json may describe the image at length."""


def webdataset_parts(root: Path, files: Iterable[Path]) -> dict[str, Opener]:
    """The parts that file names speak of, such as ``imagenet-train-000000.tar``."""
    return {
        split: partial(TarSource, part_location(root, split), group) for split, group in by_split(root, files).items()
    }


@dataclass(slots=True)
class _Sample:
    """One sample while its shard is read."""

    image: str = ""
    offset: int = 0
    size: int = 0
    label: int | str | None = None


class TarSource(EncodedSource):
    """The images of some shards, by their place in them; nothing is unpacked.

    A label is the text of ``.cls`` (a number or a class name) or the entry ``label`` of ``.json``. Of a shard that is
    cut off, what lies before is used.

    Raises:
        DataError: a file that is no tar or one with holes, a label that is none, or no image.
    """

    def __init__(self, location: str, shards: list[Path]) -> None:
        self.location = location
        self._shards = shards
        scans = [_scan(shard) for shard in shards]
        samples = [[sample for sample in found if sample.image] for found, _ in scans]
        self._starts = np.cumsum([0, *map(len, samples)])
        self._names = [sample.image for found in samples for sample in found]
        self._places = np.array([(sample.offset, sample.size) for found in samples for sample in found], dtype=np.int64)
        without = sum(len(found) for found, _ in scans) - len(self._names)
        self.notes: tuple[str, ...] = tuple(damage for _, damage in scans if damage)
        if without:
            self.notes += (f"{without:,} samples without an image are unused",)
        if not self._names:
            why = "".join(f" ({note})" for note in self.notes[:1])
            raise DataError(f"{location} holds no images{why}; give shards of image files")
        self.classes, self.labels = numbered(_alike([s.label for found in samples for s in found]), None, location)

    def identity(self) -> str:
        return file_identity(self._shards)

    def name(self, index: int) -> str:
        return shown(f"{self._shard(index)}:{self._names[index]}")

    def content(self, index: int) -> bytes:
        return self._bytes(index, int(self._places[index, 1]))

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        beginning = self._bytes(index, min(int(self._places[index, 1]), HEADER_BYTES))
        try:
            with open_image(beginning) as image:
                return image.mode, image.size
        except DataError:
            return super().header(index)

    def _bytes(self, index: int, count: int) -> bytes:
        with self._shard(index).open("rb") as file:
            file.seek(int(self._places[index, 0]))
            return file.read(count)

    def _shard(self, index: int) -> Path:
        return self._shards[int(np.searchsorted(self._starts, index, side="right")) - 1]


def _alike(labels: list[int | str | None]) -> list[int | str | None]:
    """Labels that are numbers or the text of numbers as numbers, if all are; 007 is a name."""
    texts: list[int | str | None] = [None if label is None else str(label) for label in labels]
    try:
        numbers: list[int | str | None] = [None if text is None else int(text) for text in texts]
    except ValueError:
        return texts
    return numbers if [None if number is None else str(number) for number in numbers] == texts else texts


class _Shard(io.BufferedReader):
    """A file for tarfile, which would ask for as many bytes as the header of a long name claims to have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= LONGEST_LABEL:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return super().read(size)


def _scan(shard: Path) -> tuple[list[_Sample], str]:
    """The samples of a shard in order, and a sentence about damage, if any."""
    with ExitStack() as opened:
        try:
            file = opened.enter_context(_Shard(io.FileIO(shard)))
            tar = opened.enter_context(tarfile.open(fileobj=file, mode="r:"))
        except Exception as error:  # tarfile raises what the remains of an extended header run into
            raise DataError(
                f"{shard} is no plain tar file ({excerpt(error)}); unpack it if it is compressed, or fetch it again"
            ) from error
        return _samples(shard, tar)


def _samples(shard: Path, tar: tarfile.TarFile) -> tuple[list[_Sample], str]:
    samples: dict[str, _Sample] = {}
    end = shard.stat().st_size
    tar.offset = 0  # opening has passed over the first header
    while True:
        offset = tar.offset
        try:
            # Unlike next(), this keeps no list of all headers, and does not take a damaged one for the end.
            member = _header_at(tar, offset)
        except Exception as error:  # tarfile raises what the remains of an extended header run into
            damage = "" if _is_end_mark(shard, offset) else _cut_off(shard, offset, excerpt(error))
            return list(samples.values()), damage
        if member.size < 0 or tar.offset <= offset:  # it would lead back, for ever
            return list(samples.values()), _cut_off(shard, offset, f"{member.name} has {member.size} bytes")
        if member.issparse():  # its content does not lie there in one piece
            raise DataError(f"{shard}:{member.name} is packed with holes; the shard must be made without tar --sparse")
        # An extended header may tell another size than the one that the next header is looked for by.
        if max(member.offset_data + member.size, tar.offset - tarfile.BLOCKSIZE) > end:
            return list(samples.values()), _cut_off(shard, offset, f"{member.name} is not whole")
        if member.isreg():
            _take(samples, shard, tar, member)


def _header_at(tar: tarfile.TarFile, offset: int) -> tarfile.TarInfo:
    assert tar.fileobj is not None, "the file is open"
    tar.fileobj.seek(offset)
    return tarfile.TarInfo.fromtarfile(tar)


def _take(samples: dict[str, _Sample], shard: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Note what one file tells about its sample."""
    folder, _, name = member.name.rpartition("/")
    key, _, kind = name.partition(".")
    if not key:
        return  # a hidden file
    sample = samples.setdefault(f"{folder}/{key}", _Sample())
    kind = kind.lower()
    if f".{kind}" in SUFFIXES and not sample.image:
        sample.image, sample.offset, sample.size = member.name, member.offset_data, member.size
    elif kind in ("cls", "json"):
        if member.size > LONGEST_LABEL:
            raise DataError(
                f"{shard}:{member.name} has {member.size:,} bytes; a label must have at most {LONGEST_LABEL:,}"
            )
        file = tar.extractfile(member)
        assert file is not None, "a regular file has content"
        label = _label(file.read(), kind, f"{shard}:{member.name}")
        sample.label = label if sample.label is None else sample.label


def _label(content: bytes, kind: str, name: str) -> int | str | None:
    try:
        text = content.decode()
        label = text.strip() if kind == "cls" else json.loads(text).get("label")
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{name} is no label ({excerpt(error)}); a .cls holds a number or a name, a .json an entry 'label'"
        ) from error
    if label is not None and (isinstance(label, bool) or not isinstance(label, int | str) or label == ""):
        raise DataError(f"{name} holds the label {excerpt(repr(label), 60)}; it must be a whole number or a name")
    return label


def _is_end_mark(shard: Path, offset: int) -> bool:
    """Whether a tar file ends as it should where a header failed: with a block of zeros."""
    with shard.open("rb") as file:
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _cut_off(shard: Path, offset: int, reason: str) -> str:
    return shown(f"{shard} is damaged or cut off at byte {offset:,} ({reason}); the files before it are used")

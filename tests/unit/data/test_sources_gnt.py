from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from ctfgan.core.errors import DataError
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.base import ImageSource
from ctfgan.data.sources.gnt import GntSource
from ctfgan.data.sources.registry import open_source

Sample = tuple[bytes, int, int]
"""Two bytes of GBK, width, height."""
SAMPLES: list[Sample] = [
    ("啊".encode("gbk"), 5, 7),
    (b"A\0", 6, 4),
    ("阿".encode("gbk"), 9, 8),
    ("啊".encode("gbk"), 4, 4),
]


def record(tag: bytes, width: int, height: int, *, size: int | None = None) -> bytes:
    """A bitmap whose pixel (row, column) is 10 row + column."""
    pixels = bytes(10 * row + column for row in range(height) for column in range(width))
    return struct.pack("<I2sHH", 10 + len(pixels) if size is None else size, tag, width, height) + pixels


def write_gnt(path: Path, samples: Iterable[Sample]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(record(*sample) for sample in samples))
    return path


def names(source: ImageSource) -> list[str]:
    return [source.classes[label] for label in source.labels]


def test_records_become_characters_with_their_bitmaps(tmp_path: Path) -> None:
    source = open_source(str(write_gnt(tmp_path / "1001.gnt", SAMPLES)))
    assert names(source) == ["啊", "A", "阿", "啊"]
    assert source.classes == ("A", "啊", "阿")  # in the order of the codes
    for index, (_, width, height) in enumerate(SAMPLES):
        assert source.header(index) == ("L", (width, height))
        rows, columns = np.mgrid[:height, :width]
        assert np.array_equal(np.asarray(source.read(index)), 10 * rows + columns)
    assert source.name(1) == f"{tmp_path / '1001.gnt'} at byte {10 + 5 * 7}"
    assert source.notes == ()


def test_a_tree_of_files_is_one_set_in_sorted_order(tmp_path: Path) -> None:
    write_gnt(tmp_path / "b" / "2.GNT", SAMPLES[1:2])
    write_gnt(tmp_path / "a" / "9.gnt", SAMPLES[2:])
    write_gnt(tmp_path / "a" / "1.gnt", SAMPLES[:1])
    (tmp_path / "readme.txt").write_text("no data")
    (tmp_path / "empty.gnt").touch()
    source = open_source(str(tmp_path))
    assert names(source) == ["啊", "阿", "啊", "A"]
    assert [source.read(index).size for index in range(4)] == [(5, 7), (9, 8), (4, 4), (6, 4)]


@pytest.mark.parametrize(("train", "test"), [("HWDB1.1trn_gnt", "HWDB1.1tst_gnt"), ("Gnt1.0TrainPart1", "Gnt1.0Test")])
def test_the_published_split_is_in_the_names_of_the_folders(tmp_path: Path, train: str, test: str) -> None:
    write_gnt(tmp_path / train / "1.gnt", SAMPLES[:3])
    write_gnt(tmp_path / test / "2.gnt", SAMPLES[3:])
    assert names(open_source(str(tmp_path), "train")) == ["啊", "A", "阿"]
    assert names(open_source(str(tmp_path), "test")) == ["啊"]
    assert names(open_source(str(tmp_path))) == ["啊", "A", "阿", "啊"]
    with pytest.raises(DataError, match="no published training and test parts"):
        open_source(str(tmp_path / train), "test")


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (record(*SAMPLES[3])[:7], "7 bytes are no header"),
        (record(*SAMPLES[3])[:-1], "25 bytes are left of a record of 26"),
        (record(*SAMPLES[3])[:10], "10 bytes are left of a record of 26"),
        (record(*SAMPLES[3], size=27) + record(*SAMPLES[0]), "a record of 27 bytes cannot hold 4x4 pixels"),
        (record(*SAMPLES[3], size=0), "a record of 0 bytes cannot hold 4x4 pixels"),
        (b"\xff" * 40, "a record of 4,294,967,295 bytes cannot hold 65535x65535 pixels"),
    ],
)
def test_what_lies_before_a_damage_is_kept_and_the_place_is_named(tmp_path: Path, tail: bytes, reason: str) -> None:
    damaged = write_gnt(tmp_path / "1.gnt", SAMPLES[:2])
    offset = damaged.stat().st_size
    damaged.write_bytes(damaged.read_bytes() + tail)
    write_gnt(tmp_path / "2.gnt", SAMPLES[2:])
    source = open_source(str(tmp_path))
    assert names(source) == ["啊", "A", "阿", "啊"]
    assert [source.read(index).size for index in range(4)] == [(5, 7), (6, 4), (9, 8), (4, 4)]
    assert source.notes == (f"{damaged} is damaged at byte {offset} ({reason}); the 2 records before it are used",)


def test_a_file_without_a_whole_record_is_refused(tmp_path: Path) -> None:
    path = write_gnt(tmp_path / "1.gnt", SAMPLES[:1])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"holds no characters \(.*1\.gnt is damaged at byte 0 \(44 bytes are left"):
        open_source(str(path))


@pytest.mark.parametrize("tag", [b"\xff\x00", b"\xff\xff", b"\x00\x00", b"AB", b" \0"])
def test_records_of_no_character_are_left_out_and_counted(tmp_path: Path, tag: bytes) -> None:
    path = write_gnt(tmp_path / "1.gnt", [SAMPLES[0], (tag, 4, 4), (tag, 4, 5), SAMPLES[1]])
    source = open_source(str(path))
    assert names(source) == ["啊", "A"]
    assert source.read(1).size == (6, 4)
    assert f"2 records have no GBK character (first: {path} at byte 45: {tag.hex(' ')})" in source.notes


def test_headers_are_read_without_bitmaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(str(write_gnt(tmp_path / "1.gnt", [*SAMPLES, (b"B\0", 3, 9), (b"B\0", 0, 9)])))
    monkeypatch.setattr(GntSource, "read", lambda self, index: pytest.fail("decoded"))
    survey = scan_headers(source)
    assert (survey.images, survey.sides, survey.modes) == (4, (4, 4, 8), {"L": 4})
    assert [reason for _, reason in survey.unreadable] == [
        "3x9 pixels; each side must have at least 4", "0x9 pixels; each side must have at least 4",
    ]  # fmt: skip


def test_the_index_of_a_large_file_reads_little_of_it(tmp_path: Path) -> None:
    path = tmp_path / "1.gnt"
    with path.open("wb") as file:  # a hole instead of bitmaps: 4 GB that take no disk space
        for _ in range(4):
            file.write(struct.pack("<I2sHH", 10 + 32_000 * 32_000, b"A\0", 32_000, 32_000))
            file.seek(32_000 * 32_000, 1)
        file.truncate()
    source = open_source(str(path))
    assert len(source.labels) == 4
    assert source.name(3).endswith(f"at byte {3 * (10 + 32_000 * 32_000)}")


def test_a_damaged_file_never_raises_anything_else(tmp_path: Path) -> None:
    whole = write_gnt(tmp_path / "x.gnt", SAMPLES).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            content[place] = rng.integers(0, 256)
        (tmp_path / "x.gnt").write_bytes(content[: rng.integers(len(whole) // 2, len(whole) * 2)])
        with suppress(DataError):
            source = open_source(str(tmp_path / "x.gnt"))
            scan_headers(source)
            assert len(source.labels) <= len(SAMPLES) + 3

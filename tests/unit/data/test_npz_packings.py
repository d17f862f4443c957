"""How members of an .npz may be packed, in archives that zipfile wrote and in others that no tool would write."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ctfgan.core.errors import DataError
from ctfgan.data.npz import NpzFile
from ctfgan.data.sources.registry import open_source

STORED, DEFLATE, BZIP2, LZMA = 0, 8, 12, 14  # the numbers of zip's specification
EVERY = pytest.mark.parametrize("packing", [STORED, DEFLATE, BZIP2, LZMA])
ENCRYPTED = 1
LITTLE = 16_000_000  # bytes of memory; the half of it is the dictionary that LZMA takes
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, 5_000, dtype=np.uint8)


def npy(array: NDArray[np.generic]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def packed(content: bytes, packing: int) -> bytes:
    """A member's bytes, made without zipfile."""
    if packing == DEFLATE:
        return zlib.compress(content, wbits=-15)
    if packing == BZIP2:
        return bz2.compress(content)
    if packing == LZMA:
        alone = lzma.compress(content, lzma.FORMAT_ALONE)  # properties and dictionary, the length (8 bytes), the stream
        return b"\x09\x04\x05\x00" + alone[:5] + alone[13:]
    return content


def member(path: Path, data: bytes, packing: int, size: int, checksum: int, flags: int = 0) -> Path:
    """An archive of images.npy, byte by byte as zip's specification says, whatever of it is true."""
    name = b"images.npy"
    common = struct.pack("<HHHHHIIIHH", 63, flags, packing, 0, 33, checksum, len(data), size, len(name), 0)
    local = b"PK\3\4" + common + name + data
    central = b"PK\1\2" + struct.pack("<H", 63) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)
    return path


def honest(path: Path, content: bytes, packing: int) -> Path:
    return member(path, packed(content, packing), packing, len(content), zlib.crc32(content))


def refused(path: Path, message: str = "no readable") -> None:
    with pytest.raises(DataError, match=message) as error:
        NpzFile(path).read("images")
    said = str(error.value)
    assert said.isprintable()
    assert said.startswith(f"{path} is no readable .npz of plain arrays (")
    assert said.endswith("; write it with numpy.savez, or fetch it again")


@EVERY
def test_whatever_zipfile_packs_is_read_as_it_was(tmp_path: Path, packing: int) -> None:
    arrays = {
        "images": RNG.integers(0, 256, (3, 20, 30, 3), dtype=np.uint8),
        "large": np.tile(RNG.integers(0, 256, (100, 100), dtype=np.uint8), (150, 1, 1)),  # more than is read at once
        "labels": np.arange(3)[::-1],
        "columns": np.asfortranarray(RNG.normal(size=(4, 7)).astype(">f4")),
        "classes": np.array(["a", "一", "ccc"]),
        "single": np.array(7),
        "none": np.zeros((0, 5), np.uint8),
    }
    with zipfile.ZipFile(tmp_path / "x.npz", "w", packing) as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", npy(array))
    file = NpzFile(tmp_path / "x.npz")
    assert file.names == tuple(arrays)
    for name, array in arrays.items():
        assert (file.header(name).dtype, file.header(name).shape) == (array.dtype, array.shape)
        read = file.read(name)
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        assert np.array_equal(read, array)


def test_every_member_may_have_a_packing_of_its_own(tmp_path: Path) -> None:
    images, labels = RNG.integers(0, 256, (4, 8, 8), dtype=np.uint8), np.array([0, 1, 0, 1])
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x_train.npy", npy(images), LZMA)
        archive.writestr("y_train.npy", npy(labels), BZIP2)
        archive.writestr("x_test.npy", npy(images), STORED)
        archive.writestr("y_test.npy", npy(labels), DEFLATE)
    source = open_source(str(tmp_path / "x.npz"))
    assert source.labels.tolist() == [0, 1, 0, 1] * 2
    assert np.array_equal(
        np.stack([np.asarray(source.read(index)) for index in range(8)]), np.concatenate([images] * 2)
    )


@EVERY
def test_what_is_packed_by_hand_is_read_too(tmp_path: Path, packing: int) -> None:
    assert np.array_equal(NpzFile(honest(tmp_path / "x.npz", npy(NOISE), packing)).read("images"), NOISE)


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_lzma_need_not_mark_its_end(tmp_path: Path, missing: int) -> None:
    content = npy(NOISE)
    path = member(tmp_path / "x.npz", packed(content, LZMA)[:-missing], LZMA, len(content), zlib.crc32(content))
    with zipfile.ZipFile(path) as archive:
        assert archive.read("images.npy") == content
    assert np.array_equal(NpzFile(path).read("images"), NOISE)


@EVERY
def test_a_member_that_is_cut_off_is_refused_wherever_the_cut_is(tmp_path: Path, packing: int) -> None:
    content = npy(NOISE)
    data = packed(content, packing)
    for length in (0, 1, 4, 8, 9, 10, 20, 130, 2_000, len(data) - 100):
        refused(member(tmp_path / "x.npz", data[:length], packing, len(content), zlib.crc32(content)))


@EVERY
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, packing: int) -> None:
    path = honest(tmp_path / "x.npz", npy(NOISE), packing)
    whole = path.read_bytes()
    for length in (30, 100, 2_000, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"is no \.npz file, or only the beginning of one; write it with"):
            NpzFile(path)


@EVERY
def test_damaged_content_is_refused(tmp_path: Path, packing: int) -> None:
    content = npy(NOISE)
    data = packed(content, packing)
    damaged = data[:1_000] + bytes(byte ^ 0xFF for byte in data[1_000:1_010]) + data[1_010:]
    refused(member(tmp_path / "x.npz", damaged, packing, len(content), zlib.crc32(content)))


@EVERY
def test_a_wrong_checksum_is_refused(tmp_path: Path, packing: int) -> None:
    content = npy(NOISE)
    path = member(tmp_path / "x.npz", packed(content, packing), packing, len(content), zlib.crc32(content) ^ 1)
    refused(path, "CRC|checksum")


@EVERY
@pytest.mark.parametrize("held", [1_000, 4_999])
def test_a_member_shorter_than_it_says_is_refused_even_if_its_checksum_is_right(
    tmp_path: Path, packing: int, held: int
) -> None:
    """Or its array would end in whatever lay in memory."""
    content = npy(NOISE)
    cut = content[: held - 5_000]
    path = member(tmp_path / "x.npz", packed(cut, packing), packing, len(content), zlib.crc32(cut))
    refused(path, "images is shorter than its header says")


@EVERY
def test_a_member_longer_than_it_says_is_refused(tmp_path: Path, packing: int) -> None:
    content = npy(NOISE)
    longer = content + b"more"
    path = member(tmp_path / "x.npz", packed(longer, packing), packing, len(content), zlib.crc32(longer))
    refused(path, "images is longer than its header says|CRC")
    refused(honest(path, longer, packing), r"images promises \(5000,\) of uint8 in 5,004 bytes")


@pytest.fixture(scope="module")
def bombs() -> dict[int, bytes]:
    """Bytes that unpack to an array of 1,000 bytes, and 30 MB of zeros behind it."""
    content = npy(np.zeros(1_000, np.uint8)) + bytes(30_000_000)
    return {packing: packed(content, packing) for packing in (DEFLATE, BZIP2, LZMA)}


@pytest.mark.parametrize("packing", [DEFLATE, BZIP2, LZMA])
@pytest.mark.parametrize("checksum", [0, zlib.crc32(npy(np.zeros(1_000, np.uint8)))])
def test_a_bomb_is_not_unpacked_beyond_what_its_header_says(
    tmp_path: Path, bombs: dict[int, bytes], packing: int, checksum: int
) -> None:
    path = member(tmp_path / "x.npz", bombs[packing], packing, 1_128, checksum)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    try:
        if packing == DEFLATE and checksum:  # zipfile leaves out what is behind the length that it was told
            assert not NpzFile(path).read("images").any()
        else:
            refused(path, "images is longer than its header says|CRC|checksum")
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()


@EVERY
def test_an_arrays_header_is_not_read_to_whatever_length_it_asks_for(tmp_path: Path, packing: int) -> None:
    content = b"\x93NUMPY\2\0" + (30_000_000).to_bytes(4, "little") + bytes(30_000_000)
    path = honest(tmp_path / "x.npz", content, packing)
    del content
    tracemalloc.start()
    try:
        refused(path, "a header of 30,000,000 bytes, more than 10,000")
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()


@EVERY
def test_more_than_the_free_memory_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: int
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 4_999}))
    path = honest(tmp_path / "x.npz", npy(NOISE), packing)
    assert NpzFile(path).header("images").nbytes == 5_000
    with pytest.raises(DataError, match=r"4\.9 KiB of memory, of which 4\.9 KiB are free; unpack it"):
        NpzFile(path).read("images")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"\x09\x04\x05\x00\x5d\xff\xff\xff\xff", "dictionary of 4,294,967,295 bytes, more than 268,435,456"),
        (b"\x09\x04\x05\x00\x5d\x01\x00\x00\x10", "dictionary of 268,435,457 bytes"),
        (b"\x09\x04\x06\x00\x5d\x00\x00\x80\x00\x00", "no header of LZMA"),
        (b"\x09\x04\xff\xff\x5d\x00\x00\x80\x00", "no header of LZMA"),
        (b"\x09\x04\x05\x00\xff\x00\x00\x80\x00", "LZMA with lc=3, lp=3 and pb=5, which are too large"),
        (b"\x09\x04\x05\x00\x28\x00\x00\x80\x00", "LZMA with lc=4, lp=4 and pb=0"),
    ],
)
def test_what_lzma_asks_for_is_looked_at_first(tmp_path: Path, header: bytes, message: str) -> None:
    content = npy(NOISE)
    data = header + packed(content, LZMA)[9:]
    refused(member(tmp_path / "x.npz", data, LZMA, len(content), zlib.crc32(content)), message)


def test_lzma_may_ask_for_the_dictionary_of_the_highest_levels(tmp_path: Path) -> None:
    content = npy(NOISE)
    data = packed(content, LZMA)
    data = data[:5] + (1 << 28).to_bytes(4, "little") + data[9:]
    path = member(tmp_path / "x.npz", data, LZMA, len(content), zlib.crc32(content))
    assert np.array_equal(NpzFile(path).read("images"), NOISE)


@pytest.mark.parametrize("packing", [1, 9, 93, 98])
def test_other_packings_are_refused_by_their_number(tmp_path: Path, packing: int) -> None:
    path = member(tmp_path / "x.npz", npy(NOISE), packing, len(npy(NOISE)), zlib.crc32(npy(NOISE)))
    refused(path, f"packed by zip's method {packing}, and only stored, deflate, bzip2 and LZMA are read")


@EVERY
def test_encrypted_members_are_refused(tmp_path: Path, packing: int) -> None:
    path = member(tmp_path / "x.npz", bytes(40), packing, 5_128, 0, ENCRYPTED)
    refused(path, r"images\.npy is encrypted, and only plain members are read")

from __future__ import annotations

import io
import json
import tarfile
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.base import ImageSource
from ctfgan.data.sources.registry import open_source


def png(grey: int, side: int = 8) -> bytes:
    content = io.BytesIO()
    Image.new("L", (side, side), grey).save(content, format="PNG")
    return content.getvalue()


def write_tar(path: Path, files: dict[str, bytes], *, kind: int = tarfile.GNU_FORMAT, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=kind) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def samples(count: int, label: str = ".cls") -> dict[str, bytes]:
    """Sample i is grey level i, class i mod 2."""
    files = {}
    for number in range(count):
        files[f"{number:03}.png"] = png(number)
        files[f"{number:03}{label}"] = f"{number % 2}".encode()
    return files


def greys(source: ImageSource) -> list[int]:
    return [int(np.asarray(source.read(index))[0, 0]) for index in range(len(source.labels))]


def names(source: ImageSource) -> list[str]:
    return [source.classes[label] for label in source.labels]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_files_of_a_sample_share_a_name(tmp_path: Path, kind: int) -> None:
    long = "ä" * 30 + "/" + "ö" * 40  # longer than a plain header holds
    files = {"x/1.png": png(1), "x/1.cls": b"10", "x/1.txt": b"a caption", "1.cls": b" 9\n", "1.PNG": png(2),
             f"{long}.png": png(3), f"{long}.cls": b"9", "a.b/2.seg.png": png(99), "a.b/2.png": png(4),
             "a.b/2.json": b'{"label": 10, "more": null}'}  # fmt: skip
    path = write_tar(tmp_path / "shard.tar", files, kind=kind)
    source = open_source(str(path))
    assert greys(source) == [1, 2, 3, 4]
    assert source.classes == ("9", "10")  # by number, not by text
    assert names(source) == ["10", "9", "9", "10"]
    assert source.name(0) == f"{path}:x/1.png"
    assert source.header(2) == ("L", (8, 8))
    assert source.notes == ()


def test_labels_may_be_class_names(tmp_path: Path) -> None:
    files = {"1.png": png(1), "1.cls": "木".encode(), "2.png": png(2), "2.json": json.dumps({"label": "7"}).encode()}
    assert names(open_source(str(write_tar(tmp_path / "x.tar", files)))) == ["木", "7"]


def test_samples_without_labels_are_unlabelled(tmp_path: Path) -> None:
    source = open_source(str(write_tar(tmp_path / "x.tar", {"1.png": png(1), "2.jpg": png(2)})))
    assert source.classes == ()
    assert source.labels.tolist() == [-1, -1]


def test_samples_without_an_image_or_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    files = samples(3) | {"4.cls": b"1", "5.png": png(5), ".hidden": b""}
    source = open_source(str(write_tar(tmp_path / "x.tar", files)))
    assert greys(source) == [0, 1, 2]
    assert source.notes == ("1 sample without an image is unused", "1 image without a label is unused")


def test_shards_of_a_folder_are_one_set_with_the_parts_that_their_names_tell(tmp_path: Path) -> None:
    for number, name in enumerate(("set-train-000", "set-train-001", "set-val-000")):
        files = {f"{i}.png": png(10 * number + i) for i in range(2)} | {"0.cls": b"dog", "1.cls": b"cat"}
        write_tar(tmp_path / f"{name}.tar", files)
    assert greys(open_source(str(tmp_path), "train")) == [0, 1, 10, 11]
    assert greys(open_source(str(tmp_path), "test")) == [20, 21]
    whole = open_source(str(tmp_path))
    assert greys(whole) == [0, 1, 10, 11, 20, 21]
    assert names(whole) == ["dog", "cat"] * 3


def test_shards_of_another_part_are_not_opened(tmp_path: Path) -> None:
    for name in ("train-000", "train-001", "val-000"):
        write_tar(tmp_path / f"{name}.tar", samples(2))
    (tmp_path / "train-001.tar").write_bytes(b"no tar")
    assert greys(open_source(str(tmp_path), "test")) == [0, 1]
    with pytest.raises(DataError, match=r"train-001\.tar is no plain tar file"):
        open_source(str(tmp_path), "train")


def test_what_lies_before_the_end_of_a_truncated_shard_is_kept_and_the_place_named(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", samples(4))
    whole = path.read_bytes()
    starts = {}  # of each file's header
    with tarfile.open(path) as tar:
        starts = {member.name: member.offset for member in tar}
    cut = starts["003.png"]
    for length, reason in (
        (cut + 700 - 150, "003.png is not whole"),
        (cut + 100, "truncated header"),
        (cut, "empty header"),
    ):
        path.write_bytes(whole[:length])
        source = open_source(str(path))
        assert greys(source) == [0, 1, 2]
        assert source.notes == (
            f"{path} is damaged or cut off at byte {cut:,} ({reason}); the files before it are used",
        )


def test_a_damaged_header_inside_a_shard_is_not_taken_for_its_end(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", samples(4))
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        offset = tar.getmember("002.png").offset
    content[offset + 20 : offset + 60] = b"\xff" * 40
    path.write_bytes(content)
    source = open_source(str(path))
    assert greys(source) == [0, 1]
    assert f"cut off at byte {offset:,} (bad checksum)" in source.notes[0]


def test_a_checksum_of_signed_bytes_is_right_and_any_other_is_not(tmp_path: Path) -> None:
    content = bytearray(write_tar(tmp_path / "shard.tar", {"é.png": png(7)}).read_bytes())
    right = int(content[148:154], 8)
    for stored, reads in ((right, True), (right - 2 * 256, True), (right - 1, False), (right - 256, False)):
        content[148:154] = b"%06o" % stored  # é is two bytes over 127
        (tmp_path / "shard.tar").write_bytes(content)
        with nullcontext() if reads else pytest.raises(DataError, match="bad checksum"):
            assert greys(open_source(str(tmp_path / "shard.tar"))) == [7]


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("claim", [2**35, 2**70, -(2**70)])
@pytest.mark.parametrize("first", [True, False])
def test_a_long_name_that_claims_impossible_bytes_is_not_asked_for(
    tmp_path: Path, kind: int, claim: int, first: bool
) -> None:
    before = write_tar(tmp_path / "before.tar", {"a.png": png(7)}).read_bytes()[:1024]
    content = bytearray(write_tar(tmp_path / "shard.tar", {"ö" * 200 + ".png": png(8)}, kind=kind).read_bytes())
    content[124:136] = (b"\x80" if claim > 0 else b"\xff") + (claim % 2**88).to_bytes(11, "big")
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    (tmp_path / "shard.tar").write_bytes(bytes(content) if first else before + content)
    if first:
        with pytest.raises(DataError, match="no plain tar file"):
            open_source(str(tmp_path / "shard.tar"))
    else:
        source = open_source(str(tmp_path / "shard.tar"))
        assert greys(source) == [7]
        assert "damaged or cut off at byte 1,024 (a header claims" in source.notes[0]


def test_two_sizes_of_one_file_do_not_lead_out_of_the_shard(tmp_path: Path) -> None:
    before = write_tar(tmp_path / "before.tar", {"a.png": png(7)}).read_bytes()[:1024]
    for_all = {"size": "none"}
    with tarfile.open(tmp_path / "shard.tar", "w", format=tarfile.PAX_FORMAT, pax_headers=for_all) as tar:
        tar.addfile(tarfile.TarInfo("b.png"))
    content = bytearray(before + (tmp_path / "shard.tar").read_bytes())
    at = content.rindex(b"b.png")
    content[at + 124 : at + 136] = b"\x80" + (2**70).to_bytes(11, "big")
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    (tmp_path / "shard.tar").write_bytes(content)
    source = open_source(str(tmp_path / "shard.tar"))
    assert greys(source) == [7]
    assert "damaged or cut off at byte 1,024 (b.png is not whole)" in source.notes[0]


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_shard_packed_with_holes_is_refused(tmp_path: Path, kind: int) -> None:
    image = png(7).ljust(600, b"\0")
    with tarfile.open(tmp_path / "shard.tar", "w", format=kind) as tar:
        member = tarfile.TarInfo("a.png")
        stored = image[:512]
        if kind == tarfile.PAX_FORMAT:
            member.pax_headers = {"GNU.sparse.map": "0,512", "GNU.sparse.size": "600"}
        member.size = len(stored)
        tar.addfile(member, io.BytesIO(stored))
    if kind == tarfile.GNU_FORMAT:
        content = bytearray((tmp_path / "shard.tar").read_bytes())
        content[156:157] = tarfile.GNUTYPE_SPARSE
        content[386:410] = b"%011o\0%011o\0" % (0, 512)
        content[483:495] = b"%011o\0" % 600
        content[148:156] = b" " * 8
        content[148:156] = b"%06o\0 " % sum(content[:512])
        (tmp_path / "shard.tar").write_bytes(content)
    with tarfile.open(tmp_path / "shard.tar") as tar:
        file = tar.extractfile("a.png")
        assert file is not None
        assert file.read() == image
    with pytest.raises(DataError, match=r"a\.png is packed with holes; the shard must be made without tar --sparse"):
        open_source(str(tmp_path / "shard.tar"))


def test_a_damaged_image_is_skipped_by_name(tmp_path: Path, bad_images: dict[str, bytes]) -> None:
    files = samples(2) | {f"bad{i}.png": content for i, content in enumerate(bad_images.values())}
    files |= {f"bad{i}.cls": b"0" for i in range(len(bad_images))}
    path = write_tar(tmp_path / "x.tar", files)
    survey = scan_headers(open_source(str(path)))
    assert survey.images == 3  # the truncated one has a header
    assert (f"{path}:bad0.png", "zero bytes") in survey.unreadable


def test_headers_are_read_from_the_beginning_of_an_image_if_that_is_enough(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 301, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, format="PNG")
    late = io.BytesIO()
    Image.fromarray(noise).save(late, format="TIFF")  # its directory is at the end
    source = open_source(str(write_tar(tmp_path / "x.tar", {"1.png": content.getvalue(), "2.tif": late.getvalue()})))
    assert [source.header(index) for index in (0, 1)] == [("RGB", (301, 300))] * 2
    assert all(np.array_equal(np.asarray(source.read(index)), noise) for index in (0, 1))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1.png": b"", "1.cls": b"\xff\xfe"}, r"x\.tar:1\.cls is no label"),
        ({"1.png": b"", "1.cls": b""}, r"x\.tar:1\.cls holds the label ''"),
        ({"1.png": b"", "1.json": b"{"}, r"x\.tar:1\.json is no label"),
        ({"1.png": b"", "1.json": b"[1]"}, r"x\.tar:1\.json is no label"),
        ({"1.png": b"", "1.json": b'{"label": 0.5}'}, "holds the label 0.5; it must be a whole number or a name"),
        ({"1.png": b"", "1.json": b'{"label": true}'}, "holds the label True"),
        ({"1.txt": b"", "1.cls": b"1"}, r"holds no images \(1 sample without an image"),
    ],
)
def test_shards_of_other_content_are_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_source(str(write_tar(tmp_path / "x.tar", files)))


def test_what_is_no_plain_tar_is_refused(tmp_path: Path) -> None:
    packed = write_tar(tmp_path / "x.tar", samples(2), mode="w:gz").read_bytes()
    for content in (packed, b"text", b""):
        (tmp_path / "x.tar").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.tar (is no plain tar file|holds no images)"):
            open_source(str(tmp_path / "x.tar"))


def test_a_damaged_shard_never_raises_anything_else(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", samples(4)).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            content[place] = rng.integers(0, 256)
        (tmp_path / "x.tar").write_bytes(content[: rng.integers(len(whole) // 2, len(whole) * 2)])
        with suppress(DataError):
            source = open_source(str(tmp_path / "x.tar"))
            scan_headers(source)
            assert len(source.labels) <= 8

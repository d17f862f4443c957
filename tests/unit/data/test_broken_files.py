"""What fuzzing found, each with the smallest file that shows it."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ctfgan.core.errors import ConfigError, DataError
from ctfgan.data.images import square
from ctfgan.data.sources.arrays import ArraySource
from ctfgan.data.sources.encoded import read_image
from ctfgan.data.sources.registry import open_source
from ctfgan.recipes.overlay import recipe
from ctfgan.recipes.recipe import parse_recipe

GREY = np.zeros((4, 8, 8), np.uint8)
LABELS = np.array([0, 1, 0, 1])


def refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        open_source(str(path))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": LABELS.astype("m8[s]")}, "labels have type timedelta64"),
        ({"labels": LABELS * 2**40}, "leaves most classes without any"),
        ({"labels": LABELS, "classes": np.array([0.5, 1.5])}, "class names have type float64; they must be texts"),
        ({"labels": LABELS, "classes": np.array([b"\xff", b"a"])}, "class names are no texts"),
        ({"labels": LABELS, "classes": np.array([0x110000, 65], np.uint32).view("<U1")}, "1114112 is no character"),
        ({"labels": LABELS, "classes": np.array(["a\nb", "c"])}, "control a terminal"),
        ({"labels": LABELS, "classes": np.array(["", "c"])}, "class 0 has an empty name"),
    ],
)
def test_arrays_that_are_no_labels_or_names(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "x.npz", images=GREY, **arrays)
    refused(tmp_path / "x.npz", message)


def test_names_may_be_utf_8_bytes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=GREY, labels=LABELS, classes=np.array(["ä".encode(), b"b"]))
    assert open_source(str(tmp_path / "x.npz")).classes == ("ä", "b")


def test_a_small_gz_that_unpacks_to_much_is_not_unpacked(tmp_path: Path) -> None:
    content = b"\0\0\x08\x03" + struct.pack(">3I", 1, 4, 4) + bytes(10**8)
    (tmp_path / "x-images-idx3-ubyte.gz").write_bytes(gzip.compress(content, 1))
    refused(tmp_path, "promises 16 bytes of data and holds more")


@pytest.mark.parametrize(
    "batch",
    [
        b"\x80\x02r\xff\xff\xff\x7f",  # a place far beyond the end of the memo
        b"\x80\x05\x96" + b"\xff" * 7 + b"\x00",  # bytes that are not there
        pickle.dumps({"labels": [0.5], "data": np.zeros((1, 3072), np.uint8)}),
        pickle.dumps({"labels": [10**30], "data": np.zeros((1, 3072), np.uint8)}),
        pickle.dumps({"labels": [0], "data": np.zeros((1, 3072))}),
    ],
)
def test_pickles_that_ask_for_memory_or_hold_no_integers(tmp_path: Path, batch: bytes) -> None:
    (tmp_path / "data_batch_1").write_bytes(batch)
    refused(tmp_path, r"is no CIFAR (batch of plain arrays|folder) .*; fetch it again")


def test_class_names_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(3073))
    (tmp_path / "batches.meta.txt").write_bytes(b"\xff\xfe")
    refused(tmp_path, "is no text file of class names")


@pytest.mark.parametrize(("label", "message"), [(b"[" * 5_000, "is no label"), (bytes(2 << 20), "must have at most")])
def test_labels_of_a_shard_that_are_too_deep_or_too_long(tmp_path: Path, label: bytes, message: str) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, data in (("0.png", b""), ("0.json", label)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    refused(tmp_path / "x.tar", message)


def test_a_shard_whose_header_leads_back_ends(tmp_path: Path) -> None:
    member = tarfile.TarInfo("0.png")
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 10 + (-1024 % 2**16).to_bytes(2, "big")  # a negative size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "x.tar").write_bytes(bytes(block) * 3)
    refused(tmp_path / "x.tar", "is (damaged or cut off|no plain tar file)")


def test_a_float_image_of_no_numbers_is_refused() -> None:
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(content, "TIFF")
    with pytest.raises(DataError, match="none of its levels is a finite number"):
        square(read_image(content.getvalue()), 8, 1, "crop")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("generate.consistency=inf", "finite"),
        ("name=../x", "name is '../x', but"),
        ("only=" + "[" * 2_000, "unknown|data.only"),
        ("x" * 100_000 + "=1", "unknown setting"),
    ],
)
def test_settings_that_no_recipe_can_have(assignment: str, message: str) -> None:
    if assignment.startswith("only="):
        assert isinstance(recipe("ctf-glyphs", assignment).data.only, str)  # no TOML, so plain text
        return
    with pytest.raises(ConfigError, match=message) as error:
        recipe("ctf-glyphs", assignment)
    assert len(str(error.value)) < 1_000


@pytest.mark.parametrize("content", [[], 5, None, {"name": "\ud800", "method": {"kind": "x" * 10**6}}])
def test_what_is_no_recipe_at_all(content: object) -> None:
    with pytest.raises(ConfigError, match="x: ") as error:
        parse_recipe(content, "x")  # type: ignore[arg-type]
    assert len(str(error.value)) < 1_000


def test_a_parquet_footer_that_counts_other_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = BytesIO()
    Image.new("L", (5, 5)).save(file, "PNG")
    rows = {"image": [{"bytes": file.getvalue(), "path": "a.png"}] * 3, "label": [0, 1, 0]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "x.parquet")
    assert len(open_source(str(tmp_path / "x.parquet")).labels) == 3

    class Lying(parquet.ParquetFile):
        @property
        def metadata(self) -> object:
            true = super().metadata
            return SimpleNamespace(num_rows=0, row_group=true.row_group, num_row_groups=true.num_row_groups)

    monkeypatch.setattr(parquet, "ParquetFile", Lying)
    with pytest.raises(DataError, match="3 rows, of which the footer counts 0"):
        open_source(str(tmp_path / "x.parquet"))


def test_images_of_an_array_are_too_small_whichever_way_they_are_asked_for() -> None:
    source = ArraySource("x", np.zeros((2, 2, 15), dtype=np.uint8), None, None, [], "all")
    for look in (source.header, source.read):
        with pytest.raises(DataError, match="15x2 pixels; each side must have at least 4"):
            look(0)

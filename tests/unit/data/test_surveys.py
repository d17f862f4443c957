"""What is read of a source: once, by all processors, with an end to what is kept of unreadable images."""

from __future__ import annotations

import io
import json
import threading
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.files import LONGEST_JSON
from ctfgan.data.describe import describe
from ctfgan.data.inspection import inspect
from ctfgan.data.npz import NpzFile
from ctfgan.data.pack import build, pack
from ctfgan.data.packed import UNREADABLE_KEPT, PackedImages
from ctfgan.data.prepare import prepare
from ctfgan.data.scan import AHEAD, PIXEL_BYTES, TOGETHER, in_order, scan_headers
from ctfgan.data.settings import DataSettings
from ctfgan.data.sources.base import ChosenSource, JoinedSource
from ctfgan.data.sources.encoded import EncodedSource
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.registry import open_source
from ctfgan.data.sources.tree import FolderTree

WriteClasses = Callable[..., Path]


def png(level: int, side: int = 8) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(level).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


class Listed(EncodedSource):
    """Encoded images in a list, some of them none; counts what is asked of it."""

    location = "listed"
    notes = ("a note of opening",)
    classes = ("a", "b")

    def __init__(self, files: list[bytes]) -> None:
        self._files = files
        self.labels = np.arange(len(files)) % 2
        self.asked: Counter[str] = Counter()

    def identity(self) -> str:
        return f"listed {len(self._files)}"

    def name(self, index: int) -> str:
        return f"listed[{index}]"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        self.asked["headers"] += 1
        return super().header(index)

    def content(self, index: int) -> bytes:
        return self._files[index]


def test_a_source_that_is_packed_is_not_looked_at_again(cache: Path) -> None:
    files = [png(level) for level in range(9)] + [b"", Path(__file__).read_bytes()]
    first, second = Listed(files), Listed([b""] * len(files))
    survey = scan_headers(first)
    packed = pack(first, survey, 8, 3, "crop")
    assert scan_headers(second) == survey
    assert pack(second, survey, 8, 3, "crop").fingerprint == packed.fingerprint
    assert (first.asked["headers"], second.asked["headers"]) == (11, 0)
    assert survey.notes == second.notes


def test_a_second_start_with_the_same_folders_opens_no_image(
    tmp_path: Path, cache: Path, write_classes: WriteClasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    high, low = (write_classes(tmp_path / name, {"a": 20, "b": 20}, size=size) for name, size in (("h", 16), ("l", 8)))
    settings = DataSettings(high_quality=str(high), low_quality=str(low), resolution=16)
    first = prepare(settings, low_quality=True)
    opened = []
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: opened.append(args))
    second = prepare(settings, low_quality=True)
    assert not opened
    assert [pack.fingerprint for pack in second.packs] == [pack.fingerprint for pack in first.packs]
    assert describe(second, settings) == describe(first, settings)


def test_a_second_start_with_the_same_npz_reads_no_image(
    tmp_path: Path, cache: Path, write_npz: WriteClasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DataSettings(high_quality=str(write_npz(tmp_path / "set.npz", 3, 20)), resolution=16)
    first = prepare(settings, low_quality=True)
    taken: list[str] = []
    whole = NpzFile.read
    monkeypatch.setattr(NpzFile, "read", lambda file, name: taken.append(name) or whole(file, name))
    second = prepare(settings, low_quality=True)
    assert taken == ["labels"]
    assert second.high_quality.fingerprint == first.high_quality.fingerprint


def test_an_npz_with_damaged_images_is_refused_as_a_whole(tmp_path: Path, cache: Path, write_npz: WriteClasses) -> None:
    path = write_npz(tmp_path / "set.npz", 3, 20)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.getinfo("images.npy").header_offset + 400] ^= 1  # a pixel, so that its checksum is wrong
    path.write_bytes(content)
    for look in (inspect, lambda source: pack(source, scan_headers(source), 16, 1, "crop")):
        with pytest.raises(DataError, match=r"^\S*set\.npz is no readable \.npz of plain arrays \(Bad CRC-32"):
            look(open_source(str(path)))


def test_a_changed_file_is_looked_at(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path / "root", {"a": 4})
    pack(TreeSource(FolderTree(root)), scan_headers(TreeSource(FolderTree(root))), 16, 1, "crop")
    Image.new("RGB", (32, 32)).save(root / "a" / "0.png")
    assert scan_headers(TreeSource(FolderTree(root))).sides == (16, 16, 32)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"survey": {}, "of": 9}', '{"of": 9}', " " * (LONGEST_JSON + 1), None]
)
def test_a_survey_in_the_cache_that_is_damaged_or_of_something_else_is_made_anew(
    content: str | None, cache: Path
) -> None:
    source = Listed([png(level) for level in range(9)])
    survey = scan_headers(source)
    pack(source, survey, 8, 3, "crop")
    [file] = cache.rglob("survey.json")
    whole = file.read_text()
    file.write_text(json.dumps(json.loads(whole) | {"of": 5}) if content is None else content)
    assert scan_headers(source) == survey
    pack(source, survey, 8, 3, "crop")
    assert file.read_text() == whole


@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_the_identity_of_a_table_reads_no_pixels_and_tells_another_revision(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")

    def table(first: int) -> Path:
        images = [Image.new("L", (8, 8), first + number) for number in range(6)]
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
        made = datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 3}, features=features)
        place = tmp_path / ("t.parquet" if form == "parquet" else "t")
        made.to_parquet(str(place)) if form == "parquet" else made.save_to_disk(str(place))
        return place

    source = open_source(str(table(0)))
    with monkeypatch.context() as patch:
        patch.setattr(type(source), "content", lambda *_: pytest.fail("pixels were read"))
        before = source.identity()
    assert open_source(source.location).identity() == before
    assert open_source(str(table(100))).identity() != before


def damaged(count: int) -> list[bytes]:
    return [png(0), png(1), *([b"no image"] * count), png(2)]


def test_of_many_unreadable_images_all_are_counted_and_a_thousand_named(tmp_path: Path, cache: Path) -> None:
    many = UNREADABLE_KEPT + 234
    source = Listed(damaged(many))
    survey = scan_headers(source)
    packed = build(source, survey, 8, 3, "crop", tmp_path / "built")
    for one in (survey, packed.survey, inspect(source).survey, open_source(str(tmp_path / "built")).packed.survey):  # type: ignore[attr-defined]
        assert (one.images, one.unreadable_count, len(one.unreadable)) == (3, many, UNREADABLE_KEPT)
        assert one.unreadable[0][0] == "listed[2]"
        assert one.unreadable[-1][0] == f"listed[{UNREADABLE_KEPT + 1}]"
    assert len(packed) == 3
    finding = next(found for found in inspect(source).findings if found.topic == "unreadable")
    assert finding.count == many
    assert finding.summary.startswith(f"{many:,} images cannot be read")


def test_a_thousand_names_of_any_length_can_be_read_again(tmp_path: Path, cache: Path) -> None:
    source = Listed(damaged(3 * UNREADABLE_KEPT))
    source.name = lambda index: "字" * 1_300 + str(index)  # type: ignore[method-assign]  # 4,096 bytes are a path's most
    built = build(source, scan_headers(source), 8, 3, "crop", tmp_path / "built")
    assert built.survey.unreadable_count == 3 * UNREADABLE_KEPT


def packed_by(processors: int, source: Any, monkeypatch: pytest.MonkeyPatch, out: Path) -> PackedImages:
    monkeypatch.setattr("ctfgan.data.scan.usable_processors", lambda: processors)
    return build(source, scan_headers(source), 32, 3, "crop", out)


def test_any_number_of_processors_makes_the_same_bytes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [png(level, 64 + level % 7) for level in range(150)]
    files[5], files[40], files[149] = b"", files[40][:200], b"text"
    source = Listed(files)
    one, eight = (packed_by(count, source, monkeypatch, tmp_path / str(count)) for count in (1, 8))
    for name in ("images.npy", "digests.npy", "labels.npy", "order.npy", "packed.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "8" / name).read_bytes()
    assert [name for name, _ in eight.survey.unreadable] == ["listed[5]", "listed[40]", "listed[149]"]
    assert len(one) == 147


def test_a_row_group_of_a_table_is_read_once_whatever_the_number_of_threads(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    files = [png(level, 64) for level in range(100)]
    pq.write_table(pa.table({"image": files, "label": [0, 1] * 50}), tmp_path / "t.parquet", row_group_size=7)
    source = open_source(str(tmp_path / "t.parquet"))
    survey = scan_headers(source)
    reads: Counter[int] = Counter()
    real = pq.ParquetFile.read_row_group

    def read(self: Any, number: int, **options: Any) -> Any:
        reads[number] += 1
        return real(self, number, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read)
    monkeypatch.setattr("ctfgan.data.scan.usable_processors", lambda: 8)
    packed = build(source, survey, 64, 3, "crop", tmp_path / "built")
    assert set(reads.values()) == {1}
    assert np.array_equal(packed.images, [np.asarray(Image.open(io.BytesIO(file))) for file in files])


def test_several_threads_decode_through_views_of_a_source(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()

    class Watched(Listed):
        def read(self, index: int) -> Image.Image:
            threads.add(threading.get_ident())
            time.sleep(0.001)
            return super().read(index)

    inner = Watched([png(level, 64) for level in range(80)])
    source = ChosenSource(JoinedSource("joined", [inner]), np.arange(80), inner.labels, ("a", "b"))
    monkeypatch.setattr("ctfgan.data.scan.usable_processors", lambda: 4)
    pack(source, scan_headers(source), 64, 3, "crop")
    assert len(threads) > 1
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(("images", "threads"), [(0.5, 1), (2.5, 1), (6.5, 3), (1_000, 8)])
def test_as_many_threads_decode_as_half_of_the_free_memory_holds_images_for(
    images: float, threads: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def noted(work: Any, items: Any, workers: int) -> Any:
        asked.append(workers)
        return in_order(work, items, 1)

    source = Listed([png(0, 64), png(1, 64), png(2, 80)])
    free = SimpleNamespace(available=int(images * 80 * 80 * PIXEL_BYTES))
    monkeypatch.setattr("ctfgan.data.scan.psutil", SimpleNamespace(virtual_memory=lambda: free))
    monkeypatch.setattr("ctfgan.data.scan.usable_processors", lambda: 8)
    monkeypatch.setattr("ctfgan.data.scan.in_order", noted)
    survey = scan_headers(source)
    asked.clear()
    pack(source, survey, 64, 3, "crop")
    inspect(source)
    assert asked == [threads, threads, threads]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order_and_little_is_taken_ahead(workers: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(500):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.0005 * (number % 3 == 0))
        return number**2

    for number, result in enumerate(in_order(work, items(), workers)):
        assert result == number**2
        assert len(taken) - number <= TOGETHER * (AHEAD * workers + 1)


def test_an_interrupt_ends_the_work_and_its_threads() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.002)
        return number

    results = in_order(work, range(100_000), 4)
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    count = len(begun)
    time.sleep(0.02)
    assert len(begun) == count <= TOGETHER * (AHEAD * 4 + 1)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]


def test_what_a_worker_raises_is_raised_here() -> None:
    def work(number: int) -> int:
        if number == 70:
            raise KeyboardInterrupt
        return number

    with pytest.raises(KeyboardInterrupt):
        list(in_order(work, range(1_000), 3))


def test_threads_leave_the_filters_of_warnings_as_they_were() -> None:
    def work(number: int) -> None:
        with warnings.catch_warnings(action="ignore"):
            time.sleep(0.0003 * (number % 5))

    before = list(warnings.filters)
    list(in_order(work, range(300), 8))
    assert list(warnings.filters) == before


def test_a_run_counts_unreadable_images_that_it_does_not_name(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    root = write_classes(tmp_path / "root", {"a": 20, "b": 20})
    settings = DataSettings(high_quality=str(root), resolution=16)
    dataset = prepare(settings, low_quality=False)
    survey = replace(dataset.high_quality.survey, unreadable=(("x.png", "zero bytes"),), more_unreadable=170_000)
    dataset = replace(dataset, high_quality=replace(dataset.high_quality, survey=survey))
    lines = describe(dataset, settings)
    assert "  170,001 unreadable images were skipped:" in lines
    with pytest.raises(DataError, match="none of 3 images can be read"):
        scan_headers(Listed([b"", b"", b""]))

"""Folders that ``ctfgan data build`` writes, and training on them in place of what they came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.core.errors import ConfigError, DataError
from ctfgan.data.class_names import ClassNames
from ctfgan.data.pack import build, pack
from ctfgan.data.packed import CONTENT, PackedImages, open_labels, open_packed, write_labels
from ctfgan.data.prepare import prepare
from ctfgan.data.scan import scan_headers
from ctfgan.data.settings import DataSettings
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.packed_set import PackedSource
from ctfgan.data.sources.registry import open_source
from ctfgan.data.sources.tree import FolderTree
from ctfgan.data.splits import stratified_order

WriteClasses = Callable[..., Path]
FILES = ["images.npy", "digests.npy", "labels.npy", "order.npy", "offsets.npy", "names.npy", "name_offsets.npy"]


@pytest.fixture
def root(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> Path:
    return write_classes(tmp_path / "root", {"a": 5, "b/c": 7, "字": 4}, size=24)


@pytest.fixture
def built(root: Path, tmp_path: Path) -> Path:
    source = TreeSource(FolderTree(root))
    build(source, scan_headers(source), 16, 1, "crop", tmp_path / "built")
    return tmp_path / "built"


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_built_folder_holds_what_the_cache_would(root: Path, built: Path) -> None:
    source = TreeSource(FolderTree(root))
    packed, ours = pack(source, scan_headers(source), 16, 1, "crop"), open_packed(built)
    assert np.array_equal(ours.images, packed.images)
    assert np.array_equal(ours.labels, packed.labels)
    assert (ours.classes, ours.survey, ours.fingerprint) == (packed.classes, packed.survey, packed.fingerprint)


def test_opening_reads_no_whole_array(built: Path) -> None:
    packed = open_packed(built)
    assert all(isinstance(part, np.memmap) for part in (packed.images, packed.digests, packed.labels,
                                                          packed.order, packed.offsets))  # fmt: skip
    assert isinstance(packed.names, ClassNames)
    assert "classes" not in vars(packed), "the tuple of names is made when somebody asks for it"


def test_opening_takes_as_many_bytes_for_many_images_and_classes_as_for_few(tmp_path: Path) -> None:
    """The proof is a file that holds nothing behind the places that may be looked at."""
    count, classes = 50_000, 20_000
    folder = write_sparse(tmp_path / "large", count, classes)
    packed = open_packed(folder)
    assert (len(packed), len(packed.names)) == (count, classes)
    assert packed.rows_of(classes - 1).tolist() == [classes - 1, 2 * classes - 1]
    assert packed.names[classes - 1] == f"class {classes - 1}"
    # All but the headers overwritten: nobody looked, so nobody complains.
    for name in ("labels.npy", "names.npy", "digests.npy"):
        with (folder / name).open("r+b") as file:
            file.seek(128)
            file.write(b"\xff" * 1000)
    assert len(open_packed(folder).labels) == count


def write_sparse(folder: Path, count: int, classes: int) -> Path:
    folder.mkdir()
    shape = (count, 4, 4, 1)
    np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    np.save(folder / "digests.npy", np.arange(count, dtype=np.uint64))
    write_labels(folder, np.arange(count) % classes, [f"class {number}" for number in range(classes)])
    survey = {"location": "x", "images": count, "sides": [4, 4, 4], "modes": {}, "unreadable": [], "notes": []}
    content = {"format": 4, "shape": shape, "classes": classes, "fit": "crop", "survey": survey, "fingerprint": ""}
    (folder / CONTENT).write_text(json.dumps(content))
    return folder


def test_rows_of_a_class_are_those_with_its_label(built: Path) -> None:
    packed = open_packed(built)
    for label in range(3):
        assert packed.rows_of(label).tolist() == np.flatnonzero(packed.labels == label).tolist()
    assert packed.counts().tolist() == [5, 7, 4]


def test_images_without_a_label_belong_to_no_class(tmp_path: Path) -> None:
    write_labels(tmp_path, np.array([1, -1, 0, -1, 1]), ["a", "b", "empty"])
    assert np.load(tmp_path / "order.npy").tolist() == [2, 0, 4]
    assert np.load(tmp_path / "offsets.npy").tolist() == [0, 1, 3, 3]


def test_names_are_those_of_the_classes(built: Path) -> None:
    names = open_packed(built).names
    assert list(names) == list(names.all()) == ["a", "b/c", "字"]
    assert (names[-1], names[1:], len(names)) == ("字", ("b/c", "字"), 3)
    with pytest.raises(IndexError):
        names[3]


def test_a_built_folder_is_used_in_place(built: Path, cache: Path) -> None:
    source = open_source(str(built))
    assert isinstance(source, PackedSource)
    survey = scan_headers(source)
    assert survey.sides == (16, 16, 16)
    packed = pack(source, survey, 16, 1, "pad")
    assert Path(packed.images.filename) == built / "images.npy"
    assert not files_below(cache)
    assert packed.survey.sides == (24, 24, 24), "what the images once were"
    assert packed.survey.notes[-1].endswith("at 16x16, grey, fit crop")


def test_another_size_is_resampled_from_a_built_folder(built: Path, cache: Path) -> None:
    source = open_source(str(built))
    packed = pack(source, scan_headers(source), 8, 3, "crop")
    assert packed.images.shape == (16, 8, 8, 3)
    assert packed.images[:, 3, 3, 1].tolist() == list(range(16))
    assert files_below(cache)


@pytest.mark.parametrize("fraction", [1.0, 0.65])
def test_a_run_on_a_built_folder_sees_the_same_images_as_on_its_source(
    root: Path, built: Path, fraction: float
) -> None:
    one, other = (
        prepare(DataSettings(high_quality=str(path), resolution=16, high_quality_fraction=fraction), low_quality=True)
        for path in (root, built)
    )
    for rows, same in ((one.training, other.training), (one.pool, other.pool),
                       (one.reference.rows, other.reference.rows)):  # fmt: skip
        assert rows.tolist() == same.tolist()
        assert np.array_equal(one.images(rows), other.images(same))
        assert np.array_equal(one.labels(rows), other.labels(same))
    assert one.high_quality.fingerprint == other.high_quality.fingerprint
    assert one.low_quality is not None
    assert other.low_quality is not None
    assert one.low_quality.bank.fingerprint() == other.low_quality.bank.fingerprint()
    order = [stratified_order(data.high_quality.labels, 3).tolist() for data in (one, other)]
    assert order[0] == order[1]


def test_low_quality_images_can_be_built_too(built: Path, tmp_path: Path, write_classes: WriteClasses) -> None:
    source = TreeSource(FolderTree(write_classes(tmp_path / "cheap", {"a": 4, "b/c": 4, "字": 4}, size=24)))
    build(source, scan_headers(source), 8, 1, "crop", tmp_path / "low")
    settings = DataSettings(high_quality=str(built), low_quality=str(tmp_path / "low"), resolution=16)
    dataset = prepare(settings, low_quality=True)
    assert dataset.low_quality_size == 8
    assert dataset.low_quality is not None
    assert dataset.low_quality.pairing == "matched"


def test_unreadable_images_are_left_out_and_remembered(
    root: Path, tmp_path: Path, bad_images: dict[str, bytes]
) -> None:
    (root / "a" / "1x.png").write_bytes(bad_images["truncated"])
    source = TreeSource(FolderTree(root))
    packed = build(source, scan_headers(source), 16, 1, "crop", tmp_path / "built")
    assert len(packed) == 16
    assert [Path(name).name for name, _ in PackedSource(tmp_path / "built").packed.survey.unreadable] == ["1x.png"]


def test_nothing_is_built_where_something_is(root: Path, built: Path, tmp_path: Path) -> None:
    source = TreeSource(FolderTree(root))
    before = {path: path.read_bytes() for path in built.iterdir()}
    with pytest.raises(ConfigError, match="exists already; choose another folder, or move it away"):
        build(source, scan_headers(source), 8, 1, "crop", built)
    assert {path: path.read_bytes() for path in built.iterdir()} == before
    (tmp_path / "empty").mkdir()
    assert len(build(source, scan_headers(source), 8, 1, "crop", tmp_path / "empty")) == 16


def test_an_interrupted_build_leaves_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TreeSource(FolderTree(root))
    survey = scan_headers(source)

    def interrupt(index: int) -> Image.Image:
        raise KeyboardInterrupt

    monkeypatch.setattr(source, "read", interrupt)
    before = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        build(source, survey, 16, 1, "crop", tmp_path / "built")
    assert set(tmp_path.iterdir()) == before


def test_a_set_of_damaged_images_is_not_built(root: Path, tmp_path: Path, bad_images: dict[str, bytes]) -> None:
    for file in root.rglob("*.png"):
        file.write_bytes(bad_images["truncated"])
    source = TreeSource(FolderTree(root))
    with pytest.raises(DataError, match="no image can be decoded"):
        build(source, scan_headers(source), 16, 1, "crop", tmp_path / "built")
    assert not (tmp_path / "built").exists()


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def retype(path: Path) -> None:
    np.save(path, np.zeros((2, 2), dtype=np.float32))


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("harm", [remove, cut, empty, retype, pickled])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_array_is_named(built: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(built / name)
    with pytest.raises(
        DataError, match=r"built/\S+\.npy is damaged \(.*\); delete the folder .*built and make it"
    ) as told:
        open_source(str(built))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 4, "shape": 5}', "null"])
def test_a_damaged_description_is_named(built: Path, content: str) -> None:
    (built / CONTENT).write_text(content)
    with pytest.raises(DataError, match=r"packed\.json is damaged"):
        open_source(str(built))
    (built / CONTENT).unlink()
    with pytest.raises(DataError, match=r"packed\.json is damaged \(it is missing\)"):
        open_source(str(built))


def test_another_version_is_refused(built: Path) -> None:
    content = json.loads((built / CONTENT).read_text())
    for version in (3, 99):
        (built / CONTENT).write_text(json.dumps(content | {"format": version}))
        with pytest.raises(DataError, match=f"it has format {version}, this version of ctfgan reads 4"):
            open_packed(built)


def test_a_built_folder_may_be_moved(built: Path, tmp_path: Path) -> None:
    before: PackedImages = open_packed(built)
    built.rename(tmp_path / "moved")
    assert open_packed(tmp_path / "moved").fingerprint == before.fingerprint


def test_rows_of_several_classes_are_those_of_each_one_after_the_other(built: Path) -> None:
    packed = open_packed(built)
    expected = [*packed.rows_of(0), *packed.rows_of(2)]
    assert packed.rows_of_all(np.array([0, 2])).tolist() == expected
    assert packed.rows_of_all(np.array([], dtype=np.int64)).tolist() == []


def test_names_compare_with_each_other_and_with_tuples(built: Path, tmp_path: Path) -> None:
    names = open_packed(built).names
    assert names == open_packed(built).names == ("a", "b/c", "字")
    write_labels(tmp_path, np.arange(3), ["ab", "/c", "字"])  # the same letters, cut at other places
    others = open_labels(tmp_path, 3, 3)[3]
    assert names != others
    assert list(names) == ["a", "b/c", "字"]
    assert (names.any_contains("/"), names.any_contains("x")) == (True, False)
    assert not names.are_numbers()

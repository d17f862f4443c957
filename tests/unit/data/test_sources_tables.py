from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ctfgan.core.errors import ConfigError, DataError
from ctfgan.data.pack import pack
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.base import ImageSource
from ctfgan.data.sources.columns import Columns, TableColumn, choose_columns, numbered
from ctfgan.data.sources.registry import open_source


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def png(grey: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (8, 8), grey).save(content, format="PNG")
    return content.getvalue()


def cells(greys: range) -> list[dict[str, Any]]:
    return [{"bytes": png(grey), "path": f"{grey}.png"} for grey in greys]


def greys(source: ImageSource) -> list[int]:
    return [int(np.asarray(source.read(index))[0, 0]) for index in range(len(source.labels))]


def names(source: ImageSource) -> list[str]:
    return [source.classes[label] for label in source.labels]


# Columns


IMAGE, FINE, COARSE = (
    TableColumn("img", "images"),
    TableColumn("fine", "classes", ("a",)),
    TableColumn("coarse", "classes", ("b",)),
)
NUMBER, TEXT, CAPTION = TableColumn("Label", "numbers"), TableColumn("class", "text"), TableColumn("caption", "text")


@pytest.mark.parametrize(
    ("columns", "asked", "expected"),
    [
        ([IMAGE, FINE, NUMBER], Columns(), (IMAGE, FINE)),
        ([CAPTION, NUMBER, IMAGE], Columns(), (IMAGE, NUMBER)),
        ([CAPTION, IMAGE], Columns(), (IMAGE, None)),
        ([CAPTION, IMAGE], Columns(label="caption"), (IMAGE, CAPTION)),
        ([IMAGE, FINE, COARSE], Columns(label="coarse"), (IMAGE, COARSE)),
        ([IMAGE, TableColumn("mask", "images"), FINE], Columns(image="img"), (IMAGE, FINE)),
    ],
)
def test_columns_are_found_by_what_they_hold(columns: list[TableColumn], asked: Columns, expected: object) -> None:
    assert choose_columns("x", columns, asked) == expected


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ([IMAGE, FINE, COARSE], Columns(), r"2 columns .* name one with data\.label_column .*fine \(classes\), coarse"),
        ([IMAGE, NUMBER, TEXT], Columns(), r"2 columns that may be the label; .*Label \(numbers\), class \(text\)"),
        ([IMAGE, TableColumn("mask", "images")], Columns(), r"2 columns of images; name one with data\.image_column"),
        ([FINE], Columns(), r"x has 0 columns of images; .* its columns are fine \(classes\)"),
        ([IMAGE, FINE], Columns(label="fin"), "x has no column 'fin' of labels; its columns are img"),
        ([IMAGE, FINE], Columns(image="fine"), "x has no column 'fine' of images"),
    ],
)
def test_columns_that_cannot_be_told_are_named(columns: list[TableColumn], asked: Columns, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose_columns("x", columns, asked)


def test_values_become_labels() -> None:
    for values, class_names, expected_names, labels in (
        ([1, None, 0, -1], ("a", "b", "c"), ("a", "b", "c"), [1, -1, 0, -1]),
        ([10, 9, 10], None, ("9", "10"), [1, 0, 1]),
        (["b", "a", None], None, ("a", "b"), [1, 0, -1]),
        ([None, -1], ("a", "b"), (), [-1, -1]),
    ):
        found, numbers = numbered(values, class_names, "x")
        assert (found, numbers.tolist()) == (expected_names, labels)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 2], r"label 2 is outside 0 \.\.\. 1"),
        ([0, "a"], "the labels are numbers and texts"),
        ([0.5], "the labels are values such as 0.5; they must be whole numbers or texts"),
        ([True], "values such as True"),
    ],
)
def test_values_that_are_no_labels_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        numbered(values, ("a", "b"), "x")


# Parquet


def write_parquet(path: Path, columns: dict[str, Any], class_names: list[str] | None = None, groups: int = 2) -> Path:
    table = pa.table(columns)
    if class_names:
        features = {"image": {"_type": "Image"}, "label": {"names": class_names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=groups)
    return path


def test_parquet_as_the_hub_publishes_it(tmp_path: Path) -> None:
    shards = {"train-00000-of-00002": range(5), "train-00001-of-00002": range(5, 8), "validation-0": range(8, 10),
              "test-00000": range(10, 12)}  # fmt: skip
    for name, rows in shards.items():
        labels = [-1 if row >= 10 else row % 2 for row in rows]
        write_parquet(
            tmp_path / "data" / f"{name}.parquet", {"image": cells(rows), "label": labels}, ["tench", "crane"]
        )
    (tmp_path / "README.md").write_text("a card")
    train, test, whole = (open_source(str(tmp_path), part) for part in ("train", "test", "all"))
    assert greys(train) == list(range(8))
    assert names(train) == ["tench", "crane"] * 4
    assert greys(test) == [8, 9]
    assert greys(whole) == list(range(10))
    assert train.name(6).endswith("train-00001-of-00002.parquet row 1")
    assert train.name(4).endswith("train-00000-of-00002.parquet row 4")
    assert train.header(7) == ("L", (8, 8))
    assert len({train.identity(), test.identity(), whole.identity()}) == 3


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"jpg": [png(1), png(2)], "cls": ["b", "a"]}, ["b", "a"]),
        ({"jpg": [png(1), png(2)], "cls": pa.array(["b", "a"]).dictionary_encode()}, ["b", "a"]),
        ({"image": cells(range(1, 3)), "label": pa.array([12, 3], pa.uint16())}, ["12", "3"]),
    ],
)
def test_other_parquet_files_have_plain_bytes_and_plain_labels(
    tmp_path: Path, columns: dict[str, Any], expected: list[str]
) -> None:
    source = open_source(str(write_parquet(tmp_path / "x.parquet", columns)))
    assert names(source) == expected
    assert greys(source) == [1, 2]


def test_a_parquet_file_without_labels_is_unlabelled(tmp_path: Path) -> None:
    assert open_source(str(write_parquet(tmp_path / "x.parquet", {"image": cells(range(3))}))).classes == ()


def test_a_damaged_image_of_a_table_is_skipped_by_its_row(tmp_path: Path, cache: Path) -> None:
    column = cells(range(6))
    column[1] = {"bytes": b"text", "path": None}
    column[2] = {"bytes": None, "path": str(tmp_path / "nowhere.png")}
    column[3] = {"bytes": None, "path": None}
    column[4] = {"bytes": png(4)[:45], "path": None}
    (tmp_path / "5.png").write_bytes(png(5))
    column[5] = {"bytes": None, "path": str(tmp_path / "5.png")}
    path = write_parquet(tmp_path / "data" / "x.parquet", {"image": column, "label": [0, 1] * 3})
    source = open_source(str(path))
    packed = pack(source, scan_headers(source), 16, 1, "crop")
    assert packed.images[:, 0, 0, 0].tolist() == [0, 5]
    reasons = dict(packed.survey.unreadable)
    assert reasons[f"{path} row 1"] == "not an image that Pillow can read"
    assert "No such file" in reasons[f"{path} row 2"]
    assert reasons[f"{path} row 3"] == "an empty cell"
    assert "damaged" in reasons[f"{path} row 4"]


def test_shards_of_different_sets_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"image": cells(range(2)), "label": [0, 1]}, ["x", "y"])
    write_parquet(tmp_path / "b.parquet", {"image": cells(range(2)), "label": [0, 1]}, ["y", "x"])
    with pytest.raises(DataError, match=r"b\.parquet has other columns or class names than .*a\.parquet"):
        open_source(str(tmp_path))


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", {"image": cells(range(6)), "label": [0, 1] * 3})
    for content in (b"", b"text", path.read_bytes()[:-10]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.parquet is no readable parquet file .*; fetch it again"):
            open_source(str(path))


def test_a_damaged_parquet_file_never_raises_anything_else(tmp_path: Path) -> None:
    whole = write_parquet(
        tmp_path / "x.parquet", {"image": cells(range(6)), "label": [0, 1] * 3}, ["a", "b"]
    ).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            content[place] = rng.integers(0, 256)
        (tmp_path / "x.parquet").write_bytes(content[: rng.integers(len(whole) // 2, len(whole) * 2)])
        with suppress(DataError):
            source = open_source(str(tmp_path / "x.parquet"))
            scan_headers(source)
            assert len(source.labels) <= 6


def test_a_missing_library_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "x.parquet", {"image": cells(range(2))})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    for location, name in ((str(path), "pyarrow"), ("hf:owner/name", "datasets")):
        with pytest.raises(ConfigError, match=rf"needs the library {name}; install it: pip install 'ctfgan\[hub\]'"):
            open_source(location)


# Hugging Face


def dataset(rows: range, **more: Any) -> datasets.Dataset:
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    columns = {"image": cells(rows), "label": [row % 2 for row in rows]} | more
    features |= {name: datasets.ClassLabel(names=["x", "y"]) for name in more}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def test_what_save_to_disk_wrote_has_the_splits_it_was_saved_with(tmp_path: Path) -> None:
    content = {"train": dataset(range(4)), "validation": dataset(range(4, 6)), "test": dataset(range(7, 8))}
    datasets.DatasetDict(content).save_to_disk(tmp_path / "saved")
    train, test, whole = (open_source(str(tmp_path / "saved"), part) for part in ("train", "test", "all"))
    assert greys(train) == [0, 1, 2, 3]
    assert names(train) == ["cat", "dog"] * 2
    assert greys(test) == [7]
    assert greys(whole) == [0, 1, 2, 3, 4, 5, 7]
    assert train.name(2) == f"{tmp_path / 'saved'} (train) row 2"
    assert train.header(0) == ("L", (8, 8))
    assert len({train.identity(), test.identity()}) == 2


def test_one_saved_split_is_a_whole_and_its_damaged_images_are_skipped_by_row(tmp_path: Path, cache: Path) -> None:
    table = dataset(range(4)).cast_column("image", datasets.Image(decode=False))
    broken = [{"bytes": b"text", "path": None}, *table["image"][1:]]
    features = table.features
    datasets.Dataset.from_dict({"image": broken, "label": [0, 1, 0, 1]}, features=features).save_to_disk(
        tmp_path / "one"
    )
    source = open_source(str(tmp_path / "one"))
    packed = pack(source, scan_headers(source), 16, 1, "crop")
    assert packed.images[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert packed.survey.unreadable == ((f"{tmp_path / 'one'} row 0", "not an image that Pillow can read"),)
    with pytest.raises(DataError, match="no published training and test parts"):
        open_source(str(tmp_path / "one"), "test")


def test_two_label_columns_need_a_name(tmp_path: Path) -> None:
    dataset(range(4), coarse_label=[0, 0, 1, 1]).save_to_disk(tmp_path / "two")
    with pytest.raises(DataError, match=r"data\.label_column .* label \(classes\), coarse_label \(classes\)"):
        open_source(str(tmp_path / "two"))
    assert names(open_source(str(tmp_path / "two"), columns=Columns(label="coarse_label"))) == ["x", "x", "y", "y"]


def test_a_damaged_saved_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(DataError, match=r"cannot be read \(.*\); save it again"):
        open_source(str(tmp_path))


def test_a_name_on_the_hub_is_loaded_with_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, config: str | None) -> datasets.DatasetDict:
        asked.append((name, config))
        return datasets.DatasetDict({"train": dataset(range(4)), "test": dataset(range(2))})

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert greys(open_source("hf:owner/name@small", "test")) == [0, 1]
    assert open_source("hf:owner/name").location == "hf:owner/name"
    assert asked == [("owner/name", "small"), ("owner/name", None)]


def test_a_name_that_the_hub_does_not_know_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, config: str | None) -> None:
        raise ConnectionError("Couldn't reach 'owner/nmae' on the Hub\nwith more lines")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(
        DataError, match=r"^hf:owner/nmae cannot be loaded \(Couldn't reach .* on the Hub\); check the name"
    ):
        open_source("hf:owner/nmae")

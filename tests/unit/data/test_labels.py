"""Labels in the ways that people write them: one-hot, whole floats, texts, several columns; and what is said where they
cannot be told."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.data.prepare import high_quality_sources
from ctfgan.data.settings import DataSettings
from ctfgan.data.sources.base import ImageSource
from ctfgan.data.sources.columns import Columns, text_labels, whole_labels
from ctfgan.data.sources.registry import open_source

GREY = (np.zeros((4, 8, 8)) + np.arange(4)[:, None, None]).astype(np.uint8)


def named(source: ImageSource) -> list[str | None]:
    """Class name of each image, in the order of their greys, which are 0, 1, 2 ..."""
    greys = [int(np.asarray(source.read(index))[0, 0]) for index in range(len(source.labels))]
    names = [None if label < 0 else source.classes[label] for label in source.labels]
    return [names[at] for at in np.argsort(greys)]


def png(grey: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (8, 8), grey).save(content, "PNG")
    return content.getvalue()


# npz


def npz(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.eye(3)[[2, 0, 1, 2]], ["2", "0", "1", "2"]),
        (np.eye(3, dtype=bool)[[2, 0, 1, 2]], ["2", "0", "1", "2"]),
        (np.array([2.0, 0.0, 1.0, 2.0], np.float32), ["2", "0", "1", "2"]),
        (np.array([[1], [0], [0], [1]], np.float64), ["1", "0", "0", "1"]),
        (np.array([True, False, True, True]), ["1", "0", "1", "1"]),
        (np.array(["b", "a", "b", "木"]), ["b", "a", "b", "木"]),
        (np.array([b"b", b"a", b"b", "木".encode()]), ["b", "a", "b", "木"]),
        (np.array([[7], [3], [7], [3]], np.uint64), ["7", "3", "7", "3"]),
    ],
)
def test_labels_of_an_npz_may_be_written_in_many_ways(tmp_path: Path, labels: Any, expected: list[str]) -> None:
    assert named(open_source(npz(tmp_path / "x.npz", images=GREY, labels=labels))) == expected


def test_texts_of_an_npz_index_its_class_names_and_none_is_no_label(tmp_path: Path) -> None:
    texts, classes = np.array(["b", "", "a", "b"]), np.array(["c", "b", "a"])
    source = open_source(npz(tmp_path / "x.npz", images=GREY, labels=texts, classes=classes))
    assert (named(source), source.classes) == (["b", "a", "b"], ("c", "b", "a"))
    assert source.notes == ("1 image without a label is unused",)
    floats = open_source(npz(tmp_path / "y.npz", images=GREY, labels=np.array([0, np.nan, 1, 1])))
    assert named(floats) == ["0", "1", "1"]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.array([0, 1, 0.5, 1]), "label 2 is 0.5"),
        (np.array([0, 1, np.inf, 1]), "label 2 is inf"),
        (
            np.array([[1, 0], [0, 1], [1, 1], [0, 1]]),
            "row 2 is not one 1 among zeros; one label per image, or data.label_",
        ),
        (np.array([[1, 0], [0, 1], [0.3, 0.7], [0, 1]]), "row 2 is not one 1 among zeros"),
        (np.array([[1, 0], [0, 1], [0, 0], [0, 1]]), "row 2 is not one 1 among zeros"),
    ],
)
def test_what_is_no_label_of_an_npz_is_refused_with_its_place(tmp_path: Path, labels: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_source(npz(tmp_path / "x.npz", images=GREY, labels=labels))


def test_medmnist_publishes_three_parts(tmp_path: Path) -> None:
    parts = {f"{part}_{what}": value for part, rows in (("train", [0, 1]), ("val", [2]), ("test", [3]))
             for what, value in (("images", GREY[rows]), ("labels", np.array(rows, np.uint8)[:, None]))}  # fmt: skip
    location = npz(tmp_path / "pathmnist.npz", **parts)
    assert named(open_source(location, "train")) == ["0", "1"]
    assert named(open_source(location, "test")) == ["3"]
    assert named(open_source(location)) == ["0", "1", "2", "3"]


def test_the_arrays_of_an_npz_can_be_named(tmp_path: Path) -> None:
    location = npz(tmp_path / "x.npz", faces=GREY, fine=np.array([0, 1, 2, 3]), coarse=np.array([0, 0, 1, 1]))
    with pytest.raises(DataError, match=r"data\.image_column names another"):
        open_source(location)
    unlabelled = open_source(location, columns=Columns(image="faces"))
    assert unlabelled.classes == ()
    assert "(arrays of as many entries: fine, coarse); data.label_column (data.low_quality_" in unlabelled.notes[0]
    assert named(open_source(location, columns=Columns("faces", "coarse"))) == ["0", "0", "1", "1"]
    with pytest.raises(DataError, match=r"has no array 'rough' of labels; .* must name one of fine, coarse"):
        open_source(location, columns=Columns("faces", "rough"))


def test_a_second_array_of_labels_is_told_of_and_can_be_named(tmp_path: Path) -> None:
    location = npz(tmp_path / "x.npz", images=GREY, labels=np.array([0, 1, 1, 0]), y=np.array([0, 0, 1, 1]))
    source = open_source(location)
    assert named(source) == ["0", "1", "1", "0"]
    assert "labels is taken for the labels; data.label_column" in source.notes[0]
    assert source.notes[0].endswith("names another, such as y")
    other = open_source(location, columns=Columns(label="y"))
    assert (named(other), other.notes) == (["0", "0", "1", "1"], ())


def test_an_array_of_classes_with_an_entry_for_each_image_is_the_labels(tmp_path: Path) -> None:
    assert named(open_source(npz(tmp_path / "x.npz", images=GREY, classes=np.array(["a", "b", "b", "a"])))) == [
        "a", "b", "b", "a"]  # fmt: skip


# Tables


def parquet(path: Path, **columns: Any) -> str:
    table = pa.table({"image": [{"bytes": png(grey), "path": None} for grey in range(4)], **columns})
    pq.write_table(table, path)
    return str(path)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"label": [2.0, 0.0, 1.0, 2.0]}, ["2", "0", "1", "2"]),
        ({"label": pa.array([2.0, 0.0, 1.0, 2.0], pa.float32())}, ["2", "0", "1", "2"]),
        ({"label": [True, False, True, True]}, ["1", "0", "1", "1"]),
        ({"label": [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]}, ["2", "0", "1", "2"]),
        ({"label": pa.array([[0.0, 1.0], [1.0, 0.0]] * 2, pa.list_(pa.float64(), 2))}, ["1", "0", "1", "0"]),
        ({"labels": [["b"], ["a"], ["b"], ["b"]]}, ["b", "a", "b", "b"]),
        ({"labels": [[5], [3], [5], [3]]}, ["5", "3", "5", "3"]),
        ({"category": ["b", "a", "b", "b"], "id": [1, 2, 3, 4]}, ["b", "a", "b", "b"]),
        ({"label": ["b ", "a", " b", "b"]}, ["b", "a", "b", "b"]),
        ({"label": [5, 3, 5, 3], "class_name": ["b", "a", "b", "a"], "y": [0.5] * 4}, ["5", "3", "5", "3"]),
    ],
)
def test_labels_of_a_table_may_be_written_in_many_ways(tmp_path: Path, columns: Any, expected: list[str]) -> None:
    assert named(open_source(parquet(tmp_path / "x.parquet", **columns))) == expected


@pytest.mark.parametrize(
    ("columns", "note"),
    [
        (
            {"label": [0.5, 1.0, 2.0, 3.0]},
            "column 'label' is no label (0.5 is no whole number), so the images have none; ",
        ),
        ({"label": [[1, 1], [0, 1], [1, 0], [0, 1]]}, "column 'label' is no label ([1, 1] is not one 1 among zeros)"),
        ({"labels": [[1], [0, 1], [1], [0]]}, "lists of different lengths"),
        (
            {"caption": ["a", "b", "c", "d"]},
            "no column is known as the label, so the images have none; data.label_column",
        ),
        ({"class_id": [0, 1, 0, 1], "class_name": list("abab")}, "class_id (numbers), class_name (text)"),
    ],
)
def test_labels_of_a_table_that_cannot_be_told_are_a_note_for_cheap_images_and_a_refusal_for_good_ones(
    tmp_path: Path, columns: Any, note: str
) -> None:
    location = parquet(tmp_path / "x.parquet", **columns)
    source = open_source(location)
    assert source.classes == ()
    assert len(source.labels) == 4
    assert note in source.notes[0]
    assert "data.low_quality_label_column" in source.notes[0]
    with pytest.raises(DataError, match="holds images without labels") as error:
        high_quality_sources(DataSettings(high_quality=location))
    assert note in str(error.value)
    if "label" in columns:
        with pytest.raises(DataError, match="column 'label' is no label"):
            open_source(location, columns=Columns(label="label"))


def test_a_missing_label_among_floats_is_none(tmp_path: Path) -> None:
    source = open_source(parquet(tmp_path / "x.parquet", label=[1.0, float("nan"), None, 0.0]))
    assert named(source) == ["1", "0"]


def test_an_empty_text_of_a_table_is_no_label(tmp_path: Path) -> None:
    source = open_source(parquet(tmp_path / "x.parquet", label=["b", "", None, "a"]))
    assert named(source) == ["b", "a"]


def test_the_path_of_an_image_may_stand_before_its_bytes(tmp_path: Path) -> None:
    cells = pa.array([{"path": None, "bytes": png(7)}] * 2, pa.struct([("path", pa.string()), ("bytes", pa.binary())]))
    pq.write_table(pa.table({"image": cells, "label": [0, 1]}), tmp_path / "x.parquet")
    assert np.asarray(open_source(str(tmp_path / "x.parquet")).read(1))[0, 0] == 7


def test_a_hub_set_with_one_named_class_in_a_list_has_labels(tmp_path: Path) -> None:
    names = datasets.ClassLabel(names=["cat", "dog"])
    cells = [{"bytes": png(grey), "path": None} for grey in range(2)]
    for number, (feature, values) in enumerate(
        (
            (datasets.List(names), [[1], [0]]),
            (datasets.Value("float64"), [1.0, 0.0]),
            (datasets.Value("bool"), [True, 0]),
        )
    ):
        features = datasets.Features({"image": datasets.Image(), "label": feature})
        datasets.disable_progress_bars()
        datasets.Dataset.from_dict({"image": cells, "label": values}, features=features).save_to_disk(
            tmp_path / str(number)
        )
        datasets.enable_progress_bars()
        expected = ["dog", "cat"] if number == 0 else ["1", "0"]
        assert named(open_source(str(tmp_path / str(number)))) == expected


def test_roundabout_labels() -> None:
    assert whole_labels([1.0, None, True, "a", 3, float("nan")]) == [1, None, 1, "a", 3, None]
    assert whole_labels([[0, 1], (1.0, 0.0), None]) == [1, 0, None]
    assert whole_labels([[4], [], ["b"]]) == [4, None, "b"]
    for value in (0.5, float("inf"), [2, 0], [0, 0], b"a"):
        with pytest.raises(ValueError, match=r"is no whole number|is not one 1 among zeros"):
            whole_labels([value, [0, 1]] if isinstance(value, list) else [value])
    assert text_labels(["10", "9", "", None]) == [10, 9, None, None]
    assert text_labels(["1.0", "2", "-3.00"]) == [1, 2, -3]
    assert text_labels(["007", "8"]) == ["007", "8"]
    assert text_labels(["1.5", "2"]) == ["1.5", "2"]


# Shards


def tar(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def test_names_with_dots_are_samples_of_their_own(tmp_path: Path) -> None:
    files = {"photo.v2.png": png(0), "photo.v2.cls": b"a", "photo.v3.png": png(1), "photo.v3.cls": b"b",
             "1.5.left.PNG": png(2), "1.5.right.png": png(3), "1.cls": b"c"}  # fmt: skip
    assert named(open_source(tar(tmp_path / "x.tar", files))) == ["a", "b", "c", "c"]


def test_a_second_image_of_a_sample_is_one_only_with_a_label_of_its_own(tmp_path: Path) -> None:
    files = {"7.png": png(0), "7.seg.png": png(9), "7.cls": b"a", "8.png": png(1), "8.cls": b"a", "8.b.png": png(2),
             "8.b.json": b'{"label": "b"}'}  # fmt: skip
    assert named(open_source(tar(tmp_path / "x.tar", files))) == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([{"label": 1.0}, {"label": 0.0}], ["1", "0"]),
        ([{"label": [0, 1]}, {"label": [1, 0]}], ["1", "0"]),
        ([{"class": "b", "caption": "x"}, {"class": "a"}], ["b", "a"]),
    ],
)
def test_labels_in_json_may_be_written_in_many_ways(tmp_path: Path, labels: list[Any], expected: list[str]) -> None:
    files = {f"{at}.png": png(at) for at in range(2)}
    files |= {f"{at}.json": json.dumps(label).encode() for at, label in enumerate(labels)}
    assert named(open_source(tar(tmp_path / "x.tar", files))) == expected


def test_what_else_a_shard_says_is_named_and_can_be_chosen(tmp_path: Path) -> None:
    files = {"0.png": png(0), "0.txt": b"first", "0.json": b'{"kind": "x"}', "1.png": png(1), "1.txt": b"second",
             "1.json": b'{"kind": "y"}'}  # fmt: skip
    location = tar(tmp_path / "x.tar", files)
    source = open_source(location)
    assert source.classes == ()
    assert "so the images have no labels (there are .txt, .json kind); data.label_column" in source.notes[0]
    assert named(open_source(location, columns=Columns(label="kind"))) == ["x", "y"]
    assert named(open_source(location, columns=Columns(label="txt"))) == ["first", "second"]
    with pytest.raises(
        DataError, match=r"no sample has a file \.kinds or an entry 'kinds' of a \.json, which data\.label"
    ):
        open_source(location, columns=Columns(label="kinds"))

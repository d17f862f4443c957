from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ctfgan.core.errors import DataError
from ctfgan.data.pack import pack
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.arrays import ArraySource
from ctfgan.data.sources.base import (
    ImageSource,
    JoinedSource,
    by_split,
    labelled_only,
    of_classes,
    split_named,
    with_classes,
)
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.registry import absolute, open_source

WriteClasses = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00294.parquet", "train"),
        ("validation-00000-of-00014.parquet", "validation"),
        ("imagenet-val-000007.tar", "validation"),
        ("test.tar", "test"),
        ("HWDB1.1trn_gnt", "train"),
        ("HWDB1.1tst_gnt", "test"),
        ("Gnt1.0TrainPart1", "train"),
        ("Gnt1.0Test", "test"),
        ("t10k-images-idx3-ubyte", "test"),
        ("emnist-letters-train-images-idx3-ubyte", "train"),
        ("train_without_test", "train"),
        ("medieval-latest-constraints.tar", ""),
        ("competition-gnt", ""),
        ("1001.gnt", ""),
    ],
)
def test_a_split_is_a_word_of_a_name(name: str, split: str) -> None:
    assert split_named(name) == split


def test_the_outermost_folder_that_names_a_split_decides(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a/train/test_01.gnt", "tst/1.gnt", "tst/2.gnt", "more/3.gnt")]
    assert by_split(tmp_path, files) == {"train": files[:1], "test": files[1:3], "": files[3:]}
    inside = tmp_path / "training" / "sets"
    assert by_split(inside, [inside / "1.gnt"]) == {"": [inside / "1.gnt"]}


# Views


def source(labels: list[int] | None, classes: tuple[str, ...] | None, first: int = 0) -> ArraySource:
    """Images of which number i is grey level ``first + i``."""
    count = 3 if labels is None else len(labels)
    images: NDArray[np.uint8] = np.zeros((count, 8, 8), np.uint8) + np.arange(first, first + count)[:, None, None]
    given = None if labels is None else np.array(labels)
    return ArraySource(f"source {first}", images.astype(np.uint8), given, classes, [])


def greys(images: ImageSource) -> list[int]:
    return [int(np.asarray(images.read(index))[0, 0]) for index in range(len(images.labels))]


def names(images: ImageSource) -> list[str]:
    return [images.classes[label] for label in images.labels]


def test_joined_sources_unite_their_classes_by_name() -> None:
    joined = JoinedSource(
        "both", [source([0, 1], ("a", "b")), source([], ("x",), 50), source([0, 1, 2], ("b", "c", "a"), 9)]
    )
    assert joined.classes == ("a", "b", "x", "c")
    assert names(joined) == ["a", "b", "b", "c", "a"]
    assert greys(joined) == [0, 1, 9, 10, 11]
    assert [joined.name(index) for index in (1, 2)] == ["source 0[1]", "source 9[0]"]
    assert joined.header(4) == ("L", (8, 8))


def test_chosen_classes_keep_their_images_and_order() -> None:
    chosen = of_classes(source([2, 0, 1, 2, 0], ("a", "b", "c")), {"c", "a", "unknown"})
    assert chosen.classes == ("a", "c")
    assert names(chosen) == ["c", "a", "c", "a"]
    assert greys(chosen) == [0, 1, 3, 4]
    assert chosen.name(2) == "source 0[3]"


def test_other_choices_have_other_identities() -> None:
    images = source([0, 1, 2, 0], ("a", "b", "c"))
    choices = [images, of_classes(images, {"a"}), of_classes(images, {"b"}), with_classes(images, ("c", "b", "a"), "x")]
    assert len({choice.identity() for choice in choices}) == 4


def test_a_source_is_renumbered_by_class_name() -> None:
    images = with_classes(source([0, 1, 1], ("b", "a")), ("a", "b", "c"), "the training set")
    assert images.labels.tolist() == [1, 0, 0]
    assert images.classes == ("a", "b", "c")
    with pytest.raises(DataError, match=r"holds classes that the training set lacks \('b'\); use the same class names"):
        with_classes(source([0, 1, 1], ("b", "a")), ("a", "c"), "the training set")


def test_class_names_without_images_are_not_missed() -> None:
    assert with_classes(source([0, 0], ("a", "unused")), ("a", "b"), "x").labels.tolist() == [0, 0]


def test_images_without_a_label_are_left_out_beside_labelled_ones() -> None:
    joined = JoinedSource("both", [source([0, 1], ("a", "b")), source(None, None, 9)])
    kept = labelled_only(joined)
    assert greys(kept) == [0, 1]
    assert kept.notes == ("3 images without a label are unused",)
    unlabelled = source(None, None)
    assert labelled_only(unlabelled) is unlabelled


def test_a_damaged_image_of_one_part_does_not_hide_its_namesake_in_another(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    root = write_classes(tmp_path, {"train/a": 3, "val/a": 3})
    (root / "val" / "a" / "1.png").write_text("text")
    images = open_source(str(root))
    packed = pack(images, scan_headers(images), 16, 1, "crop")
    assert packed.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 5]


# Finding the format


def test_shards_beside_their_own_unpacked_images_are_refused(tmp_path: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path, {"train/a": 2, "train/b": 2})
    (root / "train.tar").touch()
    with pytest.raises(
        DataError, match=r"in more than one form \(.*train\.tar and .*train/a/0\.png\); give the folder"
    ):
        open_source(str(root))


def test_a_stray_shard_among_images_is_passed_over(tmp_path: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path, {"a": 2, "b": 2})
    (root / "a" / "labels.parquet").touch()
    (root / "z").mkdir()
    (root / "z" / "more.tar").touch()
    assert isinstance(open_source(str(root)), TreeSource)
    assert open_source(str(root)).notes == (
        "1 folder without images is no class: z (1 .tar)",
        "2 files that are no images were ignored (1 .parquet, 1 .tar)",
    )


def test_a_location_on_the_hub_does_not_become_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("hf:owner/name@config") == "hf:owner/name@config"
    assert absolute("images") == str(tmp_path / "images")


@pytest.mark.parametrize("end", [".tar", ".parquet", ".gnt", ".tar.gz", ".tbz2"])
def test_a_shard_that_is_a_broken_link_is_refused_by_name(tmp_path: Path, end: str) -> None:
    (tmp_path / f"train-00000{end}").touch()
    (tmp_path / "more").mkdir()
    gone = tmp_path / "more" / f"train-00001{end}"
    gone.symlink_to("nowhere")
    with pytest.raises(DataError, match=f"{re.escape(str(gone))} is a broken link.*; mend the link, or take it away"):
        open_source(str(tmp_path))


def test_a_broken_link_among_images_is_no_shard(tmp_path: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path / "x", {"a": 1, "b": 1})
    for link in ("a/x.tar", "z.tar.gz", "c/x.parquet"):
        (root / link).parent.mkdir(exist_ok=True)
        (root / link).symlink_to("nowhere")
    assert "z.tar.gz (a broken link)" in open_source(str(root)).notes[0]

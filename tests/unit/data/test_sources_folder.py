from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, features

from ctfgan.core.errors import DataError
from ctfgan.data.pack import pack
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.encoded import SUFFIXES
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.registry import open_source
from ctfgan.data.sources.tree import FolderTree

WriteClasses = Callable[..., Path]


def test_each_subfolder_with_images_is_a_class(tmp_path: Path, write_classes: WriteClasses) -> None:
    source = TreeSource(FolderTree(write_classes(tmp_path, {"b": 2, "a": 3})))
    assert source.classes == ("a", "b")
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    for index in range(5):
        assert Path(source.name(index)).parent.name == source.classes[source.labels[index]]
        assert source.header(index) == ("L", (16, 16))


def test_nested_folders_are_named_by_their_path_as_in_omniglot(tmp_path: Path, write_classes: WriteClasses) -> None:
    source = TreeSource(
        FolderTree(write_classes(tmp_path, {"Greek/character01": 2, "Greek/character02": 2, "Latin/character01": 1}))
    )
    assert source.classes == ("Greek/character01", "Greek/character02", "Latin/character01")
    assert source.labels.tolist() == [0, 0, 1, 1, 2]


def test_omniglot_as_published_is_one_class_per_character(tmp_path: Path, write_classes: WriteClasses) -> None:
    names = ["images_background/Greek/character01", "images_background/Greek/character02",
             "images_evaluation/Oriya/character01"]  # fmt: skip
    source = open_source(str(write_classes(tmp_path, dict.fromkeys(names, 2))))
    assert source.classes == tuple(names)
    one_part = open_source(str(tmp_path / "images_background"))
    assert one_part.classes == ("Greek/character01", "Greek/character02")
    with pytest.raises(DataError, match="no published training and test parts"):
        open_source(str(tmp_path), "train")


@pytest.mark.parametrize("other", ["val", "valid", "Validation", "test"])
def test_imagenets_layout_has_two_parts_with_the_same_class_names(
    tmp_path: Path, write_classes: WriteClasses, other: str
) -> None:
    root = write_classes(tmp_path, {"train/n01/x": 3, "train/n02": 2, f"{other}/n02": 1, f"{other}/n03": 1})
    (root / "annotations").mkdir()
    train, test, whole = (open_source(str(root), part) for part in ("train", "test", "all"))
    assert train.classes == ("n01/x", "n02")
    assert test.classes == ("n02", "n03")
    assert whole.classes == ("n01/x", "n02", "n03")
    assert whole.labels.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert whole.name(5) == test.name(0) == str(root / other / "n02" / "0.png")


def test_validation_images_stand_in_for_test_images_without_labels(tmp_path: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path, {"train/a": 3, "train/b": 2, "val/a": 1, "test": 4})
    assert open_source(str(root), "test").name(0) == str(root / "val" / "a" / "0.png")
    whole = open_source(str(root))
    assert len(whole.labels) == 6
    assert whole.notes == (f"4 images are unused, as {root / 'test'} has no labels",)


@pytest.mark.parametrize(
    "counts",
    [
        {"train": 3, "val": 2},  # vehicles and valleys, not parts
        {"train/a": 3, "bus/a": 2, "val/a": 2},
        {"train/a": 3, "train/b": 2},
        {"train/a": 3, "val/a": 2, "valid/a": 2},
    ],
)
def test_folders_that_only_look_like_imagenets_layout_are_classes(
    tmp_path: Path, write_classes: WriteClasses, counts: dict[str, int]
) -> None:
    assert open_source(str(write_classes(tmp_path, counts))).classes == tuple(sorted(counts))


def test_images_directly_in_the_root_have_no_labels(tmp_path: Path, write_classes: WriteClasses) -> None:
    source = TreeSource(FolderTree(write_classes(tmp_path, {"flat": 3}) / "flat"))
    assert source.classes == ()
    assert source.labels.tolist() == [-1, -1, -1]


def test_images_beside_class_folders_have_no_label_and_are_named(tmp_path: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path, {"a": 2, "b": 2})
    Image.new("L", (8, 8)).save(root / "stray.png")
    source = TreeSource(FolderTree(root))
    assert source.classes == ("a", "b")
    assert source.labels.tolist() == [-1, 0, 0, 1, 1]
    assert "1 image beside the class folders has no label (first: stray.png)" in source.notes


def test_hidden_files_are_passed_over_and_other_files_counted(tmp_path: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path, {"a": 2, "b": 2, ".hidden": 2})
    Image.new("L", (8, 8)).save(root / "a" / ".thumbnail.png")
    for name in ("a/notes.txt", "b/more.TXT", "README"):
        (root / name).write_text("no image")
    source = TreeSource(FolderTree(root))
    assert source.classes == ("a", "b")
    assert len(source.labels) == 4
    assert source.notes == (
        "3 images that are hidden or in system folders were passed over (.hidden: 2, .thumbnail.png: 1)",
        "3 files that are no images were ignored (2 .txt, 1 no suffix)",
    )


def test_suffixes_may_be_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "a" / "scan.PNG")
    assert len(TreeSource(FolderTree(tmp_path)).labels) == 1


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_on_the_list_can_be_decoded(tmp_path: Path, suffix: str) -> None:
    if not all(features.check(codec) for end, codec in {".avif": "avif", ".jp2": "jpg_2000"}.items() if end == suffix):
        pytest.skip(f"this Pillow was built without {suffix}")
    (tmp_path / "a").mkdir()
    mode = {".pbm": "1", ".pgm": "L"}.get(suffix, "RGB")
    Image.new(mode, (8, 8)).save(tmp_path / "a" / f"x{suffix}")
    assert TreeSource(FolderTree(tmp_path)).read(0).size == (8, 8)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"holds no images \(but files of kinds that are not read: 1 \.txt\); put one"):
        TreeSource(FolderTree(tmp_path))


def test_linked_folders_are_followed_but_not_in_circles(tmp_path: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path / "root", {"a": 2, "b": 2})
    (root / "c").symlink_to(write_classes(tmp_path / "elsewhere", {"c": 3}) / "c")
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "here").symlink_to(".")
    source = TreeSource(FolderTree(root))
    assert Counter(source.classes[label] for label in source.labels) == {"a": 2, "b": 2, "c": 3}


def test_a_class_name_that_cannot_be_written_down_is_refused(tmp_path: Path, write_classes: WriteClasses) -> None:
    write_classes(tmp_path, {"a": 2, os.fsdecode(b"caf\xe9"): 2})
    with pytest.raises(DataError, match=r"'caf\ufffd' in .* is not valid UTF-8, or holds .*; rename the folder"):
        TreeSource(FolderTree(tmp_path))


def test_a_file_name_that_cannot_be_written_down_does_no_harm(tmp_path: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path, {"a": 1})
    (root / "a" / os.fsdecode(b"\xe9.png")).write_bytes((root / "a" / "0.png").read_bytes())
    source = TreeSource(FolderTree(root))
    assert [source.name(index).encode() for index in range(2)]
    assert source.identity()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("zero bytes", "zero bytes"),
        ("text", "not an image"),
        ("truncated", "damaged"),
        ("1x1", "1x1 pixels; each side must have at least 4"),
        ("20000x20000", "more pixels than the 64,000,000 that are decoded; shrink"),
    ],
)
def test_bad_images_say_what_is_wrong(tmp_path: Path, bad_images: dict[str, bytes], kind: str, reason: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bad.png").write_bytes(bad_images[kind])
    source = TreeSource(FolderTree(tmp_path))
    with pytest.raises(DataError, match=reason):
        source.read(0)
    if kind == "truncated":  # its header is whole
        assert source.header(0) == ("L", (32, 32))
    else:
        with pytest.raises(DataError, match=reason):
            source.header(0)


def test_the_identity_is_a_hash_of_paths_sizes_and_times(
    tmp_path: Path, write_classes: WriteClasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_classes(tmp_path / "root", {"a": 2, "b": 2})
    (root / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    digest = hashlib.sha256()
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/gone.png"):
        size, time = 0, 0
        if (root / name).exists():
            size, time = (root / name).stat().st_size, (root / name).stat().st_mtime_ns
        digest.update(bytes(root / name) + f"\0{size}\0{time}\n".encode())
    for here, given in ((tmp_path, root), (tmp_path, Path("root")), (root, Path())):
        monkeypatch.chdir(here)
        assert TreeSource(FolderTree(given)).identity() == digest.hexdigest()


def test_a_start_looks_once_at_each_file_that_it_has_in_its_cache(
    tmp_path: Path, cache: Path, write_classes: WriteClasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_classes(tmp_path / "root", {"a": 2, "b": 2})
    pack(TreeSource(FolderTree(root)), scan_headers(TreeSource(FolderTree(root))), 16, 1, "crop")
    looks: list[str] = []
    stat = os.stat

    def counted(path: Any, **options: Any) -> os.stat_result:
        looks.append(str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", counted)
    source = TreeSource(FolderTree(root))
    pack(source, scan_headers(source), 16, 1, "crop")
    images = [path for path in looks if path.endswith(".png")]
    assert len(images) == len(set(images)) == 4


def test_the_identity_changes_with_the_files(tmp_path: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path, {"a": 2, "b": 2})
    before = TreeSource(FolderTree(root)).identity()
    assert TreeSource(FolderTree(root)).identity() == before
    os.utime(root / "a" / "0.png", ns=(1, 1))
    touched = TreeSource(FolderTree(root)).identity()
    (root / "b" / "1.png").unlink()
    assert len({before, touched, TreeSource(FolderTree(root)).identity()}) == 3

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from ctfgan.core.errors import CtfganError, DataError
from ctfgan.data.pack import pack
from ctfgan.data.packed import PackedImages
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.tree import FolderTree

WriteClasses = Callable[..., Path]


class Counting(TreeSource):
    """Counts how many images are decoded."""

    reads = 0

    def read(self, index: int) -> Image.Image:
        Counting.reads += 1
        return super().read(index)


def packed(root: Path, size: int = 16, fit: str = "crop") -> tuple[PackedImages, int]:
    """The packed images of a folder, and how many had to be decoded for it."""
    source = Counting(FolderTree(root))
    before = Counting.reads
    return pack(source, scan_headers(source), size, 1, fit), Counting.reads - before


@pytest.fixture
def root(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> Path:
    return write_classes(tmp_path / "root", {"a": 3, "b": 4})


def test_packed_images_are_those_of_the_folder(root: Path) -> None:
    images, decoded = packed(root)
    assert decoded == len(images) == 7
    assert images.images.shape == (7, 16, 16, 1)
    assert images.images[:, 0, 0, 0].tolist() == list(range(7))
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert images.classes == ("a", "b")
    assert images.survey.sides == (16, 16, 16)
    assert images.survey.modes == {"L": 7}


def test_the_cache_gives_the_same_without_decoding(root: Path) -> None:
    first, _ = packed(root)
    second, decoded = packed(root)
    assert decoded == 0
    assert second.fingerprint == first.fingerprint
    assert np.array_equal(second.images, first.images)
    assert (second.classes, second.survey) == (first.classes, first.survey)


def test_what_opening_says_is_said_of_the_folder_as_it_is_now(root: Path) -> None:
    (root / "yak").mkdir()
    before, _ = packed(root)
    (root / "yak").rmdir()
    (root / "zebra").mkdir()
    after, decoded = packed(root)
    assert decoded == 0
    [yak, *first], [zebra, *second] = before.survey.notes, after.survey.notes
    assert "no class: yak" in yak
    assert "no class: zebra" in zebra
    assert first == second != []


def test_another_size_or_fit_is_packed_anew(root: Path) -> None:
    assert [packed(root, size, fit)[1] for size, fit in ((16, "crop"), (8, "crop"), (16, "pad"), (16, "crop"))] == [
        7, 7, 7, 0,
    ]  # fmt: skip


def test_the_cache_is_missed_when_a_file_changes(root: Path) -> None:
    first, _ = packed(root)
    Image.new("L", (16, 16), 99).save(root / "a" / "0.png")
    second, decoded = packed(root)
    assert decoded == 7
    assert second.images[0, 0, 0, 0] == 99
    assert second.fingerprint != first.fingerprint


def test_the_fingerprint_tells_pixels_labels_and_names_but_not_places(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    assert packed(copy)[0].fingerprint == packed(root)[0].fingerprint
    (copy / "b").rename(copy / "c")
    assert packed(copy)[0].fingerprint != packed(root)[0].fingerprint
    moved = shutil.copytree(root, tmp_path / "moved")
    (moved / "b" / "0.png").rename(moved / "a" / "3.png")
    assert np.array_equal(packed(moved)[0].images, packed(root)[0].images)
    assert packed(moved)[0].fingerprint != packed(root)[0].fingerprint


def test_bad_images_are_skipped_named_and_counted(root: Path, bad_images: dict[str, bytes]) -> None:
    for kind, content in bad_images.items():
        (root / "a" / f"1 {kind}.png").write_bytes(content)
    (root / "b" / "dangling.png").symlink_to(root / "nowhere.png")
    for _ in range(2):  # from the files, then from the cache
        images, _ = packed(root)
        skipped = {Path(name).name for name, _ in images.survey.unreadable}
        assert skipped == {*(f"1 {kind}.png" for kind in bad_images), "dangling.png"}
        assert images.survey.images == len(images) == 7
        assert images.images[:, 0, 0, 0].tolist() == list(range(7))
        assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_an_image_of_twenty_thousand_pixels_a_side_is_never_decoded(
    root: Path, bad_images: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a" / "huge.png").write_bytes(bad_images["20000x20000"])
    decoded = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: (decoded.append(image.size), load(image))[1])
    assert len(packed(root)[0].survey.unreadable) == 1
    assert set(decoded) == {(16, 16)}


def test_a_source_with_no_readable_image_is_refused(root: Path) -> None:
    for file in root.rglob("*.png"):
        file.write_bytes(b"text")
    with pytest.raises(DataError, match=r"none of 7 images can be read \(first: .*/a/0\.png: not an image"):
        packed(root)


def test_images_whose_bodies_are_all_damaged_leave_an_empty_set(root: Path, bad_images: dict[str, bytes]) -> None:
    for file in root.rglob("*.png"):
        file.write_bytes(bad_images["truncated"])
    images, _ = packed(root)
    assert images.images.shape == (0, 16, 16, 1)
    assert len(images.survey.unreadable) == 7


def test_an_interrupted_packing_leaves_nothing_in_the_cache(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: TreeSource, index: int) -> Image.Image:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Counting, "read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            packed(root)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert packed(root)[1] == 7


def test_a_cache_that_cannot_be_written_is_named(root: Path, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    with pytest.raises(CtfganError, match="cannot be written"):
        packed(root)

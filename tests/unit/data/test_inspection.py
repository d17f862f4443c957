from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.data.images import plain
from ctfgan.data.inspection import DataFinding, Inspection, compare, histogram, inspect
from ctfgan.data.pack import build
from ctfgan.data.scan import scan_headers
from ctfgan.data.sides import same_place
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.registry import open_source
from ctfgan.data.sources.tree import FolderTree
from ctfgan.data.splits import different_of_classes, digest, repeats
from tests.conftest import snapshot

WriteClasses = Callable[..., Path]


def digest_of_image(image: Image.Image) -> np.uint64:
    return digest(np.asarray(plain(image, 3)))


def inspected(root: Path) -> Inspection:
    return inspect(open_source(str(root)))


def topics(found: Inspection) -> dict[str, DataFinding]:
    return {finding.topic: finding for finding in found.findings}


def names(examples: tuple[str, ...], root: Path) -> list[str]:
    return [example.replace(f"{root}/", "") for example in examples]


@pytest.fixture
def root(tmp_path: Path, write_classes: WriteClasses) -> Path:
    return write_classes(tmp_path / "root", {"a": 30, "b": 40})


def test_a_clean_set_has_no_findings_and_is_left_alone(root: Path) -> None:
    before = snapshot(root)
    found = inspected(root)
    assert found.findings == ()
    assert found.counts.tolist() == [30, 40]
    assert (found.survey.images, found.survey.sides, found.survey.modes) == (70, (16, 16, 16), {"L": 70})
    assert found.no_high_quality_because() is None
    assert found.no_low_quality_because() is None
    assert snapshot(root) == before


def test_a_copy_in_the_same_class_is_a_duplicate_whatever_its_format(root: Path) -> None:
    with Image.open(root / "a" / "3.png") as image:
        image.save(root / "a" / "copy.bmp")
        image.convert("RGBA").save(root / "a" / "other.tif")
    finding = topics(inspected(root))["duplicates"]
    assert finding.summary.startswith("2 images are exact copies of another one of the same class")
    assert names(finding.examples, root) == ["a/3.png = a/copy.bmp = a/other.tif"]


def test_a_copy_in_another_class_is_a_likely_label_error(root: Path) -> None:
    with Image.open(root / "a" / "3.png") as image:
        image.save(root / "b" / "stray.png")
    found = topics(inspected(root))
    assert names(found["in several classes"].examples, root) == ["a/3.png = b/stray.png"]
    assert "duplicates" not in found


def test_one_grey_level_of_one_pixel_makes_another_image(root: Path) -> None:
    pixels = np.full((16, 16), 3, dtype=np.uint8)
    pixels[7, 7] += 1
    Image.fromarray(pixels).save(root / "a" / "nearly.png")
    assert topics(inspected(root)) == {}


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    assert digest_of_image(Image.new("L", (8, 4))) != digest_of_image(Image.new("L", (4, 8)))


def test_rotation_by_exif_is_seen_as_the_viewer_sees_it() -> None:
    upright = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    stored = BytesIO()
    upright.rotate(180).save(stored, format="PNG", exif=exif)
    assert digest_of_image(Image.open(stored)) == digest_of_image(upright)


def test_unreadable_files_are_named_with_their_reason(root: Path, bad_images: dict[str, bytes]) -> None:
    for kind, content in bad_images.items():
        (root / "a" / f"x {kind}.png").write_bytes(content)
    finding = topics(inspected(root))["unreadable"]
    assert finding.count == len(bad_images)
    assert f"{root}/a/x zero bytes.png: zero bytes" in finding.examples
    assert sum("damaged" in example for example in finding.examples) == 1


def test_a_set_without_one_readable_image_is_unusable(root: Path, bad_images: dict[str, bytes]) -> None:
    for file in root.rglob("*.png"):
        file.write_bytes(bad_images["truncated"])
    with pytest.raises(DataError, match="none of 70 images can be read"):
        inspected(root)


def test_tiny_and_small_classes_are_told_apart(tmp_path: Path, write_classes: WriteClasses) -> None:
    found = inspected(write_classes(tmp_path / "r", {"none": 1, "three": 3, "four": 4, "nineteen": 19, "twenty": 20}))
    assert topics(found)["tiny classes"].examples == ("none: 1", "three: 3")
    assert topics(found)["small classes"].examples == ("four: 4", "nineteen: 19")
    assert found.no_high_quality_because() is None
    few = inspected(write_classes(tmp_path / "few", {"three": 3, "four": 4}))
    assert few.no_high_quality_because() == "1 class with at least 4 images"


def test_a_class_whose_images_are_all_unreadable_is_tiny(root: Path) -> None:
    (root / "c").mkdir()
    (root / "c" / "x.png").write_bytes(b"")
    assert topics(inspected(root))["tiny classes"].examples == ("c: 0",)


def test_names_that_look_alike_are_grouped(tmp_path: Path, write_classes: WriteClasses) -> None:
    alike = {"Dog": 20, "dog": 20, "caf\u00e9": 20, "cafe\u0301": 20, "big cat": 20, "big  cat": 20, "bird": 20}
    finding = topics(inspected(write_classes(tmp_path / "r", alike)))["names that look alike"]
    assert finding.count == 3
    assert {frozenset(example.split(" and ")) for example in finding.examples} == {
        frozenset({"'Dog'", "'dog'"}), frozenset({"'caf\u00e9'", "'cafe\u0301'"}),
        frozenset({"'big cat'", "'big  cat'"}),
    }  # fmt: skip


def test_images_without_a_label_among_others_are_counted(root: Path) -> None:
    plain = {finding.topic for finding in inspected(root).findings}
    Image.new("L", (16, 16), 99).save(root / "loose.png")
    partly = topics(inspect(open_source(str(root), keep_unlabelled=True)))["partly labelled"]
    assert partly.count == 1
    assert partly.summary == "1 image has no label; they can be low-quality images of any class, no others"
    assert "partly labelled" not in plain


def test_images_that_are_not_square_or_of_odd_size_are_named(root: Path) -> None:
    Image.new("L", (17, 16), 99).save(root / "a" / "wide.png")
    Image.new("L", (40, 40), 99).save(root / "a" / "large.png")
    Image.new("L", (6, 6), 99).save(root / "a" / "small.png")
    found = topics(inspected(root))
    assert names(found["not square"].examples, root) == ["a/wide.png: 17x16"]
    assert names(found["odd sizes"].examples, root) == ["a/large.png: 40x40", "a/small.png: 6x6"]


def test_modes_are_counted(root: Path) -> None:
    Image.new("RGBA", (16, 16), (1, 2, 3, 4)).save(root / "a" / "transparent.png")
    Image.new("P", (16, 16)).save(root / "a" / "palette.png")
    Image.fromarray(np.full((16, 16), 40_000, dtype=np.uint16)).save(root / "a" / "deep.png")
    found = inspected(root)
    assert found.survey.modes == {"L": 70, "RGBA": 1, "P": 1, "I;16": 1}
    assert "used in colour" in topics(found)["mixed modes"].summary


@pytest.mark.parametrize(
    ("counts", "topic", "words"),
    [
        ({"only": 20}, "single class", "'only' is the only class; is {root} one level too deep?"),
        ({"flat/.": 20}, "single class", "'flat' is the only class"),
        ({"all/a": 20, "all/b": 20}, "one level too high", "lie in 'all', one level too high; give {root}/all"),
        ({"all/a": 20, "all/b": 20}, "one level too high", "or use data.class_level=2 if the folders in it are"),
        ({"x/a": 20, "y/a": 20, "c": 20}, "folders of folders", "2 classes lie in folders of folders (such as 'x/a')"),
        ({"x/a": 20, "y/a": 20, "c": 20}, "folders of folders", "if the 3 folders at the top are the classes, use"),
    ],
)  # fmt: skip
def test_a_folder_on_the_wrong_level_is_noticed(
    tmp_path: Path, write_classes: WriteClasses, counts: dict[str, int], topic: str, words: str
) -> None:
    root = write_classes(tmp_path / "root", counts)
    assert words.format(root=root) in topics(inspected(root))[topic].summary


def test_images_without_labels_can_be_the_low_quality_side_alone(tmp_path: Path, write_classes: WriteClasses) -> None:
    found = inspected(write_classes(tmp_path, {"flat": 8}) / "flat")
    assert found.no_high_quality_because() == "the images have no labels"
    assert found.no_low_quality_because() is None
    assert "no labels" in topics(found)


def test_images_on_both_sides_are_noticed(root: Path, tmp_path: Path, write_classes: WriteClasses) -> None:
    cheap = write_classes(tmp_path / "cheap", {"a": 5}, size=8)
    with Image.open(root / "b" / "7.png") as image:
        image.save(cheap / "a" / "leak.png")
    (shared,) = compare(inspected(root), inspected(cheap))
    assert shared.examples == (f"{cheap}/a/leak.png = {root}/b/7.png",)


def test_two_sides_that_have_nothing_in_common_or_everything_are_fine(
    root: Path, tmp_path: Path, write_classes: WriteClasses
) -> None:
    for number, counts in enumerate(({"a": 5, "b": 5}, {"x": 5, "y": 5})):
        cheap = write_classes(tmp_path / f"cheap{number}", counts, size=8)
        assert compare(inspected(root), inspected(cheap)) == []


def test_a_built_folder_that_was_tampered_with_is_noticed(root: Path, tmp_path: Path) -> None:
    source = TreeSource(FolderTree(root))
    build(source, scan_headers(source), 16, 1, "crop", tmp_path / "built")
    assert topics(inspected(tmp_path / "built")) == {}
    for name, at in (("images", (5, 5, 5)), ("digests", (5,))):
        array = np.load(tmp_path / f"built/{name}.npy", mmap_mode="r+")
        array[at] ^= 1
        array.flush()
        assert "build it again" in topics(inspected(tmp_path / "built"))["changed"].summary
        array[at] ^= 1
        array.flush()


def test_everything_fits_into_json(root: Path) -> None:
    (root / "a" / "x.png").write_bytes(b"")
    content = json.loads(json.dumps(inspected(root).as_dict()))
    assert content["classes"] == {"a": 30, "b": 40}
    assert [finding["topic"] for finding in content["findings"]] == ["unreadable"]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_repeats_are_the_positions_of_equal_numbers(values: list[int]) -> None:
    expected = {value: [at for at, other in enumerate(values) if other == value] for value in values}
    found: list[NDArray[np.int64]] = list(repeats(np.array(values, dtype=np.uint64)))
    assert sorted(group.tolist() for group in found) == sorted(rows for rows in expected.values() if len(rows) > 1)


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=40))
def test_a_histogram_holds_every_class_once(counts: list[int]) -> None:
    bins = histogram(np.array(counts))
    for low, high, number in bins:
        assert number == sum(low <= count <= high for count in counts)
    assert sum(number for *_, number in bins) == len(counts)
    assert len(bins) <= 14


def test_two_sides_in_one_place_or_one_in_the_other_are_told_of(tmp_path: Path, write_classes: WriteClasses) -> None:
    good = write_classes(tmp_path / "good", {"a": 4, "b": 4})
    cheap, hidden = good / "cheap", good / ".cheap"
    cheap.mkdir()
    hidden.mkdir()
    (tmp_path / "link").symlink_to(good)
    for other in (good, tmp_path / "link"):
        assert "are the high-quality ones in" in same_place(str(good), str(other))
    assert "hf:a/b themselves" in same_place("hf:a/b", "hf:a/b")
    assert same_place(str(good), str(cheap)).startswith(f"{cheap} lies in {good}, so that its images count as high-")
    assert same_place(str(cheap), str(good)).startswith(f"{cheap} lies in {good}, so that its images count as low-")
    assert same_place(str(good), str(hidden)) == same_place(str(good), "hf:a/b") == ""


def test_low_quality_images_that_are_the_larger_ones_are_found(tmp_path: Path, write_classes: WriteClasses) -> None:
    small, large = (inspected(write_classes(tmp_path / str(side), {"a": 4}, side, side)) for side in (8, 16))
    assert [finding.topic for finding in compare(small, large)] == ["swapped"]
    assert compare(large, small) == []


def test_copies_do_not_make_a_class_larger() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, -1])
    firsts = np.array([0, 0, 2, 0, 0, 5, 6])
    assert different_of_classes(labels, firsts, np.arange(7), 3).tolist() == [2, 2, 0]

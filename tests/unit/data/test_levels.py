"""Images whose levels are no bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.data.images import plain, square
from ctfgan.data.levels import scale_of
from ctfgan.data.pack import pack
from ctfgan.data.packed import PackedImages
from ctfgan.data.scan import scan_headers
from ctfgan.data.sources.encoded import read_image
from ctfgan.data.sources.layout import TreeSource
from ctfgan.data.sources.tree import FolderTree

Outcome = Callable[..., object]
GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16)


def saved(folder: Path, name: str, levels: NDArray[np.generic]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(folder / f"{name}.tif")


def packed(root: Path) -> PackedImages:
    source = TreeSource(FolderTree(root))
    return pack(source, scan_headers(source), 16, 1, "crop")


def alone(levels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The greys of an image that is judged by itself, after a TIFF."""
    content = io.BytesIO()
    Image.fromarray(levels).save(content, "TIFF")
    return np.asarray(plain(read_image(content.getvalue()), 1))


def test_a_float_tiff_in_0_to_1_keeps_its_greys() -> None:
    assert np.array_equal(alone(GREYS.astype(np.float32) / 255), GREYS)


def test_a_float_tiff_in_minus_1_to_1_keeps_its_greys() -> None:
    assert np.array_equal(alone(GREYS.astype(np.float32) / 127.5 - 1), GREYS)


def test_a_float_tiff_of_bytes_keeps_its_greys() -> None:
    assert np.array_equal(alone(GREYS.astype(np.float32)), GREYS)


def test_floats_that_a_filter_left_a_little_outside_their_range_are_clipped() -> None:
    levels = GREYS.astype(np.float32) / 255
    levels[0, 0], levels[-1, -1] = -0.03, 1.04
    assert np.array_equal(alone(levels), GREYS)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_whole_numbers_of_eight_bits_keep_their_greys_in_a_wider_file(dtype: type[np.generic]) -> None:
    assert np.array_equal(alone(GREYS.astype(dtype)), GREYS)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.float32])
def test_levels_of_more_bits_become_the_greys_that_they_were_made_of(bits: int, dtype: type[np.generic]) -> None:
    exact = GREYS.astype(np.int64) * (2**bits - 1) / 255
    levels = np.ceil(exact).astype(dtype)
    assert np.array_equal(alone(levels), GREYS)


def test_a_full_range_of_sixteen_bits_is_divided_by_257_and_rounded_down() -> None:
    levels = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    assert alone(levels).reshape(-1).tolist() == [level // 257 for level in range(65_536)]


@pytest.mark.parametrize(("high", "bits"), [(0, 8), (255, 8), (256, 10), (4_095, 12), (4_096, 14), (2**31 - 1, 31)])
def test_whole_numbers_have_the_fewest_bits_that_hold_them(high: int, bits: int) -> None:
    assert scale_of("whole", 0, high).white == 2**bits - 1


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        (np.full((8, 8), -5, np.int32), r"levels go from -5 to -5, and none below 0 is plain; save it"),
        (np.full((8, 8), 1e9, np.float32), r"levels go from 1e\+09 to 1e\+09, which is no plain range; save it"),
        (np.linspace(-2, 3, 64, dtype=np.float32).reshape(8, 8), "levels go from -2 to 3, which is no plain range"),
        (np.full((8, 8), np.nan, np.float32), "none of its levels is a finite number; save it"),
    ],
)
def test_levels_whose_meaning_is_not_plain_are_refused(levels: NDArray[np.generic], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        alone(levels)


def test_what_is_no_number_is_black_and_infinity_is_an_end_of_the_range() -> None:
    levels = GREYS.astype(np.float32)
    levels[4, :3] = np.nan, np.inf, -np.inf
    assert alone(levels)[4, :4].tolist() == [0, 255, 0, 67]


def test_a_tiff_that_counts_from_white_is_turned_around() -> None:
    levels, content = GREYS.astype(np.uint16) * 257, io.BytesIO()
    Image.fromarray(65_535 - levels).save(content, "TIFF", tiffinfo={262: 0})
    assert np.array_equal(np.asarray(plain(read_image(content.getvalue()), 1)), GREYS)


def test_the_transparent_level_of_a_sixteen_bit_png_is_white() -> None:
    image, content = Image.fromarray(GREYS.astype(np.uint16) * 257), io.BytesIO()
    image.save(content, "PNG", transparency=10 * 257)
    greys = np.asarray(plain(read_image(content.getvalue()), 1)).reshape(-1)
    assert greys.tolist() == [255 if level == 10 else level for level in range(256)]


def test_a_dark_image_stays_dark_beside_bright_ones(tmp_path: Path, cache: Path) -> None:
    bright = np.full((16, 16), 4_031, np.uint16)
    bright[0] = 16
    saved(tmp_path / "a", "bright", bright)
    saved(tmp_path / "a", "dark", bright // 10)
    images = packed(tmp_path)
    assert images.images[:, 5, 5, 0].tolist() == [4_031 * 255 // 4_095, 403 * 255 // 4_095]
    levels, contrast = images.survey.notes
    assert levels == (
        "2 images of more than 8 bits with levels from 1 to 4,031; read as 12 bits, 0 black and 4,095 white (save them "
        "with 8 bits if they mean something else)"
    )
    assert contrast.startswith("1 of 2 images is a single colour or nearly")


def test_floats_and_whole_numbers_of_a_set_have_scales_of_their_own(tmp_path: Path, cache: Path) -> None:
    saved(tmp_path / "a", "floats", GREYS.astype(np.float32) / 255)
    saved(tmp_path / "a", "whole", GREYS.astype(np.uint16) * 257)
    images = packed(tmp_path)
    assert np.array_equal(images.images[0, :, :, 0], GREYS)
    assert np.array_equal(images.images[1, :, :, 0], GREYS)
    assert len(images.survey.notes) == 1  # sixteen bits are what such images have
    assert images.survey.notes[0].startswith("1 floating-point image with levels from 0 to 1; read as 0 black and 1 wh")


def test_images_of_no_plain_levels_are_unreadable_and_the_others_are_used(tmp_path: Path, cache: Path) -> None:
    saved(tmp_path / "a", "depth", np.full((16, 16), -3, np.int32))
    saved(tmp_path / "a", "image", GREYS.astype(np.int32))
    images = packed(tmp_path)
    assert images.survey.modes == {"I": 1}
    assert np.array_equal(images.images[:, :, :, 0], [GREYS])
    [(name, reason)] = images.survey.unreadable
    assert Path(name).name == "depth.tif"
    assert reason.startswith("its levels go from -3 to -3")


def test_a_set_whose_images_are_plain_alone_and_not_together_is_refused(tmp_path: Path, cache: Path) -> None:
    saved(tmp_path / "a", "one", np.linspace(-1, 1, 256, dtype=np.float32).reshape(16, 16))
    saved(tmp_path / "a", "two", np.linspace(0, 5, 256, dtype=np.float32).reshape(16, 16))
    with pytest.raises(DataError, match=r"of 2 floating-point images together, its levels go from -1 to 5"):
        scan_headers(TreeSource(FolderTree(tmp_path)))


def test_fractions_among_as_many_bytes_are_refused_by_name(tmp_path: Path, cache: Path) -> None:
    for number in range(4):
        saved(tmp_path / "a", f"bytes{number}", GREYS.astype(np.float32))
        saved(tmp_path / "a", f"fractions{number}", GREYS.astype(np.float32) / 255)
    message = (
        r"4 of 8 floating-point images have levels up to 1 \(first: .*/a/fractions0\.tif\), others up to 255 "
        r"\(first: .*/a/bytes0\.tif\), and beside these they would be black; .*, save all of them with 8 bits"
    )
    with pytest.raises(DataError, match=message):
        scan_headers(TreeSource(FolderTree(tmp_path)))


def test_bytes_among_as_many_images_of_sixteen_bits_are_said_by_name(tmp_path: Path, cache: Path) -> None:
    for number in range(4):
        saved(tmp_path / "a", f"bytes{number}", GREYS.astype(np.uint16))
        saved(tmp_path / "a", f"wide{number}", GREYS.astype(np.uint16) * 257)
    [note] = scan_headers(TreeSource(FolderTree(tmp_path))).notes
    assert note.startswith("4 of 8 images of more than 8 bits have levels up to 255 (first: ")
    assert "a/bytes0.tif), others up to 65,535 (first: " in note


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_a_few_dark_or_blank_images_among_bright_ones_stay_as_they_are(
    dtype: type[np.generic], tmp_path: Path, cache: Path
) -> None:
    for number in range(12):
        saved(tmp_path / "a", f"bright{number}", (GREYS.astype(np.int64) * 257).astype(dtype))
        saved(tmp_path / "a", f"blank{number}", np.zeros((16, 16), dtype))
    saved(tmp_path / "a", "dark", (GREYS > 0).astype(dtype))
    images = packed(tmp_path)
    assert images.images.max(axis=(1, 2, 3)).tolist() == [0] * 12 + [255] * 12 + [0]
    assert not any("beside these" in note for note in images.survey.notes)


def test_a_reference_is_read_with_the_scale_of_the_training_images(tmp_path: Path, cache: Path) -> None:
    saved(tmp_path / "test" / "a", "dark", np.full((16, 16), 400, np.uint16))
    source = TreeSource(FolderTree(tmp_path / "test"))
    own = pack(source, scan_headers(source), 16, 1, "crop")
    theirs = pack(source, scan_headers(source), 16, 1, "crop", levels={"whole": scale_of("whole", 0, 4_000)})
    assert own.images[0, 0, 0, 0] == 400 * 255 // 1_023
    assert theirs.images[0, 0, 0, 0] == 400 * 255 // 4_095
    assert "read as those of the training images, 0 black and 4,095 white" in theirs.survey.notes[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_one_image_is_judged_by_itself(channels: int) -> None:
    image = Image.fromarray((GREYS / 255).astype(np.float32))
    assert np.array_equal(square(image, 16, channels, "crop")[:, :, 0], GREYS)


def test_train_says_how_levels_are_read(tmp_path: Path, cache: Path, run_cli: Outcome) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for number in range(30):
            saved(tmp_path / "hq" / name, str(number), rng.random((32, 32), dtype=np.float32))
    shown = run_cli("train", "--hq", tmp_path / "hq", "--dry-run", "--out", tmp_path / "run")
    assert "60 floating-point images with levels from" in str(vars(shown)["out"])

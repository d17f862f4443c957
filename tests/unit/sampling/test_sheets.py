from __future__ import annotations

import time

import numpy as np
import pytest

from ctfgan.core.errors import ConfigError
from ctfgan.data.images import _fitting, check_size, heading_font, sheet
from ctfgan.sampling.sheets import check_sheet, columns_that_fit, enlarged, sheet_of_columns, sheet_size


def test_columns_beyond_the_32nd_follow_below() -> None:
    images = np.random.default_rng(0).integers(0, 256, (35 * 2, 8, 8, 3), dtype=np.uint8)
    names = [chr(ord("0") + index) for index in range(35)]
    whole = np.asarray(sheet_of_columns(images, 2, names))
    first = np.asarray(sheet(np.concatenate([images[0:64:2], images[1:64:2]]), 32, names[:32], 6))
    assert np.array_equal(whole[: len(first)], first)
    second = sheet(np.concatenate([images[64::2], images[65::2]]), 3, names[32:], 8)
    assert np.array_equal(whole[len(first) :, : second.width], np.asarray(second))


def test_what_is_coarse_stays_so() -> None:
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    assert np.array_equal(enlarged(image, 6)[0, :, :, 0], np.kron(image[0, :, :, 0], np.ones((3, 3))))


@pytest.mark.parametrize(
    ("heading", "width", "text"),
    [("cat", 200, "cat"), ("x", 2, "x"), ("Tierwelt/Katzen", 66, "…Katzen"), ("宪", 40, "5BAA"), ("ab" * 30, 1, "…b")],
)
def test_a_heading_that_is_cut_says_so_and_keeps_as_much_of_its_end_as_there_is_room_for(
    heading: str, width: int, text: str
) -> None:
    font = heading_font(14)
    drawn, fitted = _fitting(heading, width, font)
    assert drawn == text
    assert fitted.getlength(drawn) <= width or len(drawn) <= 2
    if drawn.startswith("…"):
        assert font.getlength(f"…{heading[-len(drawn) :]}") > width


@pytest.mark.parametrize(("columns", "count", "side"), [(3, 2, 8), (35, 2, 8), (64, 3, 16), (1, 5, 300)])
def test_the_size_of_a_sheet_is_known_before_it_is_drawn(columns: int, count: int, side: int) -> None:
    images = np.zeros((columns * count, side, side, 1), dtype=np.uint8)
    assert sheet_size(columns, count, side) == sheet_of_columns(images, count, [""] * columns).size


def test_a_sheet_that_nobody_could_open_is_refused_and_one_that_can_be_read_back_is_not() -> None:
    with pytest.raises(ConfigError, match=r"3,755 x 16 images has 1,430 x 68,324 pixels; at most 64,000,000 are drawn"):
        check_sheet(3_755, 16, 32)
    check_sheet(2_720, 16, 32)
    check_size(sheet_size(2_720, 16, 32))
    started = time.monotonic()
    with pytest.raises(ConfigError, match="a folder with --out DIR"):
        check_sheet(1_000_000, 16, 32)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(("side", "columns"), [(32, 62), (256, 32), (512, 15), (1024, 3), (6000, 1)])
def test_fewer_columns_are_drawn_of_large_images(side: int, columns: int) -> None:
    assert columns_that_fit(62, 16, side) == columns
    if columns > 1:
        check_sheet(columns, 16, side)

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from ctfgan.data.images import HEADING_FONT, _fitting, sheet
from ctfgan.sampling.sheets import enlarged, sheet_of_columns


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
    font = ImageFont.truetype(str(HEADING_FONT), 14)
    drawn, fitted = _fitting(heading, width, font)
    assert drawn == text
    assert fitted.getlength(drawn) <= width or len(drawn) <= 2
    if drawn.startswith("…"):
        assert font.getlength(f"…{heading[-len(drawn) :]}") > width

"""Every kind of block as HTML and as Markdown."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.reports.hypertext import data_address
from ctfgan.reports.markdown import markdown, page
from ctfgan.reports.page_blocks import (
    Block,
    Code,
    Contents,
    Embedded,
    Facts,
    Folded,
    Gallery,
    Heading,
    Paragraph,
    Plots,
    TableBlock,
    Tile,
    Tiles,
)
from ctfgan.reports.tiles import image_tile, map_tile
from tests.unit.reports.conftest import Page

TILE = image_tile(np.zeros((4, 4, 1), dtype=np.uint8), 'a "dark" <tile>')
PLOT = Embedded(b"<?xml version='1.0'?><svg/>", "a plot", "what it shows", is_plot=True)
EACH: tuple[Block, ...] = (
    Facts((("steps <b>", "800", "in all & so on"), ("none", "0", ""))),
    TableBlock(("class", "n"), (("x|y", "1"), (Tiles((TILE, TILE), "1 < 2"), "2")), "a caption"),
    PLOT,
    Gallery(((TILE, "below it"),), "beside each other"),
    Plots((PLOT,)),
    Code("<two>\n  lines"),
    Folded("more & more", (Heading("inner", 2), Paragraph("hidden <text>"))),
)


@pytest.mark.parametrize("block", EACH, ids=lambda block: type(block).__name__)
def test_every_block_is_well_formed_and_shows_its_texts(block: Block) -> None:
    content = page([Heading("title", 1), block], Path())
    read = Page(content)
    text = " ".join(section.text for section in read.sections.values())
    told = markdown([block], Path())
    for shown in {
        Facts: ("steps <b>", "in all & so on"),
        TableBlock: ("1 < 2", "a caption"),
        Embedded: ("what it shows",),
        Gallery: ("below it", "beside each other"),
        Plots: ("what it shows",),
        Code: ("<two>",),
        Folded: ("more & more", "hidden <text>"),
    }[type(block)]:
        assert shown in text
        assert shown in told


def test_contents_link_to_the_headings_of_their_level_wherever_they_are() -> None:
    blocks = (Heading("title", 1), Contents(), Heading("one"), Heading("small", 3), EACH[-1], Heading("two"))
    content = page(blocks, Path())
    for number, text in ((2, "one"), (4, "inner"), (5, "two")):
        assert f'<a href="#h{number}">{text}</a>' in content
        assert f'id="h{number}">{text}<' in content
    assert ">small</a>" not in content
    assert markdown([Contents()], Path()).strip() == ""


def test_columns_of_numbers_are_set_to_the_right() -> None:
    rows = (("a", "1,024", "5"), ("b", "-3.5%", "many"), ("c", "", ""))
    content = page([Heading("t", 1), TableBlock(("name", "n", "mixed"), rows)], Path())
    assert '<th scope="col" class="number">n</th>' in content
    assert content.count('class="number"') == 4


def test_a_picture_is_embedded_as_it_is() -> None:
    address = data_address(TILE.content)
    kind, _, coded = address.partition(";base64,")
    assert (kind, base64.b64decode(coded)) == ("data:image/png", TILE.content)
    assert 'alt="a &quot;dark&quot; &lt;tile&gt;"' in page([Heading("t", 1), EACH[1]], Path())


def test_tiles_keep_pixels_and_large_images_are_made_smaller() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 1), dtype=np.uint8)
    tile = image_tile(pixels, "noise")
    assert np.array_equal(np.asarray(Image.open(BytesIO(tile.content))), pixels[:, :, 0])
    assert tile.width % 12 == 0
    large = image_tile(np.zeros((512, 512, 3), dtype=np.uint8), "large")
    assert Image.open(BytesIO(large.content)).size == (128, 128)


def test_signed_maps_are_red_above_zero_and_blue_below() -> None:
    def colours(tile: Tile) -> list[tuple[int, ...]]:
        picture = Image.open(BytesIO(tile.content)).convert("RGB")
        return [picture.getpixel((x, 0)) for x in range(3)]  # type: ignore[misc]

    low, zero, high = colours(map_tile(np.array([[-2.0, 0.0, 2.0]]), "m", 96, signed=True))
    assert low[2] > low[0]
    assert min(zero) > 240
    assert high[0] > high[2]
    dark, *_ = colours(map_tile(np.zeros((1, 3)), "m", 96, signed=False))
    assert max(dark) < 10

"""Every kind of block as HTML, and those of a document as Markdown."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.reports.document import (
    Block,
    Code,
    Contents,
    Embedded,
    Facts,
    Folded,
    Gallery,
    Heading,
    Items,
    Paragraph,
    Picture,
    Plots,
    TableBlock,
    Tile,
    Tiles,
    data_url,
    html,
    markdown,
    write_document,
)
from ctfgan.reports.pictures import image_tile, map_tile
from tests.unit.reports.conftest import Page

DOCUMENT = (
    Heading("A & B <c>", 1),
    Paragraph("1 < 2"),
    Items(("one", "two")),
    TableBlock(("name", "a|b"), (("x", "1"), ("y\nz", "2"))),
    Picture(Path("/reports/runs/my run/sheet.png"), "a sheet"),
)
TITLE = Heading("title", 1)
TILE = image_tile(np.zeros((4, 4, 1), dtype=np.uint8), 'a "dark" <tile>')
PLOT = Embedded(b"<?xml version='1.0'?><svg/>", "a plot", "what it shows", is_plot=True)
EACH: tuple[tuple[Block, tuple[str, ...]], ...] = (
    (Facts((("steps <b>", "800", "in all & so on"), ("none", "0", ""))), ("steps <b>", "in all & so on")),
    (TableBlock(("class", "n"), (("x|y", "1"), (Tiles((TILE, TILE), "1 < 2"), "2")), "a caption"), ("1 < 2", "x|y")),
    (TableBlock(("class", "n"), (), "nothing yet"), ("nothing yet",)),
    (PLOT, ("what it shows",)),
    (Gallery((Tiles((TILE,), "below it"),)), ("below it",)),
    (Plots((PLOT,)), ("what it shows",)),
    (Code("<two>\n  lines"), ("<two>\n  lines",)),
    (Folded("more & more", (Paragraph("hidden <text>"), PLOT)), ("more & more", "hidden <text>", "what it shows")),
)


def test_the_page_is_well_formed_and_shows_every_text_as_it_is() -> None:
    page = Page(html(DOCUMENT, Path("/reports")))
    section = page.sections["A & B <c>"]
    assert page.title == "A & B <c>"
    for text in ("1 < 2", "one", "two", "a|b", "a sheet"):
        assert text in section.text
    assert page.addresses == ["runs/my%20run/sheet.png"]


@pytest.mark.parametrize(("block", "texts"), EACH, ids=lambda value: type(value).__name__)
def test_every_block_is_well_formed_and_shows_its_texts(block: Block, texts: tuple[str, ...]) -> None:
    page = Page(html([TITLE, block], Path()))
    shown = " ".join(section.text for section in page.sections.values())
    for text in texts:
        assert text in shown


def test_a_cell_of_markdown_cannot_break_its_table() -> None:
    lines = markdown(DOCUMENT, Path("/reports")).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows == ["| name | a\\|b |", "| --- | --- |", "| x | 1 |", "| y z | 2 |"]
    assert "![a sheet](runs/my%20run/sheet.png)" in lines
    captioned = TableBlock(("class",), ((Tiles((TILE,), "1 < 2"),),), "a caption")
    assert markdown([captioned], Path()) == "*a caption*\n\n| class |\n| --- |\n| 1 < 2 |\n"


def test_both_forms_are_written_side_by_side(tmp_path: Path) -> None:
    paths = write_document(DOCUMENT, tmp_path, "report")
    assert [path.name for path in paths] == ["report.md", "report.html"]
    assert paths[1].read_text().startswith("<!doctype html>")


def test_contents_link_to_the_headings_of_level_2() -> None:
    page = html([TITLE, Contents(), Heading("one"), Heading("small", 3), Heading("two")], Path())
    for text in ("one", "two"):
        (place,) = (part.split('"')[0] for part in page.split('<h2 id="') if part.split(">")[1:2] == [f"{text}</h2"])
        assert f'<a href="#{place}">{text}</a>' in page
    assert ">small</a>" not in page


def test_columns_of_numbers_are_set_to_the_right() -> None:
    rows = (("a", "1,024", "5"), ("b", "-3.5%", "many"), ("c", "", ""))
    page = html([TITLE, TableBlock(("name", "n", "mixed"), rows)], Path())
    assert '<th scope="col" class="number">n</th>' in page
    assert page.count('class="number"') == 4


def test_a_picture_is_embedded_as_it_is() -> None:
    address = data_url(TILE.content)
    kind, _, coded = address.partition(";base64,")
    assert (kind, base64.b64decode(coded)) == ("data:image/png", TILE.content)
    page = Page(html([TITLE, EACH[1][0]], Path()))
    assert page.sections["title"].images == ['a "dark" <tile>'] * 2


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

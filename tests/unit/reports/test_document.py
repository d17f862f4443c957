from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from ctfgan.reports.markdown import Heading, Items, Paragraph, Picture, TableBlock, markdown, page, write_document

BLOCKS = (
    Heading("A & B <c>", 1),
    Paragraph("1 < 2"),
    Items(("one", "two")),
    TableBlock(("name", "a|b"), (("x", "1"), ("y\nz", "2"))),
    Picture(Path("/reports/runs/my run/sheet.png"), "a sheet"),
)


class Reader(HTMLParser):
    """Collects the text of a page and its open tags."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.images: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_well_formed_and_shows_every_text_as_it_is() -> None:
    reader = Reader()
    reader.feed(page(BLOCKS, Path("/reports")))
    assert reader.open == []
    text = "".join(reader.texts)
    for shown in ("A & B <c>", "1 < 2", "one", "two", "a|b", "a sheet"):
        assert shown in text
    assert reader.images == ["runs/my%20run/sheet.png"]


def test_a_cell_of_markdown_cannot_break_its_table() -> None:
    lines = markdown(BLOCKS, Path("/reports")).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows == ["| name | a\\|b |", "| --- | --- |", "| x | 1 |", "| y z | 2 |"]
    assert "![a sheet](runs/my%20run/sheet.png)" in lines


def test_both_forms_are_written_side_by_side(tmp_path: Path) -> None:
    paths = write_document(BLOCKS, tmp_path, "report")
    assert [path.name for path in paths] == ["report.md", "report.html"]
    assert paths[1].read_text().startswith("<!doctype html>")

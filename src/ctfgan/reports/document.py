"""A report as a list of blocks, and how blocks become one HTML page that needs no other file, or Markdown."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from ctfgan.core.files import write_file
from ctfgan.core.text import utf8

NUMBER = re.compile(r"[±+-]?[\d,]+(\.\d+)?( ?%| s| ms)?( ± [\d.]+)?( / [\d,]+)?")
"""What every cell of a column looks like that is set to the right."""
MEDIA_TYPES = {b"\x89PNG": "image/png", b"RIFF": "image/webp", b"<?xml": "image/svg+xml"}


@dataclass(frozen=True)
class Heading:
    """A heading; the document's title is of level 1."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of plain texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Tile:
    """A small picture that is part of the page; its pixels are shown as squares."""

    content: bytes
    """A PNG or WebP."""
    alt: str
    """What it shows, for those who do not see it."""
    width: int
    """On the page, in CSS pixels."""


@dataclass(frozen=True)
class Tiles:
    """Pictures beside each other, with a text below them."""

    tiles: tuple[Tile, ...]
    text: str = ""


@dataclass(frozen=True)
class TableBlock:
    """A table of plain texts and small pictures; of the pictures Markdown shows the texts alone."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str | Tiles, ...], ...]
    caption: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers; some of these may be missing."""
        columns = zip(*self.rows, strict=True) if self.rows else ((),) * len(self.headings)
        return tuple(
            bool(cells) and all(isinstance(cell, str) and (not cell or NUMBER.fullmatch(cell)) for cell in cells)
            for cells in columns
        )


@dataclass(frozen=True)
class Picture:
    """An image file, linked relative to the report."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Facts:
    """The few figures that one looks for first: what each is, its value, a remark."""

    facts: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Embedded:
    """A picture that is part of the page."""

    content: bytes
    """A PNG, WebP or SVG."""
    alt: str
    caption: str
    is_plot: bool = False
    """Dark lines on nothing, to be drawn light on a dark page."""
    least_width: int = 0
    """CSS pixels below which it is scrolled rather than made smaller."""


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many in a row as fit, each with its text below it."""

    pictures: tuple[Tiles, ...]


@dataclass(frozen=True)
class Plots:
    """Plots side by side, as many in a row as fit."""

    plots: tuple[Embedded, ...]
    are_large: bool = False
    """Whether they want half of a wide screen each, rather than a third."""


@dataclass(frozen=True)
class Code:
    """Text with its line breaks and indents."""

    text: str


@dataclass(frozen=True)
class Folded:
    """Blocks without headings that are shown on a click."""

    summary: str
    blocks: tuple[Paragraph | Embedded | Code, ...]


@dataclass(frozen=True)
class Contents:
    """Links to the headings of level 2."""


TextBlock = Heading | Paragraph | Items | TableBlock | Picture
"""What Markdown can say, too."""
Block = TextBlock | Facts | Embedded | Gallery | Plots | Code | Folded | Contents


def write_document(blocks: Sequence[TextBlock], folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``<name>.md`` and ``<name>.html`` into a folder; the first block is the title."""
    paths = folder / f"{name}.md", folder / f"{name}.html"
    write_file(paths[0], utf8(markdown(blocks, folder)))
    write_file(paths[1], utf8(html(blocks, folder)))
    return paths


def html(blocks: Sequence[Block], folder: Path, mark: str = "ctfgan") -> str:
    """The document as an HTML page. Every text in it is escaped; nothing is taken from the network.

    Args:
        blocks: the first one is the title.
        folder: where the page is to be; pictures that are files are linked from there.
        mark: which program wrote it, for those who must know before they replace it.
    """
    templates = Environment(
        loader=PackageLoader("ctfgan.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    templates.filters |= {
        "kind": lambda block: type(block).__name__,
        "data_url": data_url,
        "link": lambda path: _link(path, folder),
    }
    (title, *_) = blocks
    assert isinstance(title, Heading), "a document begins with its title"
    return templates.get_template("report.html").render(
        title=title.text, blocks=blocks, generator=f"{mark} {version('ctfgan')}"
    )


def data_url(content: bytes) -> str:
    """A picture as a ``data:`` address."""
    kind = next(kind for start, kind in MEDIA_TYPES.items() if content.startswith(start))
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def markdown(blocks: Sequence[TextBlock], folder: Path) -> str:
    """The document as Markdown."""
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def _markdown(block: TextBlock, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Items(texts):
            return "\n".join(f"- {text}" for text in texts)
        case TableBlock(headings, rows, caption):
            lines = [headings, tuple("---" for _ in headings), *rows]
            table = "\n".join(f"| {' | '.join(map(_markdown_cell, line))} |" for line in lines)
            return f"*{caption}*\n\n{table}" if caption else table
        case Picture(path, caption):
            return f"![{caption}]({_link(path, folder)})\n\n*{caption}*"


def _markdown_cell(cell: str | Tiles) -> str:
    text = cell if isinstance(cell, str) else cell.text
    return text.replace("|", "\\|").replace("\n", " ")


def _link(path: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(path, folder)).as_posix())

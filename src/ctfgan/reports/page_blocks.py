"""What a report is made of: blocks that know nothing of Markdown and HTML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    """A small picture that is part of the document; its pixels are shown as squares."""

    content: bytes
    """A PNG, JPEG or WebP."""
    alt: str
    """What it shows, for those who do not see it."""
    width: int
    """On the page, in CSS pixels."""


@dataclass(frozen=True)
class Tiles:
    """A cell of a table that shows pictures, with a text below them."""

    tiles: tuple[Tile, ...]
    text: str = ""


Cell = str | Tiles


@dataclass(frozen=True)
class TableBlock:
    """A table of plain texts and small pictures."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Facts:
    """The few figures that one looks for first: what each is, its value, a remark."""

    facts: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Picture:
    """An image file, linked relative to the report."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Embedded:
    """A picture that is part of the document."""

    content: bytes
    """A PNG, JPEG, WebP or SVG."""
    alt: str
    caption: str
    is_plot: bool = False
    """Dark lines on nothing, to be drawn light on a dark page."""
    least_width: int = 0
    """CSS pixels below which it is scrolled rather than made smaller."""


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many in a row as fit, each with a text below it."""

    pictures: tuple[tuple[Tile, str], ...]
    caption: str = ""


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
    """Blocks that are shown when they are asked for."""

    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Contents:
    """Links to the headings of one level."""

    level: int = 2


Block = (
    Heading | Paragraph | Items | TableBlock | Facts | Picture | Embedded | Gallery | Plots | Code | Folded | Contents
)

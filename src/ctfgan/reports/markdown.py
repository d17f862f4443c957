"""A report as a list of blocks, written as Markdown and as one HTML page that needs nothing from the network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ctfgan.core.files import write_file
from ctfgan.reports.hypertext import HtmlWriter, data_address
from ctfgan.reports.page_blocks import (
    Block,
    Cell,
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
)

__all__ = ["Block", "Heading", "Items", "Paragraph", "Picture", "TableBlock", "markdown", "page", "write_document"]


def write_document(blocks: Sequence[Block], folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``<name>.md`` and ``<name>.html`` into a folder; the first block is the title."""
    paths = folder / f"{name}.md", folder / f"{name}.html"
    write_file(paths[0], markdown(blocks, folder).encode())
    write_file(paths[1], page(blocks, folder).encode())
    return paths


def markdown(blocks: Sequence[Block], folder: Path) -> str:
    """The document as Markdown."""
    return "\n\n".join(text for block in blocks if (text := _markdown(block, folder))) + "\n"


def page(blocks: Sequence[Block], folder: Path, mark: str = "ctfgan") -> str:
    """The document as an HTML page.

    Args:
        blocks: the first one is the title.
        folder: where the page is to be; pictures that are files are linked from there.
        mark: which program wrote it, for those who must know before they replace it.
    """
    return HtmlWriter(blocks, lambda path: _link(path, folder)).page(mark)


def _markdown(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Items(texts):
            return "\n".join(f"- {text}" for text in texts)
        case TableBlock(headings, rows, caption):
            lines = [headings, tuple("---" for _ in headings), *rows]
            told = "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)
            return f"*{caption}*\n\n{told}" if caption else told
        case Facts(facts):
            return "\n".join(f"- {name}: {value}{f' ({note})' if note else ''}" for name, value, note in facts)
        case Picture(path, caption):
            return f"![{caption}]({_link(path, folder)})\n\n*{caption}*"
        case Embedded(content, alt, caption):
            shown = f"![{alt}]({data_address(content)})"
            return f"{shown}\n\n*{caption}*" if caption else shown
        case Gallery(pictures, caption):
            told = "\n".join(f"- {_tile(tile)} {text}" for tile, text in pictures)
            return f"*{caption}*\n\n{told}" if caption else told
        case Plots(plots):
            return "\n\n".join(_markdown(plot, folder) for plot in plots)
        case Code(text):
            return "\n".join(f"    {line}" for line in text.splitlines())
        case Folded(summary, blocks):
            return f"**{summary}**\n\n{markdown(blocks, folder).rstrip()}"
        case Contents():
            return ""  # whoever shows Markdown makes a list of headings of their own


def _cell(cell: Cell) -> str:
    text = f"{' '.join(_tile(tile) for tile in cell.tiles)} {cell.text}" if isinstance(cell, Tiles) else cell
    return text.replace("|", "\\|").replace("\n", " ")


def _tile(tile: Tile) -> str:
    return f"![{tile.alt}]({data_address(tile.content)})"


def _link(path: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(path, folder)).as_posix())

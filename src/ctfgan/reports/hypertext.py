"""Blocks as HTML. Every text goes through :func:`html.escape`; nothing is taken from the network."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

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
from ctfgan.reports.style import STYLE

NUMBER = re.compile(r"[±+-]?[\d,]+(\.\d+)?( ?%| s| ms)?( ± [\d.]+)?( / [\d,]+)?")
"""What a cell of a column that is set to the right looks like."""

FORMATS = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"RIFF": "image/webp", b"<?xml": "image/svg+xml"}


def data_address(content: bytes) -> str:
    """A picture as a ``data:`` address."""
    kind = next(kind for start, kind in FORMATS.items() if content.startswith(start))
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


class HtmlWriter:
    """Writes one document.

    Args:
        blocks: the document; its first block is the title.
        link: address of an image file, seen from the page.
    """

    def __init__(self, blocks: Sequence[Block], link: Callable[[Path], str]) -> None:
        self._blocks = blocks
        self._link = link
        self._headings = 0

    def page(self, mark: str) -> str:
        """The whole page.

        Args:
            mark: name of the program, before its version.
        """
        first = self._blocks[0]
        title = html.escape(first.text) if isinstance(first, Heading) else "report"
        self._headings = 0
        body = self._all(self._blocks)
        wrote = html.escape(f"{mark} {version('ctfgan')}")
        head = (
            f'<meta charset="utf-8"><meta name="generator" content="{wrote}">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        )
        head = f"<head>{head}<style>{STYLE}</style></head>"
        return f'<!doctype html>\n<html lang="en">\n{head}\n<body>\n{body}\n</body>\n</html>\n'

    def _all(self, blocks: Sequence[Block]) -> str:
        return "\n".join(self._block(block) for block in blocks)

    def _block(self, block: Block) -> str:
        match block:
            case Heading(text, level):
                self._headings += 1
                return f'<h{level} id="h{self._headings}">{html.escape(text)}</h{level}>'
            case Paragraph(text):
                return f"<p>{html.escape(text)}</p>"
            case Items(texts):
                return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>"
            case TableBlock():
                return _table(block)
            case Facts(facts):
                return f'<dl class="facts">{"".join(_fact(*fact) for fact in facts)}</dl>'
            case Picture(path, caption):
                shown = html.escape(caption)
                image = f'<img src="{html.escape(self._link(path))}" alt="{shown}">'
                return f"<figure>{image}<figcaption>{shown}</figcaption></figure>"
            case Embedded():
                return _embedded(block)
            case Gallery(pictures, caption):
                shown = "".join(
                    f"<figure>{_tile(tile)}<figcaption>{html.escape(text)}</figcaption></figure>"
                    for tile, text in pictures
                )
                told = f"<p>{html.escape(caption)}</p>" if caption else ""
                return f'{told}<div class="gallery">{shown}</div>'
            case Plots(plots, are_large):
                kind = "plots large" if are_large else "plots"
                return f'<div class="{kind}">{"".join(map(_embedded, plots))}</div>'
            case Code(text):
                return f"<pre>{html.escape(text)}</pre>"
            case Folded(summary, blocks):
                return f"<details><summary>{html.escape(summary)}</summary>{self._all(blocks)}</details>"
            case Contents(level):
                return self._contents(level)

    def _contents(self, level: int) -> str:
        headings = enumerate((found for found in _flat(self._blocks) if isinstance(found, Heading)), start=1)
        links = (
            f'<li><a href="#h{number}">{html.escape(found.text)}</a></li>'
            for number, found in headings
            if found.level == level
        )
        return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'


def _flat(blocks: Sequence[Block]) -> list[Block]:
    """All blocks in the order in which they are written, folded ones among them."""
    found: list[Block] = []
    for block in blocks:
        found += [block, *(_flat(block.blocks) if isinstance(block, Folded) else [])]
    return found


def _table(block: TableBlock) -> str:
    caption = f"<caption>{html.escape(block.caption)}</caption>" if block.caption else ""
    kinds = [' class="number"' if _is_number(cells) else "" for cells in zip(*block.rows, strict=True)]
    kinds = kinds or [""] * len(block.headings)
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(text)}</th>' for text, kind in zip(block.headings, kinds, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row, kinds))}</tr>" for row in block.rows)
    return f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _is_number(cells: Sequence[Cell]) -> bool:
    """Whether a column holds numbers; where one is missing, too."""
    return all(isinstance(cell, str) and (not cell or NUMBER.fullmatch(cell)) for cell in cells)


def _cell(cell: Cell, kind: str) -> str:
    if isinstance(cell, Tiles):
        told = f"<small>{html.escape(cell.text)}</small>" if cell.text else ""
        return f'<td class="tiles">{"".join(map(_tile, cell.tiles))}{told}</td>'
    return f"<td{kind}>{html.escape(cell)}</td>"


def _fact(name: str, value: str, note: str) -> str:
    told = f'<dd class="note">{html.escape(note)}</dd>' if note else ""
    return f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>{told}</div>"


def _tile(tile: Tile) -> str:
    address, alt = data_address(tile.content), html.escape(tile.alt)
    return f'<img class="tile" width="{tile.width}" src="{address}" alt="{alt}">'


def _embedded(block: Embedded) -> str:
    kind = ' class="plot"' if block.is_plot else ""
    least = f' style="min-width:{block.least_width}px"' if block.least_width else ""
    image = f'<img{kind}{least} src="{data_address(block.content)}" alt="{html.escape(block.alt)}">'
    told = f"<figcaption>{html.escape(block.caption)}</figcaption>" if block.caption else ""
    return f"<figure>{image}{told}</figure>"

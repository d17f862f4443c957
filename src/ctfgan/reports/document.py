"""A report as a list of blocks, written as Markdown and as one HTML page that needs nothing from the network."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ctfgan.files import write_file

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .7rem; text-align: left; vertical-align: top; }
th { background: #f3f3f3; }
figure { margin: 1rem 0; overflow-x: auto; }
img { max-width: 100%; }
.wide { overflow-x: auto; }
@media (prefers-color-scheme: dark) {
  body { background: #161616; color: #e6e6e6; }
  th { background: #262626; }
  th, td { border-color: #444; }
}
"""


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
class TableBlock:
    """A table of plain texts."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """An image file, linked relative to the report."""

    path: Path
    caption: str


Block = Heading | Paragraph | Items | TableBlock | Picture


def write_document(blocks: Sequence[Block], folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``<name>.md`` and ``<name>.html`` into a folder; the first block is the title."""
    paths = folder / f"{name}.md", folder / f"{name}.html"
    write_file(paths[0], markdown(blocks, folder).encode())
    write_file(paths[1], page(blocks, folder).encode())
    return paths


def markdown(blocks: Sequence[Block], folder: Path) -> str:
    """The document as Markdown."""
    return "\n\n".join(_markdown(block, folder) for block in blocks) + "\n"


def page(blocks: Sequence[Block], folder: Path) -> str:
    """The document as an HTML page."""
    first = blocks[0]
    title = html.escape(first.text) if isinstance(first, Heading) else "report"
    body = "\n".join(_html(block, folder) for block in blocks)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    head = f"<head>{head}<style>{STYLE}</style></head>"
    return f'<!doctype html>\n<html lang="en">\n{head}\n<body>\n{body}\n</body>\n</html>\n'


def _markdown(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Items(texts):
            return "\n".join(f"- {text}" for text in texts)
        case TableBlock(headings, rows):
            lines = [headings, tuple("---" for _ in headings), *rows]
            return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)
        case Picture(path, caption):
            return f"![{caption}]({_link(path, folder)})\n\n*{caption}*"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _html(block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Items(texts):
            return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>"
        case TableBlock(headings, rows):
            head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
            lines = ("".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows)
            body = "".join(f"<tr>{line}</tr>" for line in lines)
            return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
        case Picture(path, caption):
            shown = html.escape(caption)
            image = f'<img src="{html.escape(_link(path, folder))}" alt="{shown}">'
            return f"<figure>{image}<figcaption>{shown}</figcaption></figure>"


def _link(path: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(path, folder)).as_posix())

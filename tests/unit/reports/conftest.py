"""A run that kept all its checkpoints, and what it looked like at earlier moments."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

import ctfgan
from ctfgan.storage.run_folder import RunFolder
from tests.conftest import TINY_RUN

KEPT = (*TINY_RUN, "keep_checkpoints=9", "journal_every=1", "checks.every=2", "checks.sheet_rows=1",
        "evaluation.images=100")  # fmt: skip


@pytest.fixture(scope="session")
def kept_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished CTF-GAN of 4 characters, 4 + 4 steps and checks every second step. Tests that change it copy it."""
    return ctfgan.train(ctfgan.recipe("ctf-glyphs", *KEPT), tmp_path_factory.mktemp("kept") / "kept")


@pytest.fixture
def stopped(kept_run: Path, tmp_path: Path) -> Callable[[str, int], Path]:
    """``stopped("transfer", 2)``: the run as it was after that step of that stage."""

    def cut(stage: str, step: int) -> Path:
        path = Path(shutil.copytree(kept_run, tmp_path / f"at-{stage}-{step}"))
        cut_back(path, stage, step)
        return path

    return cut


def cut_back(path: Path, stage: str, step: int) -> None:
    """Take from a finished run what it has from after some step of some stage."""
    shutil.rmtree(path / "bundle")
    folder = RunFolder(path)
    last = next(
        folder.manifest(found)["step"]
        for found in folder.checkpoints()
        if (folder.manifest(found)["stage"], folder.manifest(found)["stage_step"]) == (stage, step)
    )
    for found in folder.checkpoints():
        if folder.manifest(found)["step"] > last:
            shutil.rmtree(found)
    lines = [json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines()]
    kept = next(
        n for n, line in enumerate(lines) if line["event"] == "check" and (line["stage"], line["step"]) == (stage, step)
    )
    (path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[: kept + 1]))


@dataclass
class Section:
    """What stands below a heading."""

    text: str = ""
    rows: list[list[str]] = field(default_factory=list)
    """Cells of all tables, headings included."""
    images: list[str] = field(default_factory=list)
    """Their alternative texts."""


class Page(HTMLParser):
    """A page as its reader sees it, section by section; fails if it is not well-formed."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, content: str) -> None:
        super().__init__()
        self.title = ""
        self.sections: dict[str, Section] = {}
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        self._now = Section()
        self._heading = ""
        self.feed(content)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href"} and value]
        if tag == "img":
            assert known["alt"], "every picture has a text for those who do not see it"
            self._now.images.append(known["alt"])
        if tag == "tr":
            self._now.rows.append([])
        if tag in {"td", "th"}:
            self._now.rows[-1].append("")
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if re.fullmatch("h[1-4]", tag):
            self.title = self.title or self._heading
            self._now = self.sections.setdefault(self._heading, Section())
            self._heading = ""

    def handle_data(self, data: str) -> None:
        if self._open and re.fullmatch("h[1-4]", self._open[-1]):
            self._heading += data
        elif self._open and self._open[-1] != "style":
            self._now.text += data + " "
            if {"td", "th"} & set(self._open):
                self._now.rows[-1][-1] += data


@pytest.fixture
def read_page() -> Callable[[Path], Page]:
    """Reads a report and checks what every report must be: well-formed, and in need of nothing else."""

    def read(path: Path) -> Page:
        content = path.read_text()
        page = Page(content)
        assert all(address.startswith(("data:image/", "#h")) for address in page.addresses)
        assert not re.search(r"@import|url\(", content)
        assert not {"script", "link", "iframe", "object"} & page.tags
        return page

    return read

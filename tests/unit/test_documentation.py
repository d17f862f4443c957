"""What the pages say can be typed: every command of the README and the how-to pages is one that exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from ctfgan.cli.main import cli
from ctfgan.core.errors import ConfigError
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"]
HISTORY = {ROOT / "docs/log.md"}  # commands as they were on their day


def commands(page: Path) -> list[str]:
    """Lines of a page's blocks of code that call ``ctfgan``, without comments; continued lines are joined."""
    text = page.read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines() if line.startswith("    "))
    found = (re.search(r"(?:^|&& |-m )(ctfgan [^&|]+)", line) for line in lines)
    return [match[1].split(" # ")[0].strip() for match in found if match]


SHOWN = [(page.name, line) for page in PAGES if page.exists() and page not in HISTORY for line in commands(page)]


@pytest.fixture(autouse=True)
def _runs_of_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that they name are there: whether a line can be typed does not hang on it."""
    monkeypatch.setattr("ctfgan.storage.run_folder.bundle_folder", lambda folder: folder)


def parse(line: str) -> None:
    """Parse a command line as click does, settings included, without running it."""
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="ctfgan")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name!r}"
        command = found
        context = click.Context(command, info_name=name, parent=context)
    if not isinstance(command, click.Group):
        parsed = command.make_context(command.name, words, parent=context)
        if command.name == "train":
            with_settings(named_recipe(parsed.params["recipe_name"] or "ctf-folders"), {}, parsed.params["assignments"])


def test_the_pages_show_commands() -> None:
    assert len(SHOWN) > 60


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_every_command_of_the_pages_can_be_typed(page: str, line: str) -> None:
    parse(line)


@pytest.mark.parametrize(
    "line",
    ["ctfgan trian", "ctfgan train --hg good", "ctfgan sample runs/mine -n many", "ctfgan train --set generate.step=3"],
)
def test_a_command_that_does_not_exist_would_be_found(line: str) -> None:
    with pytest.raises((AssertionError, click.ClickException, ConfigError)):
        parse(line)

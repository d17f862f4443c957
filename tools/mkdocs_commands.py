"""A hook of mkdocs: the page of commands is what ``--help`` prints, so it is never out of date."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ctfgan.cli.main import cli

PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page; fills in the help pages where they are asked for."""
    return markdown.replace(PLACE, "\n\n".join(help_pages(cli, "ctfgan"))) if PLACE in markdown else markdown


def help_pages(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[str]:
    """The help of a command and of all below it, each under a heading."""
    context = click.Context(
        command, info_name=name.split()[-1], parent=parent, terminal_width=78, help_option_names=["-h", "--help"]
    )
    yield f"## {name}\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            assert found is not None, f"{name} lists {sub}, which is none of its commands"
            yield from help_pages(found, f"{name} {sub}", context)

"""The command ``ctfgan``. Commands are imported when they are called: ``--help`` needs no torch."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version

import click

from ctfgan.errors import CtfganError, suggestion

COMMANDS = {
    "train": "Train a generator: on two folders of images, or on the embedded glyphs.",
    "resume": "Continue a run that was stopped.",
    "evaluate": "Measure a run against held-out real images.",
    "compare": "Show several runs side by side.",
    "sample": "Make images of chosen classes.",
    "enhance": "Turn low-quality images of a class into high-quality ones.",
    "classes": "Rename, drop, map or add classes of a trained model.",
    "recipes": "List the named recipes.",
    "reproduce": "Run a table of the paper: train, evaluate, report.",
    "sweep": "Run a series of settings and draw one plot.",
    "data": "Check, pack, fetch or list data sets.",
    "bench": "Measure speed.",
}


class LazyGroup(click.Group):
    """Looks a command up in its own module, ``ctfgan.cli.<name>``."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"ctfgan.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if arguments and arguments[0] not in COMMANDS:
            context.fail(f"No such command {arguments[0]!r}. {suggestion(arguments[0], list(COMMANDS))}")
        return super().resolve_command(context, arguments)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("ctfgan"), prog_name="ctfgan")
def cli() -> None:
    """Class-conditional image generators for many classes, from few good and many cheap images.

    \b
    ctfgan train                          the embedded glyphs, about eight minutes
    ctfgan train --hq GOOD --lq CHEAP     your own images, one subfolder per class
    """


def main() -> None:
    """Entry point: a user's mistake becomes one line on standard error and exit code 2."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "ctfgan"
        click.echo(f"{context}: {error.format_message()} ('{context} --help' explains)", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except CtfganError as error:
        click.echo(f"ctfgan: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except (OSError, MemoryError) as error:  # disks, permissions, memory: nothing that our code could have foreseen
        click.echo(f"ctfgan: {type(error).__name__}: {error}; mend that and try again", err=True)
        sys.exit(2)

"""The command ``ctfgan``. Commands are imported when they are called: ``--help`` needs no torch."""

from __future__ import annotations

import faulthandler
import importlib
import itertools
import signal
import sys
import time
from importlib.metadata import version
from types import FrameType
from typing import Any, NoReturn

import click

from ctfgan.cli.output_streams import durable_streams
from ctfgan.core.errors import ConfigError, CtfganError, Interrupted, ProcessLost, Terminated, suggestion
from ctfgan.core.signals import HANGUP, handling
from ctfgan.distributed.launch import is_main, launch, let_threads_sleep

SECTIONS = {
    "Train": {
        "train": "Train a generator: on two folders of images, or on the embedded glyphs.",
        "resume": "Continue a run that was stopped.",
        "recipes": "List the named recipes.",
        "data": "Check, pack, fetch or list data sets.",
    },
    "Measure": {
        "evaluate": "Measure a run against held-out real images.",
        "report": "Write one page about a run, or about several.",
        "compare": "Show several runs side by side.",
    },
    "Use it": {
        "sample": "Make images of chosen classes: a sheet to look at, or a set to train on.",
        "enhance": "Turn low-quality images of a class into high-quality ones.",
        "serve": "Show a model in the browser, and answer in JSON.",
        "export": "Write a model for ONNX, torch.export or the Hugging Face Hub.",
        "classes": "Rename, drop, map or add classes of a trained model.",
    },
    "Research": {
        "reproduce": "Run a table of the paper: train, evaluate, report.",
        "sweep": "Run a series of settings and draw one plot.",
    },
    "This machine": {
        "doctor": "Say whether this machine is fit, and what to mend.",
    },
}
MAY_BE_BLANK = ("--class", "--characters")
COMMANDS = [name for section in SECTIONS.values() for name in section]

SHARED = ("train", "resume", "evaluate", "sample")  # commands that several processes can share
GRACE_SECONDS = 10.0  # that the main process may be behind another one in finding a mistake
GRACE_JOINED_SECONDS = 1.0  # the same once they keep pace


class LazyGroup(click.Group):
    """Looks a command up in its own module, ``ctfgan.cli.<name>``."""

    def list_commands(self, context: click.Context) -> list[str]:
        return COMMANDS

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        started = launch().count
        if started > 1 and name not in SHARED:
            raise ConfigError(
                f"{started} processes were started, but 'ctfgan {name}' works on one; start it without a launcher"
            )
        command = getattr(importlib.import_module(f"ctfgan.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        _check_empty(args)
        return super().parse_args(context, args)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except Terminated as stop:  # of which click would make an Abort, and a blank line as after Ctrl-C
            raise Interrupted("stopped", stop.signal_number) from None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if arguments and arguments[0] not in COMMANDS:
            context.fail(f"No such command {arguments[0]!r}. {suggestion(arguments[0], COMMANDS)}")
        return super().resolve_command(context, arguments)


def _check_empty(arguments: list[str]) -> None:
    """Refuse an empty text, which is what a shell makes of a variable that is not set; a path would be this folder.

    Blanks alone are as empty, but for what may be a class or a character.

    Raises:
        ConfigError: one of the arguments is empty, or an option's value is.
    """
    for option, value in itertools.pairwise(["", *arguments]):
        if value.startswith("--") and value.endswith("="):
            option, value = value[:-1], ""
        if not value or (not value.strip() and option not in MAY_BE_BLANK):
            what = f"what follows {option}" if option.startswith("-") else "an argument"
            raise ConfigError(f"{what} is empty; give it a value, or leave it out (is a variable not set?)")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("ctfgan"), prog_name="ctfgan")
def cli() -> None:
    """Class-conditional image generators for many classes, from few good and many cheap images.

    \b
    ctfgan train                          the embedded glyphs, a quarter of an hour
    ctfgan train --hq GOOD --lq CHEAP     your own images, one subfolder per class
    """


def main() -> None:
    """Entry point: a user's mistake becomes one line on standard error and exit code 2.

    Of several processes the main one speaks. The others may find the same mistake sooner, and a launcher stops all as
    soon as one ends: so they wait a little before they end.
    """
    let_threads_sleep()
    with durable_streams():
        if not faulthandler.is_enabled():
            # Images on disk are mapped: when their file is cut off, SIGBUS ends Python. At least say where.
            faulthandler.enable()
        _run()


def _run() -> None:
    try:
        with handling(_unwind, interrupts=False):
            cli(standalone_mode=False)
            sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        context = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "ctfgan"
        _end(f"{context}: {error.format_message()} ('{context} --help' explains)", 2)
    except (click.Abort, KeyboardInterrupt):  # click turns what interrupts a command into its own error
        _end("ctfgan: stopped", 128 + signal.SIGINT)
    except ProcessLost as error:
        _end(f"ctfgan: {error}", error.exit_code, speaks=is_main() or error.has_saved)
    except CtfganError as error:
        _end(f"ctfgan: {error}", error.exit_code)
    except (OSError, MemoryError) as error:  # disks, permissions, memory: nothing that our code could have foreseen
        _end(f"ctfgan: {type(error).__name__}: {error}; mend that and try again", 2, speaks=True)


def _unwind(number: int, frame: FrameType | None) -> NoReturn:
    """Have a signal end a command like Ctrl-C does, so that no half-written file stays; training does better than that.

    A terminal that closes sends SIGHUP two or three times; the others must not disturb the tidying up.
    """
    if number == HANGUP:
        signal.signal(number, signal.SIG_IGN)
    raise Terminated(number)


def _end(message: str, code: int, *, speaks: bool | None = None) -> NoReturn:
    """Say why, and end.

    Args:
        message: one line.
        code: for the shell.
        speaks: whether this process says it; None leaves it to the main one.
    """
    if is_main() if speaks is None else speaks:
        click.echo(message, err=True)
    if not is_main():
        distributed = sys.modules.get("torch.distributed")
        joined = distributed is not None and distributed.is_initialized()
        time.sleep(GRACE_JOINED_SECONDS if joined else GRACE_SECONDS)
    sys.exit(code)

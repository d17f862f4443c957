"""What a command prints: letters that the encoding lacks, readers who go away, streams that are closed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ctfgan.cli.main import cli
from ctfgan.cli.output_streams import PRINTING, DurableStream, durable_streams

NAMES = ["一", "é", "×", "\udcff"]


def written(text: str, encoding: str) -> str:
    raw = io.BytesIO()
    stream = DurableStream(io.TextIOWrapper(raw, encoding=encoding), prints=True)
    stream.write(text)
    stream.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932", "utf-8"])
def test_what_an_encoding_lacks_is_spelled_out_and_the_rest_is_as_it_was(encoding: str) -> None:
    shown = written("top-1 ↑ 9 ± 1: 一 é\udcff", encoding)
    symbols = "top-1 ^ 9 +- 1" if encoding == "ascii" else "top-1 ^ 9 ± 1" if encoding == "cp1252" else "top-1 ↑ 9 ± 1"
    first = "一" if encoding in ("cp932", "utf-8") else "\\u4e00"
    second = "é" if encoding in ("cp1252", "utf-8") else "\\xe9"
    assert shown == f"{symbols}: {first} {second}\\udcff"


def test_two_names_stay_two_in_every_encoding() -> None:
    assert len({written(name, "ascii") for name in NAMES}) == len(NAMES)


class Broken(io.RawIOBase):
    """A place that nothing can be written to."""

    def __init__(self, number: int) -> None:
        self.number = number

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        raise OSError(self.number, os.strerror(self.number))


def broken(number: int, *, prints: bool = True) -> DurableStream:
    return DurableStream(io.TextIOWrapper(io.BufferedWriter(Broken(number)), encoding="utf-8"), prints=prints)


@pytest.mark.parametrize("number", [5, 28, 32])  # EIO, ENOSPC, EPIPE
def test_work_goes_on_when_nobody_reads(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = broken(number)
    monkeypatch.setattr(sys, "stdout", stream)
    console = Console(force_terminal=True)
    steps = 0
    with Progress(console=console, refresh_per_second=100) as bar:
        for _ in bar.track(range(50)):
            console.print("x" * 1_000)
            steps += 1
    console.print(Table("a"))
    click.echo("done" * 10_000)
    assert steps == 50


def _context(name: str) -> Iterator[click.Context]:
    """Of a command, as click nests them."""
    context: click.Context | None = None
    group: click.Command = cli
    for part in ["ctfgan", *name.split()]:
        if context is not None:
            assert isinstance(group, click.Group)
            command = group.get_command(context, part)
            assert command is not None, name
            group = command
        context = click.Context(group, info_name=part, parent=context)
    assert context is not None
    with context:
        yield context


@pytest.mark.parametrize("name", PRINTING)
def test_a_command_that_only_prints_ends_quietly_with_its_reader_and_not_with_a_full_disk(name: str) -> None:
    for _ in _context(name):
        with pytest.raises(SystemExit) as end:
            _print(broken(32))
        assert end.value.code == 0
        with pytest.raises(OSError, match="No space"):
            _print(broken(28))
        _print(broken(32, prints=False))  # standard error


@pytest.mark.parametrize("name", ["train", "classes drop", "data build"])
def test_a_command_that_works_does_not(name: str) -> None:
    for _ in _context(name):
        _print(broken(32))


def _print(stream: DurableStream) -> None:
    stream.write("text\n")
    stream.flush()


COMMAND = [sys.executable, "-m", "ctfgan"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_table_that_does_not_fit_on_the_disk_is_a_mistake() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run([*COMMAND, "recipes"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert "No space left" in ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_get_a_place_so_that_no_file_takes_theirs(closed: str) -> None:
    program = (
        "import os, sys; from ctfgan.cli.output_streams import durable_streams\n"
        "with durable_streams():\n"
        "    number = os.open(os.devnull, os.O_RDONLY); print('x'); print('y', file=sys.stderr); sys.exit(10 + number)"
    )
    ended = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, program], check=False)
    assert ended.returncode > 12


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_pipe_that_is_closed_early_leaves_no_complaint(tmp_path: Path) -> None:
    said = tmp_path / "stderr"
    with said.open("w") as errors:
        command = f"{sys.executable} -m ctfgan recipes | true"
        subprocess.run(["sh", "-c", command], stderr=errors, check=True)
    assert said.read_text() == ""


def test_streams_are_what_they_were_afterwards(run_cli: Callable[..., object]) -> None:
    before = sys.stdout, sys.stderr
    with durable_streams():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    "encoding", ["ascii", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cp1252", "cp932"))]
)
def test_mistakes_and_tables_are_shown_in_every_encoding(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict", "PYTHONUTF8": "0"}
    for arguments, code in ((["recipes"], 0), (["train", "--recipe", "一é↑"], 2)):
        ended = subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, check=False)
        assert ended.returncode == code, ended
        assert b"Traceback" not in ended.stderr
        assert (ended.stdout + ended.stderr).decode(encoding)

"""What step.py and classes.py share: timing in turns, tables, options, one line for a user's mistake."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctfgan.cli import console
from ctfgan.core.errors import CtfganError
from ctfgan.core.files import write_file


@dataclass(frozen=True)
class Times:
    """Seconds of one call of each thing that was timed, in each round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Median seconds of one call."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, other: str) -> float:
        """How many times as long as ``other`` a call takes: the median over the rounds of their ratio in a round."""
        pairs = zip(self.seconds[name], self.seconds[other], strict=True)
        return statistics.median(one / two for one, two in pairs)


def interleaved(calls_by_name: Mapping[str, Callable[[], object]], rounds: int, calls: int = 1) -> Times:
    """Call several functions in turn, so that a busy machine is unfair to none of them.

    Args:
        calls_by_name: what to time; a function returns when its work is done.
        rounds: turns of each, after one that warms up and is not counted.
        calls: calls in a turn; the seconds are of one call.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls_by_name}
    for number in range(rounds + 1):
        for name, call in calls_by_name.items():
            started = time.perf_counter()
            for _ in range(calls if number else 1):
                call()
            if number:
                seconds[name].append((time.perf_counter() - started) / calls)
    return Times(seconds)


@dataclass(frozen=True)
class TextTable:
    """A table of texts."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class CostReport:
    """What a script prints, and the same as plain values."""

    heading: str
    tables: list[TextTable]
    notes: list[str]
    values: dict[str, Any]
    """In seconds, operations and bytes, for JSON."""

    def print(self) -> None:
        console.say(self.heading)
        for table in self.tables:
            console.say("")
            console.print_table(table.headings, table.rows)
        for note in self.notes:
            console.say(f"\n{note}")

    def write_json(self, out: Path) -> None:
        write_file(out, json.dumps({"heading": self.heading, **self.values}, indent=1).encode())
        console.say(f"\nfigures: {out}")


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds, with three digits or all before the point."""
    milliseconds = seconds * 1e3
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def at_least(least: int) -> Callable[[str], int]:
    """For ``argparse``: a whole number that is not smaller."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return int(text)

    return parse


def run_script(main: Callable[[], None]) -> None:
    """Call ``main``; as in the command ``ctfgan``, a user's mistake is one line and exit code 2."""
    try:
        main()
    except CtfganError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)

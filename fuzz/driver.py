"""Many inputs for one reader, in a process of its own, under limits of time and memory."""

from __future__ import annotations

import atexit
import faulthandler
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from types import FrameType

import click

from fuzz import guided, readers
from fuzz.judging import Reader, Verdict, judged
from fuzz.places import IN_MEMORY, workspace

READERS = tuple(sorted(module.name for module in pkgutil.iter_modules(readers.__path__)))
ADDRESS_SPACE = 3 << 30
"""Bytes that a process may reserve besides what it has when it begins."""
STUCK = 120
"""Seconds after which a process is ended that is stuck where Python cannot interrupt it."""
FOUND = 3
"""Exit code of a process with findings; 1 is also that of one which could not go on."""
PAGE = resource.getpagesize()


class TooSlow(BaseException):
    """An input took longer than it may; no reader catches this."""


@click.command()
@click.argument("names", metavar="READER...", nargs=-1, required=True, type=click.Choice((*READERS, "all")))
@click.option("--runs", default=10_000, show_default=True, type=click.IntRange(min=1), help="Inputs for each reader.")
@click.option("--seed", default=0, show_default=True, help="Of the random changes.")
@click.option(
    "--engine",
    default="random",
    show_default=True,
    type=click.Choice(["random", "atheris"]),
    help="atheris keeps what reaches new code. That helps with cifar, folder, gnt, idx, npz, packed, recipe, stl10 and "
    "webdataset; bundle, image and parquet do their work in C, where it sees nothing.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A folder for the inputs of findings, and with atheris for those that reached new code.",
)
@click.option("--here", type=click.Path(path_type=Path), hidden=True)  # in this process; where the last input lies
def main(names: tuple[str, ...], runs: int, seed: int, engine: str, out: Path | None, here: Path | None) -> None:
    """Give readers broken inputs; exit code 1 if one crashes, hangs, fills the memory or accepts what is wrong.

    \b
    python -m fuzz all --runs 1000
    python -m fuzz npz --runs 100000 --seed 1 --out findings
    python -m fuzz npz --runs 100000 --engine atheris
    """  # noqa: D301  click reads \b as "do not wrap"
    if engine == "atheris":
        guided.check_atheris()
    chosen = READERS if "all" in names else tuple(dict.fromkeys(names))
    if here is not None:
        Run(_reader(chosen[0]), seed, out, here).go(runs, engine == "atheris")
        return
    options = [f"--runs={runs}", f"--seed={seed}", f"--engine={engine}", *([f"--out={out}"] if out else [])]
    failed = False
    for name in chosen:
        # Named by process: two campaigns at once must not take each other's last input for theirs.
        last = (IN_MEMORY if IN_MEMORY.is_dir() else Path(tempfile.gettempdir())) / f"fuzz-last-{name}-{os.getpid()}"
        command = [sys.executable, "-m", "fuzz", name, *options, f"--here={last}"]
        code = guided.run_quietly(command) if engine == "atheris" else subprocess.run(command, check=False).returncode
        if code in (0, FOUND):
            last.unlink(missing_ok=True)
        else:
            click.echo(f"{name}: the process ended with {code}; its last input is in {last}")
        failed |= code != 0
    sys.exit(failed)


class Run:
    """Counts of what came of the inputs so far."""

    def __init__(self, reader: Reader, seed: int, out: Path | None, last: Path) -> None:
        self._reader = reader
        self._seed = seed
        self._out = out
        self._findings: Counter[str] = Counter()
        self._accepted = self._count = 0
        self._slowest = 0.0
        self._growth = self._resident = 0
        self._started = time.perf_counter()
        self._last = os.open(last, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def go(self, runs: int, follow_coverage: bool) -> None:
        """Judge ``runs`` inputs, report, and end the process."""
        signal.signal(signal.SIGPROF, _too_slow)
        warnings.simplefilter("error")
        seeds = self._reader.seeds()
        for content in seeds:
            verdict = judged(self._reader, content)
            if not verdict.accepted and self._reader.name not in ("image", "folder"):
                raise SystemExit(f"{self._reader.name}: a seed is refused ({verdict.finding} {verdict.detail})")
        if follow_coverage:  # now that all is loaded
            print(f"{self._reader.name}: {guided.follow()} functions are followed", file=sys.stderr, flush=True)
        limit = _pages(0) * PAGE + ADDRESS_SPACE
        self._resident = _pages(1) * PAGE
        self._started = time.perf_counter()
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if follow_coverage:
            corpus = (self._out or workspace()) / f"{self._reader.name}-corpus"
            guided.explore(self._reader, seeds, corpus, self._seed, lambda content: self._one_of(runs, content))
        rng = Random(f"{self._reader.name} {self._seed}")
        for _ in range(runs):
            self.one(self._reader.inputs(rng, seeds))
        self.report()
        sys.exit(FOUND if self._findings else 0)

    def one(self, content: bytes) -> None:
        """Judge one input."""
        os.ftruncate(self._last, 0)
        os.pwrite(self._last, content, 0)
        if self._count % 100 == 0:
            faulthandler.dump_traceback_later(STUCK, exit=True)
        peak, before = _peak(), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, self._reader.seconds)
        try:
            verdict = judged(self._reader, content)
            signal.setitimer(signal.ITIMER_PROF, 0)
        except TooSlow as error:
            verdict = Verdict(False, f"slower than {self._reader.seconds} s at {error}")
        self._slowest = max(self._slowest, time.process_time() - before)
        if _peak() > peak:
            growth = _peak() - self._resident
            self._growth = max(self._growth, growth)
            if growth > self._reader.memory:
                verdict = Verdict(verdict.accepted, "memory grew beyond the limit", verdict.detail)
        self._count += 1
        self._accepted += verdict.accepted and not verdict.finding
        if verdict.finding:
            self._note(verdict, content)

    def report(self) -> None:
        """One line of JSON, and one for each finding."""
        seconds = time.perf_counter() - self._started
        line = {
            "reader": self._reader.name,
            "inputs": self._count,
            "accepted": self._accepted,
            "refused": self._count - self._accepted - self._findings.total(),
            "findings": self._findings.total(),
            "causes": len(self._findings),
            "per second": round(self._count / seconds),
            "slowest ms": round(1000 * self._slowest),
            "memory MB": round(self._growth / 1e6),
        }
        print(json.dumps(line), flush=True)
        for finding, count in self._findings.most_common():
            print(f"  {count:6} {finding}", flush=True)

    def _note(self, verdict: Verdict, content: bytes) -> None:
        self._findings[verdict.finding] += 1
        if self._findings[verdict.finding] == 1 and self._out is not None:
            place = self._out / f"{self._reader.name}-{len(self._findings):03}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.with_suffix(".input").write_bytes(content)
            place.with_suffix(".txt").write_text(f"{verdict.finding}\n{verdict.detail}\n", errors="replace")

    def _one_of(self, runs: int, content: bytes) -> None:
        """Judge one input; end the process after ``runs``: libFuzzer knows no exit code for findings."""
        self.one(content)
        if self._count >= runs:
            self.report()
            atexit._run_exitfuncs()
            os._exit(FOUND if self._findings else 0)


def _reader(name: str) -> Reader:
    found: Reader = importlib.import_module(f"fuzz.readers.{name}").READER
    return found


def _too_slow(signal_number: int, frame: FrameType | None) -> None:
    places = []
    while frame is not None:
        if "/ctfgan/" in frame.f_code.co_filename:
            places.append(f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}")
        frame = frame.f_back
    raise TooSlow(places[0] if places else "?")


def _pages(column: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[column])


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""Inputs chosen by the code that they reach, with atheris, which is libFuzzer for Python."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from types import FunctionType

import click

from fuzz.judging import Reader

FOLLOWED = ("ctfgan", "zipfile", "tarfile", "gzip", "_compression", "json", "tomllib", "numpy.lib")
"""Packages whose branches are followed: ours, and what it reads with that is written in Python. To follow all that is
loaded takes a minute to prepare and rewards inputs for what they reach in torch."""
STRUCTURED = 0.7
"""Part of the inputs that the reader's own changes make; libFuzzer's changes of bytes make the others, and bring in
values that the code compared with."""
ROOM = 1 << 15
"""Bytes that an input may have in any case."""
SIGNALS = ("abrt", "bus", "fpe", "ill", "int", "segv", "term", "usr1", "usr2", "xfsz")
KEPT = re.compile(rb"#\d+\s+(NEW|REDUCE)\s")
"""libFuzzer's line for an input that it keeps; there are thousands, and the last has the coverage at the end."""
NOISE = b'WARNING: Failed to find function "__sanitizer_'
"""Of sanitizers for C, which are not there."""


def check_atheris() -> None:
    """Raise a UsageError unless atheris is installed."""
    if find_spec("atheris") is None:
        raise click.UsageError("--engine atheris needs atheris; pip install -e '.[fuzz]', or leave the option out")


def follow() -> int:
    """Let atheris see the branches of the functions of FOLLOWED that are loaded; return their number."""
    import atheris

    # Not by atheris.instrument_imports: the harness itself has imported zipfile, json and numpy before.
    functions = [thing for thing in gc.get_objects() if type(thing) is FunctionType and _is_followed(thing.__module__)]
    for function in functions:
        atheris.instrument_func(function)
    return len(functions)


def explore(reader: Reader, seeds: Sequence[bytes], corpus: Path, seed: int, one: Callable[[bytes], None]) -> None:
    """Let atheris choose inputs for ``one``, which ends the process when it has had enough.

    Args:
        reader: gives the changes that know its format.
        seeds: valid inputs.
        corpus: a folder that gets ``seeds`` and every input that reached new code; what an earlier run left there is
            where this one begins.
        seed: of libFuzzer's choices.
        one: judges an input.
    """
    import atheris

    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(content)

    def change(content: bytes, size: int, number: int) -> bytes:
        rng = Random(number)
        changed = reader.change(content, rng) if rng.random() < STRUCTURED else atheris.Mutate(content, size)
        return changed[:size]

    options = {
        "seed": seed + 1,  # 0 is the clock
        "max_len": max(ROOM, 2 * max(map(len, seeds))),
        "len_control": 0,  # valid inputs are long
        "rss_limit_mb": 0,  # memory and crashes are looked at as in a random run
        "timeout": 1200,  # as is time, long before; 0 would end the process at once
        **{f"handle_{name}": 0 for name in SIGNALS},
        "artifact_prefix": f"{corpus}-",
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], one, custom_mutator=change)
    atheris.Fuzz()


def run_quietly(command: Sequence[str]) -> int:
    """Run a command; of libFuzzer's lines about inputs that it keeps show only the last. Returns the exit code."""
    last = b""
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if KEPT.match(line):
                last = line
            elif not line.startswith(NOISE):
                sys.stderr.buffer.write(line)
                sys.stderr.flush()
    sys.stderr.buffer.write(last)
    sys.stderr.flush()
    return process.returncode


def _is_followed(module: str | None) -> bool:
    return module is not None and f"{module}.".startswith(tuple(f"{name}." for name in FOLLOWED))

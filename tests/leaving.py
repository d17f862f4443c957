"""Pairs of processes that meet, exchange, and end with a mistake: ``python -m tests.leaving 3`` for three of them.

Each says on standard error which threads are left when Python begins to tear itself down; each should end with code 2.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import torch

from ctfgan.cli import main
from ctfgan.core.errors import ConfigError
from ctfgan.distributed.engine import start_engine
from tests.processes import environment, free_port


def make_a_mistake(**options: object) -> None:
    processes = start_engine("cpu").processes
    processes.average([torch.ones(1000) for _ in range(3)])
    processes.all_of(processes.rank)
    processes.agreed(0)  # its answer is still on its way at the end

    def fail() -> None:
        raise ConfigError("made on purpose")

    processes.on_main(fail)


def threads() -> Iterator[str]:
    for task in sorted(Path("/proc/self/task").iterdir()):
        yield (task / "comm").read_text().strip()


def pair() -> list[int]:
    """Exit codes of two processes; forked, so that torch is imported once."""
    port, children = free_port(), []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            os.environ |= environment(rank, 2, port)
            atexit.register(lambda: print("threads:", *threads(), file=sys.stderr))  # after ours, which comes later
            with patch.object(main, "cli", make_a_mistake):
                main.main()
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


if __name__ == "__main__":
    print(*[code for _ in range(int(sys.argv[1])) for code in pair()])

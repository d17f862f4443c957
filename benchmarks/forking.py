"""The command line in children of a process that has imported all it needs: a start takes milliseconds, not seconds.

A child runs ``ctfgan.cli.main.main`` as the command does; only the imports are done already. Forking is safe since the
parent starts no thread (``OMP_NUM_THREADS=1``) and never computes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch

import torch._dynamo  # noqa: F401  (torch's optimisers import it at their first step)

import ctfgan.cli.console
import ctfgan.evaluation
import ctfgan.runs.new_run  # noqa: F401
from ctfgan.cli.main import main

POLL_SECONDS = 0.0005


class Command:
    """One ``ctfgan`` command at work.

    Args:
        arguments: as typed, without ``ctfgan``.
        log: file that its output is added to.
        cache: its ``CTFGAN_CACHE``.
        fresh: whether to start a new interpreter instead of forking this one.
    """

    def __init__(self, arguments: list[str], log: Path, cache: Path, *, fresh: bool = False) -> None:
        self.code: int | None = None
        self.started = time.monotonic()
        with log.open("ab") as output:
            if fresh:
                command = [sys.executable, "-m", "ctfgan", *arguments]
                names = {**os.environ, "CTFGAN_CACHE": str(cache)}
                self.pid = subprocess.Popen(command, stdout=output, stderr=output, env=names).pid
                return
            sys.stdout.flush()
            self.pid = os.fork()
            if self.pid == 0:
                _become(arguments, output.fileno(), cache)

    def has_ended(self) -> bool:
        """Whether it ended; then ``code`` says how, as a shell would."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless it has ended."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def wait(self, seconds: float) -> int:
        """Its exit code; an error after too long."""
        deadline = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"process {self.pid} did not end within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        assert self.code is not None
        return self.code


def _become(arguments: list[str], output: int, cache: Path) -> None:
    code: object = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["CTFGAN_CACHE"] = str(cache)
        sys.argv = ["ctfgan", *arguments]
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 70)

"""Whether a long run grows: memory, open files and journal of a training process, by its steps.

    python benchmarks/growth.py --folder /tmp/growth --steps 2000

A run of the size in faults.py with a check, a sheet and a checkpoint every 20 steps; prints a line every tenth part.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import psutil
from faults import PATIENCE, train
from forking import Command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="new folder")
    parser.add_argument("--steps", type=int, default=2000, help="of both stages together")
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    run, journal = given.folder / "run", given.folder / "run/journal.jsonl"
    half = given.steps // 2
    more = (f"transfer.steps={half}", f"generate.steps={half}", "checks.every=20", "transfer.patience=none")
    options = [part for setting in more for part in ("--set", setting)]
    command = Command([*train(run), *options], given.folder / "log", given.folder / "cache", fresh=True)
    process, told = psutil.Process(command.pid), 0
    while not command.has_ended():
        lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
        steps = [json.loads(line) for line in lines if line.endswith("\n")]
        done = sum(line["event"] == "step" for line in steps)
        if done >= told + given.steps // 10:
            told = done
            try:
                memory = process.memory_info().rss / 1e6
                print(f"step {done}: {memory:.0f} MB resident, {process.num_fds()} files open, {process.num_threads()} "
                      f"threads, journal {journal.stat().st_size / 1e3:.0f} kB", flush=True)  # fmt: skip
            except psutil.NoSuchProcess:
                break
        time.sleep(0.1)
    print(
        f"exit code {command.wait(PATIENCE)}; {journal.stat().st_size / given.steps:.0f} bytes of journal for each step"
    )
    sys.exit(command.code)


if __name__ == "__main__":
    main()

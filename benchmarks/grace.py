"""How long a run takes from SIGTERM to its end, with its state saved.

    python benchmarks/grace.py --folder /tmp/grace --signals 20 -- --recipe ctf-glyphs --set checks.every=20

Starts 'ctfgan train' with the options after ``--``, waits for its first step (or not: a fifth of the signals fall into
the start-up), sends SIGTERM at a random instant of the next --window seconds, measures until the process is gone, and
goes on with 'ctfgan resume'. A tenth get a second SIGTERM 20 ms later, which may interrupt a save. Every start must end
with exit code 143 and leave a run whose newest checkpoint is intact.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

from forking import POLL_SECONDS, Command

from ctfgan.storage.run_folder import RunFolder

PATIENCE = 900.0


def wait_for_journal(command: Command, run: Path, size: int) -> None:
    """Until a step was done."""
    journal, deadline = run / "journal.jsonl", time.monotonic() + PATIENCE
    while not (journal.exists() and journal.stat().st_size > size) and not command.has_ended():
        assert time.monotonic() < deadline, "no step"
        time.sleep(POLL_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="new folder")
    parser.add_argument("--signals", type=int, default=20)
    parser.add_argument("--window", type=float, default=5.0, help="seconds after a step in which a signal may fall")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("options", nargs="*", help="of 'ctfgan train', after --")
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    run, log, rng = given.folder / "run", given.folder / "run.log", random.Random(given.seed)
    cache, journal = given.folder / "cache", given.folder / "run/journal.jsonl"
    took: dict[str, list[float]] = defaultdict(list)
    for number in range(given.signals):
        is_new = not (run / "recipe.json").is_file()
        command = Command(["train", "--out", str(run), *given.options] if is_new else ["resume", str(run)], log, cache)
        place = "start-up" if number % 5 == 4 else "training"
        if place == "training":
            wait_for_journal(command, run, journal.stat().st_size if journal.exists() else 0)
            time.sleep(rng.uniform(0, given.window))
        else:
            time.sleep(rng.uniform(0.1, 1.5))
        sent, second = time.monotonic(), number % 10 == 7
        command.kill(signal.SIGTERM)
        if second:
            time.sleep(0.02)
            command.kill(signal.SIGTERM)
        code = command.wait(PATIENCE)
        seconds = time.monotonic() - sent
        said = log.read_text().splitlines()[-1]
        took["two signals" if second else place].append(seconds)
        print(f"{place}{', twice' if second else ''}: {seconds:.2f} s, exit code {code}: {said}", flush=True)
        if code != 128 + signal.SIGTERM:
            sys.exit("WRONG exit code")
        if (run / "checkpoints").is_dir():
            RunFolder(run).load(RunFolder(run).checkpoints()[-1])
    size = sum(file.stat().st_size for file in RunFolder(run).checkpoints()[-1].iterdir())
    print(f"a checkpoint takes {size / 1e6:.1f} MB")
    for place, seconds in took.items():
        median = statistics.median(seconds)
        print(f"{place}: {len(seconds)} signals, median {median:.2f} s, longest {max(seconds):.2f} s")


if __name__ == "__main__":
    main()

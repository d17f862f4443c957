"""Kill a training run at random instants, resume it, and compare what it ends in with a run that nobody disturbed.

    python benchmarks/faults.py kill --kills 100 --seed 1 --folder /tmp/faults      about 15 minutes on two cores
    python benchmarks/faults.py race --trials 20 --folder /tmp/race                 two at once on one folder

kill: an undisturbed run of 12 + 12 steps (4 characters, 16x16, CPU, one thread, checkpoint and sheet every 3 steps) is
the oracle. Then runs of the same recipe are killed with SIGKILL and resumed, and killed again half of the time, until
they are finished. Half of the kills fall at an instant that is uniform over the run's wall time; the others wait for
a save, a sheet, a deletion or the release of the bundle to begin and strike within 15 ms; some send SIGTERM first. A
tenth of the runs begin with an empty cache, a tenth of the starts are fresh interpreters, the rest forks (forking.py).

A finished run must be the oracle's equal, bit for bit: all checkpoints (weights, averages, optimisers, random
generator, positions), bundle, recogniser, sheets, every journal line; only measured seconds and dates may differ.
Nothing half-written may be left.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forking import POLL_SECONDS, Command

SETTINGS = (
    "glyphs.characters=0123", "glyphs.images_per_class=12", "data.resolution=16", "device=cpu", "keep_checkpoints=2",
    "transfer.steps=12", "generate.steps=12", "transfer.batch_size=6", "generate.batch_size=6",
    "transfer.critic_steps=2", "generator_width=0.05", "discriminator_width=0.05", "checks.every=3",
    "checks.images=16", "checks.sheet_rows=1", "recogniser.images=256", "recogniser.width=4", "journal_every=1",
)  # fmt: skip
STAGES = {"transfer": 0, "generate": 13}  # position of a stage's step 0: steps and switches before it
PATIENCE = 300.0
STRIKE_SECONDS = 0.015
FRESH = COLD = 0.1  # shares of starts and of runs

# What a kill waits for, and how often it is chosen. A pattern is one of a path below the run.
WAYS = {"random": 50, "save": 18, "sheet": 8, "pruning": 6, "release": 8, "SIGTERM": 10}
PATTERNS = {
    "save": "checkpoints/.step-*.partial-*",
    "sheet": "sheets/.*.partial-*",
    "pruning": "checkpoints/.step-*.deleted-*",
    "release": ".bundle.partial-*",
}


def train(run: Path) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return ["train", "--recipe", "ctf-glyphs", "--out", str(run), *settings]


def next_command(run: Path) -> list[str]:
    """What a person would type: the same again if no run began, else resume."""
    return ["resume", str(run)] if (run / "recipe.json").is_file() else train(run)


@dataclass
class Tally:
    """What was seen."""

    kills: Counter[str] = field(default_factory=Counter)
    repeated: list[int] = field(default_factory=list)
    finished: int = 0
    exact: int = 0
    differing: list[str] = field(default_factory=list)


def facts(run: Path) -> dict[str, str]:
    """All that a finished run is, by name; what may differ (seconds, dates) is left out."""
    import torch
    from safetensors.torch import load_file

    from ctfgan.training.clock import STATE

    found: dict[str, str] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_dir() or name == ".lock" or name.startswith("tensorboard/"):  # of which each line has a time
            continue
        if path.name == "state.pt":
            state = torch.load(path, weights_only=True)
            for timed in (*STATE, "journal"):  # the journal's length depends on the digits of its seconds
                del state[timed]
            found |= {f"{name}:{key}": value for key, value in flat(state)}
        elif path.parent.parent.name == "checkpoints" and path.suffix == ".safetensors":
            found |= {f"{name}:{key}": value for key, value in flat(load_file(path))}
        elif path.name in ("checkpoint.json", "provenance.json", "data.json"):
            content = json.loads(path.read_text())
            for changing in ("sha256", "digest"):
                if path.name == "checkpoint.json":
                    content.pop(changing)
            content.get("versions", {}).pop("date", None)
            found[name] = json.dumps(content)
        elif path.name == "journal.jsonl":
            for number, line in enumerate(path.read_text().splitlines()):
                found[f"{name}:{number}"] = json.dumps({**json.loads(line), "seconds": None})
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested dictionaries and lists; tensors as hashes of their bytes."""
    import torch

    if isinstance(value, dict):
        for key, part in value.items():
            yield from flat(part, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield from flat(part, f"{name}.{number}")
    elif isinstance(value, torch.Tensor):
        content = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        yield name, f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(content).hexdigest()}"
    else:
        yield name, repr(value)


def where(run: Path, began: int) -> str:
    """What a killed process was doing, told from what it left; ``began``: bytes of the journal when it started."""
    if not (run / "recipe.json").is_file():
        return "start-up, before the run folder"
    for place, pattern in PATTERNS.items():
        if any(run.glob(pattern)):
            return f"inside a {place}" if place in ("save", "sheet") else f"inside {place}"
    if not any(run.glob("checkpoints/step-*")):
        return "before the first checkpoint"
    if (run / "bundle").is_dir():
        return "after the release"
    journal = run / "journal.jsonl"
    if journal.exists() and not journal.read_bytes().endswith((b"\n", b"")):
        return "inside a journal line"
    if not journal.exists() or journal.stat().st_size <= began:
        return "start-up, or the first step after it"
    return "between: a step, a check"


def lost_steps(run: Path) -> int | None:
    """Generator steps in the journal that the newest checkpoint does not have; None before the first."""
    names = [path.parent.name for path in run.glob("checkpoints/step-*/checkpoint.json")]
    if not names:
        return None
    saved, done = int(max(names).removeprefix("step-")), 0
    text = (run / "journal.jsonl").read_text() if (run / "journal.jsonl").exists() else ""
    for line in text.splitlines(keepends=True):
        entry = json.loads(line) if line.endswith("\n") else {"event": "half"}
        if entry["event"] == "step":
            done = STAGES[entry["stage"]] + entry["step"]
    return max(0, done - saved)


def strike(command: Command, way: str, run: Path, seconds: float, rng: random.Random) -> None:
    """Kill a command in some way, unless it is done before that."""
    if way in PATTERNS:
        wanted, seen = rng.randrange(4 if way != "release" else 1), set()
        while not command.has_ended():
            seen |= {path.name for path in run.glob(PATTERNS[way])}
            if len(seen) > wanted:
                break
            time.sleep(POLL_SECONDS)
        instant = time.monotonic() + rng.uniform(0, STRIKE_SECONDS if way != "pruning" else 0.001)
    else:
        instant = command.started + rng.uniform(0, seconds)
    while time.monotonic() < instant and not command.has_ended():
        time.sleep(POLL_SECONDS)
    if way == "SIGTERM":
        command.kill(signal.SIGTERM)
        time.sleep(rng.uniform(0, 0.1))
        command.kill(rng.choice([signal.SIGTERM, signal.SIGKILL]))
    else:
        command.kill()


def kill(folder: Path, kills: int, seed: int, say: Callable[[str], None]) -> Tally:
    """The whole campaign; returns what was seen."""
    rng, tally, cache, oracle = random.Random(seed), Tally(), folder / "cache", folder / "oracle"
    assert Command(train(oracle), folder / "oracle.log", cache, fresh=True).wait(PATIENCE) == 0
    expected = facts(oracle)
    timed = Command(train(folder / "timed"), folder / "timed.log", cache)
    assert timed.wait(PATIENCE) == 0
    tally.differing += difference(expected, facts(folder / "timed"))
    seconds = time.monotonic() - timed.started
    say(f"seed {seed}; the run takes {seconds:.1f} s as a fork; {len(expected)} facts to compare")
    number = 0
    while tally.kills.total() < kills:
        number += 1
        run, log = folder / f"run-{number:03d}", folder / f"run-{number:03d}.log"
        own = folder / f"cache-{number:03d}" if rng.random() < COLD else cache
        story = []
        while True:
            fresh = rng.random() < FRESH
            journal = run / "journal.jsonl"
            began = journal.stat().st_size if journal.exists() else 0
            command = Command(next_command(run), log, own, fresh=fresh)
            if not story or (rng.random() < 0.5 and tally.kills.total() < kills):
                way = rng.choices([*WAYS], [*WAYS.values()])[0]
                strike(command, way, run, seconds + 5 * fresh, rng)
            code = command.wait(PATIENCE)
            if code == 0:
                break
            if code not in (-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM):
                tally.differing.append(f"{run}: exit code {code}, see {log}")
                break
            place = ("SIGTERM: " if way == "SIGTERM" else "") + where(run, began)
            story.append(place)
            tally.kills[place] += 1
            again = lost_steps(run)
            if again is not None:
                tally.repeated.append(again)
        differing = difference(expected, facts(run)) if code == 0 else ["not finished"]
        tally.finished += code == 0
        tally.exact += not differing
        tally.differing += [f"{run}: {name}" for name in differing]
        say(f"{run.name}: {'; '.join(story) or 'not hit'}: {'the same bits' if not differing else differing[:3]}")
    return tally


def difference(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    return sorted({name for name, _ in expected.items() ^ found.items()})


def race(folder: Path, trials: int, seed: int, say: Callable[[str], None]) -> bool:
    """Two commands on one folder at the same time: one goes on undisturbed, the other one is refused."""
    rng, cache, oracle, right = random.Random(seed), folder / "cache", folder / "oracle", 0
    whole = Command(train(oracle), folder / "oracle.log", cache)
    assert whole.wait(PATIENCE) == 0
    expected, seconds = facts(oracle), time.monotonic() - whole.started
    for number in range(trials):
        run, what = folder / f"run-{number:03d}", "resume" if number % 2 else "train"
        if what == "resume":  # what both of them want to go on with
            first = Command(train(run), folder / "first.log", cache)
            strike(first, "random", run, 0.5 * seconds, rng)
            first.wait(PATIENCE)
        logs = [folder / f"run-{number:03d}-{side}.log" for side in range(2)]
        both = [Command(next_command(run), log, cache, fresh=number < 2) for log in logs]
        codes = [command.wait(PATIENCE) for command in both]
        refusal = logs[codes.index(2)].read_text().splitlines()[-1] if 2 in codes else "nobody was refused"
        is_right = sorted(codes) == [0, 2] and not difference(expected, facts(run))
        is_right &= "another process is at work" in refusal or "exists already; go on with" in refusal
        right += is_right
        say(f"{what} twice: exit codes {codes}, {'right' if is_right else 'WRONG'}: {refusal}")
    say(f"{right} of {trials} trials: one finished with the oracle's bits, the other one was refused with exit code 2")
    return right == trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kill", "race"])
    parser.add_argument("--folder", type=Path, required=True, help="new folder for the runs")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)

    def say(line: str) -> None:
        print(line, flush=True)

    if given.what == "race":
        sys.exit(0 if race(given.folder, given.trials, given.seed, say) else 1)
    tally = kill(given.folder, given.kills, given.seed, say)
    for place, number in tally.kills.most_common():
        say(f"{number:4d}  {place}")
    say(f"{tally.kills.total()} kills in {tally.finished} finished runs, of which {tally.exact} have the oracle's bits")
    if tally.repeated:
        say(
            f"steps done twice after a kill: median {statistics.median(tally.repeated):.0f}, most {max(tally.repeated)}"
        )
    for line in tally.differing:
        say(f"DIFFERS: {line}")
    sys.exit(1 if tally.differing or tally.exact < tally.finished else 0)


if __name__ == "__main__":
    main()

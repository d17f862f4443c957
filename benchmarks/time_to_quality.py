"""Train two recipes side by side on one set, and say after how many seconds of training each comes to a distance.

    python benchmarks/time_to_quality.py FOLDER --options "--hq photos --set data.resolution=32 --minutes 30"
    python benchmarks/time_to_quality.py FOLDER --options "--hq photos" --of ctf-folders "--lq thumbnails"
    python benchmarks/time_to_quality.py FOLDER --distances 100,50,20          # reads, and goes on with, what is there

Both are 'ctfgan train' in a process of one thread, with the same seed, begun together: other programs slow both.
Runs go to FOLDER/RECIPE with their screens beside them in RECIPE.log, the curves to FOLDER/time-to-quality.png. Seconds
are of training, without the recogniser and the checks; distances are those of the checks, to training images. The first
check may be near by chance: "to stay" is the first one from which on all are as near.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from timing import CostReport, TextTable, run_script

from ctfgan.core.errors import ConfigError, RunError
from ctfgan.core.files import write_file
from ctfgan.reports.comparison import RunGroup, compare, machine
from ctfgan.reports.curves import CHECK_METRICS, TrainingHistory, as_png, draw_checks
from ctfgan.reports.run_results import RunResult, read_run
from ctfgan.storage.run_folder import RECIPE

RECIPES = "projection-folders,ctf-folders"
DISTANCES = 5  # that are chosen
NEVER = "never"


def begin(folder: Path, recipe: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Begin the run of a recipe, or go on with it."""
    run = folder / recipe
    command = ["resume", str(run)] if (run / RECIPE).is_file() else [
        "train", "--recipe", recipe, "--out", str(run), *options
    ]  # fmt: skip
    with (folder / f"{recipe}.log").open("ab") as screen:
        return subprocess.Popen(
            [sys.executable, "-m", "ctfgan", *command],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=screen, stderr=subprocess.STDOUT,
        )  # fmt: skip


def train_together(folder: Path, options: dict[str, list[str]]) -> None:
    """Train all recipes at once; an interrupt reaches them, too.

    Raises:
        RunError: one has failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    started = {recipe: begin(folder, recipe, given) for recipe, given in options.items()}
    try:
        codes = {recipe: process.wait() for recipe, process in started.items()}
    finally:
        for process in started.values():
            if process.poll() is None:
                process.terminate()
                process.wait()
    for recipe, code in codes.items():
        if code:
            log = folder / f"{recipe}.log"
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
            raise RunError(f"{recipe} ended with code {code} ({' '.join(last)}); {log} says more")


def seconds_to(history: TrainingHistory, distance: float) -> tuple[float | None, float | None]:
    """Seconds of training at the first check as near, and at the first from which on all are; None for never."""
    near = [check.line["distance"] <= distance for check in history.checks]
    first = near.index(True) if any(near) else None
    stays = len(near) - (near[::-1].index(False) if False in near else len(near))
    lasting = stays if stays < len(near) else None
    first_at, lasting_at = (None if at is None else history.checks[at].seconds for at in (first, lasting))
    return first_at, lasting_at


def distances_for(histories: Sequence[TrainingHistory]) -> list[float]:
    """Distances in equal ratios, from one that every run begins above to the nearest that every run comes to."""
    distances = [[check.line["distance"] for check in history.checks] for history in histories]
    nearest, farthest = max(map(min, distances)), min(line[0] for line in distances)
    if farthest <= nearest:
        return [nearest]
    ratio = (nearest / farthest) ** (1 / (DISTANCES - 1))
    return [*(farthest * ratio**number for number in range(DISTANCES - 1)), nearest]


def table(runs: Sequence[RunResult], distances: Sequence[float]) -> TextTable:
    """A row for each distance: seconds of both runs, and how many times as long the first one takes."""
    names = [run.path.name for run in runs]
    rows = []
    for distance in distances:
        cells = [f"{distance:.4g}"]
        for seconds in zip(*(seconds_to(run.history, distance) for run in runs), strict=True):
            cells += [NEVER if one is None else f"{one:,.1f}" for one in seconds]
            first, second = seconds
            cells += [f"{first / second:.2f}" if first and second else "-"]
        rows.append(tuple(cells))
    headings = [f"s of {name}" for name in names] + ["ratio"]
    return TextTable(("distance", *headings, *(f"{heading}, to stay" for heading in headings)), rows)


def plot(runs: Sequence[RunResult]) -> bytes:
    """Distance and top-1 of the checks over seconds of training, the stage switch marked; a PNG."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, metric in zip(axes, ("distance", "top_1"), strict=True):
        draw_checks(axis, [(run.path.name, run.history) for run in runs], metric, "seconds")
        axis.set_ylabel(CHECK_METRICS[metric])
    axes[0].legend(title="dotted: last check before a stage switch", fontsize="small")
    return as_png(figure)


def report(runs: Sequence[RunResult], distances: Sequence[float]) -> CostReport:
    """Table and notes on two runs.

    Args:
        runs: with checks by the same recogniser.
        distances: to come to; none chooses them.

    Raises:
        RunError: their checks do not compare.
    """
    comparison, notes = compare([RunGroup(run.path.name, (run,)) for run in runs])
    if comparison is None:
        raise RunError(f"{'; '.join(notes)}; train both with the same data and checks")
    histories = [run.history for run in runs]
    asked = list(distances) or distances_for(histories)
    ends = [
        f"{run.path.name}: {run.steps:,} generator steps in {run.seconds:,.0f} s, last check "
        f"{run.history.checks[-1].line['distance']:.2f}"
        for run in runs
    ]
    values = {
        run.path.name: [
            [check.seconds, check.line["distance"], check.line.get("top_1")] for check in run.history.checks
        ]
        for run in runs
    }
    heading = f"seconds of training until a distance, seed {runs[0].recipe.seed}, {machine(runs[0])}, both side by side"
    return CostReport(heading, [table(runs, asked)], [*ends, *notes], {"distances": asked, "checks": values})


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, of the command line if no others are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the runs are or go to")
    parser.add_argument("--recipes", default=RECIPES, metavar="A,B", help=f"two recipes ({RECIPES})")
    parser.add_argument("--options", default="", metavar="TEXT", help="options of 'ctfgan train' for both")
    parser.add_argument("--of", nargs=2, action="append", default=[], metavar=("RECIPE", "TEXT"),
                        help="options for one of them alone, such as its steps")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of both (0)")
    parser.add_argument("--distances", metavar="D,...", help="to come to; else five that both come to")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all checks as JSON, too")
    return parser.parse_args(arguments)


def main() -> None:
    asked = parse()
    recipes = asked.recipes.split(",")
    own = dict(asked.of)
    if len(set(recipes)) != 2 or not own.keys() <= set(recipes):
        raise ConfigError(f"--recipes {asked.recipes} with --of {', '.join(own) or 'nothing'}; name two recipes, and "
                          "options of these")  # fmt: skip
    try:
        distances = [float(text) for text in asked.distances.split(",")] if asked.distances else []
    except ValueError as error:
        raise ConfigError(f"--distances {asked.distances} are no numbers; write them like 100,50,20") from error
    common = ["--seed", str(asked.seed), *shlex.split(asked.options)]
    train_together(asked.folder, {recipe: [*common, *shlex.split(own.get(recipe, ""))] for recipe in recipes})
    runs = [read_run(asked.folder / recipe) for recipe in recipes]
    result = report(runs, distances)
    result.print()
    write_file(asked.folder / "time-to-quality.png", plot(runs))
    if asked.json is not None:
        result.write_json(asked.json)


if __name__ == "__main__":
    run_script(main)

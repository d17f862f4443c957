"""Time, weigh and start every stage with few and with very many classes: CTF-GAN's two, and the baseline's.

    python benchmarks/classes.py --plot classes.png
    python benchmarks/classes.py --counts 10,1000 --steps 5
    python benchmarks/classes.py --counts 10,1000,10000 --set class_tables=per-class

Batches are those of packed images of noise. Networks read class codes for every number of classes, unless --set says
otherwise.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch
from matplotlib.figure import Figure
from synthetic_images import synthetic_images
from timed_stages import ENDLESS
from timing import CostReport, TextTable, Times, at_least, interleaved, milliseconds, run_script

from ctfgan.cli import console
from ctfgan.cli.options import check_output
from ctfgan.core.errors import ConfigError
from ctfgan.core.files import write_file
from ctfgan.core.progress import Progress
from ctfgan.data.batches import BatchStream
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS
from ctfgan.distributed.engine import describe_device, to_device, wait_for
from ctfgan.nn.class_tables import CodeTable
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.recipe import Recipe
from ctfgan.reports.curves import as_png
from ctfgan.runs.context import Callbacks, RunContext, open_context
from ctfgan.training.loop import train_steps
from ctfgan.training.optimizers import Ema, GanOptimizers
from ctfgan.training.stage import Method

RESOLUTION = 16
SETTLING_STEPS = 20  # before memory is read: allocators have then seen every size
RECIPES = ("projection-folders", "ctf-folders")
"""The baseline, and CTF-GAN with its two stages, at the same narrow widths."""


@dataclass(frozen=True)
class StartCost:
    """A process of its own that opened the data, built the networks and made some steps."""

    opening: float
    """Seconds until the data were open and split."""
    building: float
    """Seconds for networks, optimisers and averages."""
    first_step: float
    """Seconds of the first step."""
    memory: int
    """Bytes of memory that is the process's own (files that are mapped do not count), after some steps."""
    codes: int
    """Bytes of the class codes that the networks read."""

    @property
    def seconds(self) -> float:
        """From the imports' end to the end of the first step."""
        return self.opening + self.building + self.first_step


@dataclass(frozen=True)
class ClassCost:
    """Costs of one stage by number of classes."""

    stage: str
    times: Times
    """Of steps, by the number of classes."""
    starts: dict[int, StartCost]


class _Stage:
    """One stage on the data of one run, trained as a run trains it."""

    def __init__(self, context: RunContext, method: Method, number: int) -> None:
        stage = method.stages[number]
        stage.enter()
        self.networks = (stage.objective.generator, stage.objective.discriminator)
        self._device = context.device
        generator = stage.objective.generator.train()
        settings = stage.settings.model_copy(update={"steps": ENDLESS})
        self.updates = GanOptimizers(generator, stage.objective.discriminator, settings, context.engine)
        decay = context.recipe.training.ema_decay
        self.ema = None if decay is None else Ema(generator, decay)
        batches = BatchStream(context.dataset, settings.batch_size, 0, method.batch_rng, device=context.device)
        self._losses = train_steps(stage.objective, batches, settings, self.updates)

    def step(self) -> None:
        """One generator step with its discriminator steps."""
        next(self._losses)
        if self.ema is not None:
            self.ema.update(self.networks[0])
        wait_for(self._device)


def measure_classes(
    counts: Sequence[int], folder: Path, rounds: int, calls: int, settings: Sequence[str], progress: Progress
) -> tuple[list[ClassCost], str]:
    """Time and weigh every stage at every number of classes; all numbers share the same number of images.

    Args:
        counts: numbers of classes.
        folder: where packed images are made, and found by the next call; about 1 GB for each of six counts up to a
            million.
        rounds: turns that every count gets.
        calls: steps in a turn.
        settings: changes to the recipes, as ``name=value``.
        progress: shows how far it is.

    Returns:
        Costs of each stage, and the device in words.

    Raises:
        ConfigError: a count below 2 or twice, or wrong settings.
    """
    counts = sorted(counts)
    if counts[0] < 2 or len(set(counts)) < len(counts):
        raise ConfigError(f"the numbers of classes are {counts}; give different ones, 2 or more")
    packs = _packs(counts, folder, progress)
    costs = []
    device = ""
    for name in RECIPES:
        recipes = {count: _recipe(name, packs[count], settings) for count in counts}
        contexts = {count: _open(recipe) for count, recipe in recipes.items()}
        device = describe_device(contexts[counts[0]].device)
        stages = [stage.name for stage in contexts[counts[0]].method().stages]
        for number, stage in enumerate(stages):
            timed = {count: _Stage(context, _method(context), number) for count, context in contexts.items()}
            times = interleaved({str(count): one.step for count, one in timed.items()}, rounds, calls)
            del timed
            gc.collect()
            starts = {count: _start_in_process(recipe, number) for count, recipe in recipes.items()}
            costs.append(ClassCost(f"{name}: {stage}", times, starts))
    return costs, device


def class_report(costs: Sequence[ClassCost], device: str, settings: Sequence[str]) -> CostReport:
    """Costs as tables; ratios are to the fewest classes."""
    rows = []
    for cost in costs:
        first = min(cost.starts)
        base = cost.starts[first]
        for count, start in sorted(cost.starts.items()):
            times = (milliseconds(cost.times.median(str(count))), f"{cost.times.ratio(str(count), str(first)):.3f}")
            memory = (_mb(start.memory - base.memory), _mb(start.codes - base.codes))
            seconds = (start.opening, start.building, start.first_step, start.seconds)
            rows.append((cost.stage, f"{count:,}", *times, *memory, *(f"{value:.2f}" for value in seconds)))
    headings = ("run", "classes", "step ms", "ratio", "memory +MB", "codes +MB", "open s", "build s", "first step s",
                "start s")  # fmt: skip
    values = {"stages": [asdict(cost) for cost in costs]}
    changed = f", {' '.join(settings)}" if settings else ""
    heading = f"{RESOLUTION}x{RESOLUTION}, {' and '.join(RECIPES)}, {device}{changed}"
    note = (
        "step: medians of rounds in which every count has its turn. memory: the host's, of a process of its own, "
        "without mapped files. codes: class codes, random ones here. start: from the end of Python's imports to the "
        "end of the first step, without training the recogniser and the classifier that makes codes of images."
    )
    return CostReport(heading, [TextTable(headings, rows)], [note], values)


def _packs(counts: Sequence[int], folder: Path, progress: Progress) -> dict[int, Path]:
    images = MIN_IMAGES_PER_CLASS * max(counts)
    packs = {count: folder / f"{count}-classes-{images}-images" for count in counts}
    missing = [count for count in counts if not packs[count].exists()]
    for index in progress(range(len(missing)), len(missing), "writing packed images") if missing else ():
        count = missing[index]
        synthetic_images(packs[count], count, images // count, RESOLUTION, channels=1)
    return packs


def _open(recipe: Recipe) -> RunContext:
    return open_context(recipe, Callbacks()).with_random_codes()


def _recipe(name: str, pack: Path, settings: Sequence[str]) -> Recipe:
    recipe = named_recipe(name)
    data = {"data.high_quality": str(pack), "data.resolution": RESOLUTION}
    if recipe.method.uses_low_quality:
        data["data.low_quality_held_out"] = 0.0
    return with_settings(recipe, data, tuple(settings))


def _start_in_process(recipe: Recipe, number: int) -> StartCost:
    """The measurements of :class:`StartCost` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_start, recipe.to_json(), number).result()


def _start(recipe: str, number: int) -> StartCost:
    torch.optim.Adam([torch.zeros(1)])  # the first optimiser of a process imports half of torch
    moments = [time.perf_counter()]
    context = _open(Recipe.model_validate_json(recipe))
    moments.append(time.perf_counter())
    stage = _Stage(context, _method(context), number)
    moments.append(time.perf_counter())
    stage.step()
    moments.append(time.perf_counter())
    for _ in range(SETTLING_STEPS):
        stage.step()
    seconds = [later - earlier for earlier, later in itertools.pairwise(moments)]
    return StartCost(seconds[0], seconds[1], seconds[2], _own_memory(), _code_bytes(stage))


def _method(context: RunContext) -> Method:
    method = context.method()
    to_device(method.networks, context.device)
    return method


def _own_memory() -> int:
    info = psutil.Process().memory_info()
    return int(info.rss - getattr(info, "shared", 0))  # where mapped files are told apart


def _code_bytes(stage: _Stage) -> int:
    modules = [module for network in stage.networks for module in network.modules() if isinstance(module, CodeTable)]
    return sum({module.codes.data_ptr(): module.codes.nbytes for module in modules}.values())  # shared ones once


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f}"


def class_plot(costs: Sequence[ClassCost]) -> bytes:
    """PNG of three panels by number of classes: step time against the fewest, memory that is added, start-up."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    steps, memory, start = figure.subplots(1, 3)
    for cost in costs:
        counts = sorted(cost.starts)
        base = cost.starts[counts[0]]
        ratios = [cost.times.ratio(str(count), str(counts[0])) for count in counts]
        (line,) = steps.plot(counts, ratios, marker="o", label=cost.stage)
        grown = [(cost.starts[count].memory - base.memory) / 1e6 for count in counts]
        codes = [(cost.starts[count].codes - base.codes) / 1e6 for count in counts]
        memory.plot(counts[1:], grown[1:], marker="o", color=line.get_color())
        memory.plot(counts[1:], codes[1:], linestyle=":", color=line.get_color())
        start.plot(counts, [cost.starts[count].seconds for count in counts], marker="o")
    steps.axhline(1.05, color="grey", linestyle=":")
    steps.set(ylabel="step time / that of the fewest classes", ylim=(0, None))
    memory.set(ylabel="memory added, MB (dotted: codes)")
    start.set(ylabel="start-up, s", ylim=(0, None))
    steps.legend(fontsize="small")
    for axis in (steps, memory, start):
        axis.set(xscale="log", xlabel="classes")
        axis.grid(alpha=0.3)
    memory.set_yscale("log", nonpositive="mask")  # a few MB may be missing, by chance
    return as_png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="10,1000,3755,10000,100000,1000000", metavar="N,N,...",
                        help="numbers of classes (%(default)s)")  # fmt: skip
    parser.add_argument("--steps", type=at_least(1), default=30, metavar="N",
                        help="rounds in which every number has a turn (30)")  # fmt: skip
    parser.add_argument("--calls", type=at_least(1), default=4, metavar="K", help="steps in a turn (4)")
    parser.add_argument("--folder", type=Path, metavar="DIR",
                        help="where packed images are made and stay, about 1 GB each; else temporary")  # fmt: skip
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
                        help="change one setting, e.g. class_tables=per-class; may be repeated")  # fmt: skip
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the figures, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON, too")
    options = parser.parse_args()
    for file, option in ((options.plot, "--plot"), (options.json, "--json")):
        if file is not None:
            check_output(file, option)
    try:
        counts = [int(text.replace("_", "")) for text in options.counts.split(",")]
    except ValueError as error:
        raise ConfigError(f"--counts is {options.counts!r}; give whole numbers with commas between them") from error
    settings = ("class_tables=codes", *options.settings)
    with tempfile.TemporaryDirectory(prefix="ctfgan-bench-") as temporary:
        folder = options.folder or Path(temporary)
        costs, device = measure_classes(counts, folder, options.steps, options.calls, settings, console.progress)
    report = class_report(costs, device, settings)
    report.print()
    if options.json is not None:
        report.write_json(options.json)
    if options.plot is not None:
        write_file(options.plot, class_plot(costs))
        console.say(f"\nplot: {options.plot}")


if __name__ == "__main__":
    run_script(main)

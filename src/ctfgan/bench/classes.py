"""What a training step, memory and start-up cost as the number of classes grows, on real batches of a packed set."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch

from ctfgan.bench.arms import ENDLESS
from ctfgan.bench.report import Report, Table, milliseconds
from ctfgan.bench.rounds import Times, interleaved
from ctfgan.core.errors import ConfigError
from ctfgan.core.progress import Progress
from ctfgan.data.batches import BatchStream
from ctfgan.data.settings import MIN_IMAGES_PER_CLASS
from ctfgan.data.synthetic import synthetic_images
from ctfgan.distributed.engine import describe_device, place, wait_for
from ctfgan.nn.class_tables import CodeTable
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.recipe import Recipe
from ctfgan.runs.context import Callbacks, RunContext, open_context
from ctfgan.training.ema import Ema
from ctfgan.training.loop import GanOptimizers, train_steps
from ctfgan.training.method import Method

RESOLUTION = 16
SETTLING_STEPS = 20  # before memory is read: allocators have then seen every size
RECIPES = ("projection-folders", "ctf-folders")
"""The baseline, and CTF-GAN with its two stages, at the same narrow widths."""


@dataclass(frozen=True)
class Start:
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
    """Of steps; arms are named by the number of classes."""
    starts: dict[int, Start]


class _Arm:
    """One stage on the data of one workplace, trained as a run trains it."""

    def __init__(self, work: RunContext, method: Method, number: int) -> None:
        stage = method.stages[number]
        stage.enter()
        self.networks = (stage.objective.generator, stage.objective.discriminator)
        self._device = work.device
        generator = stage.objective.generator.train()
        settings = stage.settings.model_copy(update={"steps": ENDLESS})
        self.updates = GanOptimizers(generator, stage.objective.discriminator, settings, work.engine)
        decay = work.recipe.training.ema_decay
        self.ema = None if decay is None else Ema(generator, decay)
        batches = BatchStream(work.dataset, settings.batch_size, 0, method.batch_rng, device=work.device)
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
        works = {count: _opened(recipe) for count, recipe in recipes.items()}
        device = describe_device(works[counts[0]].device)
        stages = [stage.name for stage in works[counts[0]].method().stages]
        for number, stage in enumerate(stages):
            arms = {count: _Arm(work, _method(work), number) for count, work in works.items()}
            times = interleaved({str(count): arm.step for count, arm in arms.items()}, rounds, calls)
            del arms
            gc.collect()
            starts = {count: _alone(recipe, number) for count, recipe in recipes.items()}
            costs.append(ClassCost(f"{name}: {stage}", times, starts))
    return costs, device


def class_report(costs: Sequence[ClassCost], device: str, settings: Sequence[str]) -> Report:
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
    figures = {"stages": [asdict(cost) for cost in costs]}
    changed = f", {' '.join(settings)}" if settings else ""
    heading = f"{RESOLUTION}x{RESOLUTION}, {' and '.join(RECIPES)}, {device}{changed}"
    note = (
        "step: medians of rounds in which every count has its turn. memory: the host's, of a process of its own, "
        "without mapped files. codes: class codes, random ones here. start: from the end of Python's imports to the "
        "end of the first step, without training the recogniser and the classifier that makes codes of images."
    )
    return Report(heading, [Table(headings, rows)], [note], figures)


def _packs(counts: Sequence[int], folder: Path, progress: Progress) -> dict[int, Path]:
    images = MIN_IMAGES_PER_CLASS * max(counts)
    packs = {count: folder / f"{count}-classes-{images}-images" for count in counts}
    missing = [count for count in counts if not packs[count].exists()]
    for index in progress(range(len(missing)), len(missing), "writing packed images") if missing else ():
        count = missing[index]
        synthetic_images(packs[count], count, images // count, RESOLUTION, channels=1)
    return packs


def _opened(recipe: Recipe) -> RunContext:
    return open_context(recipe, Callbacks()).with_random_codes()


def _recipe(name: str, pack: Path, settings: Sequence[str]) -> Recipe:
    recipe = named_recipe(name)
    data = {"data.high_quality": str(pack), "data.resolution": RESOLUTION}
    if recipe.method.uses_low_quality:
        data["data.low_quality_held_out"] = 0.0
    return with_settings(recipe, data, tuple(settings))


def _alone(recipe: Recipe, number: int) -> Start:
    """The measurements of :class:`Start` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_start, recipe.to_json(), number).result()


def _start(recipe: str, number: int) -> Start:
    torch.optim.Adam([torch.zeros(1)])  # the first optimiser of a process imports half of torch
    moments = [time.perf_counter()]
    work = _opened(Recipe.model_validate_json(recipe))
    moments.append(time.perf_counter())
    arm = _Arm(work, _method(work), number)
    moments.append(time.perf_counter())
    arm.step()
    moments.append(time.perf_counter())
    for _ in range(SETTLING_STEPS):
        arm.step()
    seconds = [later - earlier for earlier, later in itertools.pairwise(moments)]
    return Start(seconds[0], seconds[1], seconds[2], _own_memory(), _code_bytes(arm))


def _method(work: RunContext) -> Method:
    method = work.method()
    place(method.networks, work.device)
    return method


def _own_memory() -> int:
    info = psutil.Process().memory_info()
    return int(info.rss - getattr(info, "shared", 0))  # where mapped files are told apart


def _code_bytes(arm: _Arm) -> int:
    modules = [module for network in arm.networks for module in network.modules() if isinstance(module, CodeTable)]
    return sum({module.codes.data_ptr(): module.codes.nbytes for module in modules}.values())  # shared ones once


def _mb(count: float) -> str:
    return f"{count / 1e6:,.0f}"

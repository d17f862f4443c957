"""The three questions of ``ctfgan bench step``, answered as tables and as plain values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ctfgan.bench.arms import PlainArm, StageArm, pick_stages, stage_arms, synthetic_shape
from ctfgan.bench.dct import LITERAL, SPATIAL, time_difference_maps
from ctfgan.bench.peaks import measure_peaks
from ctfgan.bench.pipeline import batch_seconds
from ctfgan.bench.rounds import Times, interleaved
from ctfgan.bench.steps import BARE, SYNTHESISE, StageCost, UpdateCost, measure_stage, time_sampling, time_stages
from ctfgan.core.errors import ConfigError
from ctfgan.distributed.engine import choose_device, describe_device
from ctfgan.models.synthesis import CHUNK
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.recipe import CtfGan, Recipe

DCT_BATCH, DCT_CHANNELS, DCT_SIZE = 8, 32, 32
WHAT_COUNTS = (
    "flop: floating-point operations of convolutions and matrix products, as executed. bytes: parameters, inputs and "
    "outputs once; with the backward pass also what autograd keeps, written and read once, and gradients; in an update "
    "also Adam's. floor: the time of whichever takes longer at the peaks. achieved: floor / measured. batches: the "
    "input pipeline's time beside the step's."
)


@dataclass(frozen=True)
class Options:
    """What the user may change."""

    batch: int | None = None
    steps: int = 5
    calls: int = 1
    width: float | None = None
    classes: int = 10
    device: str = "auto"


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Report:
    """An answer."""

    heading: str
    tables: list[Table]
    notes: list[str]
    figures: dict[str, Any] = field(default_factory=dict)
    """The same as plain values, in seconds, operations and bytes."""

    def to_json(self) -> str:
        """The figures and where they were taken."""
        return json.dumps({"heading": self.heading, **self.figures}, indent=1)


def measure(name: str, options: Options) -> Report:
    """Count and time the stages of ``RECIPE`` or ``RECIPE:STAGE``."""
    device = choose_device(options.device)
    recipe, stage = _recipe(name, options)
    arms = pick_stages(stage_arms(recipe, options.classes, options.batch, device), stage)
    peaks = measure_peaks(device)
    channels = arms[0].batch.real.shape[1]
    waits = {size: batch_seconds(recipe, channels, size, device) for size in {arm.settings.batch_size for arm in arms}}
    costs = [measure_stage(arm, peaks, options.steps, waits[arm.settings.batch_size]) for arm in arms]
    sampling = {arm.stage: time_sampling(arm, device, options.steps) for arm in arms}
    notes = [WHAT_COUNTS]
    notes += [f"sampling {CHUNK} images, {name}: {_sampling_note(times)}" for name, times in sampling.items()]
    figures: dict[str, Any] = {
        "peaks": asdict(peaks),
        "stages": [_stage_figures(cost) for cost in costs],
        "sampling": {name: times.seconds for name, times in sampling.items()},
    }
    if isinstance(recipe.method, CtfGan):
        dct = time_difference_maps(DCT_BATCH, DCT_CHANNELS, DCT_SIZE, options.steps)
        notes.append(
            f"Eq. 4 (batch {DCT_BATCH}, T = S = {DCT_CHANNELS}, {DCT_SIZE}x{DCT_SIZE}): {LITERAL} "
            f"{milliseconds(dct.median(LITERAL))} ms, {SPATIAL} {milliseconds(dct.median(SPATIAL))} ms, "
            f"ratio {dct.ratio(LITERAL, SPATIAL):.0f}"
        )
        figures["difference maps"] = dct.seconds
    peak = f"peaks: {peaks.operations / 1e9:,.0f} Gflop/s, {peaks.bytes / 1e9:,.1f} GB/s"
    heading = f"{_heading(recipe, arms[0], device)}; {peak}"
    return Report(heading, [_network_table(costs), _update_table(costs), _step_table(costs)], notes, figures)


def compare(names: Sequence[str], options: Options) -> Report:
    """Time steps of several recipes or stages in turn; ratios are to the first."""
    device = choose_device(options.device)
    arms: list[StageArm] = []
    for name in names:
        recipe, stage = _recipe(name, options)
        arms += pick_stages(stage_arms(recipe, options.classes, options.batch, device), stage)
    labels = [arm.name for arm in arms]
    if len(set(labels)) < len(labels) or len(labels) < 2:
        raise ConfigError(f"{', '.join(labels)} cannot be compared; name two different stages or more, each once")
    times = time_stages(arms, options.steps, options.calls)
    heading = f"{describe_device(device)}; {_rounds(options)}"
    return Report(heading, [_ratio_table(times, labels[0])], [], {"seconds": times.seconds})


def compare_with_plain(name: str, options: Options) -> Report:
    """Time steps of a recipe and of the plain trainer in turn, both on the CPU."""
    device = torch.device("cpu")
    recipe, stage = _recipe(name, options)
    (arm,) = pick_stages(stage_arms(recipe, options.classes, options.batch, device), stage)
    plain = PlainArm(recipe, synthetic_shape(recipe, options.classes), arm.settings)
    times = interleaved({plain.name: plain.step, arm.name: arm.step}, options.steps, options.calls)
    ratio = times.ratio(plain.name, arm.name)
    note = f"{recipe.name} makes {ratio:.2f} times as many steps/s as the plain reference"
    heading = f"{_heading(recipe, arm, device)}; {_rounds(options)}"
    figures = {"seconds": times.seconds, "ratio": ratio}
    return Report(heading, [_ratio_table(times, plain.name)], [note], figures)


def _recipe(name: str, options: Options) -> tuple[Recipe, str | None]:
    recipe_name, _, stage = name.partition(":")
    recipe = named_recipe(recipe_name)
    if options.width is not None:
        assignments = (f"generator_width={options.width}", f"discriminator_width={options.width}")
        recipe = with_settings(recipe, {}, assignments)
    return recipe, stage or None


def _heading(recipe: Recipe, arm: StageArm, device: torch.device) -> str:
    settings, side = arm.settings, recipe.data.resolution
    return (
        f"{recipe.name}, {side}x{side}, batch {settings.batch_size}, {settings.critic_steps} discriminator steps, "
        f"{settings.batch_size * settings.generator_batches} images in a generator step, {describe_device(device)}"
    )


def _rounds(options: Options) -> str:
    return f"medians of {options.steps} rounds of {options.calls} steps in turn"


def _network_table(costs: list[StageCost]) -> Table:
    rows = []
    for cost in costs:
        for network in cost.networks:
            works = [text for work in (network.forward, network.both)
                     for text in (f"{work.operations / 1e6:,.0f}", f"{work.bytes / 1e6:,.2f}")]  # fmt: skip
            rows.append((f"{cost.stage}: {network.network}", f"{network.parameters:,}", *works))
    headings = ("run", "parameters", "forward Mflop/image", "MB/image", "with backward Mflop/image", "MB/image")
    return Table(headings, rows)


def _update_table(costs: list[StageCost]) -> Table:
    rows = []
    for cost in costs:
        for player, update in (("discriminator", cost.discriminator), ("generator", cost.generator)):
            work = (f"{update.work.operations / 1e9:,.1f}", f"{update.work.bytes / 1e6:,.0f}")
            times = (milliseconds(update.floor), milliseconds(update.seconds), f"{update.achieved:.0%}")
            rows.append((f"{cost.stage}: {player} update", *work, *times))
    return Table(("run", "Gflop", "MB", "floor ms", "measured ms", "achieved"), rows)


def _step_table(costs: list[StageCost]) -> Table:
    rows = [
        (
            cost.stage,
            milliseconds(cost.seconds),
            f"{cost.images_per_second:,.0f}",
            f"{cost.optimiser_share:.1%}",
            f"{cost.pipeline_share:.1%}",
        )
        for cost in costs
    ]
    return Table(("run", "step ms", "images/s", "optimisers", "batches"), rows)


def _ratio_table(times: Times, first: str) -> Table:
    rows = [
        (name, milliseconds(times.median(name)), f"{1 / times.median(name):,.2f}", f"{times.ratio(name, first):.2f}")
        for name in times.seconds
    ]
    return Table(("run", "step ms", "steps/s", f"time against {first}"), rows)


def _sampling_note(times: Times) -> str:
    return (
        f"{CHUNK / times.median(SYNTHESISE):,.0f} images/s, the generator's bare forward "
        f"{CHUNK / times.median(BARE):,.0f}; ratio {times.ratio(BARE, SYNTHESISE):.2f}"
    )


def _stage_figures(cost: StageCost) -> dict[str, Any]:
    def with_share(update: UpdateCost) -> dict[str, Any]:
        return asdict(update) | {"achieved": update.achieved}

    return asdict(cost) | {
        "discriminator": with_share(cost.discriminator),
        "generator": with_share(cost.generator),
    }


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds, with three digits or all before the point."""
    milliseconds = seconds * 1e3
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"

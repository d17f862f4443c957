"""Time the training steps of a recipe and count their work, on data of noise.

    python benchmarks/step.py                                 # the stages of table1-cifar10-projection
    python benchmarks/step.py --against reference             # beside a plain PyTorch implementation, turn by turn
    python benchmarks/step.py table1-cifar10-projection --compare table1-cifar10-entire
    python benchmarks/step.py ctf-folders:generate --width 0.5 --json step.json

RECIPE means all its stages, RECIPE:STAGE one of them. Nothing is read and nothing stays, but what --json writes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from plain_gan import PlainTrainer
from roofline import measure_peaks
from synthetic_images import synthetic_images
from timed_stages import (
    BARE,
    SYNTHESISE,
    StageCost,
    TimedStage,
    UpdateCost,
    measure_stage,
    synthetic_batch,
    synthetic_spec,
    time_sampling,
    timed_stages,
)
from timing import CostReport, TextTable, Times, at_least, interleaved, milliseconds, run_script
from torch import Tensor

from ctfgan.cli.options import check_output
from ctfgan.core.errors import ConfigError, pick
from ctfgan.data.batches import BatchStream
from ctfgan.data.prepare import prepare
from ctfgan.distributed.engine import choose_device, describe_device, wait_for
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.ctf_gan import difference_maps
from ctfgan.models.synthesis import CHUNK
from ctfgan.models.widths import plan_for
from ctfgan.nn.dct import dct2, idct2
from ctfgan.recipes.build import DataSpec
from ctfgan.recipes.catalogue import named_recipe
from ctfgan.recipes.overlay import with_settings
from ctfgan.recipes.recipe import CtfGan, Recipe, SnGan
from ctfgan.training.settings import StageSettings

PLAIN, PLAIN_RESOLUTION = "plain", 32
LITERAL, SPATIAL = "literal DCT", "spatial form"
DCT_BATCH, DCT_CHANNELS, DCT_SIZE = 8, 32, 32
PIPELINE_CLASSES, PIPELINE_IMAGES_PER_CLASS, PIPELINE_BATCHES = 10, 200, 50
WHAT_COUNTS = (
    "flop: floating-point operations of convolutions and matrix products, as executed. bytes: parameters, inputs and "
    "outputs once; with the backward pass also what autograd keeps, written and read once, and gradients; in an update "
    "also Adam's. floor: the time of whichever takes longer at the peaks. achieved: floor / measured. batches: the "
    "input pipeline's time beside the step's."
)


class PlainBaseline:
    """The plain trainer at a recipe's widths, batch and number of discriminator steps.

    Raises:
        ConfigError: the recipe is not the one that the plain trainer implements.
    """

    def __init__(self, recipe: Recipe, spec: DataSpec, settings: StageSettings) -> None:
        method, resolution = recipe.method, recipe.data.resolution
        if not isinstance(method, SnGan) or method.kind != "sn-gan-projection" or resolution != PLAIN_RESOLUTION:
            raise ConfigError(
                f"recipe {recipe.name!r} is {method.kind} at {resolution}x{resolution}; the plain reference is "
                f"sn-gan-projection at {PLAIN_RESOLUTION}x{PLAIN_RESOLUTION}; choose such a recipe, "
                "e.g. table1-cifar10-projection"
            )
        plan = plan_for(resolution, method.networks.generator_width, method.networks.discriminator_width)
        self.trainer = PlainTrainer(
            plan.generator[0],
            plan.discriminator[0],
            method.networks.noise,
            spec.num_classes,
            spec.channels,
            settings.generator_rate,
        )
        self._settings = settings
        self._batch = synthetic_batch(spec, resolution, settings.batch_size)

    def step(self) -> None:
        """A whole step."""
        for _ in range(self._settings.critic_steps):
            self.trainer.update_discriminator(self._batch.real, self._batch.real_labels)
        self.trainer.update_generator(self._settings.batch_size * self._settings.generator_batches)


def literal_difference_maps(current: Tensor, previous: Tensor) -> Tensor:
    """Eq. 4 as printed, over all T x S pairs: ``(N, T, S, H, W)`` in memory at once.

    Args:
        current: F_m, ``(N, T, H, W)``.
        previous: F_{m-1}, ``(N, S, h, w)``, no larger than F_m.
    """
    upscaled = F.interpolate(previous, size=current.shape[-2:], mode="bilinear", align_corners=False)
    pairs = dct2(current)[:, :, None] - dct2(upscaled)[:, None]
    return idct2(pairs).mean(dim=2)


def time_difference_maps(rounds: int) -> Times:
    """Time the literal form beside the spatial form that ctfgan computes, T = S, maps over maps of half their side."""
    rng = torch.Generator().manual_seed(0)
    current = torch.randn(DCT_BATCH, DCT_CHANNELS, DCT_SIZE, DCT_SIZE, generator=rng)
    previous = torch.randn(DCT_BATCH, DCT_CHANNELS, DCT_SIZE // 2, DCT_SIZE // 2, generator=rng)
    forms = {
        LITERAL: lambda: literal_difference_maps(current, previous),
        SPATIAL: lambda: difference_maps(current, previous),
    }
    return interleaved(forms, rounds)


def batch_seconds(recipe: Recipe, channels: int, batch_size: int, device: torch.device) -> float:
    """Median seconds of one batch, low-quality images included, from a memory-mapped set of random bytes.

    Args:
        recipe: for its resolution and its low-quality images, which are degraded copies here.
        channels: K.
        batch_size: real images.
        device: where the batch is wanted.
    """
    with tempfile.TemporaryDirectory(prefix="ctfgan-bench-") as folder:
        pack = Path(folder) / "pack"
        synthetic_images(pack, PIPELINE_CLASSES, PIPELINE_IMAGES_PER_CLASS, recipe.data.resolution, channels)
        own: dict[str, object] = {
            "high_quality": str(pack), "low_quality": None, "reference": None, "only": None, "needs": (),
        }  # fmt: skip
        dataset = prepare(recipe.data.model_copy(update=own), low_quality=recipe.method.uses_low_quality)
        stream = BatchStream(dataset, batch_size, 0, BatchRng.of(0), device=device)
        next(stream)
        seconds = []
        for _ in range(PIPELINE_BATCHES):
            started = time.perf_counter()
            next(stream)
            wait_for(device)
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds)


def measure(name: str, options: argparse.Namespace) -> CostReport:
    """Count and time the stages of ``RECIPE`` or ``RECIPE:STAGE``."""
    device = choose_device(options.device)
    recipe, stages = _stages(name, options, device)
    peaks = measure_peaks(device)
    channels = stages[0].batch.real.shape[1]
    waits = {size: batch_seconds(recipe, channels, size, device) for size in {s.settings.batch_size for s in stages}}
    costs = [measure_stage(stage, peaks, options.steps, waits[stage.settings.batch_size]) for stage in stages]
    sampling = {stage.stage: time_sampling(stage, device, options.steps) for stage in stages}
    notes = [WHAT_COUNTS]
    notes += [f"sampling {CHUNK} images, {name}: {_sampling_note(times)}" for name, times in sampling.items()]
    values: dict[str, Any] = {
        "peaks": asdict(peaks),
        "stages": [_stage_values(cost) for cost in costs],
        "sampling": {name: times.seconds for name, times in sampling.items()},
    }
    if isinstance(recipe.method, CtfGan):
        dct = time_difference_maps(options.steps)
        notes.append(
            f"Eq. 4 (batch {DCT_BATCH}, T = S = {DCT_CHANNELS}, {DCT_SIZE}x{DCT_SIZE}): {LITERAL} "
            f"{milliseconds(dct.median(LITERAL))} ms, {SPATIAL} {milliseconds(dct.median(SPATIAL))} ms, "
            f"ratio {dct.ratio(LITERAL, SPATIAL):.0f}"
        )
        values["difference maps"] = dct.seconds
    peak = f"peaks: {peaks.operations / 1e9:,.0f} Gflop/s, {peaks.bytes / 1e9:,.1f} GB/s"
    heading = f"{_heading(recipe, stages[0], device)}; {peak}"
    return CostReport(heading, [_network_table(costs), _update_table(costs), _step_table(costs)], notes, values)


def compare(names: Sequence[str], options: argparse.Namespace) -> CostReport:
    """Time steps of several recipes or stages in turn; ratios are to the first."""
    device = choose_device(options.device)
    stages = [stage for name in names for stage in _stages(name, options, device)[1]]
    labels = [stage.name for stage in stages]
    if len(set(labels)) < len(labels) or len(labels) < 2:
        raise ConfigError(f"{', '.join(labels)} cannot be compared; name two different stages or more, each once")
    times = interleaved({stage.name: stage.step for stage in stages}, options.steps, options.calls)
    heading = f"{describe_device(device)}; {_rounds(options)}"
    return CostReport(heading, [_ratio_table(times, labels[0])], [], {"seconds": times.seconds})


def compare_with_plain(name: str, options: argparse.Namespace) -> CostReport:
    """Time steps of a recipe and of the plain trainer in turn, both on the CPU."""
    device = torch.device("cpu")
    recipe, (stage,) = _stages(name, options, device)
    plain = PlainBaseline(recipe, synthetic_spec(recipe, options.classes), stage.settings)
    times = interleaved({PLAIN: plain.step, stage.name: stage.step}, options.steps, options.calls)
    ratio = times.ratio(PLAIN, stage.name)
    note = f"{recipe.name} makes {ratio:.2f} times as many steps/s as the plain reference"
    heading = f"{_heading(recipe, stage, device)}; {_rounds(options)}"
    return CostReport(heading, [_ratio_table(times, PLAIN)], [note], {"seconds": times.seconds, "ratio": ratio})


def _stages(name: str, options: argparse.Namespace, device: torch.device) -> tuple[Recipe, list[TimedStage]]:
    recipe_name, _, stage = name.partition(":")
    recipe = named_recipe(recipe_name)
    changes = {"data.resolution": options.resolution}
    changes |= {f"method.networks.{player}_width": options.width for player in ("generator", "discriminator")}
    recipe = with_settings(recipe, {name: value for name, value in changes.items() if value is not None}, ())
    stages = timed_stages(recipe, options.classes, options.batch, device)
    return recipe, [pick(stages, stage, "stage")] if stage else list(stages.values())


def _heading(recipe: Recipe, stage: TimedStage, device: torch.device) -> str:
    settings, side = stage.settings, recipe.data.resolution
    return (
        f"{recipe.name}, {side}x{side}, batch {settings.batch_size}, {settings.critic_steps} discriminator steps, "
        f"{settings.batch_size * settings.generator_batches} images in a generator step, {describe_device(device)}"
    )


def _rounds(options: argparse.Namespace) -> str:
    return f"medians of {options.steps} rounds of {options.calls} steps in turn"


def _network_table(costs: list[StageCost]) -> TextTable:
    rows = []
    for cost in costs:
        for network in cost.networks:
            works = [text for work in (network.forward, network.both)
                     for text in (f"{work.operations / 1e6:,.0f}", f"{work.bytes / 1e6:,.2f}")]  # fmt: skip
            rows.append((f"{cost.stage}: {network.network}", f"{network.parameters:,}", *works))
    headings = ("run", "parameters", "forward Mflop/image", "MB/image", "with backward Mflop/image", "MB/image")
    return TextTable(headings, rows)


def _update_table(costs: list[StageCost]) -> TextTable:
    rows = []
    for cost in costs:
        for player, update in (("discriminator", cost.discriminator), ("generator", cost.generator)):
            work = (f"{update.work.operations / 1e9:,.1f}", f"{update.work.bytes / 1e6:,.0f}")
            times = (milliseconds(update.floor), milliseconds(update.seconds), f"{update.achieved:.0%}")
            rows.append((f"{cost.stage}: {player} update", *work, *times))
    return TextTable(("run", "Gflop", "MB", "floor ms", "measured ms", "achieved"), rows)


def _step_table(costs: list[StageCost]) -> TextTable:
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
    return TextTable(("run", "step ms", "images/s", "optimisers", "batches"), rows)


def _ratio_table(times: Times, first: str) -> TextTable:
    rows = [
        (name, milliseconds(times.median(name)), f"{1 / times.median(name):,.2f}", f"{times.ratio(name, first):.2f}")
        for name in times.seconds
    ]
    return TextTable(("run", "step ms", "steps/s", f"time against {first}"), rows)


def _sampling_note(times: Times) -> str:
    return (
        f"{CHUNK / times.median(SYNTHESISE):,.0f} images/s, the generator's bare forward "
        f"{CHUNK / times.median(BARE):,.0f}; ratio {times.ratio(BARE, SYNTHESISE):.2f}"
    )


def _stage_values(cost: StageCost) -> dict[str, Any]:
    def with_share(update: UpdateCost) -> dict[str, Any]:
        return asdict(update) | {"achieved": update.achieved}

    return asdict(cost) | {
        "discriminator": with_share(cost.discriminator),
        "generator": with_share(cost.generator),
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, of the command line if no others are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="table1-cifar10-projection", help="RECIPE or RECIPE:STAGE")
    parser.add_argument("--batch", type=at_least(2), metavar="N", help="batch size in place of the recipe's")
    parser.add_argument("--steps", type=at_least(1), default=5, metavar="N",
                        help="timed steps; of a comparison, rounds in which each has a turn (5)")  # fmt: skip
    parser.add_argument(
        "--calls", type=at_least(1), default=1, metavar="K", help="of a comparison: steps in a turn (1)"
    )
    parser.add_argument("--width", type=float, metavar="FACTOR",
                        help="factor of both networks on the published channel counts")  # fmt: skip
    parser.add_argument("--resolution", type=at_least(16), metavar="R", help="side of the images in pixels")
    parser.add_argument("--classes", type=at_least(2), default=10, metavar="N", help="classes of the noise (10)")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON, too")
    question = parser.add_mutually_exclusive_group()
    question.add_argument("--against", choices=["reference"],
                          help="only compare with the plain implementation (plain_gan.py), turn by turn")  # fmt: skip
    question.add_argument("--compare", metavar="A,B,...", help="only compare with other recipes, turn by turn")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    if options.json is not None:
        check_output(options.json, "--json")
    if options.against:
        report = compare_with_plain(options.recipe, options)
    elif options.compare:
        report = compare([options.recipe, *options.compare.split(",")], options)
    else:
        report = measure(options.recipe, options)
    report.print()
    if options.json is not None:
        report.write_json(options.json)


if __name__ == "__main__":
    run_script(main)

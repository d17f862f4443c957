"""``ctfgan train``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctfgan.cli.options import PATH, existing_model
from ctfgan.core.files import expanded
from ctfgan.core.text import duration, format_bytes

if TYPE_CHECKING:
    from ctfgan.recipes.recipe import Recipe


GPU_MINUTES = 60


@click.command()
@click.option("--hq", metavar="PATH", help="High-quality images: a folder with one subfolder per class, an .npz, idx "
              "(MNIST), CIFAR, STL-10, .gnt (CASIA-HWDB), parquet or WebDataset files, what 'ctfgan data build' wrote, "
              "a name that 'ctfgan data list' shows, or hf:owner/name. Without it: the embedded glyphs.")  # fmt: skip
@click.option("--lq", metavar="PATH", help="Low-quality images in any of these forms; other classes or none are fine. "
              "Without it: degraded copies of high-quality images.")  # fmt: skip
@click.option("--reference", metavar="published|PATH", help="Real images that figures compare with: the published test "
              "part of --hq, or images of the same classes. Without it: a tenth of the images.")  # fmt: skip
@click.option("--from", "start", metavar="RUN_OR_BUNDLE", type=PATH, callback=existing_model,
              help="Begin with trained weights, classes found by name; of a run, its discriminator too.")  # fmt: skip
@click.option("--recipe", "recipe_name", metavar="NAME", help="A named recipe; 'ctfgan recipes' lists them.")
@click.option("--config", metavar="FILE", type=PATH, help="TOML file laid over the recipe.")
@click.option("--hq-fraction", type=click.FloatRange(0, 1, min_open=True), metavar="0-1",
              help="Share of the high-quality training images to use: stratified, seeded, nested.")  # fmt: skip
@click.option("--characters", metavar="SET", help="Glyphs: alphanumeric, digits, gb2312-level-1, jis-level-1, "
              "jis-level-2, hangul, hangul-all, several joined by +, or the characters themselves.")  # fmt: skip
@click.option("--fonts", multiple=True, metavar="DIR", help="Glyphs: another folder of fonts; may be repeated.")
@click.option("--lq-fonts", multiple=True, metavar="DIR", help="Glyphs: a folder of bitmap fonts (.pcf, .bdf, also "
              "gzipped) for the low-quality images; may be repeated. Whole faces are then held out.")  # fmt: skip
@click.option("--out", metavar="DIR", type=PATH, help="The new run folder; runs/<recipe>-<time> without it.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Seed of weights, batches and noise.")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE",
              help="Change one setting, e.g. --set generate.steps=500; may be repeated.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0, min_open=True), metavar="N",
              help="All that the run may take: widths, batch, rates, steps and checks follow from what this machine "
              "does in that time. Without it: the recipe as it is; on a CUDA GPU, where no recipe is named, 60 "
              "minutes.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show data, settings, networks, time and memory, then stop.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: all settings, not only those that are changed.")
def train(
    hq: str | None,
    lq: str | None,
    reference: str | None,
    start: Path | None,
    recipe_name: str | None,
    config: Path | None,
    hq_fraction: float | None,
    characters: str | None,
    fonts: tuple[str, ...],
    lq_fonts: tuple[str, ...],
    out: Path | None,
    seed: int | None,
    device: str | None,
    assignments: tuple[str, ...],
    minutes: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train a generator: on two folders of images, or on the embedded glyphs.

    \b
    ctfgan train
    ctfgan train --hq scans --lq thumbnails --minutes 60
    ctfgan train --hq scans --lq thumbnails --hq-fraction 0.65
    ctfgan train --recipe projection-folders --hq scans
    ctfgan train --hq scans --from runs/earlier --set transfer.steps=0
    ctfgan train --characters gb2312-level-1 --fonts /usr/share/fonts
    ctfgan train --characters jis-level-1 --fonts /usr/share/fonts --lq-fonts /usr/share/fonts/X11/misc
    """
    from ctfgan.cli import console
    from ctfgan.data.settings import PUBLISHED
    from ctfgan.data.sources.registry import absolute, path_of
    from ctfgan.recipes.catalogue import DEFAULT, DEFAULT_FOR_OWN_IMAGES, named_recipe
    from ctfgan.recipes.overlay import full_names, settings_in, with_file, with_settings
    from ctfgan.storage.run_folder import RunFolder

    began = time.monotonic()  # torch takes its time, too
    if as_json and not dry_run:
        raise click.UsageError("--json shows the settings of a plan; add --dry-run, or see the run's recipe.json")
    recipe = named_recipe(recipe_name or (DEFAULT_FOR_OWN_IMAGES if hq else DEFAULT))
    if config is not None:
        recipe = with_file(recipe, config)
    if lq is not None and hq is None and recipe_name is None and characters is None:
        raise click.UsageError("--lq without --hq; name the good images with --hq, or the glyphs with --characters")
    if hq is not None and (characters is not None or fonts or lq_fonts):
        raise click.UsageError(
            "--characters, --fonts and --lq-fonts belong to the embedded glyphs; leave them or --hq out"
        )
    if lq is not None and lq_fonts:
        raise click.UsageError("--lq and --lq-fonts both name the low-quality images; leave one of them out")
    options: dict[str, object] = {
        "data.high_quality": hq and absolute(hq),
        "data.low_quality": lq and absolute(lq),
        "data.reference": reference if reference in (None, PUBLISHED) else absolute(reference),
        "data.high_quality_fraction": hq_fraction,
        "data.glyphs.characters": characters,
        "data.glyphs.font_folders": _absolute_folders(fonts),
        "data.glyphs.low_quality_font_folders": _absolute_folders(lq_fonts),
        "start.path": start and str(expanded(start).absolute()),
        "seed": seed,
        "device": device,
    }
    recipe = with_settings(recipe, {name: value for name, value in options.items() if value is not None}, assignments)
    # What needs no torch is told and said before it is imported, which takes seconds.
    data = recipe.data
    for location in (data.high_quality, data.reference, data.low_quality if recipe.method.uses_low_quality else None):
        if location not in (None, PUBLISHED):
            path_of(location)
    if out is not None:
        RunFolder.check_free(out)
    if not dry_run:
        console.say(_in_short(recipe))
    named = [assignment.partition("=")[0] for assignment in assignments]
    keep = full_names(recipe, [*named, *(() if config is None else settings_in(config))])
    if minutes is None and recipe_name is None and config is None and _is_on_gpu(recipe.device):
        minutes = GPU_MINUTES
        console.say(
            f"on a GPU, with no recipe named: {minutes} minutes, with published widths if they fit; --minutes N is "
            f"another time, --recipe {recipe.name} the recipe as it is"
        )
    if dry_run:
        _show_plan(recipe, minutes, keep, as_json=as_json)
        return

    from ctfgan.runs.new_run import train as run_training

    with console.callbacks() as callbacks:
        path = run_training(recipe, out, callbacks, minutes=minutes, keep=keep, began=began)
    console.say_done(path)


def _absolute_folders(folders: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(str(expanded(folder).absolute()) for folder in folders) or None


def _is_on_gpu(device: str) -> bool:
    """Whether a run would compute on a CUDA GPU."""
    import torch

    return device.startswith(("auto", "cuda")) and torch.cuda.is_available()


def _show_plan(recipe: Recipe, minutes: float | None, keep: frozenset[str], *, as_json: bool) -> None:
    """Data, settings, networks with parameter counts, time and memory; writes no run folder.

    Args:
        recipe: what would be trained.
        minutes: that the run may take, if that decides.
        keep: names of settings that it does not decide.
        as_json: whether all settings are to be shown, not only those that differ from the named recipe's.
    """
    from ctfgan.cli import console
    from ctfgan.data.prepare import check_apart
    from ctfgan.recipes.catalogue import origin_of
    from ctfgan.runs.context import Callbacks, open_context
    from ctfgan.runs.new_run import matched_start, with_start
    from ctfgan.runs.time_plan import Dial, seconds_of_classifiers, with_plan, with_short_classifiers
    from ctfgan.training.estimate import estimate

    dial = None if minutes is None else Dial.of(minutes, recipe, origin_of(recipe), keep)
    callbacks = Callbacks(progress=console.progress, say=console.say)
    recipe, start = with_start(recipe)
    context = open_context(recipe, callbacks)
    check_apart(context.dataset, recipe.data)
    if start is not None:
        matched_start(start, context, callbacks)
    context = context.with_random_codes()
    if dial is not None:
        context, each = with_short_classifiers(context, dial)
        context, lines = with_plan(context, dial, each, seconds_of_classifiers(context, each))
        console.say("\n" + "\n".join(lines))
        recipe = context.recipe
    console.say(
        f"\nrecipe {recipe.name}:\n{recipe.to_json()}\n"
        if as_json
        else f"\n{_in_short(recipe)} (all settings: --json)\n"
    )
    method = context.method()
    for name, network in method.networks.items():
        parts = {part: sum(p.numel() for p in module.parameters()) for part, module in network.named_children()}
        total = sum(p.numel() for p in network.parameters())
        console.say(f"{name}: {total:,} parameters ({', '.join(f'{part} {count:,}' for part, count in parts.items())})")
    console.say(f"\ntiming a few steps on {context.engine.describe()} ...")
    whole = 0.0
    for stage in estimate(method, context.dataset, context.engine):
        whole += stage.steps * stage.seconds_per_step
        console.say(
            f"stage {stage.stage}: at most {stage.steps:,} generator steps of {stage.seconds_per_step:.3f} s = "
            f"{duration(stage.steps * stage.seconds_per_step)}; about {format_bytes(stage.bytes)} "
            "for networks, optimisers and activations"
        )
    data = context.dataset.high_quality.images.nbytes
    console.say(f"data: {format_bytes(data)} of packed images, memory-mapped")
    console.say(f"in all about {duration(whole)} of training; recogniser and checks come on top. Nothing was written.")


def _in_short(recipe: Recipe) -> str:
    """The recipe's name and what differs from the named one."""
    from ctfgan.recipes.catalogue import origin_of
    from ctfgan.recipes.overlay import changed_settings

    changed = changed_settings(recipe, origin_of(recipe))
    settings = ", ".join(f"{name}={json.dumps(now, ensure_ascii=False)}" for name, (now, _) in changed.items())
    return f"recipe {recipe.name}{f' with {settings}' if settings else ''}"

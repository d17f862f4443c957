"""What ``ctfgan train --dry-run`` shows."""

from __future__ import annotations

import json
from pathlib import Path

from ctfgan.cli import console
from ctfgan.core.text import duration, format_bytes
from ctfgan.data.prepare import check_apart
from ctfgan.evaluation.sweeps import origin_of
from ctfgan.recipes.overlay import changed_settings
from ctfgan.recipes.recipe import Recipe
from ctfgan.runs.context import Callbacks, open_context
from ctfgan.runs.train import matched_start, with_start
from ctfgan.storage.run_folder import RunFolder
from ctfgan.training.estimate import estimate


def show_plan(recipe: Recipe, out: Path | None, *, as_json: bool) -> None:
    """Data, settings, networks with parameter counts, time and memory; writes no run folder.

    Args:
        recipe: what would be trained.
        out: where to; None for a place of its own.
        as_json: whether all settings are to be shown, not only those that differ from the named recipe's.
    """
    if out is not None:
        RunFolder.check_free(out)
    callbacks = Callbacks(progress=console.progress, say=console.say)
    recipe, start = with_start(recipe)
    place = open_context(recipe, callbacks)
    check_apart(place.dataset, recipe.data)
    if start is not None:
        matched_start(start, place, callbacks)
    console.say(f"\nrecipe {recipe.name}:\n{recipe.to_json()}\n" if as_json else f"\n{_in_short(recipe)}\n")
    method = place.with_random_codes().method()
    for name, network in method.networks.items():
        parts = {part: sum(p.numel() for p in module.parameters()) for part, module in network.named_children()}
        total = sum(p.numel() for p in network.parameters())
        console.say(f"{name}: {total:,} parameters ({', '.join(f'{part} {count:,}' for part, count in parts.items())})")
    console.say(f"\ntiming a few steps on {place.engine.describe()} ...")
    whole = 0.0
    for stage in estimate(method, place.dataset, place.engine):
        whole += stage.steps * stage.seconds_per_step
        console.say(
            f"stage {stage.stage}: at most {stage.steps:,} generator steps of {stage.seconds_per_step:.3f} s = "
            f"{duration(stage.steps * stage.seconds_per_step)}; about {format_bytes(stage.bytes)} "
            "for networks, optimisers and activations"
        )
    data = place.dataset.high_quality.images.nbytes
    console.say(f"data: {format_bytes(data)} of packed images, memory-mapped")
    console.say(f"in all about {duration(whole)} of training; recogniser and checks come on top. Nothing was written.")


def _in_short(recipe: Recipe) -> str:
    """The recipe's name and what differs from the named one."""
    changed = changed_settings(recipe, origin_of(recipe))
    told = ", ".join(f"{name}={json.dumps(now, ensure_ascii=False)}" for name, (now, _) in changed.items())
    return f"recipe {recipe.name}{f' with {told}' if told else ''} (all settings: --json)"

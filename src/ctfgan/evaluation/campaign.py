"""A campaign: runs that are trained, resumed and evaluated until all that can be made has been made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ctfgan.core.errors import ConfigError, CtfganError, Interrupted
from ctfgan.core.files import is_taken
from ctfgan.core.settings import flatten
from ctfgan.evaluation import FORMAT, evaluate
from ctfgan.metrics.features import Extractor
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.runs.context import Callbacks
from ctfgan.runs.new_run import train
from ctfgan.runs.resumed_run import is_finished, resume
from ctfgan.storage.run_folder import FIGURES, RECIPE, RunFolder


@dataclass(frozen=True)
class CampaignRun:
    """One run of a campaign."""

    name: str
    """Its folder below the campaign's."""
    recipe: Recipe


@dataclass(frozen=True)
class CampaignOutcome:
    """What became of a run."""

    run: CampaignRun
    path: Path
    why_not: str | None
    """Why it has no figures, in one sentence; None if it has."""


def check_campaign(runs: Sequence[CampaignRun], folder: Path) -> None:
    """Refuse a folder that holds runs of other settings, or something else: nothing is overwritten or mixed.

    The device may differ: it decides how long a run takes, not what it is. So may the hash of starting weights, which
    training finds out.

    Raises:
        ConfigError: a run there has other settings, with the first that differs.
    """
    for run in runs:
        path = folder / run.name
        if not (path / RECIPE).is_file():
            if is_taken(path):
                raise ConfigError(f"{path} exists already and is no run; choose another --out")
            continue
        there, wanted = (
            flatten(recipe.model_dump(exclude={"device": True, "start": {"sha256": True}}))
            for recipe in (parse_recipe(RunFolder(path).read_json(RECIPE), str(path / RECIPE)), run.recipe)
        )
        for name in sorted(there.keys() | wanted.keys()):
            if there.get(name) != wanted.get(name):
                raise ConfigError(
                    f"{path} was made with {name} = {there.get(name)!r}, not {wanted.get(name)!r}; choose another "
                    "--out, or delete that run"
                )


def run_campaign(
    runs: Sequence[CampaignRun], folder: Path, callbacks: Callbacks, extractors: Sequence[Extractor] = ()
) -> Iterator[CampaignOutcome]:
    """Bring every run as far as it will go; what is done already is left alone.

    A run that cannot be trained (no data, divergence, too little memory) is reported and does not stop the others.

    Args:
        runs: in this order.
        folder: of the campaign; see :func:`check_campaign`.
        callbacks: who is told what happens.
        extractors: what to measure with besides each run's own recogniser; a finished run that lacks one is measured
            again.

    Raises:
        Interrupted: a signal; the run at work is saved, and the next call goes on from there.
    """
    for number, run in enumerate(runs, start=1):
        callbacks.say(f"\n[{number}/{len(runs)}] {run.name}")
        path = folder / run.name
        try:
            _complete(path, run.recipe, callbacks, extractors)
        except Interrupted:
            raise
        except (CtfganError, OSError, MemoryError, torch.OutOfMemoryError) as error:
            reason = str(error) or type(error).__name__
            callbacks.say(f"not run: {reason}")
            yield CampaignOutcome(run, path, reason)
        else:
            yield CampaignOutcome(run, path, None)


def _complete(path: Path, recipe: Recipe, callbacks: Callbacks, extractors: Sequence[Extractor]) -> None:
    folder = RunFolder(path)
    if not (path / RECIPE).is_file():
        train(recipe, path, callbacks)
    elif not is_finished(folder):
        resume(path, callbacks, recipe.device)
    if not _is_measured(folder, recipe, extractors):
        quiet = Callbacks(progress=callbacks.progress)  # the data were described when training began
        evaluate(path, quiet, recipe.device, extractors=extractors)
    callbacks.say(f"{path}: done")


def _is_measured(folder: RunFolder, recipe: Recipe, extractors: Sequence[Extractor]) -> bool:
    """Whether there are scores by all these extractors, weights included, on the recipe's number of images."""
    if not (folder.path / FIGURES).is_file():
        return False
    content = folder.read_json(FIGURES)
    if content.get("format") != FORMAT:
        return False
    protocol = content["protocol"]
    names = {card["name"] for card in protocol["extractors"].values()}
    return protocol["fake"] == recipe.evaluation.images and {extractor.card.name for extractor in extractors} <= names

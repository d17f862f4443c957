"""A run's generator with all that it takes to look at its images, at whatever moment the run is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ctfgan.bundle.bundle import Bundle, load_bundle
from ctfgan.core.errors import CtfganError, RunError
from ctfgan.data.dataset import MOST_MEASURED_CLASSES, Dataset
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.data.sources.base import Labels
from ctfgan.distributed.engine import Engine, alone, choose_device, to_device
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier, load_eval_classifier
from ctfgan.recipes.recipe import Recipe
from ctfgan.runs.context import Callbacks, RunContext
from ctfgan.runs.train import is_finished, released_checkpoint, reopen
from ctfgan.storage.run_folder import BUNDLE, RECOGNISER, RunFolder
from ctfgan.storage.tensor_files import below

TRIES = 3  # to read a checkpoint: a run that trains meanwhile deletes old ones


@dataclass(frozen=True)
class Model:
    """A generator as it stands in a run."""

    sampler: nn.Module
    """What makes images: of an unfinished run the network that its newest stage trains."""
    whole: nn.Module
    """The generator with all its parts, trained or not yet."""
    weights: str
    """Which weights these are, in words."""


@dataclass(frozen=True)
class Studio:
    """A generator, what it is fed with, and who judges its images."""

    model: Model
    bank: LowQualityBank | None
    bank_name: str
    labels: Labels
    """The generator's labels of the classes that are shown: the measured ones, then those that the recogniser does not
    know, ``(P',)``."""
    names: tuple[str, ...]
    """Their names."""
    measured: int
    """P, how many of them the recogniser knows."""
    lq_only: frozenset[int]
    """Numbers of those that the GAN has seen low-quality images of only; without the data those alone that have no
    high-quality image at all."""
    engine: Engine
    eval_classifier: TrainedEvalClassifier | None
    """None where it is damaged, or cannot be used without the data."""
    dataset: Dataset | None
    """None where the data cannot be opened."""


@dataclass(frozen=True)
class Opened:
    """What could be opened of a run."""

    studio: Studio | None
    found: tuple[str, ...]
    """What was found of the data, line by line."""
    no_data: str | None
    """Why the data cannot be opened, in one sentence; None if they can."""
    no_studio: str | None
    """Why no images can be made; None if they can."""


def open_run(folder: RunFolder, recipe: Recipe, device: str, callbacks: Callbacks) -> Opened:
    """Open the data and the generator of a run, or say why they cannot be.

    Args:
        folder: the run.
        recipe: its recipe.
        device: where the generator works.
        callbacks: sees how data are decoded.
    """
    found: list[str] = []
    work: RunContext | None = None
    no_data = None
    try:
        work, eval_classifier = reopen(folder, Callbacks(progress=callbacks.progress, say=found.append), device)
    except CtfganError as error:
        no_data = str(error)
    try:
        if work is not None:
            studio = _with_data(folder, work, eval_classifier)
        elif (folder.path / BUNDLE).is_dir():
            studio = _without_data(folder, recipe, alone(choose_device(device)))
        else:
            raise RunError(
                "the run has no bundle yet, and the data that its networks take their sizes from are missing"
            )
    except CtfganError as error:
        return Opened(None, tuple(found), no_data, str(error))
    return Opened(studio, tuple(found), no_data, None)


def _with_data(folder: RunFolder, work: RunContext, eval_classifier: TrainedEvalClassifier) -> Studio:
    if is_finished(folder):
        model = _released(folder, work.recipe, load_bundle(folder.path / BUNDLE))
    else:
        model = _in_training(folder, work)
    for network in (model.whole, model.sampler):
        to_device(network.eval(), work.device)
    side, measured = work.dataset.low_quality, work.dataset.evaluated_classes
    bank, name = None, "no low-quality images"
    if side is not None:
        bank, name = side.bank, "the training low-quality bank"
        if side.held_out is not None:
            bank, name = side.held_out, "the held-out low-quality bank"
    known, shown = len(measured.labels), measured.shown
    lq_only = frozenset(np.flatnonzero(np.isin(shown, work.dataset.lq_only)).tolist())
    return Studio(
        model, bank, name, shown, measured.shown_names, known, lq_only, work.engine, eval_classifier, work.dataset
    )


def _without_data(folder: RunFolder, recipe: Recipe, engine: Engine) -> Studio:
    bundle = load_bundle(folder.path / BUNDLE)
    model = _released(folder, recipe, bundle)
    to_device(model.whole, engine.device)
    eval_classifier, weights = None, folder.path / RECOGNISER
    counts = bundle.provenance["counts"]
    known = len(bundle.classes) - (counts.get("lq_only", 0) - counts.get("withheld", 0))
    if known <= MOST_MEASURED_CLASSES and weights.is_file():
        eval_classifier = load_eval_classifier(
            weights, bundle.data_spec.channels, known, recipe.recogniser, engine.device
        )
    name = "no low-quality images" if bundle.bank is None else "the bundle's part of the training low-quality bank"
    labels = np.arange(len(bundle.classes))
    lq_only = frozenset(labels[known:].tolist())
    return Studio(model, bundle.bank, name, labels, bundle.classes, known, lq_only, engine, eval_classifier, None)


def _released(folder: RunFolder, recipe: Recipe, bundle: Bundle) -> Model:
    manifest = folder.manifest(released_checkpoint(recipe, folder))
    return Model(bundle.generator, bundle.generator, _words(recipe, manifest, "the released weights"))


def _in_training(folder: RunFolder, work: RunContext) -> Model:
    """The generator of the checkpoint that would be released now, with the moving average of what its stage trains."""
    chosen, manifest, tensors = _weights_now(folder, work.recipe)
    method = work.method()
    whole = method.networks["generator"]
    stage = next(stage for stage in method.stages if stage.name == manifest["stage"])
    stage.enter()
    sampler = stage.objective.generator
    whole.load_state_dict(below(tensors, "networks.generator."))
    if work.recipe.training.ema_decay is not None:
        sampler.load_state_dict(below(tensors, "average."))
    return Model(sampler, whole, _words(work.recipe, manifest, f"unfinished, {chosen.name}"))


def _weights_now(folder: RunFolder, recipe: Recipe) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """The checkpoint that would be released now: its folder, its manifest, its generator's weights and average."""
    for _ in range(TRIES - 1):
        with suppress(RunError):
            return _weights(folder, released_checkpoint(recipe, folder))
    return _weights(folder, released_checkpoint(recipe, folder))


def _weights(folder: RunFolder, chosen: Path) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    stored = folder.load_tensors(chosen)
    wanted = ("networks.generator.", "average.")
    return chosen, folder.manifest(chosen), {name: stored[name] for name in stored if name.startswith(wanted)}


def _words(recipe: Recipe, manifest: dict[str, Any], what: str) -> str:
    kind = "as trained" if recipe.training.ema_decay is None else "moving average"
    return f"{what}: stage {manifest['stage']}, step {manifest['stage_step']:,}, {kind}"

"""A run's generator with all that it takes to look at its images, at whatever moment the run is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ctfgan.bundle.bundle import load_bundle
from ctfgan.core.errors import CtfganError, RunError
from ctfgan.data.dataset import MOST_MEASURED_CLASSES, Dataset
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.data.sources.base import Labels
from ctfgan.distributed.engine import Engine, alone, choose_device, to_device
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier, load_eval_classifier
from ctfgan.recipes.recipe import Recipe
from ctfgan.runs.context import Callbacks, RunContext
from ctfgan.runs.resumed_run import is_finished, reopen
from ctfgan.storage.checkpoints import AVERAGE, NETWORKS, average_weights, network_weights
from ctfgan.storage.run_folder import BUNDLE, RECOGNISER, RunFolder

TRIES = 3  # to read a checkpoint: a run that trains meanwhile deletes old ones


@dataclass(frozen=True)
class RunGenerator:
    """A run's generator, what it is fed with, and who judges its images."""

    sampler: nn.Module
    """What makes images: of an unfinished run the network that its newest stage trains."""
    whole: nn.Module
    """The generator with all its parts, trained or not yet."""
    weights: str
    """Which weights these are, in words."""
    bank: LowQualityBank | None
    bank_name: str
    labels: Labels
    """The generator's labels of the classes that are looked at: the measured ones, then those that the recogniser does
    not know, ``(P',)``."""
    names: tuple[str, ...]
    """Their names."""
    measured: int
    """P, how many of them the recogniser knows."""
    lq_only: frozenset[int]
    """Places of those that the GAN has seen low-quality images of only; without the data those alone that have no
    high-quality image at all."""
    engine: Engine
    eval_classifier: TrainedEvalClassifier | None
    """None where it is damaged, or cannot be used without the data."""
    dataset: Dataset | None
    """None where the data cannot be opened."""


@dataclass(frozen=True)
class LoadedRun:
    """What could be opened of a run."""

    generator: RunGenerator | None
    data_notes: tuple[str, ...]
    """What the data are, line by line."""
    no_data: str | None
    """Why the data cannot be opened, in one sentence; None if they can."""
    no_images: str | None
    """Why no images can be made; None if they can."""


def load_run(folder: RunFolder, recipe: Recipe, device: str, callbacks: Callbacks) -> LoadedRun:
    """Open the data and the generator of a run, or say why they cannot be.

    Args:
        folder: the run.
        recipe: its recipe.
        device: where the generator works.
        callbacks: sees how data are decoded.
    """
    notes: list[str] = []
    context: RunContext | None = None
    no_data = None
    try:
        context, eval_classifier = reopen(folder, Callbacks(progress=callbacks.progress, say=notes.append), device)
    except CtfganError as error:
        no_data = str(error)
    try:
        if context is not None:
            generator = _with_data(folder, context, eval_classifier)
        elif (folder.path / BUNDLE).is_dir():
            generator = _without_data(folder, recipe, alone(choose_device(device)))
        else:
            raise RunError(
                "the run has no bundle yet, and the data that its networks take their sizes from are missing"
            )
    except CtfganError as error:
        return LoadedRun(None, tuple(notes), no_data, str(error))
    return LoadedRun(generator, tuple(notes), no_data, None)


def _with_data(folder: RunFolder, context: RunContext, eval_classifier: TrainedEvalClassifier) -> RunGenerator:
    if is_finished(folder):
        whole = sampler = load_bundle(folder.path / BUNDLE).generator
        weights = _released_weights(folder, context.recipe)
    else:
        sampler, whole, weights = _in_training(folder, context)
    for network in (whole, sampler):
        to_device(network.eval(), context.device)
    side, measured = context.dataset.low_quality, context.dataset.evaluated_classes
    bank, bank_name = None, "no low-quality images"
    if side is not None:
        bank, bank_name = side.bank, "the training low-quality bank"
        if side.held_out is not None:
            bank, bank_name = side.held_out, "the held-out low-quality bank"
    return RunGenerator(
        sampler,
        whole,
        weights,
        bank,
        bank_name,
        measured.shown,
        measured.shown_names,
        len(measured.labels),
        frozenset(np.flatnonzero(np.isin(measured.shown, context.dataset.lq_only)).tolist()),
        context.engine,
        eval_classifier,
        context.dataset,
    )


def _without_data(folder: RunFolder, recipe: Recipe, engine: Engine) -> RunGenerator:
    bundle = load_bundle(folder.path / BUNDLE)
    to_device(bundle.generator, engine.device)
    eval_classifier, weights = None, folder.path / RECOGNISER
    counts = bundle.provenance["counts"]
    known = len(bundle.classes) - (counts.get("lq_only", 0) - counts.get("withheld", 0))
    if known <= MOST_MEASURED_CLASSES and weights.is_file():
        eval_classifier = load_eval_classifier(
            weights, bundle.data_spec.channels, known, recipe.recogniser, engine.device
        )
    labels = np.arange(len(bundle.classes))
    return RunGenerator(
        bundle.generator,
        bundle.generator,
        _released_weights(folder, recipe),
        bundle.bank,
        "no low-quality images" if bundle.bank is None else "the bundle's part of the training low-quality bank",
        labels,
        bundle.classes,
        known,
        frozenset(labels[known:].tolist()),
        engine,
        eval_classifier,
        None,
    )


def _released_weights(folder: RunFolder, recipe: Recipe) -> str:
    manifest = folder.manifest(folder.released(recipe.training.release))
    return _weights_in_words(recipe, manifest, "the released weights")


def _in_training(folder: RunFolder, context: RunContext) -> tuple[nn.Module, nn.Module, str]:
    """What the newest stage trains, with its moving average, and the whole generator, of the checkpoint that would be
    released now.
    """
    checkpoint, manifest, tensors = _read_checkpoint(folder, context.recipe)
    method = context.method()
    whole = method.networks["generator"]
    stage = next(stage for stage in method.stages if stage.name == manifest["stage"])
    stage.enter()
    sampler = stage.objective.generator
    whole.load_state_dict(network_weights(tensors, "generator"))
    if context.recipe.training.ema_decay is not None:
        sampler.load_state_dict(average_weights(tensors))
    return sampler, whole, _weights_in_words(context.recipe, manifest, f"unfinished, {checkpoint.name}")


def _read_checkpoint(folder: RunFolder, recipe: Recipe) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    """The checkpoint that would be released now: its folder, its manifest, its generator's weights and average."""
    for attempt in range(TRIES):
        try:
            path = folder.released(recipe.training.release)
            stored = folder.load_tensors(path)
            wanted = [name for name in stored if name.startswith((f"{NETWORKS}generator.", AVERAGE))]
            return path, folder.manifest(path), {name: stored[name] for name in wanted}
        except RunError:
            if attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _weights_in_words(recipe: Recipe, manifest: dict[str, Any], what: str) -> str:
    kind = "as trained" if recipe.training.ema_decay is None else "moving average"
    return f"{what}: stage {manifest['stage']}, step {manifest['stage_step']:,}, {kind}"

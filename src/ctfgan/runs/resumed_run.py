"""From where a run stopped to a finished run folder, and what evaluation and reports open of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ctfgan.bundle.bundle import (
    WAY_OUT,
    load_bundle,
)
from ctfgan.core.errors import (
    BundleError,
    ConfigError,
    CtfganError,
    DataError,
    RunError,
)
from ctfgan.core.files import read_json, sha256, write_file
from ctfgan.core.text import excerpt
from ctfgan.distributed.engine import start_engine
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier, load_eval_classifier
from ctfgan.recipes.build import stored_codes, with_form
from ctfgan.recipes.overlay import full_names, with_settings
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.recipes.resuming import (
    check_patience,
    check_settings,
    check_steps,
    goal,
    goes_on,
    with_steps_as_set,
)
from ctfgan.recipes.validate import check_recipe
from ctfgan.runs.context import Callbacks, RunContext, main_only, open_context
from ctfgan.runs.new_run import PreparedRun, begin_run, finish_run, hold_run, interrupted, prepare_run
from ctfgan.runs.run_notes import (
    fingerprints,
    trained_recipe,
    write_recipe,
    written_recipe,
)
from ctfgan.storage.checkpoints import Checkpoint
from ctfgan.storage.run_folder import (
    BUNDLE,
    CODES,
    DATA,
    FIGURES,
    JOURNAL,
    RECIPE,
    RECOGNISER,
    RunFolder,
)
from ctfgan.training.class_codes import ClassCodes
from ctfgan.training.trackers import tracked


def resume(
    path: str | Path, callbacks: Callbacks | None = None, device: str | None = None, settings: Sequence[str] = ()
) -> Path:
    """Continue a run from its newest intact checkpoint; on a CPU with the same number of threads, bit for bit.

    A run that was stopped before its first checkpoint begins anew. Damaged checkpoints are named and put aside, a
    damaged bundle is made again. The number of processes may be another one than before; then the order of summation
    is, too.

    A finished run whose recipe now has more steps trains on in its last stage and releases a new bundle at the end.
    Until then the old one stays; figures of the old weights are put aside.

    Args:
        path: the run folder.
        callbacks: who is told what happens; None is silent.
        device: another device than the recipe's.
        settings: ``name=value`` texts, as for :func:`ctfgan.recipe`; the run's recipe is changed by them.

    Raises:
        RunError: no run there, no intact checkpoint, or data that changed since the run began.
        ConfigError: a setting that may not change, or fewer steps than are done.
    """
    began = time.monotonic()
    folder = RunFolder.begun(Path(path))
    written = written_recipe(folder)
    named = full_names(written, [setting.partition("=")[0] for setting in settings])
    trained = written if folder.is_untrained() else trained_recipe(folder)
    wanted = with_steps_as_set(trained, with_settings(written, {}, tuple(settings)), named)
    recipe = _on_device(wanted, device)
    engine = start_engine(recipe.device, recipe.training.precision)
    callbacks = main_only(callbacks or Callbacks(), engine)
    processes = engine.processes
    is_released = processes.on_main(lambda: _has_intact_bundle(folder, wanted, callbacks))
    if is_released and wanted == written:
        callbacks.say(f"{path} is finished already; {_WAY_FURTHER}")
        return folder.path
    with hold_run(folder, processes, callbacks), tracked(recipe.training.tracker, folder, processes, callbacks.say):
        stopped = f"stopped before training went on, nothing was lost; go on with 'ctfgan resume {path}'"
        if processes.on_main(folder.is_untrained):
            callbacks.say(f"{path} was stopped before its first checkpoint and begins anew")
            with interrupted(stopped):
                prepared = prepare_run(recipe, callbacks)
            processes.on_main(lambda: write_recipe(folder, wanted, written))
            return begin_run(prepared, folder, callbacks, time.monotonic() - began)
        with interrupted(stopped):
            newest = Path(processes.on_main(lambda: str(folder.newest_intact(callbacks.say))))
            checkpoint = processes.main_first(lambda: folder.load(newest, is_checked=processes.is_main))
            processes.on_main(lambda: _tidy(folder, recipe, newest, checkpoint, callbacks))
            _check_changes(folder, wanted, written, newest, checkpoint, processes.count)
            if not is_released or wanted.data != written.data:
                context, eval_classifier = reopen(folder, callbacks, device, wanted)
            processes.on_main(lambda: write_recipe(folder, wanted, written))
            if is_released:
                callbacks.say(f"{path} is finished already and has its new settings; {_WAY_FURTHER}")
                return folder.path
            processes.on_main(lambda: _put_figures_aside(folder, newest, callbacks))
        callbacks.say(f"resuming from {newest}")
        return finish_run(PreparedRun(context, eval_classifier, None), folder, checkpoint, callbacks)


_WAY_FURTHER = "more steps than it has train it on, such as --set generate.steps=N"


def _check_changes(
    folder: RunFolder, wanted: Recipe, written: Recipe, newest: Path, checkpoint: Checkpoint, processes: int
) -> None:
    """Refuse what of a run's recipe may not change, before its data are opened."""
    check_recipe(wanted, processes)
    run, note = str(folder.path), folder.manifest(newest)
    before = trained_recipe(folder)
    check_settings(before, wanted, run)
    check_steps(before, wanted, note["stage"], note["stage_step"], run)
    check_patience(before, wanted, note["stage"], checkpoint.state["distances"], run)


def _put_figures_aside(folder: RunFolder, newest: Path, callbacks: Callbacks) -> None:
    """Figures of a finished run that trains on are not those of the weights that it will have."""
    figures = folder.path / FIGURES
    if (folder.path / BUNDLE).is_dir() and figures.is_file():
        aside = figures.with_name(f"{figures.stem}-{newest.name}{figures.suffix}")
        figures.replace(aside)
        callbacks.say(
            f"the figures so far are of the old weights and are kept as {aside}; 'ctfgan evaluate' makes new ones"
        )


def _tidy(folder: RunFolder, recipe: Recipe, newest: Path, checkpoint: Checkpoint, callbacks: Callbacks) -> None:
    folder.prune(recipe.training.keep_checkpoints)  # what a run that was killed did not come to
    if folder.journal().size() < checkpoint.state["journal"]:
        callbacks.say(
            f"{folder.path / JOURNAL} has lost lines since {newest.name} was saved; training does not need them"
        )


def _has_intact_bundle(folder: RunFolder, wanted: Recipe, callbacks: Callbacks) -> bool:
    if not _is_released(folder, wanted):
        return False
    try:
        load_bundle(folder.path / BUNDLE)
    except BundleError as error:
        callbacks.say(f"{str(error).removesuffix(WAY_OUT)}; it is made again from the run's checkpoint")
        return False
    return True


def _is_released(folder: RunFolder, wanted: Recipe) -> bool:
    """Whether a run's bundle, damaged or not, carries the weights that a recipe asks for."""
    if not (folder.path / BUNDLE).is_dir():
        return False
    try:
        released = parse_recipe(read_json(folder.path / BUNDLE / RECIPE), RECIPE)
    except (OSError, ValueError, ConfigError):  # damaged; which its reader tells of
        return True
    if goal(released) != goal(wanted):
        return False
    for newest in folder.checkpoints()[-1:]:
        with suppress(RunError):  # damaged; resuming tells of it
            note = folder.manifest(newest)
            return not goes_on(released, wanted, note["stage"], note["stage_step"])
    return True


def is_finished(folder: RunFolder) -> bool:
    """Whether a run has trained all its stages and released its bundle; no more so if its recipe has more steps now."""
    return _is_released(folder, written_recipe(folder))


def reopen(
    folder: RunFolder, callbacks: Callbacks, device: str | None = None, wanted: Recipe | None = None
) -> tuple[RunContext, TrainedEvalClassifier]:
    """The data and the recogniser that a run began with.

    Args:
        folder: the run.
        callbacks: who is told what was found.
        device: another one than the recipe's.
        wanted: what it is to go on with; None is its recipe.

    Raises:
        RunError: the high- or low-quality images have changed since, or the recogniser or the class codes are lost.
        ConfigError: the recipe was changed in a way that the run cannot follow.
    """
    recipe = _on_device(wanted or written_recipe(folder), device)
    start_engine(recipe.device, recipe.training.precision)  # a device that is not there is told first
    check_settings(trained_recipe(folder), recipe, str(folder.path))
    then = folder.read_json(DATA)
    recipe = with_form(recipe, codes=then.get("class_codes") is not None)
    try:
        context = open_context(recipe, callbacks)
        low, pairing = context.dataset.low_quality, then.get("pairing")
        if low is not None and pairing not in (None, low.pairing):  # auto meant something else then
            data = recipe.data.model_copy(update={"pairing": pairing})
            context = open_context(recipe.model_copy(update={"data": data}), callbacks)
    except DataError as error:
        raise RunError(f"{error} (if the images moved, write their new place into {folder.path / RECIPE})") from error
    now = fingerprints(context.dataset)
    for side, fingerprint in now.items():
        if then.get("fingerprints", {}).get(side) != fingerprint:
            raise RunError(
                f"the {side} images have changed since {folder.path} began, or are read otherwise today; restore them, "
                "or train a new run"
            )
    context = replace(context, codes=_own_codes(context, folder, then.get("class_codes")))
    return context, context.engine.processes.main_first(
        lambda: _own_eval_classifier(context, folder, then.get("extractor"), callbacks)
    )


def _own_codes(context: RunContext, folder: RunFolder, known: object) -> ClassCodes | None:
    """The run's own codes, known by their hash."""
    file = folder.path / CODES
    try:
        codes = stored_codes(file, context.recipe, context.data_spec)
        if codes is not None and sha256(file) != known:
            raise ValueError(f"{CODES} has another hash than {DATA} says")
        return codes
    except (OSError, ValueError) as error:
        raise RunError(f"{file} is missing or damaged ({excerpt(error)}); restore it, or train a new run") from error


def _own_eval_classifier(
    context: RunContext, folder: RunFolder, name: object, callbacks: Callbacks
) -> TrainedEvalClassifier:
    """The run's own recogniser, known by its name, which holds its hash; from the cache if the run's is damaged."""
    weights = folder.path / RECOGNISER
    classes = len(context.dataset.evaluated_classes.labels)
    with suppress(CtfganError):  # damaged as below
        own = load_eval_classifier(
            weights, context.data_spec.channels, classes, context.recipe.recogniser, context.device
        )
        if own.card.name == name:
            return own
    callbacks.say(f"{weights} is missing or damaged and is made again from the run's images")
    again = context.eval_classifier(callbacks.progress)
    if again.card.name != name:
        raise RunError(
            f"{weights} is missing or damaged, and {again.card.name} is another one than the run's {name}; restore the "
            "file, or train a new run"
        )
    try:
        write_file(weights, again.weights.read_bytes())
    except CtfganError as error:  # measuring does not need the run's copy
        callbacks.say(f"{error}; the one in the cache is used")
    return again


def _on_device(recipe: Recipe, device: str | None) -> Recipe:
    return recipe if device is None else recipe.model_copy(update={"device": device})

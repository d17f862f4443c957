"""From a recipe to a finished run folder: prepare, train, release."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from ctfgan.bundle.bundle import (
    Bundle,
    bank_for_bundle,
    environment,
    save_bundle,
)
from ctfgan.bundle.warm_start import Matched, WarmStart, model_hash, open_start
from ctfgan.core.errors import (
    Interrupted,
    ProcessLost,
    RunError,
    Terminated,
)
from ctfgan.core.files import write_file
from ctfgan.core.signals import stop_on_signals
from ctfgan.data.prepare import check_apart
from ctfgan.distributed.engine import start_engine
from ctfgan.distributed.processes import Processes
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier
from ctfgan.models.ctf_gan import TransferGenerator
from ctfgan.recipes.build import build_generator, with_form
from ctfgan.recipes.catalogue import origin_of
from ctfgan.recipes.recipe import Recipe, StartSettings
from ctfgan.runs.context import Callbacks, RunContext, main_only, open_context
from ctfgan.runs.run_notes import (
    data_summary,
    levels_entry,
    note_recipe,
)
from ctfgan.runs.time_plan import Dial, with_plan, with_short_classifiers
from ctfgan.storage.checkpoints import UNFIT, Checkpoint, average_weights, network_weights
from ctfgan.storage.run_folder import (
    BUNDLE,
    CODES,
    DATA,
    RECIPE,
    RECOGNISER,
    RunFolder,
)
from ctfgan.training.divergence import HealthRecord
from ctfgan.training.trackers import tracked
from ctfgan.training.trainer import Trainer


def train(
    recipe: Recipe,
    out: str | Path | None = None,
    callbacks: Callbacks | None = None,
    *,
    minutes: float | None = None,
    keep: Iterable[str] = (),
    began: float | None = None,
) -> Path:
    """Train a recipe from the start; returns the run folder, its bundle inside.

    Under a launcher of several processes all of them must call this; they train one run.

    Args:
        recipe: from :func:`ctfgan.recipe`.
        out: the new run folder; None makes ``runs/<recipe>-<time>``.
        callbacks: who is told what happens; None is silent.
        minutes: that all of it may take; widths, batch sizes, rates, steps and checks then follow from what this
            machine does in that time (decision 34). None takes the recipe as it is.
        keep: full names of settings that ``minutes`` leaves as they are, besides those in which the recipe differs from
            the named one.
        began: when the minutes began to count, in seconds of :func:`time.monotonic`; None is now.

    Raises:
        CtfganError: wrong settings or data, an existing folder, a full disk; or a signal, after a save.
    """
    began = time.monotonic() if began is None else began
    dial = None if minutes is None else Dial.of(minutes, recipe, origin_of(recipe), keep, began)
    engine = start_engine(recipe.device, recipe.training.precision)
    processes = engine.processes
    callbacks = main_only(callbacks or Callbacks(), engine)
    folder = RunFolder(Path(processes.on_main(lambda: _free_path(recipe, out))))
    with tracked(recipe.training.tracker, folder, processes, callbacks.say):
        with interrupted("stopped before training began, nothing was saved; run the same command again"):
            prepared = prepare_run(recipe, callbacks, dial)

        def create() -> None:
            RunFolder.create(folder.path, prepared.context.recipe.to_json())

        processes.on_main(create)
        with hold_run(folder, processes, callbacks):
            return begin_run(prepared, folder, callbacks, time.monotonic() - began)


def _free_path(recipe: Recipe, out: str | Path | None) -> str:
    path = Path(out) if out else Path("runs", f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    RunFolder.check_free(path)
    return str(path)


@dataclass(frozen=True)
class PreparedRun:
    """What a run needs before its first step."""

    context: RunContext
    eval_classifier: TrainedEvalClassifier
    start: Matched | None


def prepare_run(recipe: Recipe, callbacks: Callbacks, dial: Dial | None = None) -> PreparedRun:
    """Open the data of a recipe and make of them all that training needs; with a dial the recipe follows from it."""
    recipe, start = with_start(recipe)
    context = open_context(recipe, callbacks)
    context.engine.processes.on_main(lambda: check_apart(context.dataset, recipe.data))
    matched = None if start is None else matched_start(start, context, callbacks)
    each = 0.0
    if dial is not None:
        context, each = with_short_classifiers(context, dial)
    eval_classifier = context.engine.processes.main_first(lambda: context.eval_classifier(callbacks.progress))
    context = context.with_codes(callbacks.progress, matched)
    if dial is not None:
        context, lines = with_plan(context, dial, each)
        callbacks.say("\n".join(lines))
    return PreparedRun(context, eval_classifier, matched)


def with_start(recipe: Recipe) -> tuple[Recipe, WarmStart | None]:
    """The weights that a recipe begins with, if it names some, and the recipe with their hash and, where it leaves that
    open, with the form in which they know classes.
    """
    start = open_start(recipe.start)
    if start is None:
        return recipe, None
    known = StartSettings(path=start.path, sha256=model_hash(start.bundle))
    return with_form(recipe.model_copy(update={"start": known}), codes=start.bundle.codes is not None), start


def matched_start(start: WarmStart, context: RunContext, callbacks: Callbacks) -> Matched:
    """The trained weights that a run begins with, matched to its classes; says what was matched.

    Raises:
        ConfigError: they are of other networks than the recipe's.
    """
    side = context.dataset.low_quality
    names = context.dataset.classes
    labels = side.classes if side else ()
    matched = start.for_classes(context.recipe, context.data_spec, names, labels, matched=context.is_matched)
    callbacks.say(matched.sentence(names))
    return matched


def begin_run(prepared: PreparedRun, folder: RunFolder, callbacks: Callbacks, spent: float = 0.0) -> Path:
    """Train from the first step, in a folder that is held and has a recipe, some seconds after the run began."""

    def note() -> None:
        folder.journal().truncate(0)
        write_file(folder.path / RECOGNISER, prepared.eval_classifier.weights.read_bytes())
        if prepared.context.codes is not None:
            write_file(folder.path / CODES, prepared.context.codes.save())
        folder.write_json(DATA, data_summary(prepared.context, prepared.eval_classifier, folder))

    prepared.context.engine.processes.on_main(note)
    return finish_run(prepared, folder, None, callbacks, spent)


def finish_run(
    prepared: PreparedRun, folder: RunFolder, checkpoint: Checkpoint | None, callbacks: Callbacks, spent: float = 0.0
) -> Path:
    """Train from a checkpoint, or from the first step, to the end, and write the bundle."""
    context, recipe = prepared.context, prepared.context.recipe
    method, processes = context.method(), context.engine.processes
    if prepared.start is not None:
        prepared.start.put_into(method.networks)
    trainer = Trainer(
        method,
        context.dataset,
        prepared.eval_classifier,
        recipe.training,
        folder,
        recipe.seed,
        context.engine,
        checkpoint,
        spent,
    )
    if checkpoint is not None:
        processes.on_main(lambda: note_recipe(folder, checkpoint))
    way_on = f"go on from the last checkpoint with 'ctfgan resume {folder.path}'"
    try:
        with (
            interrupted(f"stopped at once; {way_on}"),
            stop_on_signals(patient=processes.count > 1) as stop,
        ):
            trainer.run(callbacks.callback, stop)
    except ProcessLost as lost:
        raise trainer.rescue(lost) from lost
    except Interrupted:
        processes.forget_requests()
        raise
    processes.forget_requests()
    with interrupted(f"stopped before the bundle was written; {way_on}"):
        processes.on_main(lambda: _release(context, folder, len(method.stages)))
    return folder.path


@contextmanager
def hold_run(folder: RunFolder, processes: Processes, callbacks: Callbacks) -> Iterator[None]:
    """The run's lock, in the hand of the main process."""
    with ExitStack() as lock:
        processes.on_main(lambda: lock.enter_context(folder.held(callbacks.say)))
        yield


@contextmanager
def interrupted(message: str) -> Iterator[None]:
    """Say ``message`` where Ctrl-C, SIGTERM or SIGHUP ends what is being done."""
    try:
        yield
    except KeyboardInterrupt as stop:
        number = stop.signal_number if isinstance(stop, Terminated) else signal.SIGINT
        raise Interrupted(message, number) from None


def _release(context: RunContext, folder: RunFolder, stages: int) -> None:
    generator = released_generator(context, folder)
    choice = folder.released(context.recipe.training.release)
    side = context.dataset.low_quality
    bank = bank_for_bundle(side.bank, context.recipe.data.seed) if side else None
    if isinstance(generator, TransferGenerator) and side is not None and (side.bank.labels >= 0).all():
        generator.features.average_unlabelled()
    manifest = folder.manifest(choice)
    provenance = {
        "counts": folder.read_json(DATA)["counts"],
        "seeds": {"training": context.recipe.seed, "data": context.recipe.data.seed},
        "health": asdict(HealthRecord.of(folder.journal())),
        # A checkpoint's number counts the switches between stages, too.
        "steps": folder.manifest(folder.checkpoints()[-1])["step"] - (stages - 1),
        "weights": {"checkpoint": choice.name, "stage": manifest["stage"], "step": manifest["stage_step"]},
        "versions": environment(),
        **levels_entry(context.dataset),
    }
    low_quality_classes = side.classes if side else ()
    bundle = Bundle(
        context.recipe,
        context.data_spec,
        context.dataset.classes,
        low_quality_classes,
        bank,
        generator,
        provenance,
        context.codes,
    )
    save_bundle(bundle, folder.path / BUNDLE)


def released_generator(context: RunContext, folder: RunFolder, *, average: bool = True) -> nn.Module:
    """The generator of the checkpoint that the recipe releases, in evaluation mode.

    Args:
        context: the run's data and shape.
        folder: the run.
        average: the moving average if the run kept one; else the weights as trained.
    """
    stored = folder.load_tensors(folder.released(context.recipe.training.release))
    with torch.device("meta"):
        generator = build_generator(context.recipe, context.data_spec, codes=context.codes)
    averaged = average and context.recipe.training.ema_decay is not None
    weights = average_weights(stored) if averaged else network_weights(stored, "generator")
    try:
        generator.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise RunError(f"{folder.path / RECIPE} does not fit the checkpoints{UNFIT}") from error
    return generator.eval()

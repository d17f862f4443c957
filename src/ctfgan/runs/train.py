"""From a recipe to a finished run folder: prepare, train, release; and the same from where a run stopped."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ctfgan.bundle.bundle import (
    WAY_OUT,
    Bundle,
    bank_for_bundle,
    commit,
    environment,
    load_bundle,
    save_bundle,
    stored_levels,
)
from ctfgan.bundle.warm_start import Matched, Start, model_hash, open_start
from ctfgan.core.errors import (
    BundleError,
    ConfigError,
    CtfganError,
    DataError,
    Interrupted,
    ProcessLost,
    RunError,
    Terminated,
)
from ctfgan.core.files import read_json, sha256, write_file
from ctfgan.core.signals import stop_on_signals
from ctfgan.core.text import excerpt
from ctfgan.data.dataset import Dataset
from ctfgan.data.packed import FORMAT
from ctfgan.data.prepare import check_apart
from ctfgan.distributed.engine import processor, start_engine
from ctfgan.distributed.processes import Processes
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier, load_eval_classifier
from ctfgan.models.ctf_gan import TransferGenerator
from ctfgan.recipes.build import build_generator, stored_codes, with_form
from ctfgan.recipes.overlay import changed_settings, with_settings
from ctfgan.recipes.recipe import Recipe, StartSettings, parse_recipe
from ctfgan.recipes.resuming import check_patience, check_settings, check_steps, goal, goes_on
from ctfgan.recipes.validate import check_recipe
from ctfgan.runs.context import Callbacks, RunContext, main_only, open_context
from ctfgan.storage.checkpoints import UNFIT, Checkpoint, below
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
from ctfgan.training.divergence import HealthRecord
from ctfgan.training.trackers import tracked
from ctfgan.training.trainer import Trainer


def train(recipe: Recipe, out: str | Path | None = None, callbacks: Callbacks | None = None) -> Path:
    """Train a recipe from the start; returns the run folder, its bundle inside.

    Under a launcher of several processes all of them must call this; they train one run.

    Args:
        recipe: from :func:`ctfgan.recipe`.
        out: the new run folder; None makes ``runs/<recipe>-<time>``.
        callbacks: who is told what happens; None is silent.

    Raises:
        CtfganError: wrong settings or data, an existing folder, a full disk; or a signal, after a save.
    """
    engine = start_engine(recipe.device, recipe.training.precision)
    processes = engine.processes
    callbacks = main_only(callbacks or Callbacks(), engine)
    folder = RunFolder(Path(processes.on_main(lambda: _free_path(recipe, out))))
    with tracked(recipe.training.tracker, folder, processes, callbacks.say):
        with _interrupted("stopped before training began, nothing was saved; run the same command again"):
            beginning = _prepared(recipe, callbacks)

        def create() -> None:
            RunFolder.create(folder.path, beginning.place.recipe.to_json())

        processes.on_main(create)
        with _held(folder, processes, callbacks):
            return _begin(beginning, folder, callbacks)


@dataclass(frozen=True)
class _Beginning:
    """What a run needs before its first step."""

    place: RunContext
    eval_classifier: TrainedEvalClassifier
    start: Matched | None


def _prepared(recipe: Recipe, callbacks: Callbacks) -> _Beginning:
    recipe, start = with_start(recipe)
    place = open_context(recipe, callbacks)
    place.engine.processes.on_main(lambda: check_apart(place.dataset, recipe.data))
    matched = None if start is None else matched_start(start, place, callbacks)
    eval_classifier = place.engine.processes.main_first(lambda: place.eval_classifier(callbacks.progress))
    return _Beginning(place.with_codes(callbacks.progress, matched), eval_classifier, matched)


def with_start(recipe: Recipe) -> tuple[Recipe, Start | None]:
    """The weights that a recipe begins with, if it names some, and the recipe with their hash and, where it leaves that
    open, with the form in which they know classes.
    """
    start = open_start(recipe.start)
    if start is None:
        return recipe, None
    known = StartSettings(path=start.path, sha256=model_hash(start.bundle))
    return with_form(recipe.model_copy(update={"start": known}), codes=start.bundle.codes is not None), start


def _begin(beginning: _Beginning, folder: RunFolder, callbacks: Callbacks) -> Path:
    """Train from the first step, in a folder that is held and has a recipe."""

    def note() -> None:
        folder.journal().truncate(0)
        write_file(folder.path / RECOGNISER, beginning.eval_classifier.weights.read_bytes())
        if beginning.place.codes is not None:
            write_file(folder.path / CODES, beginning.place.codes.save())
        folder.write_json(DATA, _summary(beginning.place, beginning.eval_classifier, folder))

    beginning.place.engine.processes.on_main(note)
    return _finish(beginning.place, beginning.eval_classifier, folder, None, callbacks, beginning.start)


def matched_start(start: Start, place: RunContext, callbacks: Callbacks) -> Matched:
    """The trained weights that a run begins with, matched to its classes; says what was matched.

    Raises:
        ConfigError: they are of other networks than the recipe's.
    """
    side = place.dataset.low_quality
    names = place.dataset.classes
    labels = side.classes if side else ()
    matched = start.for_classes(place.recipe, place.data_spec, names, labels, matched=place.is_matched)
    callbacks.say(matched.sentence(names))
    return matched


def _free_path(recipe: Recipe, out: str | Path | None) -> str:
    path = Path(out) if out else Path("runs", f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    RunFolder.check_free(path)
    return str(path)


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
    folder = RunFolder.begun(Path(path))
    written = _written_recipe(folder)
    wanted = with_settings(written, {}, tuple(settings))
    recipe = _on_device(wanted, device)
    engine = start_engine(recipe.device, recipe.training.precision)
    callbacks = main_only(callbacks or Callbacks(), engine)
    processes = engine.processes
    is_released = processes.on_main(lambda: _has_intact_bundle(folder, wanted, callbacks))
    if is_released and wanted == written:
        callbacks.say(f"{path} is finished already; {_WAY_FURTHER}")
        return folder.path
    with _held(folder, processes, callbacks), tracked(recipe.training.tracker, folder, processes, callbacks.say):
        stopped = f"stopped before training went on, nothing was lost; go on with 'ctfgan resume {path}'"
        if processes.on_main(folder.is_untrained):
            callbacks.say(f"{path} was stopped before its first checkpoint and begins anew")
            with _interrupted(stopped):
                beginning = _prepared(recipe, callbacks)
            processes.on_main(lambda: _write_recipe(folder, wanted, written))
            return _begin(beginning, folder, callbacks)
        with _interrupted(stopped):
            newest = Path(processes.on_main(lambda: str(folder.newest_intact(callbacks.say))))
            checkpoint = processes.main_first(lambda: folder.load(newest, is_checked=True))
            processes.on_main(lambda: _tidy(folder, recipe, newest, checkpoint, callbacks))
            _check_changes(folder, wanted, written, newest, checkpoint, processes.count)
            if not is_released or wanted.data != written.data:
                place, eval_classifier = reopen(folder, callbacks, device, wanted)
            processes.on_main(lambda: _write_recipe(folder, wanted, written))
            if is_released:
                callbacks.say(f"{path} is finished already and has its new settings; {_WAY_FURTHER}")
                return folder.path
            processes.on_main(lambda: _put_figures_aside(folder, newest, callbacks))
        callbacks.say(f"resuming from {newest}")
        return _finish(place, eval_classifier, folder, checkpoint, callbacks)


_WAY_FURTHER = "more steps than it has train it on, such as --set generate.steps=N"


def _check_changes(
    folder: RunFolder, wanted: Recipe, written: Recipe, newest: Path, checkpoint: Checkpoint, processes: int
) -> None:
    """Refuse what of a run's recipe may not change, before its data are opened."""
    check_recipe(wanted, processes)
    run, note = str(folder.path), folder.manifest(newest)
    before = _trained_recipe(folder) or written  # earlier versions did not note it
    check_settings(before, wanted, run)
    check_steps(before, wanted, note["stage"], note["stage_step"], run)
    check_patience(before, wanted, note["stage"], checkpoint.state["distances"], run)


def _write_recipe(folder: RunFolder, wanted: Recipe, written: Recipe) -> None:
    if wanted != written:
        write_file(folder.path / RECIPE, wanted.to_json().encode())


def _note_recipe(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Note in ``data.json`` what a run goes on training with, and what that changes and where."""
    now, before, data = _written_recipe(folder), _trained_recipe(folder), folder.read_json(DATA)
    if now == before:
        return
    data["recipe"] = now.model_dump(mode="json")
    if before is not None:
        state = checkpoint.state
        changed = {name: {"before": old, "now": new} for name, (new, old) in changed_settings(now, before).items()}
        at = {"after_steps": state["steps_before"] + state["optimizers"]["step"]}
        data["changes"] = [*data.get("changes", []), {**at, "settings": changed}]
    folder.write_json(DATA, data)


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


def _written_recipe(folder: RunFolder) -> Recipe:
    return parse_recipe(folder.read_json(RECIPE), str(folder.path / RECIPE))


def _trained_recipe(folder: RunFolder) -> Recipe | None:
    """What a run has trained with; None for one of an earlier version, which did not note it."""
    noted = folder.read_json(DATA).get("recipe")
    return None if noted is None else parse_recipe(noted, str(folder.path / DATA))


def _on_device(recipe: Recipe, device: str | None) -> Recipe:
    return recipe if device is None else recipe.model_copy(update={"device": device})


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
    recipe = _on_device(wanted or _written_recipe(folder), device)
    start_engine(recipe.device, recipe.training.precision)  # a device that is not there is told first
    check_settings(_trained_recipe(folder) or recipe, recipe, str(folder.path))
    then = folder.read_json(DATA)
    recipe = with_form(recipe, codes=then.get("class_codes") is not None)
    try:
        place = open_context(recipe, callbacks)
        low, pairing = place.dataset.low_quality, then.get("pairing")
        if low is not None and pairing not in (None, low.pairing):  # auto meant something else then
            data = recipe.data.model_copy(update={"pairing": pairing})
            place = open_context(recipe.model_copy(update={"data": data}), callbacks)
    except DataError as error:
        raise RunError(f"{error} (if the images moved, write their new place into {folder.path / RECIPE})") from error
    now = _fingerprints(place.dataset)
    for side, fingerprint in now.items():
        if then.get("fingerprints", {}).get(side) != fingerprint:
            if side == "training":
                raise RunError(
                    f"{folder.path} divided copies of images between training and reference, or otherwise than today; "
                    "train a new run"
                )
            if then.get("packed") != FORMAT:
                raise RunError(
                    f"the {side} images have changed since {folder.path} began, or are read otherwise today (levels, "
                    "colour profiles, images without a label); use the version of ctfgan that it began with, or train "
                    "a new run"
                )
            raise RunError(
                f"the {side} images have changed since {folder.path} began; restore them, or train a new run"
            )
    place = replace(place, codes=_own_codes(place, folder, then.get("class_codes")))
    return place, place.engine.processes.main_first(
        lambda: _own_eval_classifier(place, folder, then.get("extractor"), callbacks)
    )


def _own_codes(place: RunContext, folder: RunFolder, known: object) -> ClassCodes | None:
    """The run's own codes, known by their hash."""
    file = folder.path / CODES
    try:
        codes = stored_codes(file, place.recipe, place.data_spec)
        if codes is not None and sha256(file) != known:
            raise ValueError(f"{CODES} has another hash than {DATA} says")
        return codes
    except (OSError, ValueError) as error:
        raise RunError(f"{file} is missing or damaged ({excerpt(error)}); restore it, or train a new run") from error


def _own_eval_classifier(
    place: RunContext, folder: RunFolder, name: object, callbacks: Callbacks
) -> TrainedEvalClassifier:
    """The run's own recogniser, known by its name, which holds its hash; from the cache if the run's is damaged."""
    weights = folder.path / RECOGNISER
    classes = len(place.dataset.evaluated_classes.labels)
    with suppress(CtfganError):  # damaged as below
        own = load_eval_classifier(weights, place.data_spec.channels, classes, place.recipe.recogniser, place.device)
        if own.card.name == name:
            return own
    callbacks.say(f"{weights} is missing or damaged and is made again from the run's images")
    again = place.eval_classifier(callbacks.progress)
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


def is_finished(folder: RunFolder) -> bool:
    """Whether a run has trained all its stages and released its bundle; no more so if its recipe has more steps now."""
    return _is_released(folder, _written_recipe(folder))


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


def released_checkpoint(recipe: Recipe, folder: RunFolder) -> Path:
    """The checkpoint whose weights the recipe releases."""
    return folder.released(recipe.training.release)


def released_generator(place: RunContext, folder: RunFolder, *, average: bool = True) -> nn.Module:
    """The generator of the checkpoint that the recipe releases, in evaluation mode.

    Args:
        place: the run's data and shape.
        folder: the run.
        average: the moving average if the run kept one; else the weights as trained.
    """
    stored = folder.load_tensors(released_checkpoint(place.recipe, folder))
    with torch.device("meta"):
        generator = build_generator(place.recipe, place.data_spec, codes=place.codes)
    averaged = average and place.recipe.training.ema_decay is not None
    weights = below(stored, "average." if averaged else "networks.generator.")
    try:
        generator.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise RunError(f"{folder.path / RECIPE} does not fit the checkpoints{UNFIT}") from error
    return generator.eval()


def _finish(
    place: RunContext,
    eval_classifier: TrainedEvalClassifier,
    folder: RunFolder,
    checkpoint: Checkpoint | None,
    callbacks: Callbacks,
    begin: Matched | None = None,
) -> Path:
    recipe = place.recipe
    method = place.method()
    if begin is not None:
        begin.put_into(method.networks)
    trainer = Trainer(
        method, place.dataset, eval_classifier, recipe.training, folder, recipe.seed, place.engine, checkpoint
    )
    if checkpoint is not None:
        place.engine.processes.on_main(lambda: _note_recipe(folder, checkpoint))
    way_on = f"go on from the last checkpoint with 'ctfgan resume {folder.path}'"
    try:
        with (
            _interrupted(f"stopped at once; {way_on}"),
            stop_on_signals(patient=place.engine.processes.count > 1) as stop,
        ):
            trainer.run(callbacks.callback, stop)
    except ProcessLost as lost:
        raise trainer.rescue(lost) from lost
    except Interrupted:
        place.engine.processes.forget_requests()
        raise
    place.engine.processes.forget_requests()
    with _interrupted(f"stopped before the bundle was written; {way_on}"):
        place.engine.processes.on_main(lambda: _release(place, folder, len(method.stages)))
    return folder.path


@contextmanager
def _held(folder: RunFolder, processes: Processes, callbacks: Callbacks) -> Iterator[None]:
    """The run's lock, in the hand of the main process."""
    with ExitStack() as lock:
        processes.on_main(lambda: lock.enter_context(folder.held(callbacks.say)))
        yield


@contextmanager
def _interrupted(message: str) -> Iterator[None]:
    """Say ``message`` where Ctrl-C, SIGTERM or SIGHUP ends what is being done."""
    try:
        yield
    except KeyboardInterrupt as stop:
        number = stop.signal_number if isinstance(stop, Terminated) else signal.SIGINT
        raise Interrupted(message, number) from None


def _release(place: RunContext, folder: RunFolder, stages: int) -> None:
    generator = released_generator(place, folder)
    choice = released_checkpoint(place.recipe, folder)
    side = place.dataset.low_quality
    bank = bank_for_bundle(side.bank, place.recipe.data.seed) if side else None
    if isinstance(generator, TransferGenerator) and side is not None and (side.bank.labels >= 0).all():
        generator.features.average_unlabelled()
    manifest = folder.manifest(choice)
    provenance = {
        "counts": folder.read_json(DATA)["counts"],
        "seeds": {"training": place.recipe.seed, "data": place.recipe.data.seed},
        "health": asdict(HealthRecord.of(folder.journal())),
        # A checkpoint's number counts the switches between stages, too.
        "steps": folder.manifest(folder.checkpoints()[-1])["step"] - (stages - 1),
        "weights": {"checkpoint": choice.name, "stage": manifest["stage"], "step": manifest["stage_step"]},
        "versions": environment(),
        **_levels(place.dataset),
    }
    low_quality_classes = side.classes if side else ()
    bundle = Bundle(
        place.recipe,
        place.data_spec,
        place.dataset.classes,
        low_quality_classes,
        bank,
        generator,
        provenance,
        place.codes,
    )
    save_bundle(bundle, folder.path / BUNDLE)


def _levels(dataset: Dataset) -> dict[str, Any]:
    """What levels of images that are no bytes mean, so that new ones are read as those that the model saw."""
    high, side = dataset.high_quality.survey.levels, dataset.low_quality
    if side is None:
        return stored_levels({"high_quality": high})
    low = high if side.packed is None else side.packed.survey.levels  # degraded copies show what they were made of
    return stored_levels({"high_quality": high, "low_quality": low})


def _fingerprints(dataset: Dataset) -> dict[str, str]:
    found = {"high-quality": dataset.high_quality.fingerprint}
    if dataset.high_quality.copies:  # older runs have them on both sides of their splits
        found["training"] = hashlib.sha256(dataset.training.tobytes() + dataset.pool.tobytes()).hexdigest()
    if dataset.has_own_reference:
        found["reference"] = dataset.reference.packed.fingerprint
    if dataset.low_quality is not None:
        found["low-quality"] = "".join(bank.fingerprint() for bank in dataset.low_quality.banks)
    if len(dataset.lq_only):  # which label is which class
        found["classes"] = hashlib.sha256("\0".join(dataset.classes).encode()).hexdigest()
    return found


def _summary(place: RunContext, eval_classifier: TrainedEvalClassifier, folder: RunFolder) -> dict[str, object]:
    dataset = place.dataset
    side = dataset.low_quality
    return {
        "fingerprints": _fingerprints(dataset),
        "packed": FORMAT,
        "unreadable": [list(found) for packed in dataset.packs for found in packed.survey.unreadable],
        "unreadable_count": sum(packed.survey.unreadable_count for packed in dataset.packs),
        "counts": {
            "classes": dataset.num_classes,
            "lq_only": len(dataset.lq_only),
            "withheld": len(dataset.withheld),
            "high_quality": len(dataset.training),
            "pool": len(dataset.pool),
            "reference": len(dataset.reference),
            "low_quality": len(side.bank) if side else 0,
            "low_quality_held_out": len(side.held_out) if side and side.held_out else 0,
        },
        "pairing": side.pairing if side else None,
        "recipe": _written_recipe(folder).model_dump(mode="json"),
        "extractor": eval_classifier.card.name,
        "class_codes": None if place.codes is None else sha256(folder.path / CODES),
        "device": place.engine.describe(),
        "processor": processor(),
        "versions": environment(),
        "commit": commit(),
    }

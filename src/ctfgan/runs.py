"""From a recipe to a finished run folder: prepare, train, release; and the same from where a run stopped."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from ctfgan.bundle import Bundle, bank_for_bundle, environment, save_bundle
from ctfgan.data.prepare import Dataset
from ctfgan.errors import ConfigError, DataError, Interrupted, ProcessLost, RunError
from ctfgan.files import write_file
from ctfgan.lifecycle.starting import Matched, Start, model_hash, open_start
from ctfgan.metrics.recogniser import TrainedRecogniser, load_recogniser
from ctfgan.models.generator_a import TransferGenerator
from ctfgan.recipes.build import build_generator
from ctfgan.recipes.recipe import Recipe, StartSettings, parse_recipe
from ctfgan.training.ema import released_average
from ctfgan.training.processes import Processes
from ctfgan.training.recovery import HealthRecord
from ctfgan.training.run_folder import BUNDLE, DATA, RECIPE, RECOGNISER, RunFolder, StoredCheckpoint
from ctfgan.training.runtime import start_engine, stop_on_signals
from ctfgan.training.tensor_files import below
from ctfgan.training.tracking import tracked
from ctfgan.training.trainer import Trainer
from ctfgan.workplace import Watch, Workplace, heard, open_workplace


def train(recipe: Recipe, out: str | Path | None = None, watch: Watch | None = None) -> Path:
    """Train a recipe from the start; returns the run folder, its bundle inside.

    Under a launcher of several processes all of them must call this; they train one run.

    Args:
        recipe: from :func:`ctfgan.recipe`.
        out: the new run folder; None makes ``runs/<recipe>-<time>``.
        watch: who is told what happens; None is silent.

    Raises:
        CtfganError: wrong settings or data, an existing folder, a full disk; or a signal, after a save.
    """
    engine = start_engine(recipe.device, recipe.training.precision)
    processes = engine.processes
    watch = heard(watch or Watch(), engine)
    folder = RunFolder(Path(processes.on_main(lambda: _free_path(recipe, out))))
    start = open_start(recipe.start)
    if start is not None:
        known = StartSettings(path=start.path, sha256=model_hash(start.bundle))
        recipe = recipe.model_copy(update={"start": known})
    with tracked(recipe.training.tracker, folder, engine, watch.say):
        return _begin(recipe, folder, start, watch, processes)


def _begin(recipe: Recipe, folder: RunFolder, start: Start | None, watch: Watch, processes: Processes) -> Path:
    """Make the run folder once data and recogniser are there, and train."""
    try:
        place = open_workplace(recipe, watch)
        begin = None if start is None else matched_start(start, place, watch)
        recogniser = processes.main_first(lambda: place.recogniser(watch.progress))
    except KeyboardInterrupt:
        message = "stopped before training began, nothing was saved; run the same command again"
        raise Interrupted(message, signal.SIGINT) from None

    def create() -> None:
        RunFolder.create(folder.path, recipe.to_json())
        write_file(folder.path / RECOGNISER, recogniser.weights.read_bytes())
        folder.write_json(DATA, _summary(place, recogniser))

    processes.on_main(create)
    with _held(folder, processes):
        return _finish(place, recogniser, folder, None, watch, begin)


def matched_start(start: Start, place: Workplace, watch: Watch) -> Matched:
    """The trained weights that a run begins with, matched to its classes; says what was matched.

    Raises:
        ConfigError: they are of other networks than the recipe's, or its tables are spread over processes.
    """
    if place.engine.processes.count > 1 and place.recipe.method.networks.table_placement == "sharded":
        raise ConfigError(
            "method.networks.table_placement is sharded, but trained weights to start from (--from) are put into whole "
            "tables; begin on one process and resume on several, or set table_placement to replicated"
        )
    side = place.dataset.low_quality
    names = place.dataset.classes
    matched = start.for_classes(place.recipe, place.shape, names, side.classes if side else ())
    watch.say(matched.sentence(names))
    return matched


def _free_path(recipe: Recipe, out: str | Path | None) -> str:
    path = Path(out) if out else Path("runs", f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    RunFolder.check_free(path)
    return str(path)


def resume(path: str | Path, watch: Watch | None = None, device: str | None = None) -> Path:
    """Continue a run from its newest checkpoint; on a CPU with the same number of threads, bit for bit.

    The number of processes may be another one than before; then the order of summation is, too.

    Args:
        path: the run folder.
        watch: who is told what happens; None is silent.
        device: another device than the recipe's.

    Raises:
        RunError: no run there, a damaged checkpoint, or data that changed since the run began.
    """
    folder = RunFolder.open(Path(path))
    place, recogniser = reopen(folder, watch or Watch(), device)
    watch = heard(watch or Watch(), place.engine)
    if is_finished(folder):
        watch.say(f"{path} is finished already")
        return folder.path
    newest = folder.checkpoints()[-1]
    checkpoint = place.engine.processes.main_first(lambda: folder.load(newest))
    watch.say(f"resuming from {newest}")
    with (
        _held(folder, place.engine.processes),
        tracked(place.recipe.training.tracker, folder, place.engine, watch.say),
    ):
        return _finish(place, recogniser, folder, checkpoint, watch)


def reopen(folder: RunFolder, watch: Watch, device: str | None = None) -> tuple[Workplace, TrainedRecogniser]:
    """The data and the recogniser that a run began with.

    Raises:
        RunError: the high- or low-quality images have changed since.
    """
    recipe = parse_recipe(folder.read_json(RECIPE), str(folder.path / RECIPE))
    if device is not None:
        recipe = recipe.model_copy(update={"device": device})
    try:
        place = open_workplace(recipe, watch)
    except DataError as error:
        raise RunError(f"{error} (if the images moved, write their new place into {folder.path / RECIPE})") from error
    then, now = folder.read_json(DATA), _fingerprints(place.dataset)
    for side, fingerprint in now.items():
        if then.get("fingerprints", {}).get(side) != fingerprint:
            raise RunError(
                f"the {side} images have changed since {folder.path} began; restore them, or train a new run"
            )
    weights = folder.path / RECOGNISER
    classes = len(place.dataset.measured.labels)
    return place, load_recogniser(weights, place.shape.channels, classes, recipe.recogniser, place.device)


def is_finished(folder: RunFolder) -> bool:
    """Whether a run has trained all its stages and released its bundle."""
    return (folder.path / BUNDLE).is_dir()


def released_checkpoint(recipe: Recipe, folder: RunFolder) -> Path:
    """The checkpoint whose weights the recipe releases."""
    return folder.released(recipe.training.release)


def released_generator(place: Workplace, folder: RunFolder, *, average: bool = True) -> nn.Module:
    """The generator of the checkpoint that the recipe releases, in evaluation mode.

    Args:
        place: the run's data and shape.
        folder: the run.
        average: the moving average if the run kept one; else the weights as trained.
    """
    stored = folder.load_tensors(released_checkpoint(place.recipe, folder))
    tensors = {name: stored[name] for name in stored if name.startswith(("networks.generator.", "average."))}
    with torch.device("meta"):
        generator = build_generator(place.recipe, place.shape)
    if average and place.recipe.training.ema_decay is not None:
        weights = released_average(tensors, "networks.generator.", "average.")
    else:
        weights = below(tensors, "networks.generator.")
    generator.load_state_dict(weights, assign=True)
    return generator.eval()


def _finish(
    place: Workplace,
    recogniser: TrainedRecogniser,
    folder: RunFolder,
    checkpoint: StoredCheckpoint | None,
    watch: Watch,
    begin: Matched | None = None,
) -> Path:
    recipe = place.recipe
    method = place.method()
    if begin is not None:
        begin.put_into(method.networks)
    trainer = Trainer(method, place.dataset, recogniser, recipe.training, folder, recipe.seed, place.engine)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    try:
        with stop_on_signals() as stop:
            trainer.run(watch.observer, stop)
    except KeyboardInterrupt:
        message = f"stopped at once; go on from the last checkpoint with 'ctfgan resume {folder.path}'"
        raise Interrupted(message, signal.SIGINT) from None
    except ProcessLost as lost:
        raise trainer.rescue(lost) from lost
    except Interrupted:
        place.engine.processes.forget_requests()
        raise
    place.engine.processes.forget_requests()
    place.engine.processes.on_main(lambda: _release(place, folder))
    return folder.path


@contextmanager
def _held(folder: RunFolder, processes: Processes) -> Iterator[None]:
    """The run's lock, in the hand of the main process."""
    with ExitStack() as lock:
        processes.on_main(lambda: lock.enter_context(folder.held()))
        yield


def _release(place: Workplace, folder: RunFolder) -> None:
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
        "steps": folder.journal().generator_steps(),
        "health": asdict(HealthRecord.of(folder.journal())),
        "weights": {"checkpoint": choice.name, "stage": manifest["stage"], "step": manifest["stage_step"]},
        "versions": environment(),
    }
    low_quality_classes = side.classes if side else ()
    bundle = Bundle(place.recipe, place.shape, place.dataset.classes, low_quality_classes, bank, generator, provenance)
    save_bundle(bundle, folder.path / BUNDLE)


def _fingerprints(dataset: Dataset) -> dict[str, str]:
    found = {"high-quality": dataset.high_quality.fingerprint}
    if dataset.has_own_reference:
        found["reference"] = dataset.reference.packed.fingerprint
    if dataset.low_quality is not None:
        found["low-quality"] = "".join(bank.fingerprint() for bank in dataset.low_quality.banks)
    return found


def _summary(place: Workplace, recogniser: TrainedRecogniser) -> dict[str, object]:
    dataset = place.dataset
    side = dataset.low_quality
    return {
        "fingerprints": _fingerprints(dataset),
        "unreadable": [list(found) for packed in dataset.packs for found in packed.survey.unreadable],
        "counts": {
            "classes": dataset.num_classes,
            "high_quality": len(dataset.training),
            "pool": len(dataset.pool),
            "reference": len(dataset.reference),
            "low_quality": len(side.bank) if side else 0,
            "low_quality_held_out": len(side.held_out) if side and side.held_out else 0,
        },
        "pairing": side.pairing if side else None,
        "extractor": recogniser.card.name,
        "device": place.engine.describe(),
        "versions": environment(),
    }

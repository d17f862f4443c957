"""What a run writes down about itself: its recipe, its data, what was changed about it and where."""

from __future__ import annotations

import hashlib
from typing import Any

from ctfgan.bundle.bundle import (
    commit,
    environment,
    stored_levels,
)
from ctfgan.core.files import sha256, write_file
from ctfgan.data.dataset import Dataset
from ctfgan.distributed.engine import processor
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier
from ctfgan.recipes.overlay import changed_settings
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.runs.context import RunContext
from ctfgan.storage.checkpoints import Checkpoint
from ctfgan.storage.run_folder import (
    CODES,
    DATA,
    RECIPE,
    RunFolder,
)


def written_recipe(folder: RunFolder) -> Recipe:
    """The recipe that a run is to follow, which its user may have changed."""
    return parse_recipe(folder.read_json(RECIPE), str(folder.path / RECIPE))


def trained_recipe(folder: RunFolder) -> Recipe:
    """What a run has trained with so far."""
    return parse_recipe(folder.read_json(DATA).get("recipe", {}), str(folder.path / DATA))


def write_recipe(folder: RunFolder, wanted: Recipe, written: Recipe) -> None:
    """Write what a run is to follow from now on, where that is another recipe."""
    if wanted != written:
        write_file(folder.path / RECIPE, wanted.to_json().encode())


def note_recipe(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Note in ``data.json`` what a run goes on training with, and what that changes and where."""
    now, before, data = written_recipe(folder), trained_recipe(folder), folder.read_json(DATA)
    if now == before:
        return
    state = checkpoint.state
    changed = {name: {"before": old, "now": new} for name, (new, old) in changed_settings(now, before).items()}
    change = {"after_steps": state["steps_before"] + state["optimizers"]["step"], "settings": changed}
    data |= {"recipe": now.model_dump(mode="json"), "changes": [*data.get("changes", []), change]}
    folder.write_json(DATA, data)


def data_summary(context: RunContext, eval_classifier: TrainedEvalClassifier, folder: RunFolder) -> dict[str, object]:
    """For ``data.json``: what a run begins with."""
    dataset = context.dataset
    side = dataset.low_quality
    return {
        "fingerprints": fingerprints(dataset),
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
        "recipe": written_recipe(folder).model_dump(mode="json"),
        "extractor": eval_classifier.card.name,
        "class_codes": None if context.codes is None else sha256(folder.path / CODES),
        "device": context.engine.describe(),
        "processor": processor(),
        "versions": environment(),
        "commit": commit(),
    }


def fingerprints(dataset: Dataset) -> dict[str, str]:
    """What tells that a run's images are those that it began with, by side."""
    sides = {"high-quality": dataset.high_quality.fingerprint}
    if dataset.has_own_reference:
        sides["reference"] = dataset.reference.packed.fingerprint
    if dataset.low_quality is not None:
        sides["low-quality"] = "".join(bank.fingerprint() for bank in dataset.low_quality.banks)
    if len(dataset.lq_only):  # which label is which class
        sides["classes"] = hashlib.sha256("\0".join(dataset.classes).encode()).hexdigest()
    return sides


def levels_entry(dataset: Dataset) -> dict[str, Any]:
    """What levels of images that are no bytes mean, so that new ones are read as those that the model saw."""
    high, side = dataset.high_quality.survey.levels, dataset.low_quality
    if side is None:
        return stored_levels({"high_quality": high})
    low = high if side.packed is None else side.packed.survey.levels  # degraded copies show what they were made of
    return stored_levels({"high_quality": high, "low_quality": low})

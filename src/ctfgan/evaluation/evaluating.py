"""``ctfgan evaluate`` as a function: choose extractors, measure, write the figures down."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ctfgan.bundle.bundle import add_figures
from ctfgan.core.errors import ConfigError, CtfganError, RunError
from ctfgan.core.files import make_room, read_json, write_file
from ctfgan.core.text import excerpt
from ctfgan.data.sources.registry import name_of
from ctfgan.distributed.engine import start_engine
from ctfgan.evaluation.measurement import Measurement
from ctfgan.evaluation.result import Evaluation, are_figures, with_earlier
from ctfgan.evaluation.spread import SharedExtractor
from ctfgan.metrics.features import Extractor
from ctfgan.metrics.inception import load_inception
from ctfgan.metrics.plugin import load_plugin
from ctfgan.metrics.settings import EvaluationSettings
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.runs.context import Callbacks, main_only
from ctfgan.runs.train import is_finished, reopen
from ctfgan.storage.run_folder import BUNDLE, FIGURES, RECIPE, RunFolder


def evaluate(
    path: str | Path,
    callbacks: Callbacks | None = None,
    device: str | None = None,
    *,
    images: int | None = None,
    per_class: int | None = None,
    classification_score: bool | None = None,
    classification_seeds: int | None = None,
    extractors: Sequence[Extractor] = (),
    out: str | Path | None = None,
    show: Callable[[Evaluation], None] = lambda result: None,
) -> Evaluation:
    """Measure a finished run; writes ``figures.json`` into it and the figures into its bundle.

    Under a launcher of several processes all of them must call this; they share the synthesis and the reading.

    What another extractor found before stays in ``figures.json`` if everything else was the same.

    Args:
        path: the run folder.
        callbacks: who is told what happens; None is silent.
        device: another device than the recipe's.
        images: generated images per low-quality bank; None takes the recipe's number, as with the next three.
        per_class: number of classes whose Frechet distance is measured by itself.
        classification_score: whether to train classifiers on real images, on generated ones and on both.
        classification_seeds: how many of each.
        extractors: more of them than the run's own recogniser, from :func:`load_extractors`.
        out: another file than ``figures.json``; the run and its bundle are then left as they are.
        show: is given the figures before they are stored, by the main process.

    Raises:
        RunError: no finished run there, its data changed, or the figures cannot be stored.
        ConfigError: a number that is not allowed, or an ``out`` that is something else already.
    """
    folder = RunFolder.open(Path(path))
    if not is_finished(folder):
        raise RunError(f"run {path} is not finished; finish it with 'ctfgan resume {path}' first")
    recipe = parse_recipe(folder.read_json(RECIPE), str(folder.path / RECIPE))
    asked = {
        "images": images,
        "per_class": per_class,
        "classification_score": classification_score,
        "classification_seeds": classification_seeds,
    }
    place = None if out is None else Path(out)
    if place is not None:
        _check_place(place)
    settings = _changed(recipe, {name: value for name, value in asked.items() if value is not None})
    callbacks = callbacks or Callbacks()
    work, eval_classifier = reopen(folder, callbacks, device)
    shared = [SharedExtractor(extractor, work.engine.processes) for extractor in (eval_classifier, *extractors)]
    result = Measurement(work, folder, shared, settings, main_only(callbacks, work.engine)).result()
    processes = work.engine.processes
    if processes.is_main:
        show(result)
    processes.on_main(lambda: _store(folder, result, place))
    return result


def _check_place(file: Path) -> None:
    make_room(file)
    if file.exists() and not are_figures(_figures_in(file)):
        raise ConfigError(f"{file} exists already and holds no figures; choose another --out")


def _figures_in(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} exists already and holds no figures ({excerpt(error)}); choose another --out"
        ) from error


def _store(folder: RunFolder, result: Evaluation, out: Path | None) -> None:
    try:
        if out is None:
            _write(folder, result)
        else:
            earlier = _figures_in(out) if out.exists() else {}
            content = with_earlier(result.as_dict(), earlier)
            write_file(out, json.dumps(content, ensure_ascii=False, indent=1).encode())
    except CtfganError as error:
        raise RunError(f"the figures are not stored: {error}; --out FILE stores them elsewhere") from error


def _write(folder: RunFolder, result: Evaluation) -> None:
    earlier = folder.read_json(FIGURES) if (folder.path / FIGURES).is_file() else {}
    folder.write_json(FIGURES, with_earlier(result.as_dict(), earlier))
    # A bundle is made to be given away: it does not say in which folder of this machine the reference was.
    shared = replace(result, protocol=replace(result.protocol, reference=name_of(result.protocol.reference)))
    told = {**shared.as_dict(), "protocol": shared.protocol.sentence(), "summary": shared.summary()}
    add_figures(folder.path / BUNDLE, told)


def load_extractors(
    plugins: Sequence[str | Path] = (),
    *,
    inception: bool = False,
    inception_weights: str | Path | None = None,
    device: str = "auto",
) -> list[Extractor]:
    """Extractors besides a run's own recogniser.

    Args:
        plugins: Python files (:mod:`ctfgan.metrics.plugin`); they are run.
        inception: the published Inception; its weights are downloaded if they are not here.
        inception_weights: the file of these weights; implies ``inception``.
        device: where they work.

    Raises:
        CtfganError: one cannot be used, or two share a name.
    """
    wants_inception = inception or inception_weights is not None
    if not plugins and not wants_inception:
        return []
    engine = start_engine(device)

    def load() -> list[Extractor]:
        found: list[Extractor] = [load_plugin(Path(file), engine.device) for file in plugins]
        if wants_inception:
            weights = None if inception_weights is None else Path(inception_weights)
            found.append(load_inception(weights, engine.device))
        return found

    extractors = engine.processes.main_first(load)
    keys = [extractor.card.key for extractor in extractors]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"two extractors share a name among {', '.join(keys)}; give each file a NAME of its own")
    return extractors


def _changed(recipe: Recipe, changes: dict[str, Any]) -> EvaluationSettings:
    try:
        settings = EvaluationSettings.model_validate(recipe.evaluation.model_dump() | changes)
    except ValidationError as error:
        mistake = error.errors()[0]
        message = f"{mistake['msg'][0].lower()}{mistake['msg'][1:]}"
        raise ConfigError(f"evaluation.{mistake['loc'][0]} is {mistake['input']!r}, but {message}") from error
    if not recipe.method.is_conditional and (settings.per_class or settings.classification_score):
        raise ConfigError(
            f"a {recipe.method.kind} model makes images without a class; set evaluation.per_class to 0 and "
            "evaluation.classification_score to false"
        )
    return settings

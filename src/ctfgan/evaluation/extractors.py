"""What measures images: the published Inception, networks of one's own, a second recogniser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ctfgan.core.errors import ConfigError
from ctfgan.core.progress import Progress
from ctfgan.distributed.engine import start_engine
from ctfgan.metrics.eval_classifier import EvalClassifierTrainer, TrainingImages
from ctfgan.metrics.features import SECOND_RECOGNISER, Extractor
from ctfgan.metrics.inception import load_inception
from ctfgan.metrics.plugin import load_plugin
from ctfgan.runs.context import RunContext


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
        extractors: list[Extractor] = [load_plugin(Path(file), engine.device) for file in plugins]
        if wants_inception:
            weights = None if inception_weights is None else Path(inception_weights)
            extractors.append(load_inception(weights, engine.device))
        return extractors

    extractors = engine.processes.main_first(load)
    keys = [extractor.card.key for extractor in extractors]
    if len(set(keys)) < len(keys):
        raise ConfigError(f"two extractors share a name among {', '.join(keys)}; give each file a NAME of its own")
    return extractors


def second_recogniser(context: RunContext, progress: Progress) -> Extractor:
    """One that learned from the same images with another seed: who chose samples cannot say how good they are."""
    settings, classes = context.recipe.recogniser, context.dataset.evaluated_classes
    other = settings.model_copy(update={"seed": settings.seed + 1})
    trainer = EvalClassifierTrainer(other, context.device, progress)
    what = "a second recogniser, which does not choose"
    recogniser = trainer.train([TrainingImages.of(classes.pool)], len(classes.labels), what)
    card = recogniser.card
    recogniser.card = replace(card, key=SECOND_RECOGNISER, name=f"second {card.name}")
    return recogniser

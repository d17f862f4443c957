"""Samples that are read as their class: what is not is drawn anew, a bounded number of times (rejection sampling).

The judge is the run's own recogniser. The first try at an image is the image itself, every further one has a random
stream of its own: so what is kept follows from bundle, recogniser, class, number and seed alone, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ctfgan.bundle.bundle import Bundle
from ctfgan.core.errors import ConfigError, CtfganError
from ctfgan.core.text import a_few, plural
from ctfgan.data.dataset import MOST_MEASURED_CLASSES
from ctfgan.data.images import Bytes
from ctfgan.data.sources.base import Labels
from ctfgan.distributed.engine import Engine
from ctfgan.distributed.processes import Processes
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier, load_eval_classifier
from ctfgan.metrics.settings import MOST_TRIES
from ctfgan.models.synthesis import CPU_CHUNK
from ctfgan.runs.context import Callbacks
from ctfgan.runs.resumed_run import reopen
from ctfgan.storage.run_folder import CHECKPOINTS, DATA, RECOGNISER, RunFolder

UNKNOWN = -1
HARDEST = 3  # classes that a sentence names besides those that never pass


@dataclass(frozen=True)
class KeptImages:
    """What came of some images that were to be read as their class."""

    images: Bytes
    """uint8 ``(N, R, R, K)``; white where no try was."""
    tries: NDArray[np.int64]
    """Which try was kept, from 1; 0 where none was. ``(N,)``."""


@dataclass(frozen=True)
class Rejections:
    """How many images were drawn to keep how many, class by class."""

    classes: tuple[str, ...]
    asked: tuple[int, ...]
    """Images wanted of each class."""
    drawn: tuple[int, ...]
    """Tries at them, those that were kept among them."""
    kept: tuple[int, ...]
    """Images of which a try was read as its class."""

    @classmethod
    def count(cls, classes: Sequence[str], places: Labels, tries: Labels, most: int) -> Rejections:
        """Count.

        Args:
            classes: names.
            places: the class of each image, as a place among the names, ``(N,)``.
            tries: as :class:`KeptImages` has them, ``(N,)``.
            most: tries at an image that is given up.
        """
        drawn = np.where(tries > 0, tries, most)
        counts = (
            np.bincount(places, weights=weights, minlength=len(classes)).astype(np.int64).tolist()
            for weights in (np.ones(len(places)), drawn, tries > 0)
        )
        return cls(tuple(classes), *map(tuple, counts))

    @property
    def never(self) -> list[str]:
        """Names of the classes of which nothing was kept."""
        counts = zip(self.classes, self.asked, self.kept, strict=True)
        return [name for name, asked, kept in counts if asked and not kept]

    def sentence(self) -> str:
        """What was drawn and kept, which classes never pass, which seldom do."""
        drawn, kept, asked = sum(self.drawn), sum(self.kept), sum(self.asked)
        each = f" ({drawn / kept:.2f} for each)" if kept else ""
        text = f"drew {plural(drawn, 'image')} to keep {kept:,} of {asked:,}{each}"
        if self.never:
            text += f"; never read as their class: {_quoted(self.never)}"
        share = {name: (kept / drawn, kept, drawn) for name, kept, drawn in
                 zip(self.classes, self.kept, self.drawn, strict=True) if 0 < kept < drawn}  # fmt: skip
        hardest = sorted(share, key=lambda name: share[name][0])[:HARDEST]
        if hardest:
            rates = (f"{name!r} {share[name][1]:,} of {share[name][2]:,}" for name in hardest)
            text += f"; hardest{' of the others' if self.never else ''}: {', '.join(rates)}"
        return text


class RejectionSampler:
    """Keeps images that a recogniser reads as their class, and has others drawn anew.

    Args:
        recogniser: judges.
        numbers: its class of each of the generator's labels, ``(C,)``; -1 for one that it does not know.
        top_k: an image passes if its class is among so many that are ranked first.
        tries: at each image, at most; 254 or less.
        processes: who makes the images together; the main one judges.

    Raises:
        ConfigError: no tries, or too many, or a ``top_k`` that everything passes.
    """

    def __init__(
        self, recogniser: TrainedEvalClassifier, numbers: Labels, top_k: int, tries: int, processes: Processes
    ) -> None:
        known = int((numbers != UNKNOWN).sum())
        if not 1 <= tries <= MOST_TRIES:
            raise ConfigError(f"tries is {tries}; it must be 1 to {MOST_TRIES}")
        if not 1 <= top_k < known:
            raise ConfigError(
                f"top-k is {top_k} and the recogniser knows {plural(known, 'class', 'classes')}; it must be at least 1 "
                "and less than that, or every image passes"
            )
        self.recogniser = recogniser
        self.top_k = top_k
        self.tries = tries
        self._numbers = numbers
        self._processes = processes

    def knows(self, labels: Labels) -> NDArray[np.bool_]:
        """Which of the generator's labels ``(N,)`` the recogniser can read at all."""
        return self._numbers[labels] != UNKNOWN

    def draw(self, labels: Labels, make: Callable[[Labels, Labels], Bytes]) -> KeptImages:
        """One image for each of some labels; the first of its tries that passes.

        Several processes must all ask for the same.

        Args:
            labels: the generator's, ``(N,)``, N > 0; known ones.
            make: makes images, given their places among the labels ``(M,)`` and which try at each, from 0 on ``(M,)``.
        """
        tries, images = np.zeros(len(labels), dtype=np.int64), None
        pending, done = np.arange(len(labels)), 0
        while len(pending) and done < self.tries:
            # A forward on a CPU has room for several tries at few images; later ones than needed are not looked at.
            together = min(self.tries - done, max(1, CPU_CHUNK // len(pending)))
            places = pending.repeat(together)
            made = make(places, done + np.tile(np.arange(together), len(pending)))
            if images is None:
                images = np.full((len(labels), *made.shape[1:]), 255, dtype=np.uint8)
            passes = self._read(made, self._numbers[labels[places]]).reshape(len(pending), together)
            is_kept, first = passes.any(axis=1), passes.argmax(axis=1)
            images[pending[is_kept]] = made[np.flatnonzero(is_kept) * together + first[is_kept]]
            tries[pending[is_kept]] = done + first[is_kept] + 1
            pending, done = pending[~is_kept], done + together
        assert images is not None, "there is something to draw"
        return KeptImages(images, tries)

    def _read(self, images: Bytes, numbers: Labels) -> NDArray[np.bool_]:
        """Which images ``(N, R, R, K)`` are read as some of the recogniser's classes ``(N,)``, decided once for all
        processes.
        """
        # Batches of one size: with another one, sums may be rounded otherwise, and a reading hung on the others.
        padded = np.concatenate([images, images[-1:].repeat(-len(images) % CPU_CHUNK, axis=0)])

        def read() -> NDArray[np.bool_]:
            starts = range(0, len(padded), CPU_CHUNK)
            probabilities = [self.recogniser.read(padded[start : start + CPU_CHUNK])[1] for start in starts]
            first = torch.cat(probabilities)[: len(images)].topk(self.top_k, dim=1).indices.numpy()
            return (first == numbers[:, None]).any(axis=1)

        return self._processes.on_main(read)


def open_recogniser(folder: Path, bundle: Bundle, engine: Engine) -> tuple[TrainedEvalClassifier, Labels]:
    """The recogniser of a finished run, and the labels of the classes that it knows, ascending, ``(P,)``.

    Where it knows some of very many classes, the run's data say which.

    Args:
        folder: the run.
        bundle: the run's.
        engine: where it works.

    Raises:
        ConfigError: no run folder.
        CtfganError: the recogniser is missing or damaged, or data that are needed are.
    """
    if not (folder / CHECKPOINTS).is_dir():
        raise ConfigError(f"{folder} is no run folder, and a bundle has no recogniser; give the folder of the run")
    counts = bundle.provenance["counts"]
    known = len(bundle.classes) - (counts.get("lq_only", 0) - counts.get("withheld", 0))
    run = RunFolder.open(folder)
    if known > MOST_MEASURED_CLASSES:
        context, recogniser = reopen(run, Callbacks(), str(engine.device))
        return recogniser, context.dataset.evaluated_classes.labels
    weights, settings = folder / RECOGNISER, bundle.recipe.recogniser
    recogniser = load_eval_classifier(weights, bundle.data_spec.channels, known, settings, engine.device)
    if recogniser.card.name != run.read_json(DATA).get("extractor"):
        raise CtfganError(f"{weights} is not the run's own recogniser; 'ctfgan evaluate {folder}' makes it again")
    return recogniser, np.arange(known)


def _quoted(names: Sequence[str]) -> str:
    return a_few([repr(name) for name in names])

"""Real and generated images in chunks, and processes that read them together.

So 50,000 images of 128x128 pixels are never in memory together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ctfgan.core.progress import Progress
from ctfgan.data.dataset import Subset
from ctfgan.data.images import Bytes
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import Indices, first_rows, stratified_order
from ctfgan.distributed.engine import Engine, to_device
from ctfgan.distributed.processes import Processes
from ctfgan.distributed.random_streams import PerImageRng, numbers_in_class
from ctfgan.evaluation.result import AS_TRAINED, HELD_OUT_BANK, SAMPLES, TRAINING_BANK
from ctfgan.metrics.features import Chunk, Extractor, ExtractorCard
from ctfgan.models.synthesis import draw_inputs, synthesise
from ctfgan.runs.context import RunContext
from ctfgan.runs.new_run import released_generator
from ctfgan.sampling.rejection import RejectionSampler
from ctfgan.storage.run_folder import RunFolder

CHUNK = 1_000


@dataclass(frozen=True)
class ImageSet:
    """A generator and the bank that its low-quality images come from."""

    name: str
    generator: nn.Module
    bank: LowQualityBank | None
    labels: Tensor
    """The generator's label of each measured class, ``(P,)`` int64."""
    names: Sequence[str]
    """Their names."""


def image_sets(context: RunContext, folder: RunFolder) -> list[ImageSet]:
    """Samples for each bank that the method uses, and without the moving average if the recipe says so."""
    side, measured = context.dataset.low_quality, context.dataset.evaluated_classes
    labels, names = torch.from_numpy(measured.labels), measured.names
    banks: dict[str, LowQualityBank | None] = {"": None}
    if side is not None:
        banks = {TRAINING_BANK: side.bank}
        if side.held_out is not None:
            banks[HELD_OUT_BANK] = side.held_out
    kinds = {SAMPLES: True}
    if context.recipe.evaluation.without_average and context.recipe.training.ema_decay is not None:
        kinds[AS_TRAINED] = False
    sets: list[ImageSet] = []
    for kind, average in kinds.items():
        generator = released_generator(context, folder, average=average)
        to_device(generator, context.device)
        sets += [ImageSet(kind + bank_name, generator, bank, labels, names) for bank_name, bank in banks.items()]
    return sets


def reported_set(sets: list[ImageSet]) -> ImageSet:
    """The one that stands for the run: the last bank, the held-out one if there is any, with the released weights."""
    released = [images for images in sets if images.generator is sets[0].generator]
    return released[-1]


def generated_chunks(
    images: ImageSet,
    numbers: Tensor,
    seed: int,
    engine: Engine,
    progress: Progress,
    what: str,
    tries: Labels | None = None,
) -> Iterator[Chunk]:
    """The first images of some measured classes; class, number in the class and seed decide each.

    Args:
        images: generator and bank.
        numbers: measured class of each image, ``(N,)``.
        seed: of noise and low-quality images.
        engine: where the generator is; its processes, all of which must ask, make the images together.
        progress: shows how far it is.
        what: is being done, in words.
        tries: from :func:`kept_tries`, ``(N,)``: the kept try at each image, images without one left out; None for the
            first one of all.
    """
    streams = _Streams(images, numbers, seed, engine)
    places = np.arange(len(numbers)) if tries is None else np.flatnonzero(tries)
    starts = range(0, len(places), CHUNK)
    for start in progress(starts, len(starts), what):
        part = places[start : start + CHUNK]
        attempts = np.zeros_like(part) if tries is None else tries[part] - 1
        yield streams.make(part, attempts), numbers[part]


def kept_tries(
    images: ImageSet,
    numbers: Tensor,
    seed: int,
    engine: Engine,
    progress: Progress,
    sampler: RejectionSampler,
) -> Labels:
    """Which try at each image a sampler keeps, ``(N,)``, from 1; 0 where it keeps none. The images are not.

    Args:
        images: generator and bank.
        numbers: measured class of each image, ``(N,)``; the labels that the sampler knows.
        seed: of noise and low-quality images.
        engine: as for :func:`generated_chunks`.
        progress: shows how far it is.
        sampler: keeps images.
    """
    streams, tries = _Streams(images, numbers, seed, engine), []
    starts = range(0, len(numbers), CHUNK)
    for start in progress(starts, len(starts), f"drawing until read: {images.name}"):
        part = np.arange(start, min(start + CHUNK, len(numbers)))

        def make(places: Labels, attempts: Labels, part: Labels = part) -> Bytes:
            return streams.make(part[places], attempts)

        tries.append(sampler.draw(numbers[part].numpy(), make).tries)
    return np.concatenate(tries)


class _Streams:
    """The first images of some measured classes, and further tries at each."""

    def __init__(self, images: ImageSet, numbers: Tensor, seed: int, engine: Engine) -> None:
        self._images, self._numbers, self._seed, self._engine = images, numbers, seed, engine
        self._names = [images.names[number] for number in numbers.tolist()]
        self._of_class = numbers_in_class(self._names)

    def make(self, places: Labels, attempts: Labels) -> Bytes:
        """Some of the images, at some try each from 0 on; both ``(M,)``."""
        names, of_class = ([every[place] for place in places.tolist()] for every in (self._names, self._of_class))
        rng = PerImageRng(self._seed, names, of_class, attempts.tolist())
        generator, labels = self._images.generator, self._images.labels[self._numbers[places]]
        return synthesise(generator, *draw_inputs(generator, labels, self._images.bank, rng), self._engine)


def real_chunks(subset: Subset, rows: NDArray[np.int64], progress: Progress, what: str) -> Iterator[Chunk]:
    """Some images of a subset, by their place in it, with their labels."""
    chosen = subset.rows[rows]
    starts = range(0, len(chosen), CHUNK)
    for start in progress(starts, len(starts), what):
        part = chosen[start : start + CHUNK]
        yield subset.packed.images[part], torch.from_numpy(subset.labels_at(part))


def floor_split(reference: Subset, images: int, seed: int) -> tuple[Indices, Indices]:
    """Places in the reference of the images that the floor measures, and of those that it compares them with, in order.

    As many as ``images``, the number of samples, where that leaves as many for the other side; else one half. Both
    sides share every class evenly, and no picture; many copies of one may make the first side smaller, or larger.

    Args:
        reference: of at least 4 different pictures.
        images: samples.
        seed: of the choice.
    """
    firsts = first_rows(reference.packed.digests[reference.rows])
    order = stratified_order(reference.labels, seed, firsts)
    pictures = np.flatnonzero(firsts[order] == order)  # where a new one begins: a cut there parts no copies
    cuts = pictures[(pictures >= 2) & (pictures <= len(order) - 2)]
    wanted = cuts[cuts <= min(images, len(order) // 2)]
    cut = int(wanted[-1] if len(wanted) else cuts[0])
    return np.sort(order[:cut]), np.sort(order[cut:])


class ImageSample:
    """A random sample of the images of a stream that passes.

    Args:
        count: images that are chosen from, the first of the stream.
        keep: images to keep, at most.
        seed: chooses them.
    """

    def __init__(self, count: int, keep: int, seed: int) -> None:
        self._is_kept = np.zeros(count, dtype=bool)
        self._is_kept[np.random.default_rng(seed).permutation(count)[:keep]] = True
        self._parts: list[Bytes] = []

    def collect(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """The same stream."""
        start = 0
        for images, labels in chunks:
            is_kept = self._is_kept[start : start + len(images)]
            self._parts.append(images[: len(is_kept)][is_kept])
            start += len(images)
            yield images, labels

    def images(self) -> Bytes:
        """The sample, uint8 ``(N, R, R, K)``."""
        return np.concatenate(self._parts)


class SharedExtractor:
    """An extractor whose images are shared out among processes; all of them must show it the same ones.

    Args:
        extractor: works on this process's device.
        processes: who shares the context.
    """

    def __init__(self, extractor: Extractor, processes: Processes) -> None:
        self._extractor = extractor
        self._processes = processes

    @property
    def card(self) -> ExtractorCard:
        """The extractor's own."""
        return self._extractor.card

    def read(self, images: Bytes) -> tuple[Tensor, Tensor | None]:
        """What the extractor makes of the images, on every process."""
        if len(images) < self._processes.count:
            return self._extractor.read(images)
        share = np.array_split(images, self._processes.count)[self._processes.rank]
        parts = self._processes.all_of(self._extractor.read(share))
        probabilities = [part for _, part in parts if part is not None]
        return torch.cat([part for part, _ in parts]), torch.cat(probabilities) if probabilities else None

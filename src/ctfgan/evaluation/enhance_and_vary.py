"""Several results of each low-quality image, beside other real images of its class (decision 20)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctfgan.data.dataset import Subset
from ctfgan.data.images import Bytes, to_float
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import Indices
from ctfgan.distributed.engine import Engine
from ctfgan.distributed.random_streams import PerImageRng, numbers_in_class
from ctfgan.evaluation.image_streams import ImageSet
from ctfgan.evaluation.result import ENHANCED, OTHER_REAL, SAMPLES, VARIATIONS
from ctfgan.metrics.diversity import MOST_PAIRED, mean_distance
from ctfgan.metrics.features import Extractor
from ctfgan.metrics.settings import EvaluationSettings
from ctfgan.metrics.super_resolution import SuperResolution, score_results
from ctfgan.models.ctf_gan import TransferGenerator
from ctfgan.models.interfaces import Condition
from ctfgan.models.synthesis import balanced_labels, synthesise

LOW_QUALITY_IMAGES, RESULTS = 100, 10  # at most, of which several results are made, and how many of each


@dataclass(frozen=True)
class SeveralResults:
    """What comes of low-quality images, each several times."""

    low_quality: Bytes
    """uint8 ``(N, r, r, K)``."""
    numbers: Labels
    """The measured class that each shows, ``(N,)``."""
    results: dict[str, Bytes]
    """By what made them, uint8 ``(N, S, R, R, K)``."""


def several_results(
    images: ImageSet, numbers: Labels, results: int, seed: int, engine: Engine
) -> SeveralResults | None:
    """Results of low-quality images with the class that they show, and with other noise each.

    Args:
        images: generator and bank.
        numbers: measured classes of which images are drawn, ``(M,)``; the same image counts once, and one that is not
            of its class is left out.
        results: of each image, S.
        seed: of noise and low-quality images.
        engine: as for :func:`generated_chunks`.

    Returns:
        None for a method without G_LH, or where no low-quality image need show its class.
    """
    generator, bank = images.generator, images.bank
    if not isinstance(generator, TransferGenerator) or bank is None or bank.label_of_class is None:
        return None
    names, labels = [images.names[number] for number in numbers.tolist()], images.labels[numbers]
    rows = bank.choose(labels, PerImageRng(seed, names, numbers_in_class(names)))
    are_own = bank.are_own(labels, rows)
    places = np.arange(len(rows)) if are_own is None else np.flatnonzero(are_own.numpy())
    places = places[np.unique(rows[places].numpy(), return_index=True)[1]]
    if not len(places):
        return None
    low_quality = bank.images[rows[places].numpy()]
    repeated = torch.from_numpy(places).repeat_interleave(results)
    low = to_float(low_quality).repeat_interleave(results, dim=0)
    condition = Condition(labels[repeated], low, bank.labels_of(rows[repeated]))
    of_each = [names[place] for place in repeated.tolist()]
    made = {}
    for name, network in ((VARIATIONS, generator), (ENHANCED, generator.generator_lh)):
        noise = network.draw_noise(len(repeated), PerImageRng(seed, of_each, range(len(repeated))))
        pixels = synthesise(network, condition, noise, engine)
        made[name] = pixels.reshape(len(places), results, *pixels.shape[1:])
    return SeveralResults(low_quality, numbers[places], made)


def enhance_and_vary(
    images: ImageSet,
    reference: Subset,
    order: Indices,
    features: Tensor,
    recogniser: Extractor,
    settings: EvaluationSettings,
    engine: Engine,
) -> SuperResolution | None:
    """Several results of low-quality images beside other real images.

    Args:
        images: generator and bank.
        reference: real images.
        order: their places, ``(N,)``.
        features: the recogniser's of these, ``(N, D)``.
        recogniser: of the results, too.
        settings: of the evaluation.
        engine: makes the results.

    Returns:
        None where nothing can be said: see :func:`several_results`.
    """
    labels = reference.labels[order]
    # Of a class with a single real image nothing says how real images differ.
    classes = np.flatnonzero(np.bincount(labels) > 1)
    if not len(classes):
        return None
    count = min(LOW_QUALITY_IMAGES, settings.images // RESULTS)
    numbers = classes[balanced_labels(count, len(classes)).numpy()[:count]]
    made = several_results(images, numbers, RESULTS, settings.seed, engine)
    if made is None:
        return None
    of_class = {number: np.flatnonzero(labels == number) for number in dict.fromkeys(made.numbers.tolist())}
    distances = {number: mean_distance(features[rows[:MOST_PAIRED]]).item() for number, rows in of_class.items()}
    real_distances = [distances[number] for number in made.numbers.tolist()]
    rng = np.random.default_rng(settings.seed)
    real = [rng.permutation(of_class[number])[:RESULTS] for number in made.numbers.tolist()]
    pixels = [reference.packed.images[reference.rows[order[rows]]] for rows in real]
    rows = {}
    for name, results in made.results.items():
        read, _ = recogniser.read(results.reshape(-1, *results.shape[2:]))
        of_image = read.unflatten(0, (-1, RESULTS)).unbind()
        rows[name] = score_results(made.low_quality, list(results), of_image, real_distances)
    rows[OTHER_REAL] = score_results(made.low_quality, pixels, [features[own] for own in real], real_distances)
    bank = images.name.removeprefix(f"{SAMPLES}, ")
    return SuperResolution(len(made.numbers), RESULTS, made.low_quality.shape[1], bank, rows)

"""Images from a generator, for checks, samples and figures alike; several processes make them together."""

from __future__ import annotations

from math import ceil
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ctfgan.core.progress import Progress, silent
from ctfgan.data.images import Bytes, to_bytes
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import stratified_order
from ctfgan.distributed.engine import Engine
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition, Generator, Noise

CHUNK = 250  # images per forward; large enough for speed, small enough for memory
CPU_CHUNK = 16
"""The same on a CPU, where an image is to be the same to the bit whatever is made with it."""


def draw_inputs(
    network: nn.Module, labels: Tensor, bank: LowQualityBank | None, rng: BatchRng
) -> tuple[Condition, Noise]:
    """What images of some classes are made from: noise, and low-quality images of a bank.

    Args:
        network: a :class:`~ctfgan.models.interfaces.Generator`.
        labels: class of each image, ``(N,)`` int64.
        bank: None for a method that uses no low-quality images.
        rng: of N images; outside training a :class:`~ctfgan.distributed.random_streams.PerImageRng`.
    """
    noise = cast(Generator, network).draw_noise(len(labels), rng)
    return Condition(labels) if bank is None else Condition(labels, *bank.draw(labels, rng)), noise


@torch.no_grad()
def synthesise(
    network: nn.Module,
    condition: Condition,
    noise: Noise,
    engine: Engine,
    chunk: int = CHUNK,
    progress: Progress = silent,
) -> Bytes:
    """Images of a condition and of given noise, uint8 ``(N, R, R, K)``.

    Several processes, which must all ask for them, take turns at the chunks; each gets all images.

    Args:
        network: a :class:`~ctfgan.models.interfaces.Generator`; its mode is left as it was.
        condition: classes and low-quality images.
        noise: of each image, on the CPU.
        engine: where the network is, and who shares the work.
        chunk: images per forward.
        progress: of the chunks of this process.
    """
    generator = cast(Generator, network)
    was_training = network.training
    network.eval()
    device, processes = engine.device, engine.processes
    starts = range(0, len(condition), chunk)
    own_starts = starts[processes.rank :: processes.count]
    own: dict[int, Bytes] = {}
    try:
        for start in progress(own_starts, len(own_starts), "synthesising"):
            rows = slice(start, start + chunk)
            own[start] = to_bytes(generator(condition[rows].to(device), noise.part(rows).to(device)))
    finally:
        network.train(was_training)
    chunks = {start: images for part in processes.all_of(own) for start, images in part.items()}
    return np.concatenate([chunks[start] for start in starts])


def sample_labels(real: Labels, num_classes: int, images: int, *, by_class: bool) -> tuple[Tensor, int]:
    """Labels of samples that are measured beside real images: ``images`` in their class mix, then what classes lack to
    have as many as an even spread would give them, for means over classes (decision 30).

    Args:
        real: labels of the real images.
        num_classes: C.
        images: samples that distances are taken of.
        by_class: whether classes are looked at by themselves; without, none are filled up.

    Returns:
        The labels, and how many each class has at least.
    """
    mixed = labels_in_mix(np.bincount(real, minlength=num_classes), images)
    each = images // num_classes if by_class else 0
    return torch.cat([mixed, missing_labels(mixed, num_classes, each)]), each


def labels_in_mix(counts: Labels, count: int) -> Tensor:
    """``count`` labels in a fixed order, in every prefix every class as often as in ``counts`` but for rounding
    (decision 30).

    Args:
        counts: images of each class that the labels are to be like, ``(C,)``.
        count: how many labels.
    """
    places = (np.arange(count) + 0.5) * (int(counts.sum()) / count)
    labels = np.searchsorted(np.cumsum(counts), places, side="right")
    return torch.from_numpy(labels[stratified_order(labels, seed=0)])


def missing_labels(labels: Tensor, num_classes: int, each: int) -> Tensor:
    """The labels that some labels ``(N,)`` lack to hold every class ``each`` times; ascending."""
    lacking = (each - torch.bincount(labels, minlength=num_classes)).clamp_min(0)
    return torch.arange(num_classes).repeat_interleave(lacking)


def balanced_labels(count: int, num_classes: int) -> Tensor:
    """Labels that give every class the same number of images: ``count`` of them, rounded up to full rounds.

    For fewer images than classes: one image for each of ``count`` classes, spread evenly over all.
    """
    if count < num_classes:
        return torch.arange(count) * num_classes // count
    return torch.arange(ceil(count / num_classes) * num_classes) % num_classes

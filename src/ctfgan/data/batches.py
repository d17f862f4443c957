"""Batches for training: real images by shuffled passes, conditions for the fakes by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ctfgan.data.dataset import Dataset, shared_tensor
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.data.splits import Indices
from ctfgan.distributed.engine import send
from ctfgan.distributed.random_streams import BatchRng

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Batch:
    """What one step of either player sees."""

    real: Tensor
    """High-quality images, ``(N, K, R, R)`` in [-1, 1]."""
    real_labels: Tensor
    """Their classes, ``(N,)`` int64."""
    fake_labels: Tensor
    """Classes to synthesise, ``(N,)``."""
    low_quality: Tensor | None
    """I_L for each synthetic image, ``(N, K, r, r)``, or None."""
    low_quality_labels: Tensor | None
    """g_L, ``(N,)``, or None."""
    are_own: Tensor | None = None
    """Which of I_L show the class that is to be synthesised, ``(N,)`` bool; None if all do, or none need to."""
    merged: tuple[Tensor, ...] = ()
    """What the generator has made of these conditions already (``TransferGenerator.merged``), each ``(N, ...)``; empty
    where nothing is kept."""

    def with_conditions_of(self, other: Batch) -> Batch:
        """These real images, and what the other batch is to synthesise."""
        return replace(other, real=self.real, real_labels=self.real_labels)

    def to(self, device: torch.device) -> Batch:
        """The same on a device, images in channels-last order."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                order = torch.channels_last if value.ndim == 4 else torch.contiguous_format
                moved[field.name] = send(value, device).contiguous(memory_format=order)
        return replace(self, **moved)


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of all their images."""
    if len(batches) == 1:
        return batches[0]
    columns = {field.name: [getattr(batch, field.name) for batch in batches] for field in fields(Batch)}
    merged = columns.pop("merged")
    joined: dict[str, Any] = {name: torch.cat(parts) for name, parts in columns.items() if parts[0] is not None}
    joined["merged"] = tuple(map(torch.cat, zip(*merged, strict=True)))
    return replace(batches[0], **joined)


def split(batch: Batch, parts: int) -> list[Batch]:
    """A batch in equally large parts, in order."""
    size = len(batch.real) // parts
    assert size * parts == len(batch.real), f"{len(batch.real)} images in {parts} parts"
    *tensors, merged = [getattr(batch, field.name) for field in fields(batch)]
    pieces = [(None,) * parts if tensor is None else tensor.split(size) for tensor in tensors]
    shares = zip(*(tensor.split(size) for tensor in merged), strict=True) if merged else [()] * parts
    return [Batch(*columns) for columns in zip(*pieces, shares, strict=True)]


class BatchStream:
    """An endless iterator of batches whose whole state is two integers and the random generator's.

    Every pass visits each training image once, in an order that depends on the seed and the pass alone.

    Args:
        dataset: what to draw from.
        batch_size: real images, and as many conditions, of all processes together; a multiple of their number.
        seed: of the order of the real images.
        batch_rng: of classes and low-quality images; it says which rows of each batch are this process's own.
        fake_classes: ``uniform`` over all classes, or those of the ``real`` images of the batch.
        device: where the batches are to be; images come in channels-last order.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        batch_rng: BatchRng,
        fake_classes: str = "uniform",
        device: torch.device = CPU,
    ) -> None:
        self._num_classes = dataset.num_classes
        self._labels = shared_tensor(dataset.high_quality.labels)
        self._rows = dataset.training
        self._batch_size = batch_size
        self._own_size = batch_rng.share(batch_size)
        self._seed = seed
        self._batch_rng = batch_rng
        self._fake_classes = fake_classes
        self._bank: LowQualityBank | None = dataset.low_quality.bank if dataset.low_quality else None
        self._high_quality, self._low_quality = dataset.device_images(device)
        self._device = device
        self._start(0, 0)

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> Batch:
        rows = torch.from_numpy(self._next_rows()[self._batch_rng.rank :: self._batch_rng.processes])
        real_labels = self._labels.index_select(0, rows)
        if self._fake_classes == "real":
            labels = real_labels
        else:
            labels = self._batch_rng.integers(0, self._num_classes, self._own_size)
        real = self._high_quality.gather(rows)
        low, low_labels, are_own = self._draw_low_quality(labels)
        return Batch(real, send(real_labels, self._device), send(labels, self._device), low, low_labels, are_own)

    def _draw_low_quality(self, labels: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if self._bank is None or self._low_quality is None:
            return None, None, None
        rows = self._bank.choose(labels, self._batch_rng)
        are_own = self._bank.are_own(labels, rows)
        return (
            self._low_quality.gather(rows),
            send(self._bank.labels_of(rows), self._device),
            None if are_own is None else send(are_own, self._device),
        )

    def state(self) -> dict[str, int]:
        """Position, for a checkpoint."""
        return {"epoch": self._epoch, "position": self._position}

    def restore(self, state: dict[str, int]) -> None:
        """Continue from a :meth:`state`."""
        self._start(state["epoch"], state["position"])

    def _start(self, epoch: int, position: int) -> None:
        self._epoch = epoch
        self._position = position
        self._order = np.random.default_rng((self._seed, epoch)).permutation(self._rows)

    def _next_rows(self) -> Indices:
        """Of the whole batch, on every process alike."""
        parts = []
        missing = self._batch_size
        while missing:
            part = self._order[self._position : self._position + missing]
            parts.append(part)
            missing -= len(part)
            self._position += len(part)
            if self._position == len(self._order):
                self._start(self._epoch + 1, 0)
        return np.concatenate(parts)

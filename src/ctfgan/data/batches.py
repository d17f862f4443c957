"""Batches for training: real images by shuffled passes, conditions for the fakes by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctfgan.data.images import to_float
from ctfgan.data.pairing import LowQualityBank
from ctfgan.data.prepare import Dataset
from ctfgan.data.splits import Rows


@dataclass(frozen=True)
class Batch:
    """What one step of either player sees."""

    real: Tensor
    """High-quality images, ``(N, K, R, R)`` in [-1, 1]."""
    real_labels: Tensor
    """Their classes, ``(N,)`` int64."""
    fake_labels: Tensor
    """Classes to synthesise, uniform over all classes (decision 9), ``(N,)``."""
    low_quality: Tensor | None
    """I_L for each synthetic image, ``(N, K, r, r)``, or None."""
    low_quality_labels: Tensor | None
    """g_L, ``(N,)``, or None."""


class BatchStream:
    """An endless iterator of batches whose whole state is two integers and the random generator's.

    Every pass visits each training image once, in an order that depends on the seed and the pass alone.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int, rng: torch.Generator) -> None:
        self._dataset = dataset
        self._rows = dataset.training
        self._batch_size = batch_size
        self._seed = seed
        self._rng = rng
        self._bank: LowQualityBank | None = dataset.low_quality.bank if dataset.low_quality else None
        self._start(0, 0)

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> Batch:
        rows = self._next_rows()
        labels = torch.randint(len(self._dataset.classes), (self._batch_size,), generator=self._rng)
        low, low_labels = self._bank.draw(labels, self._rng) if self._bank else (None, None)
        real = to_float(self._dataset.images(rows))
        return Batch(real, torch.from_numpy(self._dataset.labels(rows)), labels, low, low_labels)

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

    def _next_rows(self) -> Rows:
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

"""Images that are read, and degraded or enlarged, when they are asked for."""

from __future__ import annotations

import hashlib

import numpy as np
import torch.nn.functional as F

from ctfgan.data.degradation import degrade
from ctfgan.data.images import Bytes, to_bytes, to_float
from ctfgan.data.packed import PackedImages
from ctfgan.data.settings import DegradationSettings
from ctfgan.data.splits import Rows

MOST_READ_AT_ONCE = 1 << 27
"""Bytes of originals. More are not read before they are needed: a run of many images must start at once, and they may
not fit into memory."""

CHUNK = 1_000  # originals in memory at a time


class ImageView:
    """Images by number; ``view[numbers]`` reads them, and degrades them if so asked, every time anew.

    Args:
        packed: the larger set.
        rows: which of its images these are, ``(L,)``.
        degradation: how they are degraded; None leaves them as they are.
        seed: of the degradation.
    """

    def __init__(self, packed: PackedImages, rows: Rows, degradation: DegradationSettings | None, seed: int) -> None:
        self._packed = packed
        self._rows = rows
        self._degradation = degradation
        self._seed = seed

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(L, r, r, K)``."""
        side, channels = self._packed.images.shape[2:]
        size = side if self._degradation is None else self._degradation.size
        return len(self._rows), size, size, channels

    def __getitem__(self, numbers: Rows) -> Bytes:
        found = np.empty((len(numbers), *self.shape[1:]), dtype=np.uint8)
        for start in range(0, len(numbers), CHUNK):  # originals may be many times as large as what is made of them
            part = numbers[start : start + CHUNK]
            images = self._packed.images[self._rows[part]]
            if self._degradation is not None:
                images = degrade(images, self._degradation, self._seed, part)
            found[start : start + CHUNK] = images
        return found

    def digest(self) -> bytes:
        """SHA-256 of all that the pixels follow from; no pixel is read."""
        how = "as they are" if self._degradation is None else f"{self._degradation.model_dump_json()} {self._seed}"
        return hashlib.sha256(f"{self._packed.fingerprint} {how}".encode() + self._rows.tobytes()).digest()

    def in_memory_if_few(self) -> Bytes | ImageView:
        """The images themselves if reading them takes a moment, else this view."""
        originals = len(self._rows) * self._packed.images[:1].nbytes
        return self[np.arange(len(self._rows))] if originals <= MOST_READ_AT_ONCE else self


class BothSides:
    """High-quality images followed by low-quality ones that are enlarged to their size, for who learns of both.

    Args:
        high: uint8 ``(N, R, R, K)``, memory-mapped or not.
        low: ``(L, r, r, K)``, r at most R.
    """

    def __init__(self, high: Bytes, low: Bytes | ImageView) -> None:
        self._high = high
        self._low = low

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(N + L, R, R, K)``."""
        count, side, _, channels = self._high.shape
        return count + self._low.shape[0], side, side, channels

    def __getitem__(self, numbers: Rows) -> Bytes:
        count, side = self._high.shape[:2]
        found = np.empty((len(numbers), *self.shape[1:]), dtype=np.uint8)
        is_high = numbers < count
        found[is_high] = self._high[numbers[is_high]]
        if not is_high.all():
            low = to_float(self._low[numbers[~is_high] - count])
            found[~is_high] = to_bytes(F.interpolate(low, size=(side, side), mode="bilinear", align_corners=False))
        return found

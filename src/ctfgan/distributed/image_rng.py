"""Seed -> image: random numbers that an image has to itself, so that it is the same whatever is made with it."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctfgan.distributed.batch_rng import BatchRng


class PerImageRng(BatchRng):
    """A source whose numbers for an image depend on a seed, its class and its number in the class, on nothing else.

    The streams are those of the counter-based generator Philox (Salmon et al., "Parallel random numbers: as easy as
    1, 2, 3", 2011): seed and class make its key; its counter begins at the number of the draw and of the image, so that
    no two draws overlap. Classes go by name, since their labels change when others are added or dropped.

    Args:
        seed: of all images.
        classes: class name of each image.
        numbers: which image of its class each one is, from 0.
    """

    def __init__(self, seed: int, classes: Sequence[str], numbers: Sequence[int]) -> None:
        super().__init__(torch.Generator())
        keys = {name: _key(seed, name) for name in set(classes)}
        self._streams = [(keys[name], number) for name, number in zip(classes, numbers, strict=True)]
        self._draws = 0
        self._philox = np.random.Philox(key=0)
        self._unused = self._philox.state  # nothing is left over of an earlier draw

    def normal(self, count: int, *shape: int) -> Tensor:
        """Standard normal float32 numbers, ``(count, *shape)``; count is the number of images, as below."""
        return self._drawn(count, lambda stream: stream.standard_normal(shape, dtype=np.float32))

    def uniform(self, count: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Numbers in [0, 1), ``(count, *shape)``."""
        return self._drawn(count, lambda stream: stream.random(shape)).to(dtype)

    def integers(self, low: int, high: int, count: int, *shape: int) -> Tensor:
        """int64 numbers ``low`` ... ``high - 1``, ``(count, *shape)``."""
        return self._drawn(count, lambda stream: stream.integers(low, high, shape))

    def _drawn(self, count: int, draw: Callable[[np.random.Generator], Any]) -> Tensor:
        assert count == len(self._streams), f"{count} images for {len(self._streams)} streams"
        stream, rows = np.random.Generator(self._philox), []
        for key, number in self._streams:
            # Ten times as fast as a new generator for each image.
            counter = np.array([0, self._draws, number, 0], dtype=np.uint64)
            self._philox.state = {**self._unused, "state": {"key": key, "counter": counter}}
            rows.append(draw(stream))
        self._draws += 1
        return torch.from_numpy(np.stack(rows))


def numbers_in_class(classes: Sequence[str]) -> list[int]:
    """Of images of the named classes, which image of its class each one is, from 0."""
    count: Counter[str] = Counter()
    numbers = []
    for name in classes:
        numbers.append(count[name])
        count[name] += 1
    return numbers


def _key(seed: int, name: str) -> NDArray[np.uint64]:
    text = f"{seed}\0{unicodedata.normalize('NFC', name)}"
    return np.frombuffer(blake2b(text.encode(), digest_size=16).digest(), dtype="<u8").astype(np.uint64)

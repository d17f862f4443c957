"""Random streams: numbers that several processes share, and those that an image has to itself.

Of a batch each process draws all numbers and keeps its own rows; an image is the same whatever is made with it.
"""

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

from ctfgan.core.errors import ConfigError


class BatchRng:
    """The source of every random number of training.

    All processes hold a generator in the same state, draw the numbers of the whole batch and keep the rows ``rank``,
    ``rank + processes``, ... So several processes see together the very numbers that a single one sees, and one
    generator's state is all that a checkpoint needs, whatever the number of processes.

    The first dimension of every draw counts images. On one process a draw is that of ``torch.randn``, ``torch.rand``
    or ``torch.randint`` with the shape ``(count, *shape)``.

    Args:
        rng: CPU generator, in the same state on every process.
        rank: which process this is, 0 ... processes - 1.
        processes: how many share the batch.

    Attributes:
        rng: the generator.
        rank: as given.
        processes: as given.
    """

    def __init__(self, rng: torch.Generator, rank: int = 0, processes: int = 1) -> None:
        assert 0 <= rank < processes, f"rank {rank} of {processes} processes"
        self.rng = rng
        self.rank = rank
        self.processes = processes

    @classmethod
    def of(cls, seed: int) -> BatchRng:
        """A fresh source for this process alone."""
        return cls(torch.Generator().manual_seed(seed))

    def share(self, images: int) -> int:
        """How many images of a batch are this process's own.

        Raises:
            ConfigError: the batch cannot be divided evenly.
        """
        if images % self.processes:
            raise ConfigError(
                f"a batch of {images} images cannot be divided evenly among {self.processes} processes; make every "
                f"batch_size a multiple of {self.processes}"
            )
        return images // self.processes

    def normal(self, count: int, *shape: int) -> Tensor:
        """Standard normal float32 numbers for ``count`` images of this process, ``(count, *shape)``."""
        return self._own(torch.randn(count * self.processes, *shape, generator=self.rng))

    def uniform(self, count: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Numbers in [0, 1), ``(count, *shape)``."""
        return self._own(torch.rand(count * self.processes, *shape, generator=self.rng, dtype=dtype))

    def integers(self, low: int, high: int, count: int, *shape: int) -> Tensor:
        """int64 numbers ``low`` ... ``high - 1``, ``(count, *shape)``."""
        return self._own(torch.randint(low, high, (count * self.processes, *shape), generator=self.rng))

    def _own(self, drawn: Tensor) -> Tensor:
        return drawn[self.rank :: self.processes]


class PerImageRng(BatchRng):
    """A source whose numbers for an image depend on a seed, its class and its number in the class, on nothing else.

    The streams are those of the counter-based generator Philox (Salmon et al., "Parallel random numbers: as easy as
    1, 2, 3", 2011): seed and class make its key; its counter begins at the numbers of the draw, of the image and of the
    try at it, so that no two draws overlap. Classes go by name, since their labels change when others are added or
    dropped.

    Args:
        seed: of all images.
        classes: class name of each image.
        numbers: which image of its class each one is, from 0.
        attempts: which try at it, from 0; None for the first one at all of them.
    """

    def __init__(
        self, seed: int, classes: Sequence[str], numbers: Sequence[int], attempts: Sequence[int] | None = None
    ) -> None:
        super().__init__(torch.Generator())
        keys = {name: _key(seed, name) for name in set(classes)}
        tries = [0] * len(numbers) if attempts is None else attempts
        self._streams = [
            (keys[name], number, attempt) for name, number, attempt in zip(classes, numbers, tries, strict=True)
        ]
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
        for key, number, attempt in self._streams:
            # Ten times as fast as a new generator for each image.
            counter = np.array([0, self._draws, number, attempt], dtype=np.uint64)
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

"""Random numbers that several processes share: each draws those of the whole batch and keeps its own rows."""

from __future__ import annotations

import torch
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

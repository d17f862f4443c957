"""Several processes that measure together: each reads its share of the images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ctfgan.data.images import Bytes
from ctfgan.distributed.processes import Processes
from ctfgan.metrics.features import Extractor, ExtractorCard


class SharedExtractor:
    """An extractor whose images are shared out among processes; all of them must show it the same ones.

    Args:
        extractor: works on this process's device.
        processes: who shares the work.
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
        read = self._processes.all_of(self._extractor.read(share))
        features = torch.cat([found for found, _ in read])
        probabilities = [found for _, found in read if found is not None]
        return features, torch.cat(probabilities) if probabilities else None

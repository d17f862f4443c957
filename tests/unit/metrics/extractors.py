"""Extractors of which one knows what they say."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ctfgan.metrics.features import ExtractorCard


class PixelExtractor:
    """The first ``width`` pixels are the features, the first ``classes`` pixels the logits (both divided by 32)."""

    def __init__(self, width: int, classes: int, key: str = "pixels", *, knows_classes: bool = True) -> None:
        self.card = ExtractorCard(key, f"{key} 0123", width, "none", f"F-{key}", f"K-{key}", f"S-{key}", knows_classes)
        self.classes = classes
        self.batches: list[int] = []

    def features(self, images: np.ndarray) -> Tensor:
        return torch.from_numpy(images.reshape(len(images), -1)[:, : self.card.width] / 32).float()

    def logits(self, images: np.ndarray) -> Tensor:
        return torch.from_numpy(images.reshape(len(images), -1)[:, : self.classes] / 32).float()

    def read(self, images: np.ndarray) -> tuple[Tensor, Tensor | None]:
        self.batches.append(len(images))
        return self.features(images), self.logits(images).softmax(dim=1) if self.classes else None


def numbered_images(count: int, side: int = 4) -> np.ndarray:
    """Image number i is grey level i all over: uint8 ``(N, side, side, 1)``."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, side, side, 1)).copy()

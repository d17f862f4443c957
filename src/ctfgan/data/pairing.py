"""Which low-quality image goes with a class (decision 8), drawn in constant time per image."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ctfgan.chance import Chance
from ctfgan.data.images import Bytes, to_float
from ctfgan.data.sources.base import Labels
from ctfgan.errors import DataError

ResolvedPairing = Literal["matched", "independent"]


def resolve_pairing(asked: str, classes: tuple[str, ...], low_quality_classes: tuple[str, ...]) -> ResolvedPairing:
    """``auto`` means matched if both sides have the same class names, else independent.

    Raises:
        DataError: ``matched`` was asked for and a class has no low-quality namesake.
    """
    if asked == "independent":
        return "independent"
    missing = sorted(set(classes) - set(low_quality_classes))
    if asked == "matched" and missing:
        raise DataError(
            f"matched pairing, but {len(missing)} classes have no low-quality images (first: {missing[0]!r}); "
            "add them, or use data.pairing=independent"
        )
    return "matched" if set(classes) == set(low_quality_classes) or asked == "matched" else "independent"


class LowQualityBank:
    """Low-quality images in memory, with their labels, ready to be drawn for given classes.

    Args:
        images: uint8 ``(L, r, r, K)``.
        labels: ``(L,)`` int64 in the low-quality label space; -1 without a label.
        label_of_class: for matched pairing the low-quality label of each class, ``(C,)``; None for independent.
            Every class must have an image.
    """

    def __init__(self, images: Bytes, labels: Labels, label_of_class: Labels | None) -> None:
        self.images = images
        self.labels = labels
        self.label_of_class = label_of_class
        self._labels = torch.from_numpy(labels)
        self._order: Tensor | None = None
        if label_of_class is None:
            return
        order = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[order], label_of_class, side="left")
        counts = np.searchsorted(labels[order], label_of_class, side="right") - starts
        assert (counts > 0).all(), "matched pairing needs a low-quality image of every class"
        self._order = torch.from_numpy(order)
        self._starts = torch.from_numpy(starts)
        self._counts = torch.from_numpy(counts)

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """SHA-256 of pixels and labels."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(self.labels.tobytes())
        return digest.hexdigest()

    def draw(self, labels: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
        """A low-quality image for each class label: images ``(N, K, r, r)`` in [-1, 1] and their labels ``(N,)``."""
        drawn = chance.uniform(len(labels), dtype=torch.float64)
        if self._order is None:
            rows = (drawn * len(self)).long()
        else:
            rows = self._order[self._starts[labels] + (drawn * self._counts[labels]).long()]
        return to_float(self.images[rows.numpy()]), self._labels[rows]

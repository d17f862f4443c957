"""Which low-quality image goes with a class (decision 8), drawn in constant time per image."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.chance import Chance
from ctfgan.data.image_view import ImageView
from ctfgan.data.images import Bytes, to_float
from ctfgan.data.manifest import ClassNames
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import stable_order
from ctfgan.errors import DataError

ResolvedPairing = Literal["matched", "independent"]

LOOKED_AT = 512  # images
KEPT_VARIANCE = 0.8


def resolve_pairing(
    asked: str, classes: Sequence[str], low_quality_classes: Sequence[str], *, lq_only: bool = True
) -> ResolvedPairing:
    """``auto`` means matched if every class has a low-quality namesake, else independent.

    It means independent, too, where low-quality images have more classes and all names are numbers: these are the
    labels of files without class names, which coincide by accident.

    Args:
        asked: ``auto``, ``matched`` or ``independent``.
        classes: names of the high-quality images' classes.
        low_quality_classes: names of the low-quality images' classes.
        lq_only: whether classes with low-quality images only may take part; otherwise more of them, too, make
            ``auto`` independent.

    Raises:
        DataError: ``matched`` was asked for and a class has no low-quality namesake.
    """
    if asked == "independent":
        return "independent"
    if classes == low_quality_classes:
        return "matched"
    missing = sorted(set(classes) - set(low_quality_classes))
    if asked == "auto":
        more = len(low_quality_classes) > len(classes)
        if missing or (more and (not lq_only or ClassNames.of(low_quality_classes).are_numbers())):
            return "independent"
        return "matched"
    if missing:
        raise DataError(
            f"matched pairing, but {len(missing)} classes have no low-quality images (first: {missing[0]!r}); "
            "add them, or use data.pairing=independent"
        )
    return "matched"


class LowQualityBank:
    """Low-quality images with their labels, ready to be drawn for given classes.

    Args:
        images: uint8 ``(L, r, r, K)``, in memory or read when they are drawn.
        labels: ``(L,)`` int64 in the low-quality label space; -1 without a label.
        label_of_class: for matched pairing the low-quality label of each class, ``(C,)``; None for independent.
            Every class must have an image.
    """

    def __init__(self, images: Bytes | ImageView, labels: Labels, label_of_class: Labels | None) -> None:
        self.images = images
        self.labels = labels
        self.label_of_class = label_of_class
        self._labels = torch.from_numpy(labels)
        self._order: Tensor | None = None
        if label_of_class is None:
            return
        # Images without a label count as one more label before all others.
        by_label = np.bincount(labels + 1, minlength=int(label_of_class.max()) + 2)
        counts = by_label[label_of_class + 1]
        assert (counts > 0).all(), "matched pairing needs a low-quality image of every class"
        self._order = torch.from_numpy(stable_order(labels + 1))
        self._starts = torch.from_numpy((np.cumsum(by_label) - by_label)[label_of_class + 1])
        self._counts = torch.from_numpy(counts)

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """SHA-256 of labels and pixels, or of what these follow from if they are not in memory."""
        view = self.images
        digest = hashlib.sha256(view.digest() if isinstance(view, ImageView) else np.ascontiguousarray(view).data)
        digest.update(self.labels.tobytes())
        return digest.hexdigest()

    def choose(self, labels: Tensor, chance: Chance) -> Tensor:
        """The row of a low-quality image for each class label, both ``(N,)`` int64 on the CPU."""
        drawn = chance.uniform(len(labels), dtype=torch.float64)
        if self._order is None:
            return (drawn * len(self)).long()
        return self._order[self._starts[labels] + (drawn * self._counts[labels]).long()]

    def labels_of(self, rows: Tensor) -> Tensor:
        """The low-quality labels ``(N,)`` of some rows."""
        return self._labels[rows]

    def detail(self) -> int:
        """Smallest side, a divisor of r, that the images can be averaged to and keep most of their variance.

        Of a photograph that is a fraction of r, of a character drawn at 16 pixels it is 16.
        """
        rows = np.linspace(0, len(self) - 1, min(len(self), LOOKED_AT)).astype(np.int64)
        images = to_float(self.images[rows])
        images = images - images.mean(dim=(2, 3), keepdim=True)
        side = images.shape[3]
        wanted = KEPT_VARIANCE * images.square().mean()
        sides = (size for size in range(1, side) if side % size == 0)
        return next((size for size in sides if F.avg_pool2d(images, side // size).square().mean() >= wanted), side)

    def draw(self, labels: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
        """A low-quality image for each class label: images ``(N, K, r, r)`` in [-1, 1] and their labels ``(N,)``."""
        rows = self.choose(labels, chance)
        return to_float(self.images[rows.numpy()]), self.labels_of(rows)

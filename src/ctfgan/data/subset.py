"""Some images of a packed set, and their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctfgan.data.images import Bytes
from ctfgan.data.packed import PackedImages
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import Rows, membership


@dataclass(frozen=True)
class Subset:
    """Some images of a packed set."""

    packed: PackedImages
    rows: Rows
    classes: Labels | None = None
    """The labels that occur, ascending, if images are labelled by their place among these; None if by label."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def images(self) -> Bytes:
        """uint8 ``(N, R, R, K)``, read from disk now."""
        return self.packed.images[self.rows]

    @property
    def labels(self) -> Labels:
        """``(N,)``."""
        return self.labels_at(self.rows)

    def labels_at(self, rows: Rows) -> Labels:
        """Labels ``(M,)`` of some of the rows of the packed set."""
        labels: Labels = self.packed.labels[rows]
        return labels if self.classes is None else np.searchsorted(self.classes, labels)

    def only(self, classes: Labels) -> Subset:
        """The images of some classes, ascending, labelled 0 ... in the order of these.

        Args:
            classes: labels, ascending.
        """
        candidates = np.sort(self.packed.manifest.rows_of_all(classes))
        return Subset(self.packed, candidates[membership(self.rows, len(self.packed))[candidates]], classes)

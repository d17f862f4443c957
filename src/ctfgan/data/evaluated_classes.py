"""What recogniser, checks and evaluations look at: all classes or, where there are very many, an even selection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctfgan.data.manifest import ClassNames
from ctfgan.data.packed import PackedImages
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import Rows
from ctfgan.data.subset import Subset

MOST_MEASURED_CLASSES = 10_000
"""With more classes than these, a recogniser that tells them all apart, or a sample of each, is out of proportion."""

PROBE_CLASSES = 1_000
"""How many of them are looked at instead."""


@dataclass(frozen=True)
class Measured:
    """The measured classes, numbered 0 ... P - 1 in order of their labels, and their images.

    The labels of the three subsets are such numbers; :meth:`labels_of` says which class of the generator each one is.
    """

    labels: Labels
    """Labels of the measured classes, ``(P,)`` int64, ascending."""
    names: tuple[str, ...]
    """Their names."""
    of: int
    """The number of all classes that have high-quality images, seen by the GAN or not."""
    training: Subset
    """What the GAN sees of these classes."""
    pool: Subset
    """What the recogniser learns from."""
    reference: Subset
    """What reported figures compare with."""
    lq_only: Labels
    """Numbers of those classes of which the GAN sees low-quality images only, ascending."""
    shown: Labels
    """Labels of the classes that sheets and pages show: the measured ones, then some without high-quality images."""
    shown_names: tuple[str, ...]
    """Their names."""

    @property
    def is_part(self) -> bool:
        """Whether there are classes that are not measured."""
        return len(self.labels) < self.of

    def labels_of(self, numbers: Tensor) -> Tensor:
        """The generator's labels of measured classes, ``(N,)`` int64 each."""
        return torch.from_numpy(self.labels)[numbers]

    def only(self, rows: Rows) -> Rows:
        """Those of some rows of the high-quality images that are of measured classes, ascending."""
        return Subset(self.training.packed, rows).only(self.labels).rows if self.is_part else rows

    def words(self) -> str:
        """Which classes these are."""
        count = f"{len(self.labels):,}"
        return f"{count} probe classes of {self.of:,}" if self.is_part else f"{count} classes"


def measured(
    packed: PackedImages, names: ClassNames, training: Rows, pool: Rows, reference: Subset, withheld: Labels
) -> Measured:
    """Choose the measured classes: of those without any high-quality image nobody could tell how good they are.

    Probe classes are spread evenly over those that the reference has images of: figures need something to compare with.

    Args:
        packed: the high-quality images.
        names: of their classes, then of those without any.
        training: rows of the GAN's images, ascending.
        pool: rows of the recogniser's images, ascending.
        reference: held-out images, or images of their own with the same numbering of the classes.
        withheld: classes that the GAN sees no high-quality images of.
    """
    count = len(packed.names)
    subsets = Subset(packed, training), Subset(packed, pool), reference
    labels = np.arange(count)
    if count > MOST_MEASURED_CLASSES:
        labels = _probes(np.flatnonzero(np.bincount(reference.labels, minlength=count)))
        subsets = subsets[0].only(labels), subsets[1].only(labels), reference.only(labels)
    others = np.arange(count, len(names))
    shown = np.concatenate([labels, _probes(others) if len(others) > MOST_MEASURED_CLASSES else others])
    shown_names = tuple(names[label] for label in shown.tolist())
    lq_only = np.flatnonzero(np.isin(labels, withheld))
    return Measured(labels, shown_names[: len(labels)], count, *subsets, lq_only, shown, shown_names)


def _probes(labels: Labels) -> Labels:
    """Some of many classes, spread evenly."""
    places = np.linspace(0, len(labels) - 1, min(PROBE_CLASSES, len(labels))).round().astype(np.int64)
    return labels[places]

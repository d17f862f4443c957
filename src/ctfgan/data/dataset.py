"""The images of a run, and which part of the program looks at which of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctfgan.data.class_names import ClassNames
from ctfgan.data.images import Bytes, normalised
from ctfgan.data.low_quality import LowQuality
from ctfgan.data.low_quality_bank import ImageView
from ctfgan.data.packed import PackedImages
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import Indices, membership
from ctfgan.distributed.engine import free_memory, send


@dataclass(frozen=True)
class Subset:
    """Some images of a packed set."""

    packed: PackedImages
    rows: Indices
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

    def labels_at(self, rows: Indices) -> Labels:
        """Labels ``(M,)`` of some of the rows of the packed set."""
        labels: Labels = self.packed.labels[rows]
        return labels if self.classes is None else np.searchsorted(self.classes, labels)

    def only(self, classes: Labels) -> Subset:
        """The images of some classes, ascending, labelled 0 ... in the order of these.

        Args:
            classes: labels, ascending.
        """
        candidates = np.sort(self.packed.rows_of_all(classes))
        return Subset(self.packed, candidates[membership(self.rows, len(self.packed))[candidates]], classes)


MOST_MEASURED_CLASSES = 10_000
"""With more classes than these, a recogniser that tells them all apart, or a sample of each, is out of proportion."""

PROBE_CLASSES = 1_000
"""How many of them are looked at instead."""


@dataclass(frozen=True)
class EvaluatedClasses:
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

    def only(self, rows: Indices) -> Indices:
        """Those of some rows of the high-quality images that are of measured classes, ascending."""
        return Subset(self.training.packed, rows).only(self.labels).rows if self.is_part else rows

    def words(self) -> str:
        """Which classes these are."""
        count = f"{len(self.labels):,}"
        return f"{count} probe classes of {self.of:,}" if self.is_part else f"{count} classes"


def choose_evaluated_classes(
    packed: PackedImages, names: ClassNames, training: Indices, pool: Indices, reference: Subset, withheld: Labels
) -> EvaluatedClasses:
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
    return EvaluatedClasses(labels, shown_names[: len(labels)], count, *subsets, lq_only, shown, shown_names)


def _probes(labels: Labels) -> Labels:
    """Some of many classes, spread evenly."""
    places = np.linspace(0, len(labels) - 1, min(PROBE_CLASSES, len(labels))).round().astype(np.int64)
    return labels[places]


RESIDENT_SHARE = 0.25
"""Part of a device's free memory that a set of images may take; networks, optimisers and activations need the rest."""


class DeviceImages:
    """Images of which batches are gathered on a device.

    They are kept there as bytes if they take no more than a quarter of its free memory. Otherwise the CPU gathers the
    bytes of a batch, from memory or from a memory-mapped file, and sends them. Neither waits for the device.

    Args:
        images: uint8 ``(N, R, R, K)``, in memory, memory-mapped, or a view of others, which is never kept on a device.
        device: where batches are wanted.

    Attributes:
        is_resident: whether the images are where they are wanted.
    """

    def __init__(self, images: Bytes | ImageView, device: torch.device) -> None:
        self._device = device
        self._images = images if isinstance(images, ImageView) else shared_tensor(images)
        self.is_resident = False
        if isinstance(self._images, Tensor) and self._fits(self._images):
            self._images = self._images.to(device)
            self.is_resident = True

    def gather(self, rows: Tensor) -> Tensor:
        """The images of some rows, int64 ``(B,)`` on the CPU: ``(B, K, R, R)`` in [-1, 1], channels last."""
        if isinstance(self._images, ImageView):
            return normalised(send(torch.from_numpy(self._images[rows.numpy()]), self._device))
        # Not images[rows]: on a CPU that copies byte by byte and takes thirty times as long.
        if self.is_resident:
            return normalised(self._images.index_select(0, send(rows, self._device)))
        return normalised(send(self._images.index_select(0, rows), self._device))

    def _fits(self, images: Tensor) -> bool:
        return self._device.type == "cpu" or images.nbytes <= RESIDENT_SHARE * free_memory(self._device)


def shared_tensor(array: NDArray[np.generic]) -> Tensor:
    """A tensor on the memory of an array, which may be a file that is mapped for reading only; do not write to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


@dataclass(frozen=True)
class Dataset:
    """Images and the rows of them that each part of the program may look at."""

    high_quality: PackedImages
    training: Indices
    """What the GAN sees: the high-quality fraction of the pool."""
    pool: Indices
    """Everything but the reference; the recogniser trains on it."""
    reference: Subset
    """Held out from GAN and recogniser: what reported figures compare with. Rows of the high-quality images outside
    the pool, or images of their own with the same numbering of the classes."""
    low_quality: LowQuality | None
    withheld: Labels
    """Classes whose high-quality images the GAN does not see (``data.without_hq``), ascending."""
    _device_images: dict[torch.device, tuple[DeviceImages, DeviceImages | None]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def names(self) -> ClassNames:
        """Class names in label order: those of the high-quality images, then those with low-quality images only."""
        side, known = self.low_quality, self.high_quality.names
        if side is None or len(side.own_labels) == 0:
            return known
        return known.followed_by([side.names[label] for label in side.own_labels.tolist()])

    @property
    def classes(self) -> tuple[str, ...]:
        """All class names in label order; for many classes rather :attr:`names`."""
        return self.high_quality.classes if self.names is self.high_quality.names else self.names.all()

    @property
    def num_classes(self) -> int:
        """C, in constant time."""
        return len(self.names)

    @property
    def lq_only(self) -> Labels:
        """Labels of the classes of which the GAN sees low-quality images only, ascending."""
        return np.concatenate([self.withheld, np.arange(len(self.high_quality.names), self.num_classes)])

    @property
    def channels(self) -> Literal[1, 3]:
        """1 for grey, 3 for colour."""
        return self.high_quality.channels

    @property
    def low_quality_size(self) -> int:
        """Side r of the low-quality images; 0 without any."""
        return 0 if self.low_quality is None else int(self.low_quality.bank.images.shape[1])

    @property
    def has_own_reference(self) -> bool:
        """Whether the reference is images of its own."""
        return self.reference.packed is not self.high_quality

    @property
    def packs(self) -> list[PackedImages]:
        """Everything that was read: high quality, a reference of its own, low quality of its own."""
        own = [self.reference.packed] if self.has_own_reference else []
        low = self.low_quality.packed if self.low_quality else None
        return [self.high_quality, *own, *([] if low is None else [low])]

    @cached_property
    def evaluated_classes(self) -> EvaluatedClasses:
        """What recogniser, checks and evaluations look at."""
        return choose_evaluated_classes(
            self.high_quality, self.names, self.training, self.pool, self.reference, self.withheld
        )

    def device_images(self, device: torch.device) -> tuple[DeviceImages, DeviceImages | None]:
        """High- and low-quality images that batches on a device are gathered from; all stages of a run share them."""
        if device not in self._device_images:
            bank = self.low_quality.bank.images if self.low_quality else None
            low = None if bank is None else DeviceImages(bank, device)
            self._device_images[device] = DeviceImages(self.high_quality.images, device), low
        return self._device_images[device]

    def images(self, rows: Indices) -> Bytes:
        """uint8 images ``(N, R, R, K)`` of some rows."""
        return self.high_quality.images[rows]

    def labels(self, rows: Indices) -> Labels:
        """Labels ``(N,)`` of some rows."""
        return self.high_quality.labels[rows]

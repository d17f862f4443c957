"""Which low-quality image goes with a class (decision 8), drawn in constant time per image."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ctfgan.data.images import Bytes, to_bytes, to_float, to_picture
from ctfgan.data.packed import PackedImages
from ctfgan.data.settings import DegradationSettings
from ctfgan.data.sources.base import Labels
from ctfgan.data.splits import Indices
from ctfgan.distributed.random_streams import BatchRng

LOOKED_AT = 512  # images
KEPT_VARIANCE = 0.8
UNLABELLED_SHARE = 0.1
"""Of the draws of a class that has low-quality images of its own, where there are others without a label."""


class LowQualityBank:
    """Low-quality images with their labels, ready to be drawn for given classes.

    Args:
        images: uint8 ``(L, r, r, K)``, in memory or read when they are drawn.
        labels: ``(L,)`` int64 in the low-quality label space; -1 without a label.
        label_of_class: for matched pairing the low-quality label of each class, ``(C,)``, -1 for a class without images
            of its own, which takes those of any; None for independent.
    """

    def __init__(self, images: Bytes | ImageView, labels: Labels, label_of_class: Labels | None) -> None:
        self.images = images
        self.labels = labels
        self.label_of_class = label_of_class
        self._labels = torch.from_numpy(labels)
        self._order: Tensor | None = None
        self.is_partly_matched = False
        if label_of_class is None:
            return
        # Images without a label count as one more label before all others.
        by_label = np.bincount(labels + 1, minlength=int(label_of_class.max(initial=-1)) + 2)
        starts, counts = (np.cumsum(by_label) - by_label)[label_of_class + 1], by_label[label_of_class + 1]
        is_own = label_of_class >= 0
        assert (counts[is_own] > 0).all(), "a class that is paired with a label needs an image of it"
        starts[~is_own], counts[~is_own] = 0, len(labels)
        self._order = torch.from_numpy(np.argsort(labels, kind="stable"))
        self._starts, self._counts = torch.from_numpy(starts), torch.from_numpy(counts)
        self._own_label = torch.from_numpy(label_of_class)
        unlabelled = int(by_label[0])
        self._unlabelled = torch.from_numpy(np.where(is_own, unlabelled, 0))
        self.is_partly_matched = unlabelled > 0 or not bool(is_own.all())

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def class_labels(self) -> Labels:
        """Which class each image is of, ``(L,)``; -1 for an image of no label or of none of the classes."""
        assert self.label_of_class is not None, "independent pairing knows no image's class"
        class_of_label = np.full(int(max(self.labels.max(), self.label_of_class.max())) + 2, -1)
        has_own = np.flatnonzero(self.label_of_class >= 0)
        class_of_label[self.label_of_class[has_own]] = has_own
        return class_of_label[self.labels]  # the last one is that of images without a label

    def fingerprint(self) -> str:
        """SHA-256 of labels and pixels, or of what these follow from if they are not in memory."""
        view = self.images
        digest = hashlib.sha256(view.digest() if isinstance(view, ImageView) else np.ascontiguousarray(view).data)
        digest.update(self.labels.tobytes())
        return digest.hexdigest()

    def choose(self, labels: Tensor, batch_rng: BatchRng) -> Tensor:
        """The row of a low-quality image for each class label, both ``(N,)`` int64 on the CPU.

        Where there are images without a label, which may be of any class, :data:`UNLABELLED_SHARE` of the draws of a
        class with images of its own are of these.
        """
        drawn = batch_rng.uniform(len(labels), dtype=torch.float64)
        if self._order is None:
            return (drawn * len(self)).long()
        starts, counts = self._starts[labels], self._counts[labels]
        if self.is_partly_matched:
            unlabelled = self._unlabelled[labels]
            share = torch.where(unlabelled > 0, UNLABELLED_SHARE, 0.0)
            is_any = drawn < share
            drawn = torch.where(is_any, drawn / share, (drawn - share) / (1 - share))
            starts, counts = starts.masked_fill(is_any, 0), torch.where(is_any, unlabelled, counts)
        return self._order[starts + (drawn * counts).long().clamp_max(counts - 1)]

    def are_own(self, labels: Tensor, rows: Tensor) -> Tensor | None:
        """Which of the images in ``rows`` show the class that they were drawn for, ``(N,)`` bool; None if all do, or
        with independent pairing none need to.
        """
        if not self.is_partly_matched:
            return None
        own = self._own_label[labels]
        return (own >= 0) & (own == self._labels[rows])

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

    def draw(self, labels: Tensor, batch_rng: BatchRng) -> tuple[Tensor, Tensor]:
        """A low-quality image for each class label: images ``(N, K, r, r)`` in [-1, 1] and their labels ``(N,)``."""
        rows = self.choose(labels, batch_rng)
        return to_float(self.images[rows.numpy()]), self.labels_of(rows)


def degrade(images: Bytes, settings: DegradationSettings, seed: int, numbers: Indices | None = None) -> Bytes:
    """Degraded copies of uint8 images ``(N, R, R, K)``: uint8 ``(N, size, size, K)``.

    Each image has its own random stream, so a copy does not depend on the others.

    Args:
        images: originals.
        settings: how.
        seed: of the noise.
        numbers: which stream is each image's, ``(N,)``; None counts from 0.
    """
    shape = (settings.size, settings.size, images.shape[3])
    degraded = np.empty((len(images), *shape), dtype=np.uint8)
    streams = range(len(images)) if numbers is None else numbers.tolist()
    for place, (image, stream) in enumerate(zip(images, streams, strict=True)):
        averages = to_picture(image).resize(shape[:2], Image.Resampling.BOX)
        levels = 127.5 + (np.asarray(averages, dtype=np.float64).reshape(shape) - 127.5) * settings.contrast
        if settings.noise:
            levels += np.random.default_rng((seed, stream)).normal(0, 255 * settings.noise, shape)
        degraded[place] = np.rint(levels).clip(0, 255)
    return degraded


MOST_READ_AT_ONCE = 1 << 27
"""Bytes of originals. More are not read before they are needed: a run of many images must start at once, and they may
not fit into memory."""

CHUNK = 1_000  # originals in memory at a time


class ImageView:
    """Images by number; ``view[numbers]`` reads them, and degrades them if so asked, every time anew.

    Args:
        packed: the larger set.
        rows: which of its images these are, ``(L,)``.
        degradation: how they are degraded; None leaves them as they are.
        seed: of the degradation.
    """

    def __init__(self, packed: PackedImages, rows: Indices, degradation: DegradationSettings | None, seed: int) -> None:
        self._packed = packed
        self._rows = rows
        self._degradation = degradation
        self._seed = seed

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(L, r, r, K)``."""
        side, channels = self._packed.images.shape[2:]
        size = side if self._degradation is None else self._degradation.size
        return len(self._rows), size, size, channels

    def __getitem__(self, numbers: Indices) -> Bytes:
        images = np.empty((len(numbers), *self.shape[1:]), dtype=np.uint8)
        for start in range(0, len(numbers), CHUNK):  # originals may be many times as large as what is made of them
            part = numbers[start : start + CHUNK]
            originals = self._packed.images[self._rows[part]]
            images[start : start + CHUNK] = (
                originals if self._degradation is None else degrade(originals, self._degradation, self._seed, part)
            )
        return images

    def digest(self) -> bytes:
        """SHA-256 of all that the pixels follow from; no pixel is read."""
        how = "as they are" if self._degradation is None else f"{self._degradation.model_dump_json()} {self._seed}"
        return hashlib.sha256(f"{self._packed.fingerprint} {how}".encode() + self._rows.tobytes()).digest()

    def in_memory_if_few(self) -> Bytes | ImageView:
        """The images themselves if reading them takes a moment, else this view."""
        originals = len(self._rows) * self._packed.images[:1].nbytes
        return self[np.arange(len(self._rows))] if originals <= MOST_READ_AT_ONCE else self


class BothSides:
    """High-quality images followed by low-quality ones that are enlarged to their size, for who learns of both.

    Args:
        high: uint8 ``(N, R, R, K)``, memory-mapped or not.
        low: ``(L, r, r, K)``, r at most R.
    """

    def __init__(self, high: Bytes, low: Bytes | ImageView) -> None:
        self._high = high
        self._low = low

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(N + L, R, R, K)``."""
        count, side, _, channels = self._high.shape
        return count + self._low.shape[0], side, side, channels

    def __getitem__(self, numbers: Indices) -> Bytes:
        count, side = self._high.shape[:2]
        images = np.empty((len(numbers), *self.shape[1:]), dtype=np.uint8)
        is_high = numbers < count
        images[is_high] = self._high[numbers[is_high]]
        if not is_high.all():
            low = to_float(self._low[numbers[~is_high] - count])
            images[~is_high] = to_bytes(F.interpolate(low, size=(side, side), mode="bilinear", align_corners=False))
        return images

"""Where the images of a batch come from: the device itself if they fit there, else the CPU's memory or disk."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ctfgan.data.image_view import ImageView
from ctfgan.data.images import Bytes, normalised
from ctfgan.distributed.engine import free_memory, send

RESIDENT_SHARE = 0.25
"""Part of a device's free memory that a set of images may take; networks, optimisers and activations need the rest."""


class Stock:
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


@dataclass(frozen=True)
class Stocks:
    """All images that batches are made of."""

    high_quality: Stock
    low_quality: Stock | None


def shared_tensor(array: NDArray[np.generic]) -> Tensor:
    """A tensor on the memory of an array, which may be a file that is mapped for reading only; do not write to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)

"""What every extractor offers: features of images and, if it is a classifier, class probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]

RECOGNISER = "recogniser"
INCEPTION = "inception"


@dataclass(frozen=True)
class ExtractorCard:
    """Who an extractor is, how it sees images, and what figures made with it are called."""

    key: str
    """Short name, one of a kind within an evaluation; figures are filed under it."""
    name: str
    """Name with a hash of its weights: figures compare only if this is the same."""
    width: int
    """Length D of the feature vector."""
    resize: str
    """What it does to an image's size, in words."""
    distance: str
    """What its Frechet distance is called; only the published Inception's is an FID."""
    kernel: str
    """What its kernel distance is called."""
    score: str
    """What the formula of the Inception score gives on its probabilities is called."""
    knows_classes: bool = False
    """Whether its classes are the run's own, so that it can tell whether an image shows its class."""
    scaled_kernel: bool = False
    """Whether the kernel distance divides features by the reference's root mean square. The cubic kernel depends on
    the features' scale, which is arbitrary in a recogniser trained anew; published weights have one scale for all."""
    published_images: int | None = None
    """How many generated images published figures of this extractor are made from."""


class Extractor(Protocol):
    """A network in evaluation mode on some device."""

    @property
    def card(self) -> ExtractorCard:
        """Its name, its resize, the names of its figures."""
        ...

    def read(self, images: Pixels) -> tuple[Tensor, Tensor | None]:
        """Features ``(N, D)`` and class probabilities ``(N, C)``, or None, of uint8 images ``(N, R, R, K)``.

        Both are on the CPU. N may be large: an extractor makes its own batches.
        """
        ...


def as_colour(images: Pixels, device: torch.device) -> Tensor:
    """uint8 ``(N, R, R, K)`` as a uint8 tensor ``(N, 3, R, R)`` on a device; grey is repeated."""
    batch = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return batch.expand(-1, 3, -1, -1).contiguous()

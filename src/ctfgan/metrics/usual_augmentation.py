"""The augmentation that people use before they think of generated images: a fixed list, for classifiers (decision 26).

Each image is changed by itself, with torchvision's names and usual ranges: horizontal flip, ``RandomAffine`` and
``RandomErasing`` (Zhong et al., "Random Erasing Data Augmentation", 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

DEGREES = 10  # of rotation, to either side
SHIFT = 0.1  # of the side, in each direction
SCALE = 0.1  # so 0.9 to 1.1
ERASED_AREA = (0.02, 0.33)  # of the image
ERASED_RATIO = (0.3, 3.3)  # height to width
DRAWS = 10  # numbers that decide what happens to an image


@dataclass(frozen=True)
class UsualAugmentation:
    """Rotation, shift, scale and cut-out of every image, and flips where they are right."""

    flips: bool
    """Whether half of the images are mirrored left and right; not for characters."""

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Other views of images ``(N, K, R, R)`` in [-1, 1], of the same shape and range.

        Args:
            images: a batch.
            rng: decides, by as many numbers whether there are flips or not.
        """
        draws = rng.random((len(images), DRAWS))
        if self.flips:
            mirrored = torch.from_numpy(draws[:, 0] < 0.5).to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        degrees, scale, right, down = (2 * draws[:, 1:5] - 1).T
        images = affine(images, DEGREES * degrees, 1 + SCALE * scale, SHIFT * right, SHIFT * down)
        return erase(images, draws[:, 5] < 0.5, draws[:, 6:])


def affine(
    images: Tensor,
    degrees: NDArray[np.float64],
    scale: NDArray[np.float64],
    right: NDArray[np.float64],
    down: NDArray[np.float64],
) -> Tensor:
    """Images turned about their middle, scaled, then shifted; bilinear, and what comes in repeats the edge.

    Args:
        images: ``(N, K, R, R)``.
        degrees: by which each is turned, counter-clockwise, ``(N,)``.
        scale: of each; above 1 things grow.
        right: by which share of the side each is shifted; to the left below 0.
        down: likewise; upwards below 0.
    """
    cosine, sine = np.cos(np.radians(degrees)) / scale, np.sin(np.radians(degrees)) / scale
    x, y = 2 * right, 2 * down  # torch's coordinates: from -1 to 1 across the image
    # Where each pixel comes from: shifted back, then turned and scaled back; y points down.
    rows = [[cosine, -sine, sine * y - cosine * x], [sine, cosine, -sine * x - cosine * y]]
    theta = torch.from_numpy(np.array(rows).transpose(2, 0, 1)).to(images.device, images.dtype)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def erase(images: Tensor, chosen: NDArray[np.bool_], draws: NDArray[np.float64]) -> Tensor:
    """A rectangle of middle grey in some of the images, nowhere across their border.

    Args:
        images: ``(N, K, R, R)`` in [-1, 1].
        chosen: in which, ``(N,)``.
        draws: ``(N, 4)`` in [0, 1): area, ratio (its logarithm is uniform), place from the left and from the top.
    """
    side = images.shape[3]
    area = ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * draws[:, 0]
    low, high = (math.log(ratio) for ratio in ERASED_RATIO)
    ratio = np.exp(low + (high - low) * draws[:, 1])
    height, width = (np.rint(side * np.sqrt(part)).clip(1, side) for part in (area * ratio, area / ratio))
    left, top = np.floor((side - width + 1) * draws[:, 2]), np.floor((side - height + 1) * draws[:, 3])
    places = np.arange(side)
    columns = (places >= left[:, None]) & (places < (left + width)[:, None])  # (N, R)
    lines = (places >= top[:, None]) & (places < (top + height)[:, None]) & chosen[:, None]
    erased = torch.from_numpy(lines[:, :, None] & columns[:, None]).to(images.device)
    return images.masked_fill(erased[:, None], 0.0)

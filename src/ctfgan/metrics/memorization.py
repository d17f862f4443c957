"""Are samples copies? How near they are to their nearest training image, beside how near held-out real images are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.data.images import Bytes

CHECK_SIDE = 16  # images are compared after area averaging to this side: faint noise must not hide a copy


@dataclass(frozen=True)
class MemorizationCheck:
    """Nearest-neighbour distances in root mean square grey levels (0 ... 255)."""

    median_generated: float
    """Median distance of a generated image to its nearest training image."""
    median_real: float
    """The same for held-out real images: what no copying at all looks like; 0 if there are none to compare."""
    closer_than_real: float
    """Share of generated images that are training images, or nearer to one than 99 % of held-out real images are;
    about 0.01 if nothing is copied."""
    generated: int
    """Generated images compared."""
    held_out: int
    """Held-out real images compared: those that are not training images, too."""

    def sentence(self) -> str:
        """All of it in words."""
        if not self.held_out:
            return (
                f"{self.closer_than_real:.1%} of samples are training images; no other held-out image to compare with"
            )
        return (
            f"{self.closer_than_real:.1%} of samples are nearer to a training image than 99 % of held-out real images "
            f"are (chance gives 1 %); median distance {self.median_generated:.1f} grey levels, real "
            f"{self.median_real:.1f}"
        )


def check_memorization(generated: Bytes, held_out: Bytes, training: Iterable[Bytes]) -> MemorizationCheck:
    """Compare generated and held-out images with all originals that training saw in any form.

    Held-out images with the pixels of a training image are left out: they would say that copies are usual. A published
    test part may hold some.

    Args:
        generated: uint8 ``(N, R, R, K)``.
        held_out: uint8 ``(M, R, R, K)``.
        training: a stream of uint8 ``(L, R, R, K)``; these may be more than fit into memory.
    """
    compared = area_averages(np.concatenate([generated, held_out]))
    nearest = torch.full((len(compared),), torch.inf)
    digests = [*_digests(generated), *_digests(held_out)]
    compared_digests, copied_digests = frozenset(digests), set[bytes]()
    for images in training:
        copied_digests |= compared_digests.intersection(_digests(images))
        originals = area_averages(images)
        for rows in torch.arange(len(compared)).split(1_000):
            nearest[rows] = torch.minimum(nearest[rows], torch.cdist(compared[rows], originals).amin(dim=1))
    nearest /= compared.shape[1] ** 0.5
    is_copy = torch.tensor([digest in copied_digests for digest in digests], dtype=torch.bool)
    nearest[is_copy] = 0  # but for rounding, they were before
    near_generated, near_real = nearest.split([len(generated), len(held_out)])
    near_real = near_real[~is_copy[len(generated) :]]
    limit, median_real = (near_real.quantile(0.01), near_real.median().item()) if len(near_real) else (0, 0.0)
    closer = (is_copy[: len(generated)] | (near_generated < limit)).double().mean().item()
    return MemorizationCheck(near_generated.median().item(), median_real, closer, len(generated), len(near_real))


def _digests(images: Bytes) -> Iterator[bytes]:
    """SHA-256 of the pixels of each image."""
    return (hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images)


def area_averages(images: Bytes) -> Tensor:
    """uint8 images ``(N, R, R, K)`` as vectors ``(N, D)`` of grey levels, area-averaged to 16x16 pixels."""
    parts = (torch.from_numpy(images[start : start + 4_096]) for start in range(0, len(images), 4_096))
    return torch.cat([F.adaptive_avg_pool2d(p.permute(0, 3, 1, 2).float(), CHECK_SIDE).flatten(1) for p in parts])

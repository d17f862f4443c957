"""Are samples copies? How near they are to their nearest training image, beside how near held-out real images are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]

CHECK_SIDE = 16  # images are compared after area averaging to this side: faint noise must not hide a copy


@dataclass(frozen=True)
class CopyCheck:
    """Nearest-neighbour distances in root mean square grey levels (0 ... 255)."""

    median_generated: float
    """Median distance of a generated image to its nearest training image."""
    median_real: float
    """The same for held-out real images: what no copying at all looks like."""
    closer_than_real: float
    """Share of generated images nearer to a training image than 99 % of held-out real images are; about 0.01 if
    nothing is copied."""


def check_copies(generated: Pixels, held_out: Pixels, training: Pixels) -> CopyCheck:
    """Compare generated and held-out images with all originals that training saw in any form.

    All are uint8 ``(N, R, R, K)``.
    """
    known = _reduced(training)
    near_generated, near_real = (_nearest(_reduced(images), known) for images in (generated, held_out))
    limit = near_real.quantile(0.01)
    return CopyCheck(
        near_generated.median().item(), near_real.median().item(), (near_generated < limit).double().mean().item()
    )


def _reduced(images: Pixels) -> Tensor:
    parts = (torch.from_numpy(images[start : start + 4_096]) for start in range(0, len(images), 4_096))
    return torch.cat([F.adaptive_avg_pool2d(p.permute(0, 3, 1, 2).float(), CHECK_SIDE).flatten(1) for p in parts])


def _nearest(images: Tensor, known: Tensor) -> Tensor:
    nearest = [torch.cdist(part, known).amin(dim=1) for part in images.split(256)]
    return torch.cat(nearest) / images.shape[1] ** 0.5

"""Task 3's self-supervision: paste a patch of another image at a random place, and keep the box."""

from __future__ import annotations

import torch
from torch import Tensor

from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.distributed.engine import send


def paste_patches(images: Tensor, donors: Tensor, batch_rng: BatchRng) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of each donor into each image (decision 10).

    The sides are uniform in [R/4, R/2] pixels, and so are the places in the donor and in the image.

    Args:
        images: ``(N, K, R, R)``; not changed.
        donors: ``(N, K, R, R)``, real high-quality images.
        batch_rng: of sides and places.

    Returns:
        The pasted images ``(N, K, R, R)``, and the boxes ``(N, 4)`` = (x0, y0, x1, y1) / R in [0, 1]; pixel columns
        x0 ... x1 - 1 and rows y0 ... y1 - 1 are the donor's.
    """
    count, side = len(images), images.shape[-1]
    sides = batch_rng.integers(side // 4, side // 2 + 1, count, 2)  # x, then y
    room = side - sides
    # Floor of uniform * (room + 1) is uniform on 0 ... room for every image's own room.
    start = (batch_rng.uniform(count, 2) * (room + 1)).long()
    source = (batch_rng.uniform(count, 2) * (room + 1)).long()
    # All that follows happens where the images are; six numbers for each image are sent there.
    start, source, sides = send(torch.stack([start, source, sides]), images.device)
    pixels = torch.arange(side, device=images.device)
    inside = (pixels >= start[..., None]) & (pixels < (start + sides)[..., None])  # (N, 2, R)
    moved = (pixels - start[..., None] + source[..., None]).clamp(0, side - 1)
    mask = (inside[:, 1, :, None] & inside[:, 0, None, :])[:, None]  # (N, 1, R, R)
    index = moved[:, 1, :, None] * side + moved[:, 0, None, :]  # (N, R, R)
    flat = index.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    patches = donors.flatten(2).gather(2, flat).view_as(donors)
    boxes = torch.cat([start, start + sides], dim=1) / side
    return torch.where(mask, patches, images), boxes

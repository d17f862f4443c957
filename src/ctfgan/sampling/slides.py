"""The way from one image to another: noise along an arc, all else straight."""

from __future__ import annotations

import torch
from torch import Tensor

from ctfgan.models.interfaces import Noise

SAME_DIRECTION = 1e-4  # radians; between closer vectors a straight line is as good as an arc


def arc(ends: Noise, positions: Tensor) -> Noise:
    """Spherical interpolation of the noise of two images, all of an image's numbers taken as one vector.

    A straight line between two normal vectors passes closer to the origin than normal vectors ever are, where a
    generator has seen nothing (White 2016, "Sampling generative networks").

    Args:
        ends: of two images.
        positions: ``(S,)`` in [0, 1].

    Returns:
        Of S images; at 0 and 1 the ends themselves.
    """
    latent, blocks = ends.latent.shape[1], ends.blocks.shape[1:]
    flat = torch.cat([ends.latent, ends.blocks.flatten(1)], dim=1).double()
    directions = torch.nn.functional.normalize(flat, dim=1)
    angle = torch.arccos((directions[0] @ directions[1]).clamp(-1, 1))
    steps = positions.double()
    if angle < SAME_DIRECTION:
        weights = torch.stack([1 - steps, steps], dim=1)
    else:
        weights = torch.stack([((1 - steps) * angle).sin(), (steps * angle).sin()], dim=1) / angle.sin()
    between = (weights @ flat).float()
    return Noise(between[:, :latent], between[:, latent:].unflatten(1, blocks))


def rows_between(ends: Tensor, positions: Tensor, table: Tensor) -> Tensor:
    """Rows ``(S, width)`` on the way between two rows of a table or of codes; at 0 and 1 these themselves.

    Args:
        ends: the two, ``(2,)`` int64.
        positions: ``(S,)`` in [0, 1].
        table: rows ``(C, width)``.
    """
    first, last = table[ends.to(table.device)].float()
    return torch.lerp(first, last, positions[:, None].to(first))


def label_rows_between(ends: Tensor, positions: Tensor, table: Tensor) -> Tensor:
    """The same for low-quality labels, of which -1 means the last row, and that row behind them."""
    return torch.cat([rows_between(ends, positions, table), table[-1:].float()])

"""The Embed of Fig. 3: a linear map of a condition vector, tiled over the maps that it is concatenated to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.layers import linear


class ConditionEmbedding(nn.Module):
    """``Embed(Concat(gamma, beta, g_L))`` of Eq. 2, computed as ``W [gamma; beta] + E[g_L]`` (decision 5).

    A linear map of a concatenation is a sum of linear maps, and a linear map of a one-hot vector is a table look-up,
    so this equals the paper's form at a cost that does not depend on the number of low-quality labels.

    Shapes: gamma, beta ``(N, T)``; labels as the encoder of their space returns them; returns ``(N, width)``.
    """

    def __init__(self, channels: int, labels: ClassSpace, width: int) -> None:
        super().__init__()
        self.map = linear(2 * channels, width)
        self.table = labels.map(width)

    def forward(self, gamma: Tensor, beta: Tensor, labels: Tensor) -> Tensor:
        return self.map(torch.cat([gamma, beta], dim=1)) + self.table(labels)


def concat_tiled(maps: Tensor, vectors: Tensor) -> Tensor:
    """Concatenate vectors ``(N, D)``, repeated over H and W, to maps ``(N, C, H, W)``: ``(N, C + D, H, W)``."""
    tiled = vectors[:, :, None, None].expand(-1, -1, *maps.shape[-2:])
    return torch.cat([maps, tiled], dim=1)

"""What a discriminator reads off its last maps: realness, fit to a class, the class itself, the box of a patch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.layers import linear


class RealnessHead(nn.Module):
    """Realness alone, ``w . h``, of sum-pooled features: SN-GAN without classes, or with classes put in earlier."""

    def __init__(self, width: int, *, bias: bool, normalised: bool) -> None:
        super().__init__()
        self.realness = linear(width, 1, bias=bias, normalised=normalised)

    def forward(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(N,)`` of features ``(N, width)``; labels are ignored."""
        return self.realness(pooled).squeeze(1)


class ProjectionHead(RealnessHead):
    """Realness and class fit: ``w . h + <E[c], h>`` (Miyato and Koyama 2018)."""

    def __init__(self, width: int, classes: ClassSpace, *, bias: bool, normalised: bool) -> None:
        super().__init__(width, bias=bias, normalised=normalised)
        self.classes = classes.embedding(width, normalised=normalised)

    def forward(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(N,)`` of features ``(N, width)`` and labels ``(N,)``."""
        return super().forward(pooled, labels) + (self.classes(labels) * pooled).sum(dim=1)


class ClassHead(RealnessHead):
    """Realness, and beside it the class: the auxiliary classifier of AC-GAN (Odena et al. 2017)."""

    def __init__(self, width: int, classes: ClassSpace, *, bias: bool, normalised: bool) -> None:
        super().__init__(width, bias=bias, normalised=normalised)
        self.classes = classes.embedding(width, normalised=normalised)
        self.bias = classes.bias()

    def classify(self, pooled: Tensor, candidates: Tensor) -> Tensor:
        """Logits ``(N, L)`` of features ``(N, width)`` for the classes ``candidates`` ``(L,)``."""
        return F.linear(pooled, self.classes(candidates), self.bias(candidates).squeeze(1))


class PatchBoxHead(nn.Module):
    """Box of a pasted patch, read off the last maps before pooling, which would lose the place (Task 3)."""

    def __init__(self, width: int, size: int, *, normalised: bool) -> None:
        super().__init__()
        self.box = linear(width * size**2, 4, normalised=normalised)

    def forward(self, maps: Tensor) -> Tensor:
        """Boxes ``(N, 4)`` = (x0, y0, x1, y1) / R in (0, 1) of maps ``(N, width, size, size)``."""
        return torch.sigmoid(self.box(maps.flatten(1)))

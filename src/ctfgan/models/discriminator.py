"""The residual discriminator of SN-GAN and of CTF-GAN (D_LH): a trunk, and heads by how it learns of the class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.models.settings import Conditioning
from ctfgan.models.widths import WidthPlan
from ctfgan.nn.blocks import DiscriminatorBlock, linear
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.embed import concat_tiled

CONCAT_AFTER = 3  # blocks, in the authors' 128x128 network; one less where a network has only three
CONCAT_WIDTH = 128  # length of the concatenated vector where the last block has 1,024 channels
CONCAT_SHARE = 1_024 // CONCAT_WIDTH


class Discriminator(nn.Module):
    """Residual blocks, ReLU, sum pooling, a head; with ``boxes`` also a patch-box head (Task 3).

    Args:
        plan: channels and halvings.
        channels: K of the images.
        classes: C classes, and how they are kept.
        conditioning: how the class is used.
        boxes: whether the box of a pasted patch can be asked for.
        normalised: spectral norm on every layer.
    """

    def __init__(
        self,
        plan: WidthPlan,
        channels: int,
        classes: ClassSpace,
        conditioning: Conditioning = "projection",
        *,
        boxes: bool = False,
        normalised: bool = True,
    ) -> None:
        super().__init__()
        outputs = plan.discriminator
        self._concat_after = min(CONCAT_AFTER, len(outputs) - 1)
        label_width = max(8, outputs[-1] // CONCAT_SHARE) if conditioning == "concat" else 0
        self.label_maps = classes.embedding(label_width, normalised=normalised) if label_width else None
        inputs = [channels, *outputs[:-1]]
        inputs[self._concat_after] += label_width
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(count, output, down=index < plan.downs, first=index == 0, normalised=normalised)
            for index, (count, output) in enumerate(zip(inputs, outputs, strict=True))
        )
        self.head = _head(outputs[-1], classes, conditioning, bias=plan.realness_bias, normalised=normalised)
        self.box_head = PatchBoxHead(outputs[-1], plan.final_size, normalised=normalised) if boxes else None

    def features(self, images: Tensor, labels: Tensor) -> Tensor:
        """Last maps ``(N, width, size, size)`` of images ``(N, K, R, R)`` in [-1, 1] and labels ``(N,)``."""
        maps = images  # (N, K, R, R)
        for index, block in enumerate(self.blocks):
            if self.label_maps is not None and index == self._concat_after:
                maps = concat_tiled(maps, self.label_maps(labels))  # (N, C + label width, H, W)
            maps = block(maps)  # (N, C, H, W), or half as high and wide
        return F.relu(maps)

    def judge(self, features: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(N,)`` of the last maps; high means a real image (of its class)."""
        return self.head(features.sum(dim=(2, 3)), labels)

    def classify(self, features: Tensor, candidates: Tensor) -> Tensor:
        """Logits ``(N, L)`` of the last maps for classes ``(L,)``; only with the conditioning ``classifier``."""
        assert isinstance(self.head, ClassHead), "this discriminator was built without an auxiliary classifier"
        return self.head.classify(features.sum(dim=(2, 3)), candidates)

    def locate(self, features: Tensor) -> Tensor:
        """Boxes ``(N, 4)`` of pasted patches."""
        assert self.box_head is not None, "this discriminator was built without a patch-box head"
        return self.box_head(features)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.judge(self.features(images, labels), labels)


def _head(width: int, classes: ClassSpace, conditioning: Conditioning, *, bias: bool, normalised: bool) -> RealnessHead:
    if conditioning == "projection":
        return ProjectionHead(width, classes, bias=bias, normalised=normalised)
    if conditioning == "classifier":
        return ClassHead(width, classes, bias=bias, normalised=normalised)
    return RealnessHead(width, bias=bias, normalised=normalised)


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

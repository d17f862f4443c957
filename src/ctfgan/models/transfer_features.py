"""Conditional transferring features: what each block of G_LH adds to an image (Eqs. 2 to 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.models.settings import TransferSettings
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.dct import dct2, high_pass, idct2, soft_threshold
from ctfgan.nn.embed import ConditionEmbedding

CoefficientFilter = Callable[[Tensor], Tensor]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the weights of what image libraries call a conversion to grey


@dataclass(frozen=True)
class TransferTrace:
    """What G_LH leaves behind while it turns a low-quality image into a high-quality one."""

    grey: Tensor
    """The grey low-quality image, ``(N, 1, r, r)``."""
    classes: Tensor
    """The classes as G_LH's norms take them: labels ``(N,)``, or codes ``(N, code)``."""
    maps: list[Tensor]
    """Feature maps F_1 ... F_M, each ``(N, T_m, H_m, W_m)``."""
    gammas: list[Tensor]
    """Rows gamma_{m,2} of each image's class, each ``(N, T_m)``."""
    betas: list[Tensor]
    """Rows beta_{m,2}, likewise."""


class TransferFeature(NamedTuple):
    """CTF_m of Eq. 2 in its two parts; the second is the same at every pixel and is not repeated there."""

    difference: Tensor
    """H_m, ``(N, T_m, H_m, W_m)``."""
    embedding: Tensor
    """``Embed(Concat(gamma_{m,2}, beta_{m,2}, g_L))``, ``(N, embedding)``."""


def to_grey(images: Tensor) -> Tensor:
    """The paper's CvtGray (Eq. 3): images ``(N, K, H, W)`` with K = 1 or 3 as ``(N, 1, H, W)``."""
    if images.shape[1] == 1:
        return images
    return torch.einsum("nkhw,k->nhw", images, images.new_tensor(LUMA))[:, None]


def difference_maps(current: Tensor, previous: Tensor, coefficient_filter: CoefficientFilter | None = None) -> Tensor:
    """Difference maps H_m between block m and the block before it (Eqs. 3 and 4).

    The paper takes the DCT of both sides, subtracts, averages over the S previous maps, and transforms back. All of
    these steps and the bilinear resize are linear, so the result is ``F_m - Resize(mean_s F_{m-1})`` and no transform
    is needed (decision 1). Only a filter on the coefficients makes the frequency domain matter.

    Args:
        current: feature maps F_m, ``(N, T, H, W)``.
        previous: feature maps F_{m-1}, ``(N, S, h, w)``. For m = 1 pass the grey low-quality image,
            ``(N, 1, h, w)``: Eq. 3 is Eq. 4 with S = 1.
        coefficient_filter: maps coefficients ``(N, T, H, W)`` to filtered ones; None for the paper's method.

    Returns:
        H_m, ``(N, T, H, W)``, in the units of the feature maps.

    Raises:
        ValueError: the two batches differ in length.
    """
    if current.shape[0] != previous.shape[0]:  # not len(): it would tie an exported graph to one batch size
        raise ValueError(f"current has {len(current)} images, previous has {len(previous)}; pass the same batch")
    mean = previous.mean(dim=1, keepdim=True)
    size = current.shape[-2:]
    shrinks = previous.shape[-1] > current.shape[-1]
    resized = F.interpolate(mean, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
    if coefficient_filter is None:
        return current - resized
    return idct2(coefficient_filter(dct2(current) - dct2(resized)))


def coefficient_filter(settings: TransferSettings) -> CoefficientFilter | None:
    """The filter that the settings name, or None for the paper's linear method."""
    filters: dict[str, CoefficientFilter | None] = {
        "none": None,
        "soft-threshold": partial(soft_threshold, threshold=settings.frequency_level),
        "high-pass": partial(high_pass, cutoff=settings.frequency_level),
    }
    return filters[settings.frequency]


class TransferFeatures(nn.Module):
    """CTF_m = Concat(H_m, Embed(Concat(gamma_{m,2}, beta_{m,2}, g_L))) for m = 1 ... M (Eq. 2).

    Its embeddings are read by G_A only, so they train with G_A in stage 2; G_LH stays as stage 1 left it.

    Args:
        channels: T_1 ... T_M of G_LH.
        labels: the low-quality label space: c_L labels, 0 if there are none, and one more for images without a label.
    """

    def __init__(self, channels: tuple[int, ...], labels: ClassSpace, settings: TransferSettings) -> None:
        super().__init__()
        self.unlabelled = labels.count - 1
        self.labels = labels.encoder()
        self.embeddings = nn.ModuleList(ConditionEmbedding(count, labels, settings.embedding) for count in channels)
        self.widths = tuple(count + settings.embedding for count in channels)
        self._filter = coefficient_filter(settings)
        self._source = settings.ctf

    def forward(self, trace: TransferTrace, low_quality_labels: Tensor) -> list[TransferFeature]:
        """CTF_1 ... CTF_M; labels ``(N,)`` in ``[-1, c_L)``."""
        labels = self.labels(torch.where(low_quality_labels < 0, self.unlabelled, low_quality_labels))
        features = []
        previous = trace.grey
        for maps, gamma, beta, embed in zip(trace.maps, trace.gammas, trace.betas, self.embeddings, strict=True):
            difference = difference_maps(maps, previous, self._filter)
            features.append(TransferFeature(difference, embed(gamma, beta, labels)))
            previous = maps
        if self._source == "shuffled":
            # By half a batch, so that processes that share a batch need nothing of each other.
            return [TransferFeature(*map(_half_way_round, ctf)) for ctf in features]
        if self._source == "zero":
            return [TransferFeature(*map(torch.zeros_like, ctf)) for ctf in features]
        return features

    @torch.no_grad()
    def average_unlabelled(self) -> None:
        """Give the row of unlabelled images, if it was never trained, the mean of the labelled rows; codes stay."""
        for module in self.modules() if self.unlabelled else ():
            if isinstance(module, nn.Embedding):
                module.weight[-1] = module.weight[:-1].mean(dim=0)


def _half_way_round(part: Tensor) -> Tensor:
    """Roll by half a batch; written with indices, since ONNX has no roll by a number that depends on the batch."""
    count = part.shape[0]
    return part[torch.arange(count, device=part.device) - count // 2]  # from the end where negative

"""The orthonormal two-dimensional DCT-II of Eqs. 3 and 4, as products with one small matrix."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def dct_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Orthonormal DCT-II matrix, ``(size, size)``; row k holds the k-th cosine, so ``C @ C.T`` is the identity."""
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    position = torch.arange(size, dtype=torch.float64)[None, :]
    matrix = torch.cos(math.pi * (2 * position + 1) * frequency / (2 * size)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device=device, dtype=dtype)


def dct2(maps: Tensor) -> Tensor:
    """DCT coefficients of maps ``(..., H, W)``, same shape; low frequencies come first."""
    rows = dct_matrix(maps.shape[-2], maps.dtype, maps.device)
    columns = dct_matrix(maps.shape[-1], maps.dtype, maps.device)
    return rows @ maps @ columns.mT


def idct2(coefficients: Tensor) -> Tensor:
    """Maps ``(..., H, W)`` of DCT coefficients of the same shape; the inverse of :func:`dct2`."""
    rows = dct_matrix(coefficients.shape[-2], coefficients.dtype, coefficients.device)
    columns = dct_matrix(coefficients.shape[-1], coefficients.dtype, coefficients.device)
    return rows.mT @ coefficients @ columns


def soft_threshold(coefficients: Tensor, threshold: float) -> Tensor:
    """Move every coefficient towards zero by ``threshold``; those within it become zero."""
    return coefficients.sign() * (coefficients.abs() - threshold).clamp(min=0)


def high_pass(coefficients: Tensor, cutoff: float) -> Tensor:
    """Zero the coefficients below ``cutoff`` (0 ... 1) of the highest diagonal frequency."""
    height, width = coefficients.shape[-2:]
    vertical = torch.arange(height, device=coefficients.device)[:, None] / height
    horizontal = torch.arange(width, device=coefficients.device)[None, :] / width
    return coefficients * ((vertical + horizontal) / 2 >= cutoff)

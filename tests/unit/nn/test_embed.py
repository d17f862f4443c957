from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ctfgan.nn.embed import conv_tiled


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (8, 8), (2, 7)])
@pytest.mark.parametrize("biased", [True, False])
def test_a_vector_need_not_be_repeated_to_be_convolved_borders_and_gradients_included(
    size: tuple[int, int], biased: bool
) -> None:
    rng = torch.Generator().manual_seed(0)
    shapes = [(2, 3, *size), (2, 4), (5, 7, 3, 3), (5,)][: 4 if biased else 3]
    given = [torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True) for shape in shapes]
    maps, vectors, weight = given[:3]
    bias = given[3] if biased else None
    repeated = torch.stack([torch.stack([vectors] * size[0], dim=2)] * size[1], dim=3)
    expected = F.conv2d(torch.cat([maps, repeated], dim=1), weight, bias, padding=1)
    found = conv_tiled(maps, vectors, weight, bias)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    gradient = torch.randn(expected.shape, generator=rng, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, given, gradient), torch.autograd.grad(expected, given, gradient), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)

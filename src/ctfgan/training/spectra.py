"""Greatest singular values of a network's layers; a sudden growth goes before a collapse (Brock et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

ITERATIONS = 40  # for an error below one per cent where the second value is not close to the first
SEED = 20_190_924


@torch.no_grad()
def largest_singular_values(network: nn.Module) -> dict[str, float]:
    """Greatest singular value of each trained layer by name, a convolution as a matrix ``(outputs, inputs * k * k)``.

    By power iteration, so never too large. Left out are layers under spectral norm, whose value is 1 by construction,
    and tables of rows by class, of which a check must not read them all. Nothing of the network is changed, not even
    the vectors of its spectral norm.
    """
    weights = dict(_weights(network))
    if not weights:
        return {}
    return dict(zip(weights, torch.stack([_largest(weight) for weight in weights.values()]).tolist(), strict=True))


def _weights(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in network.named_modules():
        if isinstance(module, (ParametrizationList, nn.Embedding)):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim > 1 and parameter.requires_grad:
                yield path if name == "weight" else f"{path}.{name}".removeprefix("."), parameter


def _largest(weight: Tensor) -> Tensor:
    matrix = weight.detach().flatten(1).float()
    start = torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(SEED))
    right = start.to(matrix.device)
    for _ in range(ITERATIONS):
        right = matrix.mT @ (matrix @ (right / right.norm().clamp_min(1e-30)))
    # |W^T W v| of a unit vector v is at most the square of the value, and tends to it.
    return right.norm().sqrt()

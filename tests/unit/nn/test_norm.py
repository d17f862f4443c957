from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.norm import BATCH_NORM_EPSILON, ConditionalNorm2d, Statistics, scaled_normalisation


def layered(maps: Tensor, gamma: Tensor, beta: Tensor, eps: float, over_batch: bool) -> Tensor:
    if over_batch:
        normalised = F.batch_norm(maps, None, None, training=True, eps=eps)
    else:
        normalised = F.instance_norm(maps, eps=eps)
    return gamma[:, :, None, None] * normalised + beta[:, :, None, None]


@pytest.mark.parametrize("over_batch", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (2, 1, 8, 8), (4, 7, 2, 1)])
def test_one_function_does_what_the_layers_do_gradients_included(
    over_batch: bool, channels_last: bool, shape: tuple[int, int, int, int]
) -> None:
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(shape, generator=rng, dtype=torch.float64) * 2 + 1
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    rows = torch.randn(2, *shape[:2], generator=rng, dtype=torch.float64)
    given = [maps.requires_grad_(), rows[0].requires_grad_(), rows[1].requires_grad_()]
    found, mean, variance = scaled_normalisation(*given, 1e-3, over_batch)
    expected = layered(*given, 1e-3, over_batch)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    assert found.is_contiguous(memory_format=torch.channels_last)
    dims = (0, 2, 3) if over_batch else (2, 3)
    torch.testing.assert_close(mean.squeeze(0) if over_batch else mean, maps.mean(dims))
    torch.testing.assert_close(variance.squeeze(0) if over_batch else variance, maps.var(dims, correction=0))
    gradient = torch.randn(shape, generator=rng, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, given, gradient), torch.autograd.grad(expected, given, gradient), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("statistics", ["instance", "batch"])
def test_a_conditional_norm_is_torchs_norm_with_rows_of_the_class_in_training_and_after_it(
    statistics: Statistics,
) -> None:
    rng = torch.Generator().manual_seed(0)
    layer = ConditionalNorm2d(6, ClassSpace(4), statistics).double()
    for table in (layer.gamma, layer.beta):
        torch.nn.init.normal_(table.weight, generator=rng)
    labels = torch.tensor([3, 0, 1])
    running = torch.nn.BatchNorm2d(6, eps=BATCH_NORM_EPSILON, affine=False).double()
    for training in (True, True, False):
        layer.train(training)
        running.train(training)
        maps = torch.randn(3, 6, 4, 4, generator=rng, dtype=torch.float64)
        maps = maps.contiguous(memory_format=torch.channels_last)
        normalised = running(maps) if statistics == "batch" else F.instance_norm(maps, eps=BATCH_NORM_EPSILON)
        gamma, beta = layer.rows(labels)
        found = layer(maps, labels)
        torch.testing.assert_close(found, gamma[:, :, None, None] * normalised + beta[:, :, None, None])
        assert found.is_contiguous(memory_format=torch.channels_last)
    if statistics == "batch":
        kept = {name.removeprefix("normalize."): tensor for name, tensor in layer.state_dict().items()}
        for name, tensor in running.state_dict().items():
            torch.testing.assert_close(kept[name], tensor)


@pytest.mark.parametrize("statistics", ["instance", "batch"])
def test_statistics_are_not_those_of_bfloat16_under_autocast(statistics: Statistics) -> None:
    rng = torch.Generator().manual_seed(0)
    maps = 10 + 0.1 * torch.randn(4, 6, 8, 8, generator=rng)
    layer = ConditionalNorm2d(6, ClassSpace(4), statistics)
    plain = ConditionalNorm2d(6, ClassSpace(4), statistics)(maps, torch.arange(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(maps, torch.arange(4))
        narrow = layer(maps.bfloat16(), torch.arange(4))
    torch.testing.assert_close(found, plain)
    assert narrow.dtype == torch.bfloat16

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.models.progressive import EqualisedConv2d
from ctfgan.nn.blocks import DiscriminatorBlock, GeneratorBlock
from ctfgan.nn.norm import UnconditionalBatchNorm2d
from ctfgan.nn.resampling import conv_pool, unpool_conv

Resampled = Callable[[Tensor, Tensor, Tensor | None], Tensor]

CHANNELS = [(1, 3), (3, 8), (8, 1)]


def literal_unpool_conv(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    repeated = maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return F.conv2d(repeated, weight, bias, padding=1)


def literal_conv_pool(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.avg_pool2d(F.conv2d(maps, weight, bias, padding=1), 2)


PAIRS = [(unpool_conv, literal_unpool_conv), (conv_pool, literal_conv_pool)]


def drawn(inputs: int, outputs: int, size: tuple[int, int]) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    shapes = [(2, inputs, *size), (outputs, inputs, 3, 3), (outputs,)]
    return [torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True) for shape in shapes]


def first_and_second_gradients(function: Resampled, given: list[Tensor]) -> list[Tensor]:
    """Of the sum of cubed outputs, and of the sum of the squared first gradients, as a gradient penalty takes them."""
    first = torch.autograd.grad(function(*given).pow(3).sum(), given, create_graph=True)
    penalty = torch.stack([gradient.square().sum() for gradient in first]).sum()
    return [*first, *torch.autograd.grad(penalty, given)]


def agree(found: Tensor, expected: Tensor) -> None:
    scale = expected.abs().max().item()
    torch.testing.assert_close(found, expected, atol=1e-12 * max(scale, 1), rtol=0)


@pytest.mark.parametrize(("fast", "literal"), PAIRS)
@pytest.mark.parametrize(("inputs", "outputs"), CHANNELS)
@pytest.mark.parametrize("size", [(2, 2), (4, 6), (5, 8), (7, 3)])
def test_the_cheap_order_is_the_literal_one_borders_included(
    fast: Resampled, literal: Resampled, inputs: int, outputs: int, size: tuple[int, int]
) -> None:
    maps, weight, bias = drawn(inputs, outputs, size)
    agree(fast(maps, weight, bias), literal(maps, weight, bias))
    agree(fast(maps, weight, None), literal(maps, weight, None))


@pytest.mark.parametrize(("fast", "literal"), PAIRS)
@pytest.mark.parametrize(("inputs", "outputs"), CHANNELS)
@pytest.mark.parametrize("size", [(4, 4), (5, 7)])
def test_gradients_and_gradients_of_gradients_agree(
    fast: Resampled, literal: Resampled, inputs: int, outputs: int, size: tuple[int, int]
) -> None:
    given = drawn(inputs, outputs, size)
    found, expected = first_and_second_gradients(fast, given), first_and_second_gradients(literal, given)
    for one, other in zip(found, expected, strict=True):
        agree(one, other)


def test_a_single_pixel_can_be_upscaled() -> None:
    maps, weight, bias = drawn(3, 2, (1, 1))
    agree(unpool_conv(maps, weight, bias), literal_unpool_conv(maps, weight, bias))


def test_a_generator_block_is_its_layers_in_the_published_order() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = GeneratorBlock(3, 5, UnconditionalBatchNorm2d).double()
        torch.nn.init.normal_(block.conv_1.bias)  # type: ignore[arg-type]
        maps = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    hidden = block.conv_1(F.interpolate(F.relu(block.norm_1(maps, None)), scale_factor=2.0))
    hidden = block.conv_2(F.relu(block.norm_2(hidden, None)))
    agree(block(maps, None), hidden + block.shortcut(F.interpolate(maps, scale_factor=2.0)))


@pytest.mark.parametrize("first", [True, False])
def test_a_discriminator_block_is_its_layers_in_the_published_order_with_one_power_iteration(first: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block, literal = (DiscriminatorBlock(3, 5, down=True, first=first, normalised=True).double() for _ in range(2))
        literal.load_state_dict(block.state_dict())
        maps = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    hidden = literal.conv_2(F.relu(literal.conv_1(maps if first else F.relu(maps))))
    agree(block(maps), F.avg_pool2d(hidden + literal.shortcut(maps), 2))
    for name, tensor in literal.state_dict().items():
        agree(block.state_dict()[name], tensor)


def test_an_equalised_convolution_upscales_with_its_scaled_weights() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = EqualisedConv2d(4, 6).double()
        maps = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    agree(layer.unpooled(maps), layer(maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)))

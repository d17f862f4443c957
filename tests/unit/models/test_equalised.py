from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ctfgan.models.progressive import (
    EqualisedConv2d,
    EqualisedLatentMaps,
    EqualisedLinear,
    concat_deviation,
    pixel_norm,
)
from ctfgan.nn.class_tables import ClassSpace


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_an_equalised_convolution_is_a_plain_one_with_scaled_weights() -> None:
    layer = EqualisedConv2d(6, 4, 3)
    nn.init.normal_(layer.bias)
    plain = nn.Conv2d(6, 4, 3, padding=1)
    plain.load_state_dict({"weight": layer.weight * math.sqrt(2 / (6 * 3 * 3)), "bias": layer.bias})
    maps = torch.randn(2, 6, 5, 5)
    torch.testing.assert_close(layer(maps), plain(maps))


def test_an_equalised_linear_layer_is_a_plain_one_with_scaled_weights() -> None:
    layer = EqualisedLinear(6, 4, gain=3.0)
    nn.init.normal_(layer.bias)
    plain = nn.Linear(6, 4)
    plain.load_state_dict({"weight": layer.weight * 3 / math.sqrt(6), "bias": layer.bias})
    vectors = torch.randn(2, 6)
    torch.testing.assert_close(layer(vectors), plain(vectors))


def test_new_weights_are_standard_normal_whatever_the_size() -> None:
    for layer in (EqualisedConv2d(64, 64), EqualisedLinear(16, 1024), EqualisedLinear(1024, 16, gain=1.0)):
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.03)
        assert layer.weight.std().item() == pytest.approx(1, abs=0.03)
        assert not layer.bias.any()


def test_a_new_layer_of_gain_one_keeps_unit_variance() -> None:
    conv, linear = EqualisedConv2d(64, 64, gain=1.0), EqualisedLinear(256, 256, gain=1.0)
    inner = conv(torch.randn(16, 64, 10, 10))[:, :, 1:-1, 1:-1]  # the padding dims the margin
    assert inner.var().item() == pytest.approx(1, abs=0.05)
    assert linear(torch.randn(512, 256)).var().item() == pytest.approx(1, abs=0.05)


def test_new_layers_with_leaky_relus_keep_the_mean_square_over_many_layers() -> None:
    vectors = torch.randn(256, 1024)
    for _ in range(4):
        vectors = F.leaky_relu(EqualisedLinear(1024, 1024)(vectors), 0.2)
    # He's gain is that of a plain ReLU; the slope of 0.2 adds 4 % each time.
    assert vectors.square().mean().item() == pytest.approx(1.04**4, rel=0.3)


def test_pixel_norm_gives_every_pixel_a_vector_of_unit_mean_square() -> None:
    maps = torch.randn(2, 8, 3, 3) * torch.logspace(-1, 3, 9).reshape(3, 3)
    normed = pixel_norm(maps)
    torch.testing.assert_close(normed.square().mean(dim=1), torch.ones(2, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(F.cosine_similarity(maps, normed), torch.ones(2, 3, 3))
    assert not pixel_norm(torch.zeros(1, 8, 1, 1)).any()


@pytest.mark.parametrize("num_classes", [None, 5])
def test_the_first_layer_is_that_of_the_normalised_concatenation_with_a_one_hot_class(num_classes: int | None) -> None:
    classes = None if num_classes is None else ClassSpace(num_classes)
    layer = EqualisedLatentMaps(7, classes, outputs=3, size=4)
    nn.init.normal_(layer.bias)
    latent, labels = torch.randn(6, 7), torch.tensor([0, 4, 2, 2, 1, 3])
    given, matrix = latent, layer.latent
    if layer.classes is not None:
        given = torch.cat([latent, torch.eye(5)[labels]], dim=1)
        matrix = torch.cat([layer.latent, layer.classes.weight])
    given = given / (given.square().mean(dim=1, keepdim=True)).sqrt()
    expected = (given @ (matrix * math.sqrt(2) / 4 / math.sqrt(len(matrix)))).reshape(6, 3, 4, 4)
    torch.testing.assert_close(layer(latent, labels), expected + layer.bias.reshape(1, 3, 1, 1))


@pytest.mark.parametrize(("count", "group"), [(8, 4), (4, 4), (6, 3), (9, 3), (2, 2), (10, 2), (5, 1), (1, 1)])
def test_the_deviation_is_that_of_consecutive_images(count: int, group: int) -> None:
    maps = torch.randn(count, 3, 4, 4)
    appended = concat_deviation(maps)
    assert torch.equal(appended[:, :3], maps)
    for index in range(count):
        first = index // group * group
        expected = np.std(maps[first : first + group].numpy(), axis=0).mean()
        np.testing.assert_allclose(appended[index, 3].numpy(), np.full((4, 4), expected), atol=2e-4)


def test_real_and_synthetic_images_of_one_batch_do_not_meet_in_a_group() -> None:
    real, fake = torch.randn(8, 3, 4, 4), torch.randn(8, 3, 4, 4)
    together = concat_deviation(torch.cat([real, fake]))
    torch.testing.assert_close(together, torch.cat([concat_deviation(real), concat_deviation(fake)]))


def test_a_group_of_equal_images_has_finite_gradients_of_both_orders() -> None:
    maps = torch.ones(4, 2, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(concat_deviation(maps).square().sum(), maps, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), maps)
    assert gradient.isfinite().all()
    assert second.isfinite().all()

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

import ctfgan
from ctfgan.core.errors import ConfigError
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.ctf_gan import GeneratorLH, Stem, TransferGenerator
from ctfgan.models.discriminator import Discriminator
from ctfgan.models.interfaces import Condition
from ctfgan.models.resnet_gan import ResnetGenerator
from ctfgan.models.settings import Conditioning, TransferSettings
from ctfgan.models.widths import PLANS, plan_for
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.embed import NoiseEmbedding
from ctfgan.recipes.recipe import CtfGan

CLASSES = 5
SPACE = ClassSpace(CLASSES)


def transfer_generator(resolution: int, channels: int, low: int, settings: TransferSettings) -> TransferGenerator:
    plan = plan_for(resolution, 0.05, 0.05)
    generator_lh = GeneratorLH(plan, channels, low, SPACE, settings)
    return TransferGenerator(plan, channels, 8, generator_lh, ClassSpace(4), settings)


def condition(channels: int, low: int, count: int = 2) -> Condition:
    images = torch.rand(count, channels, low, low, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Condition(torch.arange(count) % CLASSES, images, torch.arange(count) % 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", sorted(PLANS))
@pytest.mark.parametrize("low", [5, 16])
def test_every_generator_makes_images_of_its_resolution(resolution: int, channels: int, low: int) -> None:
    plan = plan_for(resolution, 0.05, 0.05)
    batch_rng = BatchRng.of(0)
    transfer = transfer_generator(resolution, channels, low, TransferSettings())
    given = condition(channels, low)
    for generator in (transfer, transfer.generator_lh, ResnetGenerator(plan, channels, 8, SPACE)):
        images = generator(given, generator.draw_noise(2, batch_rng))
        assert images.shape == (2, channels, resolution, resolution)
        assert images.abs().max() <= 1
    for conditioning in get_args(Conditioning):
        discriminator = Discriminator(plan, channels, SPACE, conditioning, boxes=True)
        features = discriminator.features(images, given.labels)
        assert discriminator.judge(features, given.labels).shape == (2,)
        assert discriminator.locate(features).shape == (2, 4)


def test_a_resolution_without_networks_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="resolution is 40; the networks exist for 16, 24, 32, 48, 64, 128, 256"):
        plan_for(40)


@pytest.mark.parametrize("low", [4, 6, 8, 12, 28, 48])
def test_the_stem_brings_any_low_quality_size_to_the_base_size(low: int) -> None:
    assert Stem(1, 16, 6, low, "strided")(torch.zeros(2, 1, low, low)).shape == (2, 16, 6, 6)
    assert Stem(1, 16, 6, low, "resize")(torch.zeros(2, 1, low, low)).shape == (2, 16, 6, 6)


def test_an_image_of_g_lh_does_not_depend_on_its_batch() -> None:
    generator = transfer_generator(16, 1, 8, TransferSettings()).generator_lh.eval()
    given = condition(1, 8, count=4)
    noise = generator.draw_noise(4, BatchRng.of(2))
    together = generator(given, noise)
    alone = generator(given[2:3], noise.part(slice(2, 3)))
    torch.testing.assert_close(together[2:3], alone)


@pytest.mark.parametrize("name", ["ctf-glyphs", "ctf-folders", "ctf-mnist16", "table1-cifar10-fewer"])
def test_an_image_varies_with_z_m_alone_in_the_default_recipes(name: str) -> None:
    method = ctfgan.recipe(name).method
    assert isinstance(method, CtfGan)
    generator = transfer_generator(32, 1, 8, method.features).eval()
    given = condition(1, 8, count=1)
    many = Condition(*(part.expand(64, *part.shape[1:]) for part in (given.labels, *given.required_low_quality())))
    noise = generator.draw_noise(64, BatchRng.of(5))
    fixed = noise._replace(latent=noise.latent[:1].expand(64, -1))
    for network in (generator.generator_lh, generator):
        images = network(many, fixed)
        spread = images.std(dim=0).mean()
        assert spread > 0.05 * images.std()  # with instance statistics and tiled noise it is 1e-6


def test_noise_with_a_place_differs_from_pixel_to_pixel_and_tiled_noise_does_not() -> None:
    maps, noise = torch.zeros(2, 3, 8, 8), torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    for side, places in ((8, 64), (1, 1)):
        embedded = NoiseEmbedding(5, side)(maps, noise)
        assert embedded.shape == (2, 8, 8, 8)
        assert torch.equal(embedded[:, :3], maps)
        assert all(len(set(channel.flatten().tolist())) == places for channel in embedded[0, 3:])


def test_the_class_reaches_g_a_only_through_the_features() -> None:
    generator = transfer_generator(16, 1, 8, TransferSettings(ctf="zero")).eval()
    given = condition(1, 8)
    noise = generator.draw_noise(2, BatchRng.of(3))
    other = Condition((given.labels + 1) % CLASSES, -given.low_quality, given.low_quality_labels)  # type: ignore[operator]
    assert torch.equal(generator(given, noise), generator(other, noise))
    generator = transfer_generator(16, 1, 8, TransferSettings()).eval()
    nn.init.normal_(generator.generator_lh.blocks[0].norm_1.gamma.weight)  # type: ignore[union-attr, arg-type]
    relabelled = Condition((given.labels + 1) % CLASSES, given.low_quality, given.low_quality_labels)
    assert not torch.equal(generator(given, noise), generator(relabelled, noise))


def test_shuffled_features_are_those_of_another_image_of_the_batch() -> None:
    own, shuffled = (transfer_generator(16, 1, 8, TransferSettings(ctf=kind)) for kind in ("own", "shuffled"))
    shuffled.load_state_dict(own.state_dict())
    given = condition(1, 8, count=3)
    trace = own.generator_lh.trace(given, own.draw_noise(3, BatchRng.of(4)))
    assert given.low_quality_labels is not None
    for a, b in zip(
        own.features(trace, given.low_quality_labels), shuffled.features(trace, given.low_quality_labels), strict=True
    ):
        for part, rolled in zip(a, b, strict=True):
            assert torch.equal(part[0], rolled[1])


def test_the_frozen_generator_stays_in_evaluation_mode_and_gets_no_gradient() -> None:
    generator = transfer_generator(16, 1, 8, TransferSettings(statistics="batch")).train()
    assert generator.training
    assert not generator.generator_lh.training
    generator(condition(1, 8), generator.draw_noise(2, BatchRng.of(5))).sum().backward()
    assert all(p.grad is None for p in generator.generator_lh.parameters())
    assert all(p.grad is not None for p in generator.generator_a.parameters())
    assert all(p.grad is not None for p in generator.features.parameters())

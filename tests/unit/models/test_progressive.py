from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.core.errors import ConfigError
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition, Noise
from ctfgan.models.progressive import GrowingDiscriminator, GrowingGenerator
from ctfgan.models.widths import PLANS, GrowingPlan, growing_plan
from ctfgan.nn.class_tables import ClassSpace

CLASSES = 5
SMALL = GrowingPlan(4, (12, 12, 8))  # 16 x 16
SPACE = ClassSpace(CLASSES)
LABELS = torch.arange(4) % CLASSES


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def pair(plan: GrowingPlan = SMALL, channels: int = 1) -> tuple[GrowingGenerator, GrowingDiscriminator]:
    return GrowingGenerator(plan, channels, 8, SPACE), GrowingDiscriminator(plan, channels, SPACE)


def images_of(generator: GrowingGenerator, noise: Noise | None = None) -> Tensor:
    return generator(Condition(LABELS), noise or generator.draw_noise(4, BatchRng.of(1)))


def heads(discriminator: GrowingDiscriminator, images: Tensor) -> Tensor:
    features = discriminator.features(images, LABELS)
    logits = discriminator.judge(features, LABELS)[:, None]
    return torch.cat([logits, discriminator.classify(features, torch.arange(CLASSES))], dim=1)


def trained(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_both_networks_have_the_23_1_million_parameters_of_table_2() -> None:
    """Karras et al. (2018), Table 2: 1024 x 1024, three channels, no classes, latent of 512."""
    plan = GrowingPlan(4, (512, 512, 512, 512, 256, 128, 64, 32, 16))
    assert plan.resolution == 1024
    with torch.device("meta"):
        networks = GrowingGenerator(plan, 3, 512, None), GrowingDiscriminator(plan, 3, None)
    for network in networks:
        assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 23.1


def test_the_parameters_are_those_counted_by_hand() -> None:
    generator, discriminator = (
        GrowingGenerator(SMALL, 3, 8, SPACE),
        GrowingDiscriminator(SMALL, 3, SPACE),
    )

    def conv(inputs: int, outputs: int, size: int = 3) -> int:
        return inputs * outputs * size**2 + outputs

    middle = conv(12, 12) + conv(12, 12)
    up = conv(12, 8) + conv(8, 8)
    expected = (8 + 5) * 12 * 16 + 12 + conv(12, 12) + middle + up + conv(12, 3, 1) + conv(12, 3, 1) + conv(8, 3, 1)
    assert sum(p.numel() for p in generator.parameters()) == expected
    down = conv(8, 8) + conv(8, 12)
    first = conv(3, 12, 1) + conv(3, 12, 1) + conv(3, 8, 1)
    expected = first + down + middle + conv(13, 12) + (12 * 16 * 12 + 12) + 12 * (1 + 5) + 1 + 5
    assert sum(p.numel() for p in discriminator.parameters()) == expected


def test_plans_have_the_channels_of_the_authors() -> None:
    assert growing_plan(128) == GrowingPlan(4, (512, 512, 512, 512, 256, 128))
    assert growing_plan(256) == GrowingPlan(4, (512, 512, 512, 512, 256, 128, 64))
    assert growing_plan(48) == GrowingPlan(6, (512, 512, 512, 512))
    # Their CIFAR-10 configuration: fmap_base 4096, fmap_max 128.
    assert growing_plan(32, 0.25).channels == tuple(min(128, 4096 // 2**stage) for stage in range(1, 5))
    for resolution in PLANS:
        assert growing_plan(resolution, 0.1).resolution == resolution
    with pytest.raises(ConfigError, match="resolution is 40; the networks exist for 16, 24, 32, 48, 64, 128, 256"):
        growing_plan(40)


@pytest.mark.parametrize("num_classes", [None, CLASSES])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", sorted(PLANS))
def test_images_have_the_full_side_at_every_level(resolution: int, channels: int, num_classes: int | None) -> None:
    plan = growing_plan(resolution, 0.02)
    classes = None if num_classes is None else ClassSpace(num_classes)
    generator = GrowingGenerator(plan, channels, 8, classes)
    discriminator = GrowingDiscriminator(plan, channels, classes)
    for level in range(plan.levels):
        generator.grow_to(level)
        discriminator.grow_to(level)
        images = images_of(generator)
        assert images.shape == (4, channels, resolution, resolution)
        side = plan.size(level)
        assert torch.equal(images, F.interpolate(F.max_pool2d(images, resolution // side), size=(resolution,) * 2))
        features = discriminator.features(images, LABELS)
        assert features.shape == (4, plan.channels[0])
        assert discriminator.judge(features, LABELS).shape == (4,)
        if num_classes is not None:
            assert discriminator.classify(features, torch.tensor([3, 0])).shape == (4, 2)


def test_new_networks_are_fully_grown() -> None:
    for network in pair():
        assert network.level == 2
        assert network.alpha == 1
        assert "alpha" in network.state_dict()


@pytest.mark.parametrize("level", [1, 2])
def test_at_alpha_0_a_new_level_changes_nothing(level: int) -> None:
    generator, discriminator = pair()
    real = torch.rand(4, 1, 16, 16) * 2 - 1
    before, after = [], []
    for values, at, alpha in ((before, level - 1, 1.0), (after, level, 0.0)):
        for network in (generator, discriminator):
            network.grow_to(at)
            network.set_alpha(alpha)
        values += [images_of(generator), heads(discriminator, real), discriminator.blurred(real)]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other)


def test_between_the_ends_the_image_is_a_mixture_and_the_real_images_are_faded_like_it() -> None:
    generator, discriminator = pair()
    real = torch.rand(4, 1, 16, 16)
    ends = []
    for alpha in (0.0, 1.0, 0.25):
        generator.set_alpha(alpha)
        discriminator.set_alpha(alpha)
        ends.append((images_of(generator), discriminator.blurred(real)))
    for old, new, mixed in zip(*ends, strict=True):
        torch.testing.assert_close(mixed, 0.75 * old + 0.25 * new)
    assert torch.equal(ends[1][1], real)


def test_level_0_does_not_look_at_alpha() -> None:
    generator, discriminator = pair()
    real = torch.rand(4, 1, 16, 16)
    seen = []
    for alpha in (0.0, 1.0):
        for network in (generator, discriminator):
            network.grow_to(0)
            network.set_alpha(alpha)
        seen.append((images_of(generator), heads(discriminator, real), discriminator.blurred(real)))
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_exactly_the_parameters_in_use_require_a_gradient_and_get_one(level: int) -> None:
    real = torch.rand(4, 1, 16, 16)
    for network, loss in zip(pair(), (lambda g: images_of(g), lambda d: heads(d, real)), strict=True):
        network.grow_to(2)
        network.grow_to(level)
        network.set_alpha(0.5)
        chosen = trained(network)
        network.requires_grad_(True)
        loss(network).square().sum().backward()
        reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
        assert chosen == reached
        assert all(p.grad.isfinite().all() and p.grad.any() for p in network.parameters() if p.grad is not None)


def test_the_shortcut_of_the_level_before_is_in_use_and_older_ones_are_not() -> None:
    generator, discriminator = pair()
    assert {name for name in trained(generator) if "to_image" in name and "weight" in name} == {
        "to_image.1.weight",
        "to_image.2.weight",
    }
    discriminator.grow_to(1)
    assert {name for name in trained(discriminator) if "from_image" in name and "weight" in name} == {
        "from_image.0.weight",
        "from_image.1.weight",
    }


def test_at_alpha_1_the_shortcut_gets_a_gradient_of_zero() -> None:
    generator, discriminator = pair()
    images_of(generator).square().sum().backward()
    heads(discriminator, torch.rand(4, 1, 16, 16)).square().sum().backward()
    for layer in (generator.to_image[1], discriminator.from_image[1]):
        assert layer.weight.grad is not None
        assert not layer.weight.grad.any()


def test_loaded_networks_equal_the_saved_ones() -> None:
    real = torch.rand(4, 1, 16, 16)
    generator, discriminator = pair()
    generator.set_alpha(0.3)
    discriminator.set_alpha(0.3)
    other_generator, other_discriminator = pair()
    assert not torch.equal(images_of(generator), images_of(other_generator))
    other_generator.load_state_dict(generator.state_dict())
    other_discriminator.load_state_dict(discriminator.state_dict())
    assert torch.equal(images_of(generator), images_of(other_generator))
    assert torch.equal(heads(discriminator, real), heads(other_discriminator, real))


def test_the_class_reaches_the_image_and_without_classes_labels_do_not() -> None:
    for classes, expected in ((SPACE, False), (None, True)):
        generator = GrowingGenerator(SMALL, 1, 8, classes)
        noise = generator.draw_noise(4, BatchRng.of(1))
        others = generator(Condition((LABELS + 1) % CLASSES), noise)
        assert torch.equal(images_of(generator, noise), others) is expected


def test_the_length_of_the_latent_does_not_matter() -> None:
    generator = GrowingGenerator(SMALL, 1, 8, None)
    noise = generator.draw_noise(4, BatchRng.of(1))
    longer = Noise(3 * noise.latent, noise.blocks)
    torch.testing.assert_close(images_of(generator, noise), images_of(generator, longer), atol=1e-5, rtol=0)


def test_growing_and_fading_never_ask_for_a_value_on_the_device() -> None:
    """A tensor on the meta device has no values: whatever asked for one would fail."""
    with torch.device("meta"):
        generator, discriminator = pair()
        for network in (generator, discriminator):
            network.grow_to(1)
            network.set_alpha(0.5)
        images = generator(Condition(torch.zeros(4, dtype=torch.int64)), Noise(torch.zeros(4, 8), torch.zeros(4, 0, 0)))
        assert heads(discriminator, discriminator.blurred(images)).shape == (4, 1 + CLASSES)


def gradient_penalty(discriminator: GrowingDiscriminator, images: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(images, LABELS).sum(), images, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


@pytest.mark.parametrize("level", [0, 2])
def test_the_gradient_of_a_gradient_penalty_is_that_of_finite_differences(level: int) -> None:
    _, discriminator = pair()
    discriminator.double()
    discriminator.grow_to(level)
    discriminator.set_alpha(0.5)
    images = torch.rand(4, 1, 16, 16, dtype=torch.float64) * 2 - 1
    used = [(name, parameter) for name, parameter in discriminator.named_parameters() if parameter.requires_grad]
    weights = [parameter for _, parameter in used]
    gradients = torch.autograd.grad(
        gradient_penalty(discriminator, images), weights, allow_unused=True, materialize_grads=True
    )
    directions = [torch.randn_like(weight) for weight in weights]
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    step = 1e-7
    penalties = []
    for sign in (1, -2):
        with torch.no_grad():
            torch._foreach_add_(weights, directions, alpha=sign * step)
        penalties.append(gradient_penalty(discriminator, images).item())
    expected = (penalties[0] - penalties[1]) / (2 * step)
    assert float(slope) == pytest.approx(expected, rel=1e-4)
    for (name, _), gradient in zip(used, gradients, strict=True):
        # A bias behind the last kink is a constant of the gradient, and the class head is not part of the score.
        assert gradient.isfinite().all()
        assert gradient.any() or "bias" in name or name == "classes.classes.weight"


def test_a_discriminator_without_classes_has_no_class_head() -> None:
    discriminator = GrowingDiscriminator(SMALL, 1, None)
    with pytest.raises(AssertionError, match="built without classes"):
        discriminator.classify(torch.zeros(1, 12), torch.arange(2))

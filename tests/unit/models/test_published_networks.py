"""Parameter counts of the baselines against layer lists written down from their papers and their authors' code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.discriminator import Discriminator
from ctfgan.models.resnet_gan import ResnetGenerator
from ctfgan.models.settings import Conditioning
from ctfgan.models.widths import plan_for
from ctfgan.nn.class_tables import ClassSpace

CLASSES = ClassSpace(10)

# (first maps' side, first maps' channels, channels after each up-block)
GENERATORS = {
    32: (4, 256, (256, 256, 256)),
    48: (6, 512, (256, 128, 64)),
    64: (4, 1024, (512, 256, 128, 64)),
    128: (4, 1024, (1024, 512, 256, 128, 64)),
}
# (channels of the blocks, how many of them halve the maps, bias of the last linear layer)
DISCRIMINATORS = {
    32: ((128, 128, 128, 128), 2, False),
    48: ((64, 128, 256, 512, 1024), 4, True),
    64: ((64, 128, 256, 512, 1024), 5, True),
    128: ((64, 128, 256, 512, 1024, 1024), 5, True),
}


def conv(inputs: int, outputs: int, side: int = 3) -> int:
    return inputs * outputs * side**2 + outputs


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("resolution", GENERATORS)
@pytest.mark.parametrize("conditional", [True, False])
def test_the_generator_has_the_published_number_of_parameters(resolution: int, conditional: bool) -> None:
    side, first, blocks = GENERATORS[resolution]
    tables = CLASSES.count if conditional else 1  # one gamma and one beta for each class, or one for all
    expected = 128 * first * side**2 + first * side**2
    inputs = first
    for outputs in blocks:
        expected += conv(inputs, outputs) + conv(outputs, outputs) + conv(inputs, outputs, 1)
        expected += 2 * tables * (inputs + outputs)
        inputs = outputs
    expected += 2 * inputs + conv(inputs, 3)
    with torch.device("meta"):
        generator = ResnetGenerator(plan_for(resolution), 3, 128, CLASSES if conditional else None)
    assert size(generator) == expected


@pytest.mark.parametrize("resolution", [32, 128, *(pytest.param(side, marks=pytest.mark.slow) for side in (48, 64))])
@pytest.mark.parametrize("conditioning", ["none", "concat", "projection", "classifier"])
def test_the_discriminator_has_the_published_number_of_parameters(resolution: int, conditioning: Conditioning) -> None:
    blocks, halvings, bias = DISCRIMINATORS[resolution]
    label = blocks[-1] // 8 if conditioning == "concat" else 0  # 128 beside 1,024 channels
    expected = label * CLASSES.count
    inputs = 3
    for index, outputs in enumerate(blocks):
        taken = inputs + (label if index == 3 else 0)  # the label is tiled after the third block
        hidden = outputs if index == 0 else taken
        expected += conv(taken, hidden) + conv(hidden, outputs)
        if index < halvings or taken != outputs:
            expected += conv(taken, outputs, 1)
        inputs = outputs
    expected += inputs + bias
    expected += {"projection": inputs * CLASSES.count, "classifier": (inputs + 1) * CLASSES.count}.get(conditioning, 0)
    with torch.device("meta"):
        discriminator = Discriminator(plan_for(resolution), 3, CLASSES, conditioning)
    assert size(discriminator) == expected


def test_each_size_above_64_adds_a_block_of_1_024_channels_to_both_networks_of_the_size_below() -> None:
    for resolution in (128, 256):
        smaller, plan = plan_for(resolution // 2), plan_for(resolution)
        assert plan.generator == (1024, *smaller.generator)
        assert plan.discriminator == (*smaller.discriminator, 1024)
        assert (plan.base, plan.resolution, plan.final_size) == (4, resolution, 4)


def test_the_concatenated_label_changes_the_verdict_only_behind_the_third_block() -> None:
    discriminator = Discriminator(plan_for(128, 0.05, 0.05), 3, CLASSES, "concat").eval()
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen: list[torch.Tensor] = []
    discriminator.blocks[2].register_forward_hook(lambda module, given, made: seen.append(made))
    verdicts = [discriminator(images, torch.full((2,), label)) for label in (0, 1)]
    torch.testing.assert_close(seen[0], seen[1])
    assert not torch.allclose(verdicts[0], verdicts[1])


def test_an_unconditional_pair_of_networks_does_not_look_at_labels() -> None:
    from ctfgan.models.interfaces import Condition

    generator = ResnetGenerator(plan_for(16, 0.05), 1, 8, None).eval()
    discriminator = Discriminator(plan_for(16, 1.0, 0.05), 1, CLASSES, "none").eval()
    noise = generator.draw_noise(2, BatchRng.of(0))
    images = [generator(Condition(torch.full((2,), label)), noise) for label in (0, 1)]
    assert torch.equal(images[0], images[1])
    assert torch.equal(*(discriminator(images[0], torch.full((2,), label)) for label in (0, 1)))

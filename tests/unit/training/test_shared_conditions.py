"""The discriminator's steps of stage 2 share what the frozen G_LH makes of their conditions (decision 35)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.data.batches import Batch, join, split
from ctfgan.distributed.engine import alone
from ctfgan.models.ctf_gan import GeneratorA, GeneratorLH, TransferFeature, TransferGenerator
from ctfgan.models.interfaces import Condition, Noise
from ctfgan.nn.embed import concat_tiled
from ctfgan.recipes.build import DataSpec, build_method
from ctfgan.recipes.overlay import recipe
from ctfgan.training.loop import train_steps
from ctfgan.training.optimizers import GanOptimizers
from ctfgan.training.stage import Stage

SPEC = DataSpec(num_classes=50, num_low_quality_labels=50, low_quality_size=8, channels=1)
NARROW = ("data.resolution=16", "generator_width=0.05", "discriminator_width=0.05", "generate.batch_size=6")
BATCH = 6


def stage_2(*settings: str) -> Stage:
    method = build_method(recipe("ctf-glyphs", *NARROW, *settings), SPEC, matched=True)
    stage = method.stages[-1]
    stage.enter()
    stage.objective.generator.train()
    return stage


def batches() -> Iterator[Batch]:
    rng = torch.Generator().manual_seed(0)
    for number in count():
        real = torch.full((BATCH, 1, 16, 16), number / 100)
        labels = torch.randint(50, (BATCH,), generator=rng)
        low = torch.rand(BATCH, 1, 8, 8, generator=rng)
        yield Batch(real, labels, labels, low, labels)


class Witness:
    """Notes what G_LH is given, and of which batch the images are that the discriminator sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen_by_lh: list[Tensor] = []
        self.noise: list[Tensor] = []
        self.fake_labels: list[Tensor] = []
        trace, forward = GeneratorLH.trace, TransferGenerator.forward

        def noting_trace(lh: GeneratorLH, condition: Condition, noise: Noise) -> object:
            self.seen_by_lh.append(condition.labels)
            return trace(lh, condition, noise)

        def noting_forward(generator: TransferGenerator, condition: Condition, noise: Noise) -> Tensor:
            self.noise.append(noise.latent)
            self.fake_labels.append(condition.labels)
            return forward(generator, condition, noise)

        monkeypatch.setattr(GeneratorLH, "trace", noting_trace)
        monkeypatch.setattr(TransferGenerator, "forward", noting_forward)


def train(stage: Stage, steps: int) -> list[Batch]:
    """Some generator steps; returns the batches as they were used."""
    used: list[Batch] = []
    optimizers = GanOptimizers(
        stage.objective.generator, stage.objective.discriminator, stage.settings, alone(torch.device("cpu"))
    )
    conditioned = optimizers.conditioned

    def noting(objective: object, batch: Batch) -> Batch:
        used.append(conditioned(stage.objective, batch))
        return used[-1]

    optimizers.conditioned = noting  # type: ignore[method-assign]
    stage_steps = train_steps(stage.objective, batches(), stage.settings, optimizers)
    for _ in range(steps):
        next(stage_steps)
    return used


@pytest.mark.parametrize(("critic_steps", "generator_batches"), [(5, 1), (3, 2)])
def test_g_lh_looks_once_at_what_the_discriminator_steps_share(
    critic_steps: int, generator_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_2(f"generate.critic_steps={critic_steps}", f"generate.generator_batches={generator_batches}")
    witness = Witness(monkeypatch)
    used = train(stage, 2)
    # Once for the discriminator's steps, and once for the generator's, whose conditions are its own.
    assert [len(labels) for labels in witness.seen_by_lh] == 2 * [BATCH, BATCH * generator_batches]
    assert len(used) == 2 * critic_steps
    for step in (used[:critic_steps], used[critic_steps:]):
        assert len({tuple(batch.fake_labels.tolist()) for batch in step}) == 1
    generator_labels = [labels for labels in witness.fake_labels if len(labels) == len(witness.seen_by_lh[1])]
    assert not torch.equal(generator_labels[-1][:BATCH], used[-1].fake_labels)
    # Real images and z_A are new every time.
    assert len({float(batch.real[0, 0, 0, 0]) for batch in used}) == len(used)
    assert len({float(noise[0, 0]) for noise in witness.noise}) == len(witness.noise)
    assert not torch.equal(used[0].fake_labels, used[-1].fake_labels)


@pytest.mark.parametrize("settings", [("train_generator_lh=true",), ("generate.fake_classes=real",)])
def test_conditions_are_not_shared_where_g_lh_learns_or_classes_follow_the_real_images(
    settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = Witness(monkeypatch)
    used = train(stage_2("generate.critic_steps=2", *settings), 1)
    assert len(witness.seen_by_lh) == 3
    assert all(torch.equal(batch.fake_labels, batch.real_labels) for batch in used)


@pytest.mark.parametrize("kernel", [1, 3])
def test_an_image_is_the_same_whether_its_features_were_merged_before_or_are_now(kernel: int) -> None:
    stage = stage_2(f"merge_kernel={kernel}")
    generator = stage.objective.generator
    assert isinstance(generator, TransferGenerator)
    batch = next(batches())
    condition = Condition(batch.fake_labels, batch.low_quality, batch.low_quality_labels)
    noise = Noise(torch.randn(BATCH, generator.generator_a.noise), torch.randn(BATCH, 2, 16))
    with torch.no_grad():
        merged = generator.merged(condition, noise)
        given = Condition(batch.fake_labels, batch.low_quality, batch.low_quality_labels, merged)
        assert torch.equal(generator(condition, noise), generator(given, noise))


def test_merged_features_are_joined_and_split_with_their_batches() -> None:
    source = batches()
    first, second = (
        Batch(b.real, b.real_labels, b.fake_labels, b.low_quality, b.low_quality_labels, merged=(b.real_labels, b.real))
        for b in (next(source), next(source))
    )
    joined = join([first, second])
    assert torch.equal(joined.merged[0], torch.cat([first.real_labels, second.real_labels]))
    for part, whole in zip(split(joined, 2), (first, second), strict=True):
        assert all(map(torch.equal, part.merged, whole.merged))
        assert torch.equal(part.real, whole.real)
    assert split(next(source), 3)[0].merged == ()


@pytest.mark.parametrize("kernel", [1, 3])
def test_merging_is_a_convolution_of_the_concatenation(kernel: int) -> None:
    generator = stage_2(f"merge_kernel={kernel}").objective.generator.generator_a
    assert isinstance(generator, GeneratorA)
    rng = torch.Generator().manual_seed(1)
    latent = torch.randn(3, generator.noise, generator=rng)
    counts = [block.conv_2.out_channels for block in generator.blocks]
    features = [
        TransferFeature(
            torch.randn(3, count, 4 * 2**level, 4 * 2**level, generator=rng), torch.randn(3, 32, generator=rng)
        )
        for level, count in enumerate(counts, start=1)
    ]
    maps = generator.from_noise(latent).unflatten(1, (-1, 4, 4))
    for index, (block, ctf) in enumerate(zip(generator.blocks, features, strict=True)):
        maps = concat_tiled(torch.cat([block(maps, None), ctf.difference], dim=1), ctf.embedding)
        weight = generator.merges[index].weight
        if kernel == 1:  # whose 3x3 form has zeros around its only number
            weight = torch.cat([F.pad(generator.own_merges[index].weight, (1, 1, 1, 1)), weight], dim=1)
        maps = F.conv2d(maps, weight, generator.merges[index].bias, padding=1)
    expected = torch.tanh(generator.to_image(F.relu(generator.norm(maps))))
    torch.testing.assert_close(generator(latent, features), expected, atol=1e-5, rtol=1e-4)

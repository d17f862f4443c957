"""Channel counts for each resolution: the tables behind every network.

32 and 128 are SN-GAN+Projection's (Miyato and Koyama 2018), 48 is SN-GAN's STL-10 network (Miyato et al. 2018), 64 is
the authors' 64x64 network; 16 and 24 are ours, cut from 32. 256 is ours, too: what is added to 64's networks to make
128's, once more, a block of 1,024 channels at each end that has them. Progressively growing networks follow one rule at
all resolutions (Karras et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ctfgan.core.errors import ConfigError


@dataclass(frozen=True)
class WidthPlan:
    """Networks of one resolution R = base * 2**M."""

    base: int
    """Size b of the generators' first maps."""
    generator: tuple[int, ...]
    """Channels of the first maps, then of blocks 1 ... M."""
    discriminator: tuple[int, ...]
    """Channels of the discriminator's blocks."""
    downs: int
    """How many of the discriminator's blocks, counted from the first, halve the maps."""
    realness_bias: bool = True
    """Whether the discriminator's last linear layer has a bias; the authors' 32x32 network has none."""

    @property
    def blocks(self) -> int:
        """Number of generator blocks M."""
        return len(self.generator) - 1

    @property
    def resolution(self) -> int:
        """Side R of the images in pixels."""
        return self.base << self.blocks

    @property
    def final_size(self) -> int:
        """Side of the discriminator's last maps."""
        return self.resolution >> self.downs


@dataclass(frozen=True)
class GrowingPlan:
    """Progressively growing networks; level l works on images of side base * 2**l."""

    base: int
    """Side b of the images of level 0."""
    channels: tuple[int, ...]
    """Channels of the maps at each level's size."""

    @property
    def levels(self) -> int:
        """Number of levels L."""
        return len(self.channels)

    @property
    def resolution(self) -> int:
        """Side R = base * 2**(L - 1) of the images in pixels."""
        return self.size(self.levels - 1)

    def size(self, level: int) -> int:
        """Side of a level's images in pixels."""
        return self.base << level


PLANS = {
    plan.resolution: plan
    for plan in (
        WidthPlan(4, (256, 256, 256), (128, 128, 128), downs=2, realness_bias=False),
        WidthPlan(6, (256, 256, 256), (128, 128, 128), downs=2, realness_bias=False),
        WidthPlan(4, (256, 256, 256, 256), (128, 128, 128, 128), downs=2, realness_bias=False),
        WidthPlan(6, (512, 256, 128, 64), (64, 128, 256, 512, 1024), downs=4),
        WidthPlan(4, (1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024), downs=5),
        WidthPlan(4, (1024, 1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024, 1024), downs=5),
        WidthPlan(4, (1024, 1024, 1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024, 1024, 1024), downs=6),
    )
}


def plan_for(resolution: int, generator_width: float = 1.0, discriminator_width: float = 1.0) -> WidthPlan:
    """The plan of a resolution, its channel counts multiplied by the widths (at least 8, a multiple of 4).

    Raises:
        ConfigError: no network exists for this resolution.
    """
    plan = _published(resolution)
    generator = _scaled(plan.generator, generator_width)
    discriminator = _scaled(plan.discriminator, discriminator_width)
    return replace(plan, generator=generator, discriminator=discriminator)


def growing_plan(resolution: int, width: float = 1.0) -> GrowingPlan:
    """The plan of progressively growing networks: min(512, 8192 / 2**(l + 1)) channels at level l, times ``width``.

    The rule is that of the authors' code; width 0.25 gives their networks for CIFAR-10, which have 128 channels.

    Raises:
        ConfigError: no network exists for this resolution.
    """
    plan = _published(resolution)
    channels = tuple(min(512, 8192 >> (level + 1)) for level in range(plan.blocks + 1))
    return GrowingPlan(plan.base, _scaled(channels, width))


def _published(resolution: int) -> WidthPlan:
    if resolution not in PLANS:
        raise ConfigError(f"resolution is {resolution}; the networks exist for {', '.join(map(str, sorted(PLANS)))}")
    return PLANS[resolution]


def _scaled(channels: tuple[int, ...], width: float) -> tuple[int, ...]:
    return tuple(max(8, 4 * round(count * width / 4)) for count in channels)

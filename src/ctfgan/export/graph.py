"""A generator as one function of named tensors, as graph formats hold it; and whether such a graph makes its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ctfgan.bundle.bundle import Bundle
from ctfgan.core.errors import ConfigError, CtfganError
from ctfgan.data.sources.base import UNLABELLED
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.ctf_gan import TransferGenerator
from ctfgan.models.interfaces import Condition, Noise
from ctfgan.models.progressive import GrowingGenerator

GENERATOR, ENHANCER = "generator", "enhancer"
PARTS = (GENERATOR, ENHANCER)

BATCHES = (1, 3, 8)
TOLERANCE = 1 / 255
"""Half a grey level. Rounding is no error: instance norm divides maps that are nearly constant by little more than the
root of its epsilon, so the last bits of another order of summation grow a hundredfold (decision 27)."""

GraphRunner = Callable[[dict[str, Tensor]], Tensor]
"""Runs an exported graph: inputs by name to images."""


@dataclass(frozen=True)
class Port:
    """An input or the output of a graph; its first dimension is the batch, of any size from 1."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """Without the batch."""
    values: str
    """What may be in it, in words."""


@dataclass(frozen=True)
class Input(Port):
    """An input, and how to come by values for it."""

    draw: Callable[[int, torch.Generator], Tensor]
    """Random values for a number of images."""
    example: str
    """An expression for the README, of ``count``, ``rng``, ``label``, ``bank`` and ``rows``."""


@dataclass(frozen=True)
class Graph:
    """A part of a generator that can stand alone."""

    part: str
    module: FlatGenerator
    inputs: tuple[Input, ...]
    output: Port

    def random_inputs(self, count: int, seed: int) -> dict[str, Tensor]:
        """Inputs for ``count`` images, each from all values that it may have."""
        rng = torch.Generator().manual_seed(seed)
        return {one.name: one.draw(count, rng) for one in self.inputs}

    @torch.no_grad()
    def run(self, inputs: dict[str, Tensor]) -> Tensor:
        """What the original network makes of them."""
        return self.module(**inputs)


class FlatGenerator(nn.Module):
    """A generator that takes tensors; those that it has no use for are left out.

    Shapes: class_id ``(N,)`` int64, noise ``(N, Z)``, block_noise ``(N, M, z)``, low_quality ``(N, K, r, r)`` in
    [-1, 1], low_quality_label ``(N,)`` int64; returns ``(N, K, R, R)``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        class_id: Tensor | None = None,
        noise: Tensor | None = None,
        block_noise: Tensor | None = None,
        low_quality: Tensor | None = None,
        low_quality_label: Tensor | None = None,
    ) -> Tensor:
        """Images of the inputs that the network has."""
        given = next(tensor for tensor in (noise, block_noise, low_quality) if tensor is not None)
        count = given.shape[0]
        if class_id is None:
            class_id = given.new_zeros(count, dtype=torch.int64)
        if low_quality is not None and low_quality_label is None:
            low_quality_label = given.new_full((count,), UNLABELLED, dtype=torch.int64)
        latent = given.new_zeros(count, 0) if noise is None else noise
        blocks = given.new_zeros(count, 0, 0) if block_noise is None else block_noise
        return self.network(Condition(class_id, low_quality, low_quality_label), Noise(latent, blocks))


def graphs_of(bundle: Bundle, part: str | None = None) -> list[Graph]:
    """The graphs of a bundle: its generator, and for CTF-GAN G_LH, which enhances low-quality images.

    Args:
        bundle: on the CPU, in evaluation mode.
        part: only this one of :data:`PARTS`; None for all that there are.

    Raises:
        ConfigError: a part that the method has not.
    """
    network = bundle.generator
    parts: dict[str, nn.Module] = {GENERATOR: network}
    if isinstance(network, TransferGenerator):
        parts[ENHANCER] = network.generator_lh
    if part is not None and part not in parts:
        raise ConfigError(f"a {bundle.recipe.method.kind} model has no {part}; only ctf-gan has one, leave --part out")
    chosen = parts if part is None else {part: parts[part]}
    return [_graph(bundle, name, module) for name, module in chosen.items()]


def max_error(graph: Graph, runner: GraphRunner, seed: int = 0) -> float:
    """The largest difference of a pixel, in [-1, 1], between the graph and the original, on random inputs.

    Raises:
        CtfganError: it is not within :data:`TOLERANCE`, or the images have another shape.
    """
    worst = torch.zeros(())
    for count in BATCHES:
        inputs = graph.random_inputs(count, seed + count)
        original, exported = graph.run(inputs), runner(inputs)
        if exported.shape != original.shape:
            raise CtfganError(
                f"the exported {graph.part} makes images of shape {tuple(exported.shape)}, the original "
                f"{tuple(original.shape)}; nothing was written, please report this"
            )
        worst = torch.maximum(worst, (exported - original).abs().max())  # a NaN stays
    if not worst <= TOLERANCE:
        raise CtfganError(
            f"the exported {graph.part} differs from the original by up to {worst:.2e}, more than half a grey level "
            f"({TOLERANCE:.2e}); nothing was written, please report this"
        )
    return float(worst)


def _graph(bundle: Bundle, part: str, network: nn.Module) -> Graph:
    spec, side = bundle.data_spec, bundle.recipe.data.resolution
    noise: Noise = network.draw_noise(1, BatchRng.of(0))  # type: ignore[operator]
    inputs = []
    if bundle.recipe.method.is_conditional:
        inputs.append(_ids("class_id", 0, spec.num_classes - 1, "", "np.full(count, label, dtype=np.int64)"))
    for name, drawn in (("noise", noise.latent), ("block_noise", noise.blocks)):
        if drawn.numel():
            inputs.append(_normal(name, tuple(drawn.shape[1:])))
    if spec.low_quality_size:
        inputs.append(_low_quality((spec.channels, spec.low_quality_size, spec.low_quality_size)))
    if spec.num_low_quality_labels and part == GENERATOR:
        note = f"; {UNLABELLED} for an image without a label"
        inputs.append(
            _ids("low_quality_label", UNLABELLED, spec.num_low_quality_labels - 1, note, 'bank["labels"][rows]')
        )
    limits = "in [-1, 1]"
    if isinstance(network, GrowingGenerator):
        limits = "near [-1, 1], clamp them"
    output = Port("images", "float32", (spec.channels, side, side), f"images {limits}; -1 is black")
    return Graph(part, FlatGenerator(network).eval(), tuple(inputs), output)


def _ids(name: str, low: int, high: int, note: str, example: str) -> Input:
    def draw(count: int, rng: torch.Generator) -> Tensor:
        return torch.randint(low, high + 1, (count,), generator=rng)

    return Input(name, "int64", (), f"{low} ... {high}{note}", draw, example)


def _normal(name: str, shape: tuple[int, ...]) -> Input:
    def draw(count: int, rng: torch.Generator) -> Tensor:
        return torch.randn(count, *shape, generator=rng)

    sizes = ", ".join(map(str, shape))
    return Input(
        name, "float32", shape, "standard normal", draw, f"rng.standard_normal((count, {sizes}), dtype=np.float32)"
    )


def _low_quality(shape: tuple[int, ...]) -> Input:
    def draw(count: int, rng: torch.Generator) -> Tensor:
        return torch.rand(count, *shape, generator=rng) * 2 - 1

    example = 'bank["images"][rows].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1'
    return Input("low_quality", "float32", shape, "low-quality images in [-1, 1]; -1 is black", draw, example)

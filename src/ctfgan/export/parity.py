"""Whether an exported graph makes the same images as the network that it was made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ctfgan.core.errors import CtfganError
from ctfgan.export.graph import Graph

Run = Callable[[dict[str, Tensor]], Tensor]
"""An exported graph: inputs by name to images."""

BATCHES = (1, 3, 8)
TOLERANCE = 1 / 255
"""Half a grey level. Rounding is no error: instance norm divides maps that are nearly constant by little more than the
root of its epsilon, so the last bits of another order of summation grow a hundredfold (decision 27)."""


def max_error(graph: Graph, run: Run, seed: int = 0) -> float:
    """The largest difference of a pixel, in [-1, 1], between the graph and the original, on random inputs.

    Raises:
        CtfganError: it is not within :data:`TOLERANCE`, or the images have another shape.
    """
    worst = torch.zeros(())
    for count in BATCHES:
        inputs = graph.random_inputs(count, seed + count)
        original, exported = graph.run(inputs), run(inputs)
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

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from ctfgan.training.ema import Ema
from ctfgan.training.loop import decay, total


@pytest.mark.parametrize(("progress", "start", "factor"), [(0, 0, 1), (0.5, 0, 0.5), (0.5, 0.5, 1), (0.75, 0.5, 0.5),
                                                           (1, 0.5, 0), (1, 1, 1)])  # fmt: skip
def test_rates_stay_until_the_decay_starts_and_then_fall_linearly_to_zero(
    progress: float, start: float, factor: float
) -> None:
    assert decay(progress, start) == pytest.approx(factor)


def test_the_total_is_the_sum_of_all_terms() -> None:
    assert total({"a": torch.tensor(1.5), "b": torch.tensor(-0.5)}).item() == 1.0


def test_the_average_follows_parameters_and_batch_statistics_as_the_recursion_says() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = Ema(network, 0.9)
    expected = [tensor.clone() for tensor in itertools.chain(network.parameters(), network.buffers())]
    for step in range(30):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(1.0)
        network(torch.randn(8, 2, generator=torch.Generator().manual_seed(step)))
        ema.update(network, {})
        kept = min(0.9, (1 + step) / (10 + step))
        current = itertools.chain(network.parameters(), network.buffers())
        expected = [
            kept * old + (1 - kept) * new if new.is_floating_point() else new.clone()
            for old, new in zip(expected, current, strict=True)
        ]
    for average, value in zip(itertools.chain(ema.network.parameters(), ema.network.buffers()), expected, strict=True):
        torch.testing.assert_close(average, value)

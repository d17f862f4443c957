from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from ctfgan.data.batches import Batch
from ctfgan.distributed.engine import Engine, alone
from ctfgan.training.optimizers import Ema, GanOptimizers, decay, total
from ctfgan.training.settings import StageSettings


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
        ema.update(network)
        kept = min(0.9, (1 + step) / (10 + step))
        current = itertools.chain(network.parameters(), network.buffers())
        expected = [
            kept * old + (1 - kept) * new if new.is_floating_point() else new.clone()
            for old, new in zip(expected, current, strict=True)
        ]
    for average, value in zip(itertools.chain(ema.network.parameters(), ema.network.buffers()), expected, strict=True):
        torch.testing.assert_close(average, value)


class Fitting:
    """A game in which both players fit ``real`` images by a linear map; it notes what it is shown."""

    def __init__(self) -> None:
        self.player = nn.Linear(4, 1, dtype=torch.float64)
        self.shown: list[int] = []
        self.types: list[torch.dtype] = []
        self.steps = 0

    def begin_discriminator_step(self) -> None:
        self.steps += 1

    def discriminator_terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.shown.append(len(batch.real))
        fitted = self.player(batch.real.flatten(1))
        self.types.append(fitted.dtype)
        return {"fit": (fitted[:, 0].to(self.player.weight.dtype) - batch.fake_labels).square().mean()}


def fitted(engine: Engine, accumulate: int) -> Fitting:
    torch.manual_seed(0)
    objective = Fitting()
    objective.player.to(torch.float32 if engine.precision == "bfloat16" else torch.float64)
    stage = StageSettings(steps=5, batch_size=12, accumulate=accumulate)
    updates = GanOptimizers(nn.Linear(1, 1), objective.player, stage, engine)
    for step in range(5):
        rng = torch.Generator().manual_seed(step)
        real = torch.randn(12, 1, 2, 2, generator=rng, dtype=objective.player.weight.dtype)
        labels = torch.randint(4, (12,), generator=rng)
        losses = updates.discriminator_step(objective, Batch(real, labels, labels, None, None))  # type: ignore[arg-type]
        assert losses["fit"].dtype == objective.player.weight.dtype
    return objective


def test_a_batch_taken_in_parts_makes_the_step_of_the_whole() -> None:
    cpu = alone(torch.device("cpu"))
    whole, parts = fitted(cpu, 1), fitted(cpu, 3)
    assert whole.shown == [12] * 5
    assert parts.shown == [4] * 15
    assert parts.steps == 5, "lazy penalties count steps, not parts"
    torch.testing.assert_close(parts.player.weight, whole.player.weight, rtol=0, atol=1e-12)


def test_losses_are_computed_in_the_engines_precision_and_weights_stay_float32() -> None:
    engine = replace(alone(torch.device("cpu")), precision="bfloat16")
    objective = fitted(engine, 1)
    assert set(objective.types) == {torch.bfloat16}
    assert objective.player.weight.dtype == torch.float32
    assert objective.player.weight.grad is not None
    assert objective.player.weight.grad.dtype == torch.float32

"""Row-lazy Adam and moving average against torch's dense Adam and the dense recursion, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from ctfgan.nn.class_tables import ClassSpace, ClassTable
from ctfgan.training.ema import AveragedTable, Ema, released_average
from ctfgan.training.optimiser import Optimiser
from ctfgan.training.processes import Processes

CLASSES, WIDTH, STEPS = 40, 5, 400
BETAS, DECAY = (0.0, 0.9), 0.99


class Net(nn.Module):
    """A table, a layer that reads it, and something of a batch norm's buffers."""

    def __init__(self, space: ClassSpace) -> None:
        super().__init__()
        self.table = space.embedding(WIDTH, normalised=False, init=nn.init.normal_)
        self.layer = nn.Linear(WIDTH, 1)

    def forward(self, ids: Tensor) -> Tensor:
        return torch.tanh(self.layer(self.table(ids))).squeeze(1)


@pytest.fixture
def pair() -> tuple[Net, Net]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lazy, dense = Net(ClassSpace(CLASSES, lazy=True)).double(), Net(ClassSpace(CLASSES)).double()
    dense.load_state_dict(lazy.state_dict())
    return lazy, dense


def batches(steps: int, start: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Few of many classes, some twice in a batch and some never."""
    found = []
    for step in range(start, start + steps):
        rng = torch.Generator().manual_seed(step)
        reach = CLASSES - 3 if step % 7 else 4
        found.append((torch.randint(reach, (6,), generator=rng), torch.randn(6, generator=rng, dtype=torch.float64)))
    return found


def test_four_hundred_steps_equal_dense_adam_and_the_dense_average(pair: tuple[Net, Net]) -> None:
    lazy, dense = pair
    optimiser = Optimiser(lazy, BETAS, Processes())
    adam = torch.optim.Adam(dense.parameters(), betas=BETAS)
    ema = Ema(lazy, DECAY)
    averages = [parameter.detach().clone() for parameter in dense.parameters()]
    for step, (ids, target) in enumerate(batches(STEPS)):
        rate = 0.01 * (1 - step / STEPS)
        for network in (lazy, dense):
            network.zero_grad()
            (network(ids) - target).square().mean().backward()
        optimiser.step(rate)
        adam.param_groups[0]["lr"] = rate
        adam.step()
        ema.update(lazy, optimiser.changes)
        kept = min(DECAY, (1 + step) / (10 + step))
        current = [parameter.detach() for parameter in dense.parameters()]
        averages = [kept * old + (1 - kept) * new for old, new in zip(averages, current, strict=True)]
    for found, expected in zip(lazy.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    averaged = ema.network.table
    assert isinstance(averaged, AveragedTable)
    torch.testing.assert_close(averaged(torch.arange(CLASSES)), averages[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(ema.network.layer.weight, averages[1], rtol=0, atol=1e-12)
    tensors = lazy.state_dict(prefix="networks.") | ema.network.state_dict(prefix="average.")
    released = released_average(tensors, "networks.", "average.")
    assert released.keys() == dense.state_dict().keys()
    torch.testing.assert_close(released["table.weight"], averages[0], rtol=0, atol=1e-12)
    ema.hand_over(lazy)
    torch.testing.assert_close(lazy.table.weight.detach(), averages[0], rtol=0, atol=1e-12)


def test_the_gradient_of_a_penalty_on_a_gradient_reaches_the_rows(pair: tuple[Net, Net]) -> None:
    ids = torch.tensor([3, 8, 3])
    for network in pair:
        factor = torch.ones(3, WIDTH, dtype=torch.float64, requires_grad=True)
        logits = torch.tanh(network.layer(network.table(ids) * factor)).sum()
        (slope,) = torch.autograd.grad(logits, factor, create_graph=True)
        slope.square().sum().backward()
    lazy, dense = pair
    assert lazy.table.weight.grad is not None
    torch.testing.assert_close(lazy.table.weight.grad.to_dense(), dense.table.weight.grad)


def test_a_table_goes_on_from_its_saved_moments_bit_for_bit(pair: tuple[Net, Net]) -> None:
    network, other = pair[0], Net(ClassSpace(CLASSES, lazy=True)).double()

    def train(net: Net, optimiser: Optimiser, ema: Ema, given: list[tuple[Tensor, Tensor]]) -> None:
        for ids, target in given:
            optimiser.zero()
            (net(ids) - target).square().mean().backward()
            optimiser.step(0.01)
            ema.update(net, optimiser.changes)

    optimiser, ema = Optimiser(network, BETAS, Processes()), Ema(network, DECAY)
    train(network, optimiser, ema, batches(20))
    other.load_state_dict(network.state_dict())
    second, second_ema = Optimiser(other, BETAS, Processes()), Ema(other, DECAY)
    second.restore(copy.deepcopy(optimiser.state()))
    for name, moments in second.moments().items():
        moments.copy_(optimiser.moments()[name])
    second_ema.network.load_state_dict(ema.network.state_dict())
    second_ema.updates = ema.updates
    train(network, optimiser, ema, batches(20, start=20))
    train(other, second, second_ema, batches(20, start=20))
    for found, expected in zip(other.parameters(), network.parameters(), strict=True):
        assert torch.equal(found, expected)
    for found, expected in zip(second_ema.network.buffers(), ema.network.buffers(), strict=True):
        assert torch.equal(found, expected)


def test_a_frozen_table_has_no_average_of_its_own_and_no_moments(pair: tuple[Net, Net]) -> None:
    network = pair[0]
    network.table.requires_grad_(False)
    ema = Ema(network, DECAY)
    assert Optimiser(network, BETAS, Processes()).moments() == {}
    ema.update(network, {})
    assert torch.equal(ema.network.table(torch.arange(3)), network.table.weight[:3])
    tensors = network.state_dict(prefix="networks.") | ema.network.state_dict(prefix="average.")
    assert torch.equal(released_average(tensors, "networks.", "average.")["table.weight"], network.table.weight)


def test_an_average_makes_no_second_table() -> None:
    network = Net(ClassSpace(CLASSES, lazy=True))
    assert isinstance(network.table, ClassTable)
    ema = Ema(network, DECAY)
    assert "table.weight" not in ema.network.state_dict()
    assert sum(b.numel() for b in ema.network.buffers()) == CLASSES * WIDTH + CLASSES + 1

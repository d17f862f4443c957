from __future__ import annotations

import pytest
import torch
from torch import nn

from ctfgan.nn.class_tables import CodeTable
from ctfgan.nn.layers import conv, embedding, linear
from ctfgan.training.spectra import largest_singular_values


def test_values_are_those_of_the_singular_value_decomposition() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 24, 3), nn.Sequential(nn.Linear(40, 7), nn.Linear(1, 5)), nn.BatchNorm2d(4))
    found = largest_singular_values(network)
    expected = {
        name.removesuffix(".weight"): torch.linalg.svdvals(parameter.detach().flatten(1))[0].item()
        for name, parameter in network.named_parameters()
        if parameter.ndim > 1
    }
    assert expected.keys() == found.keys() == {"0", "1.0", "1.1"}
    assert found == pytest.approx(expected, rel=0.01)
    assert all(found[name] <= expected[name] * (1 + 1e-5) for name in found)


def test_a_rank_one_growth_shows_at_once() -> None:
    layer = nn.Linear(64, 64)
    before = largest_singular_values(layer)["weight".removesuffix("weight")]
    with torch.no_grad():
        layer.weight += torch.ones(64, 64)
    assert largest_singular_values(layer)[""] == pytest.approx(64, rel=0.05)
    assert before < 2


def test_what_is_normalised_frozen_or_a_table_is_left_out_and_nothing_changes() -> None:
    network = nn.ModuleDict({
        "normalised": conv(2, 3, normalised=True), "free": linear(3, 3), "frozen": linear(3, 3).requires_grad_(False),
        "rows": embedding(5, 3), "codes": CodeTable(torch.ones(5, 3)),
    }).train()  # fmt: skip
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stream = torch.get_rng_state()
    assert list(largest_singular_values(network)) == ["free"]
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_weights_of_zero_have_the_value_zero() -> None:
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    assert largest_singular_values(layer) == {"": 0.0}

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.nn.class_tables import LOW_QUALITY_LABELS, ClassSpace, FixedNorm, table_spaces

ROWS, CODE = 30, 20


@pytest.fixture
def codes() -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(ROWS, CODE, generator=rng), dim=1).half()


@pytest.mark.parametrize("by_code", [False, True])
def test_both_forms_give_each_class_its_own_vector_and_start_alike_for_all(by_code: bool, codes: Tensor) -> None:
    space = ClassSpace(ROWS, codes=codes if by_code else None)
    labels = torch.tensor([0, 7, 29])
    encoder, scale, free = space.encoder(), space.map(5, start=1.0), space.map(5)
    assert torch.equal(scale(encoder(labels)), torch.ones(3, 5))
    assert len(free(encoder(labels)).unique(dim=0)) == 3
    assert len(space.embedding(5, normalised=True)(labels).unique(dim=0)) == 3
    assert torch.equal(space.bias()(labels), torch.zeros(3, 1))


def test_maps_of_codes_are_linear_and_know_nothing_of_the_number_of_classes(codes: Tensor) -> None:
    space = ClassSpace(ROWS, codes=codes)
    encoder, read = space.encoder(), space.map(7)
    expected = [read.weight @ codes[label].float() + read.bias for label in (4, 4, 21)]
    torch.testing.assert_close(read(encoder(torch.tensor([4, 4, 21]))), torch.stack(expected))
    network = nn.ModuleList([encoder, read, space.embedding(7, normalised=True), space.bias()])
    assert sum(p.numel() for p in network.parameters()) == (CODE * 7 + 7) + CODE * 7 + (CODE + 1)
    assert table_spaces(network) == {}


def test_class_vectors_have_their_norm_and_a_code_of_zero_stays_exactly_zero(codes: Tensor) -> None:
    codes[3] = 0
    vectors = ClassSpace(ROWS, codes=codes).embedding(6, normalised=True, norm=2.5)(torch.arange(ROWS))
    norms = vectors.square().sum(dim=1).sqrt()
    assert (vectors[3] == 0).all()
    norms[3] = 2.5
    torch.testing.assert_close(norms, torch.full((ROWS,), 2.5))


def test_a_code_of_zero_gives_a_finite_gradient() -> None:
    layer = FixedNorm(CODE, 6, 1.0)
    layer(torch.zeros(2, CODE)).sum().backward()
    assert layer.map.weight.grad is not None
    assert layer.map.weight.grad.isfinite().all()


def test_codes_are_in_no_state_and_copies_of_a_network_read_the_same(codes: Tensor) -> None:
    space = ClassSpace(ROWS, codes=codes)
    network = nn.ModuleDict({"encoder": space.encoder(), "head": space.embedding(6, normalised=False)})
    assert set(network.state_dict()) == {"head.1.map.weight"}
    other = copy.deepcopy(network)
    assert {buffer.data_ptr() for buffer in [*network.buffers(), *other.buffers()]} == {codes.data_ptr()}
    assert other["head"][1].map.weight.data_ptr() != network["head"][1].map.weight.data_ptr()


def test_tables_are_found_by_the_space_that_they_were_built_for() -> None:
    classes, labels = ClassSpace(ROWS), ClassSpace(ROWS, LOW_QUALITY_LABELS)
    network = nn.ModuleDict({
        "scale": classes.map(5, start=1.0), "label": labels.map(5), "other": nn.Embedding(ROWS, 5),
        "head": classes.embedding(5, normalised=True),
    })  # fmt: skip
    assert table_spaces(network) == {"scale": "classes", "label": "low-quality labels", "head": "classes"}

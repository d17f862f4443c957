from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ctfgan.nn.class_tables import (
    ClassSpace,
    ClassTable,
    NormalisedTable,
    RowChange,
    lazy_tables,
    merged_rows,
    random_signs_,
)
from ctfgan.nn.row_parts import DRAWN_ROWS, RowPart

ROWS, WIDTH = 30, 6


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_merged_rows_are_the_sums_by_id_and_every_slot_holds_one_of_them(ids: list[int]) -> None:
    rows = torch.randn(len(ids), 3, dtype=torch.float64)
    found, sums, is_first = merged_rows(torch.tensor(ids), rows)
    expected = {label: sum(rows[i] for i, other in enumerate(ids) if other == label) for label in set(ids)}
    assert sorted(found[is_first].tolist()) == sorted(expected)
    for label, total in zip(found.tolist(), sums, strict=True):
        torch.testing.assert_close(total, expected[label])


def test_a_row_lazy_table_reads_and_learns_like_an_embedding_but_its_gradient_is_as_small_as_the_batch() -> None:
    table = ClassTable(ROWS, WIDTH, nn.init.normal_)
    dense = nn.Embedding(ROWS, WIDTH)
    dense.weight.data.copy_(table.weight)
    ids = torch.tensor([4, 9, 4, 29])
    factors = torch.randn(4, WIDTH)
    for layer in (table, dense):
        (layer(ids) * factors).sum().backward()
    assert torch.equal(table(ids), dense(ids))
    assert table.weight.grad is not None
    assert table.weight.grad.is_sparse
    assert table.weight.grad._values().shape == (4, WIDTH)
    torch.testing.assert_close(table.weight.grad.to_dense(), dense.weight.grad)


def test_the_norm_of_a_table_follows_its_singular_value_while_rows_change() -> None:
    table = NormalisedTable(ROWS, WIDTH, nn.init.normal_).double()
    rng = torch.Generator().manual_seed(0)
    for _ in range(300):
        ids, rows, is_first = merged_rows(
            torch.randint(ROWS, (8,), generator=rng), torch.randn(8, WIDTH, generator=rng, dtype=torch.float64)
        )
        before = table.weight.detach()[ids]
        table.write(RowChange(ids, before, before + 0.3 * rows, is_first))
    for _ in range(200):
        table(torch.tensor([0]))
    expected = torch.linalg.svdvals(table.weight.detach())[0]
    torch.testing.assert_close(table.gram, table.weight.detach().T @ table.weight.detach(), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(table.spectral_norm(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(table(torch.arange(ROWS)), table.weight / expected, rtol=1e-6, atol=1e-9)


def test_its_power_iteration_is_that_of_torchs_spectral_norm() -> None:
    """One iteration of u = W v, v = W^T u in each forward pass in training mode, none in evaluation mode."""
    table = NormalisedTable(ROWS, WIDTH, nn.init.normal_).double()
    dense = nn.Embedding(ROWS, WIDTH).double()
    dense.weight.data.copy_(table.weight)
    nn.utils.parametrizations.spectral_norm(dense)
    norm = dense.parametrizations.weight[0]
    norm._v.copy_(table.direction)
    norm._u.copy_(nn.functional.normalize(table.weight.detach() @ table.direction, dim=0))
    # torch updates u before v, so that its v is one half-step behind ours.
    ids = torch.arange(ROWS)
    for _ in range(3):
        dense(ids)
        table(ids)
    expected = (table.weight.detach() @ norm._v).norm()
    torch.testing.assert_close(table.spectral_norm(), expected, rtol=1e-6, atol=0)
    table.eval()
    resting = table.direction.clone()
    table(ids)
    assert torch.equal(table.direction, resting)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("code", [None, 20])  # 20 random signs agree for two of three classes once in 350,000 times
def test_every_form_gives_each_class_its_own_vector_and_starts_alike_for_all(code: int | None, lazy: bool) -> None:
    space = ClassSpace(ROWS, code, lazy)
    labels = torch.tensor([0, 7, 29])
    encoder, scale, free = space.encoder(), space.map(5, start=1.0), space.map(5)
    assert torch.equal(scale(encoder(labels)), torch.ones(3, 5))
    assert len(free(encoder(labels)).unique(dim=0)) == 3
    assert len(space.embedding(5, normalised=True)(labels).unique(dim=0)) == 3
    assert torch.equal(space.bias()(labels), torch.zeros(3, 1))


def test_a_factorised_network_has_one_code_for_each_class_however_many_layers_read_it() -> None:
    space = ClassSpace(1_000, 4, True)
    network = nn.ModuleList([space.encoder(), *(space.map(32, start=1.0) for _ in range(5))])
    assert sum(table.weight.numel() for table in lazy_tables(network).values()) == 4_000
    assert sum(p.numel() for p in network.parameters()) == 4_000 + 5 * (4 * 32 + 32)


def test_codes_start_as_random_signs_that_follow_the_seed() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first, second = torch.empty(2, 500, 7).unbind()
        for rows in (first, second):
            random_signs_(rows)
        torch.manual_seed(3)
        again = torch.empty(500, 7)
        random_signs_(again)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {-1.0, 1.0}
    assert first.mean().abs() < 0.05  # three standard deviations


@dataclass(frozen=True)
class Sharers:
    """Processes that draw their rows without a word to each other."""

    rank: int
    count: int

    def gather(self, own: Tensor) -> Tensor:
        raise AssertionError("drawing rows needs nobody else")

    total = gather


@pytest.mark.parametrize("init", [random_signs_, nn.init.normal_])
def test_a_table_starts_alike_whoever_holds_its_rows(init: Callable[[Tensor], object]) -> None:
    rows = 2 * DRAWN_ROWS + 1_001

    def weight(peers: Sharers | None) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(8)
            return ClassTable(rows, 3, init, peers).weight.detach()

    whole = weight(None)
    assert len(whole.unique(dim=0)) == (8 if init is random_signs_ else rows)
    for count in (2, 5):
        parts = [weight(Sharers(rank, count)) for rank in range(count)]
        assert all(len(part) <= -(-rows // count) + 1 for part in parts)
        assert all((part[-1] == 0).all() for part in parts)
        assert torch.equal(torch.cat([part[:-1] for part in parts]), whole)


@pytest.mark.parametrize(("rows", "count"), [(10, 4), (5, 4), (2, 3), (12, 3), (7, 1)])
def test_every_row_has_one_owner_who_finds_it(rows: int, count: int) -> None:
    ids = torch.arange(rows)
    found = torch.zeros(rows, dtype=torch.int64)
    for rank in range(count):
        part = RowPart(rows, Sharers(rank, count))
        own = part.local(ids) < len(part)
        assert torch.equal(part.local(ids)[own], torch.arange(len(part)))
        assert [(low, high) for owner, low, high in part.owners(0, rows) if owner == rank] == (
            [(part.start, part.stop)] if len(part) else []
        )
        found += own
    assert (found == 1).all()

"""Tables of rows that several processes hold together, each a range of consecutive rows (decision 24)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ctfgan.nn.layers import Initialiser

DRAWN_ROWS = 1 << 15  # rows that are drawn at once; another number makes other tables of the same seed


class Peers(Protocol):
    """The processes that hold a table together; all of them call each method, with tensors of the same shape."""

    @property
    def rank(self) -> int:
        """Which one this is, 0 ... count - 1."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def gather(self, own: Tensor) -> Tensor:
        """Tensors ``(N, ...)`` of all processes one after the other, ``(count * N, ...)``, the same on each."""
        ...

    def total(self, own: Tensor) -> Tensor:
        """The sum over all processes, the same on each."""
        ...


@dataclass(frozen=True)
class RowPart:
    """The rows of a table that this process owns.

    It keeps one more behind them, of zeros: whoever asks for a row of another process is given that, so that no shape
    depends on the data and what all processes read adds up to the rows that were asked for.
    """

    rows: int
    """Of the whole table."""
    peers: Peers

    @property
    def start(self) -> int:
        """The first row of this process."""
        return self._bound(self.peers.rank)

    @property
    def stop(self) -> int:
        """The row behind its last one."""
        return self._bound(self.peers.rank + 1)

    def __len__(self) -> int:
        return self.stop - self.start

    def owners(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Who owns rows ``[start, stop)``: rank, first row, row behind the last one."""
        for rank in range(self.peers.count):
            low, high = max(start, self._bound(rank)), min(stop, self._bound(rank + 1))
            if low < high:
                yield rank, low, high

    def local(self, ids: Tensor) -> Tensor:
        """Where rows ``ids`` of the table are among those of this process; those of others in the spare row."""
        return torch.where((ids >= self.start) & (ids < self.stop), ids - self.start, len(self))

    def read(self, ids: Tensor, rows_at: Callable[[Tensor], Tensor]) -> Tensor:
        """Rows ``ids`` ``(N,)`` of the table, ``(N, width)``; every process asks for as many.

        Args:
            ids: of the whole table.
            rows_at: from places ``(M,)`` among the rows of this process to what they hold, ``(M, width)``.
        """
        found = self.peers.total(rows_at(self.local(self.peers.gather(ids))))
        return found.unflatten(0, (self.peers.count, len(ids)))[self.peers.rank]

    def learnt(self, ids: Tensor, weight: Tensor) -> Tensor:
        """The same of a weight, ``(len + 1, width)``, whose gradient comes from all processes: each owner gets a
        sparse one of ``count * N`` slots, of which those for rows of others are zeros for the spare row. It is that of
        the mean of the processes' losses.
        """
        rows: Tensor = _Read.apply(weight, ids, self)  # type: ignore[no-untyped-call]
        return rows

    def _bound(self, rank: int) -> int:
        return min(-(-self.rows // self.peers.count) * rank, self.rows)


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, part: RowPart) -> Tensor:
        local = part.local(part.peers.gather(ids))
        ctx.save_for_backward(local)
        ctx.part, ctx.shape = part, weight.shape
        found = part.peers.total(weight[local])
        return found.unflatten(0, (part.peers.count, len(ids)))[part.peers.rank].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (local,) = ctx.saved_tensors
        part: RowPart = ctx.part
        rows = part.peers.gather(gradient / part.peers.count).masked_fill((local == len(part))[:, None], 0)
        return torch.sparse_coo_tensor(local[None], rows, ctx.shape, check_invariants=False), None, None


@dataclass(frozen=True)
class OwnRows:
    """What this process holds of a tensor with a row for each row of a table."""

    rows: Tensor
    """``(len(part), ...)``."""
    part: RowPart

    @property
    def nbytes(self) -> int:
        """Of these rows."""
        return self.rows.nbytes


Kept: TypeAlias = Tensor | OwnRows
"""What a process has of a tensor that a checkpoint keeps: all of it, or some of its rows."""


class RowTable(nn.Module):
    """Something with tensors that have a row for each row of a table.

    Attributes:
        part: the rows that this process holds; None if it holds them all.
    """

    BY_ROW: ClassVar[tuple[str, ...]]
    """Names of those tensors."""

    def __init__(self, part: RowPart | None) -> None:
        super().__init__()
        self.part = part

    def owned(self, tensor: Tensor) -> Kept:
        """A tensor with a row for each row of the table as a checkpoint keeps it."""
        return tensor.detach() if self.part is None else OwnRows(tensor.detach()[:-1], self.part)


def is_sharded(network: nn.Module) -> bool:
    """Whether other processes hold some of a network's rows; it then computes only when all of them do."""
    return any(isinstance(module, RowTable) and module.part is not None for module in network.modules())


def kept_of(network: nn.Module, prefix: str) -> dict[str, Kept]:
    """A network's state by name, with those rows that this process holds; ``prefix`` begins all names."""
    found: dict[str, Kept] = dict(network.state_dict(prefix=prefix))
    for path, module in network.named_modules():
        if isinstance(module, RowTable):
            names = {f"{prefix}{path}.{name}": getattr(module, name) for name in module.BY_ROW}
            found |= {name: module.owned(tensor) for name, tensor in names.items() if tensor is not None}
    return found


@torch.no_grad()
def draw_rows_(own: Tensor, start: int, rows: int, init: Initialiser) -> None:
    """Fill rows ``start ...`` of a table of ``rows`` rows by chance, the same whoever holds which of them.

    Every block of rows has a seed of its own, so that nobody draws more than he holds and a block.

    Args:
        own: ``(N, width)``, filled in place.
        start: the first of them.
        rows: of the whole table.
        init: fills a block, whatever the number of its rows.
    """
    seed = int(torch.randint(1 << 32, ()).item())
    with torch.random.fork_rng(devices=[]):
        for first in range(start - start % DRAWN_ROWS, start + len(own), DRAWN_ROWS):
            torch.default_generator.manual_seed(seed + first // DRAWN_ROWS)
            last = min(first + DRAWN_ROWS, rows)
            low, high = max(first, start), min(last, start + len(own))
            block = own[low - start : high - start]
            if len(block) == last - first:
                init(block)
            else:
                drawn = own.new_empty(last - first, own.shape[1])
                init(drawn)
                block.copy_(drawn[low - first : high - first])

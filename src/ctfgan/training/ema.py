"""Exponential moving average of a generator."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.nn.class_tables import ClassTable, CodeTable, RowChange, lazy_tables
from ctfgan.nn.row_parts import RowTable
from ctfgan.training.tensor_files import below


class Ema:
    """A copy of a network that follows it slowly; floating-point buffers (batch statistics) follow too.

    Single numbers (counters, the fade of a growing network) are copied: they say where training stands.

    The decay is warmed up, min(decay, (1 + t) / (10 + t)), so that early weights are soon forgotten.

    Attributes:
        network: the averaged copy, in evaluation mode; its row-lazy tables read those of the network.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._averaged = {table: AveragedTable(table) for table in lazy_tables(network).values()}
        # The tables are replaced while copying, so that no second one is made.
        replaced: dict[int, nn.Module] = {id(table): averaged for table, averaged in self._averaged.items()}
        self.network = copy.deepcopy(network, replaced).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, changes: Mapping[ClassTable, RowChange]) -> None:
        """Follow the network by one step, in which these rows of its row-lazy tables changed."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages, currents = [], []
        for average, current in zip(_tensors(self.network), _tensors(network), strict=True):
            if average.is_floating_point() and average.ndim:
                averages.append(average)
                currents.append(current)
            else:
                average.copy_(current)
        torch._foreach_lerp_(averages, currents, 1 - decay)
        for table, averaged in self._averaged.items():
            averaged.follow(changes.get(table), decay)

    @torch.no_grad()
    def hand_over(self, network: nn.Module) -> None:
        """Put the average into the network; the average is of no use afterwards."""
        for average, current in zip(_tensors(self.network), _tensors(network), strict=True):
            current.copy_(average)
        for table, averaged in self._averaged.items():
            if averaged.lag is not None:
                table.weight.copy_(_row_average(table.weight, averaged.lag, averaged.log_decay, averaged.total))


class AveragedTable(RowTable):
    """The moving average of a row-lazy table: exactly the dense one, at the cost of the rows of a batch (decision 23).

    While a row w rests, the distance of its average from it shrinks by the decay in every step. So it is the distance
    that is kept, as of the step in which the row last changed, with the logarithm of the product of all decays until
    then: average = w + lag * exp(total - log_decay). A table that does not train is its own average.

    Shapes: ids ``(N,)`` int64; returns ``(N, width)``.

    Attributes:
        lag: average - w when the row last changed, ``(C, width)`` as the table's own weight; None for a table that does
            not train.
        log_decay: sum of the logarithms of the decays until then, ``(C,)`` float64.
        total: the same until now, float64 without dimension.
    """

    BY_ROW = ("lag", "log_decay")

    lag: Tensor | None
    log_decay: Tensor
    total: Tensor

    def __init__(self, table: ClassTable) -> None:
        super().__init__(table.part)
        self._table = (table,)  # in a tuple, so that it is not counted as a part of this module
        trains, device = table.weight.requires_grad, table.weight.device
        self.register_buffer("lag", torch.zeros_like(table.weight, requires_grad=False) if trains else None)
        log_decay = torch.zeros(len(table.weight), dtype=torch.float64, device=device) if trains else None
        self.register_buffer("log_decay", log_decay)
        self.register_buffer("total", torch.zeros((), dtype=torch.float64, device=device) if trains else None)

    def forward(self, ids: Tensor) -> Tensor:
        """Averaged rows."""
        return self._rows_at(ids) if self.part is None else self.part.read(ids, self._rows_at)

    def _rows_at(self, ids: Tensor) -> Tensor:
        rows = F.embedding(ids, self._table[0].weight)
        if self.lag is None:
            return rows
        return _row_average(rows, self.lag[ids], self.log_decay[ids], self.total)

    @torch.no_grad()
    def follow(self, change: RowChange | None, decay: float) -> None:
        """Follow a step that changed some rows, or none."""
        if self.lag is None:
            return
        if change is not None:
            faded = _faded(self.lag[change.ids], self.log_decay[change.ids], self.total)
            self.lag.index_copy_(0, change.ids, decay * (faded + change.before - change.after))
        self.total += math.log(decay)
        if change is not None:
            self.log_decay.index_copy_(0, change.ids, self.total.expand(len(change.ids)))


def released_average(tensors: Mapping[str, Tensor], weights: str, averages: str) -> dict[str, Tensor]:
    """The averaged network's weights by name, out of the tensors of a checkpoint.

    Args:
        tensors: weights and averages by name.
        weights: what the names of the network's own weights begin with.
        averages: what the names of its average begin with.
    """
    found = below(tensors, averages)
    released = {name: tensor for name, tensor in found.items() if not name.endswith((".lag", ".log_decay", ".total"))}
    for own, tensor in below(tensors, weights).items():
        if own in released:
            continue
        table = own.removesuffix("weight")
        lag = found.get(f"{table}lag")
        released[own] = (
            tensor if lag is None else _row_average(tensor, lag, found[f"{table}log_decay"], found[f"{table}total"])
        )
    return released


def _row_average(rows: Tensor, lag: Tensor, log_decay: Tensor, total: Tensor) -> Tensor:
    return rows + _faded(lag, log_decay, total)


def _faded(lag: Tensor, log_decay: Tensor, total: Tensor) -> Tensor:
    return lag * (total - log_decay).exp().to(lag.dtype)[:, None]


def _tensors(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers in order, row-lazy tables and codes left out."""
    return [
        tensor
        for module in network.modules()
        if not isinstance(module, (RowTable, CodeTable))
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    ]

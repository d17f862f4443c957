"""Adam for row-lazy class tables: exactly the dense one, at the cost of the rows of a batch (decision 23)."""

from __future__ import annotations

import torch
from torch import Tensor

from ctfgan.nn.class_tables import ClassTable, RowChange, merged_rows

EPSILON = 1e-8  # torch's default


class RowAdam:
    """Adam with beta_1 = 0 (Kingma and Ba 2015) for one table.

    A row without a gradient is not moved by dense Adam either, for there is no first moment; only its second moment
    decays by beta_2 in every step. A row therefore remembers when it was last touched and makes up for the decay when
    it is touched again. The correction of the bias uses the number of all steps.

    Args:
        table: what is stepped.
        beta: decay rate beta_2 of the second moment.

    Attributes:
        second: second moments as of ``last``, ``(C, width)``.
        last: step in which each row was last touched, ``(C,)`` int32.
        steps: steps so far.
    """

    def __init__(self, table: ClassTable, beta: float) -> None:
        self._table = table
        self._beta = beta
        self.second = torch.zeros_like(table.weight, requires_grad=False)
        self.last = torch.zeros(len(table.weight), dtype=torch.int32, device=table.weight.device)
        self.steps = 0

    @torch.no_grad()
    def step(self, ids: Tensor, gradients: Tensor, rate: float) -> RowChange:
        """One step.

        Args:
            ids: rows that have a gradient, ``(N,)`` int64; gradients of a repeated row add up.
            gradients: ``(N, width)``.
            rate: learning rate.
        """
        self.steps += 1
        ids, gradients, is_first = merged_rows(ids, gradients)
        missed = (self.steps - self.last[ids]).to(gradients.dtype)
        second = self.second[ids] * torch.pow(self._beta, missed)[:, None]
        second = second + (1 - self._beta) * gradients.square()
        self.second.index_copy_(0, ids, second)
        self.last.index_fill_(0, ids, self.steps)
        corrected = second.sqrt() / (1 - self._beta**self.steps) ** 0.5
        before = self._table.weight[ids]
        change = RowChange(ids, before, before - rate * gradients / (corrected + EPSILON), is_first)
        self._table.write(change)
        return change

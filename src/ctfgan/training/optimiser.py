"""The optimiser of one player: Adam, on gradients that all processes of a run agree on."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ctfgan.nn.class_tables import ClassTable, RowChange, lazy_tables
from ctfgan.nn.row_parts import Kept
from ctfgan.training.row_adam import RowAdam


class Exchange(Protocol):
    """How the processes of a run share gradients; with one process there is nothing to share."""

    def average(self, gradients: list[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in place."""
        ...

    def gather_rows(self, ids: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Ids ``(N,)`` and rows ``(N, d)`` of all processes, one after the other, the same on each of them; rows are
        divided by the number of processes, so that they add up to the mean over the whole batch.
        """
        ...


class Optimiser:
    """Adam for what requires a gradient in a network when it is made; row-lazy tables are stepped row by row.

    Attributes:
        parameters: what is trained.
        changes: rows that the last step changed, by table.
    """

    def __init__(self, network: nn.Module, betas: tuple[float, float], exchange: Exchange) -> None:
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.changes: dict[ClassTable, RowChange] = {}
        tables = {name: table for name, table in lazy_tables(network).items() if table.weight.requires_grad}
        assert betas[0] == 0 or not tables, "row-lazy tables are stepped without a first moment"
        self._tables = tables
        self._rows = {name: RowAdam(table, betas[1]) for name, table in tables.items()}
        self._collected: dict[str, list[Tensor]] = {}  # sparse gradients of tables, one for each part of a batch
        in_tables = {table.weight for table in tables.values()}
        self._dense = [parameter for parameter in self.parameters if parameter not in in_tables]
        self._exchange = exchange
        self._adam = torch.optim.Adam(self._dense, betas=betas, fused=True)

    def zero(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None
        self._collected = {}

    def collect(self) -> None:
        """Take up the gradients of tables after a backward pass; those of dense parameters add up by themselves.

        Torch would merge the rows of several passes, and their number would then depend on the data.
        """
        for name, table in self._tables.items():
            if table.weight.grad is not None:
                self._collected.setdefault(name, []).append(table.weight.grad)
                table.weight.grad = None

    def step(self, rate: float) -> None:
        """Move the parameters against their collected gradients, averaged over all processes."""
        self.collect()
        # All is exchanged before anything moves: if another process is lost on the way, this one still holds a whole
        # state to save.
        self._exchange.average([parameter.grad for parameter in self._dense if parameter.grad is not None])
        gathered = {}
        for name, parts in self._collected.items():
            found = torch.cat([part._indices()[0] for part in parts]), torch.cat([part._values() for part in parts])
            # A process that holds some rows alone has their gradients from all others by now.
            sharded = self._tables[name].part is not None
            gathered[name] = found if sharded else self._exchange.gather_rows(*found)
        self._collected = {}
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        self.changes = {
            self._tables[name]: self._rows[name].step(ids, rows, rate) for name, (ids, rows) in gathered.items()
        }

    def state(self) -> dict[str, Any]:
        """For a checkpoint: all but what :meth:`moments` holds."""
        return {"adam": self._adam.state_dict(), "steps": {name: rows.steps for name, rows in self._rows.items()}}

    def moments(self) -> dict[str, Kept]:
        """The tensors of row-lazy tables by name, which a checkpoint keeps in parts since they may be large."""
        found = {}
        for name, rows in self._rows.items():
            found[f"{name}.second"] = self._tables[name].owned(rows.second)
            found[f"{name}.last"] = self._tables[name].owned(rows.last)
        return found

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`; the tensors of :meth:`moments` are for the caller to overwrite."""
        self._adam.load_state_dict(state["adam"])
        for name, rows in self._rows.items():
            rows.steps = state["steps"][name]

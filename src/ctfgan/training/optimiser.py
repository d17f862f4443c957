"""The optimiser of one player: Adam, on gradients that all processes of a run agree on."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Exchange(Protocol):
    """How the processes of a run share gradients; with one process there is nothing to share."""

    def average(self, gradients: list[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in place."""
        ...

    def gather_rows(self, ids: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Ids ``(N,)`` and rows ``(N, d)`` of all processes, one after the other, the same on each of them."""
        ...


class Alone:
    """The exchange of a single process."""

    def average(self, gradients: list[Tensor]) -> None:
        """Nothing to do."""

    def gather_rows(self, ids: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """They are all there."""
        return ids, rows


class Optimiser:
    """Adam for the parameters of a network that require a gradient when it is made."""

    def __init__(self, network: nn.Module, betas: tuple[float, float], exchange: Exchange) -> None:
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._exchange = exchange
        self._adam = torch.optim.Adam(self.parameters, betas=betas, foreach=True)

    def zero(self) -> None:
        """Forget all gradients."""
        self._adam.zero_grad(set_to_none=True)

    def step(self, rate: float) -> None:
        """Move the parameters against their gradients, averaged over all processes."""
        self._exchange.average([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return self._adam.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self._adam.load_state_dict(state)

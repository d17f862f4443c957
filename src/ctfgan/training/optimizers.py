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


class Optimiser:
    """Adam for what requires a gradient in a network when it is made.

    Attributes:
        parameters: what is trained.
    """

    def __init__(self, network: nn.Module, betas: tuple[float, float], exchange: Exchange) -> None:
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._exchange = exchange
        self._adam = torch.optim.Adam(self.parameters, betas=betas, fused=True)

    def zero(self) -> None:
        """Forget all gradients."""
        self._adam.zero_grad()

    def step(self, rate: float) -> None:
        """Move the parameters against their gradients, averaged over all processes."""
        # All is exchanged before anything moves: if another process is lost on the way, this one still holds a whole
        # state to save.
        self._exchange.average([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"adam": self._adam.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self._adam.load_state_dict(state["adam"])

"""The optimizers of both players (Adam, on gradients that all processes of a run agree on), and the moving average."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ctfgan.data.batches import Batch, split
from ctfgan.distributed.engine import Engine, alone
from ctfgan.nn.class_tables import CodeTable
from ctfgan.training.objectives.adversarial import AdversarialObjective, LossTerms
from ctfgan.training.settings import StageSettings


class Ema:
    """A copy of a network that follows it slowly; floating-point buffers (batch statistics) follow too.

    Single numbers (counters, the fade of a growing network) are copied: they say where training stands.

    The decay is warmed up, min(decay, (1 + t) / (10 + t)), so that early weights are soon forgotten.

    Attributes:
        network: the averaged copy, in evaluation mode; it reads the network's own class codes.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Follow the network by one step."""
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

    @torch.no_grad()
    def hand_over(self, network: nn.Module) -> None:
        """Put the average into the network; the average is of no use afterwards."""
        for average, current in zip(_tensors(self.network), _tensors(network), strict=True):
            current.copy_(average)


def _tensors(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers in order, class codes left out."""
    return [
        tensor
        for module in network.modules()
        if not isinstance(module, CodeTable)
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    ]


class GanOptimizers:
    """Adam for what requires a gradient in each player when this is made, with the stage's learning rates.

    Args:
        generator: what learns to synthesise.
        discriminator: what learns to judge.
        stage: rates, and the parts that a batch is taken in.
        engine: its processes average their gradients; its precision is that of the losses. None is this process alone,
            in float32.
        lr_scale: factor on both rates of a run that was rolled back (decision 28).

    Attributes:
        step: generator steps done in this stage.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        stage: StageSettings,
        engine: Engine | None = None,
        lr_scale: float = 1.0,
    ) -> None:
        self.step = 0
        self._stage = stage
        self._engine = engine or alone(torch.device("cpu"))
        self._lr_scale = lr_scale
        self._discriminator = discriminator
        self._adam = {
            name: torch.optim.Adam(_trained(network), betas=stage.betas, fused=True)
            for name, network in (("generator", generator), ("discriminator", discriminator))
        }

    def take(self, stage: StageSettings) -> None:
        """Go on with other rates, and another end to which they fall."""
        self._stage = stage

    def conditioned(self, objective: AdversarialObjective, batch: Batch) -> Batch:
        """The batch as the objective takes it, what it computes for that being in the engine's precision."""
        with self._engine.autocast():
            return objective.conditioned(batch)

    def discriminator_step(self, objective: AdversarialObjective, batch: Batch) -> LossTerms:
        """One discriminator step; returns its losses, detached."""
        objective.begin_discriminator_step()
        return self._step("discriminator", objective.discriminator_terms, batch, self._stage.discriminator_rate)

    def generator_step(self, objective: AdversarialObjective, batch: Batch) -> LossTerms:
        """One generator step; the discriminator's weights get no gradient, which saves their share of the work."""
        judges = self._adam["discriminator"].param_groups[0]["params"]
        for parameter in judges:
            parameter.requires_grad_(False)
        # Its weights rest, so their spectral norm does too: its power iteration belongs to the discriminator's steps.
        self._discriminator.eval()
        losses = self._step("generator", objective.generator_terms, batch, self._stage.generator_rate)
        self._discriminator.train()
        for parameter in judges:
            parameter.requires_grad_(True)
        self.step += 1
        return losses

    def _step(self, player: str, terms_of: Callable[[Batch], LossTerms], batch: Batch, rate: float) -> LossTerms:
        """One step of a player; returns the losses of this process, means over the parts of its batch."""
        adam, parts = self._adam[player], self._stage.accumulate
        adam.zero_grad()
        losses: LossTerms = {}
        for part in split(batch, parts) if parts > 1 else [batch]:
            with self._engine.autocast():
                terms = terms_of(part)
            (total(terms) / parts).backward()
            for name, term in terms.items():
                losses[name] = losses.get(name, 0) + term.detach() / parts
        # All is exchanged before anything moves: if another process is lost on the way, this one still holds a whole
        # state to save.
        parameters = adam.param_groups[0]["params"]
        self._engine.processes.average([parameter.grad for parameter in parameters if parameter.grad is not None])
        progress = self.step / self._stage.steps
        adam.param_groups[0]["lr"] = rate * self._lr_scale * decay(progress, self._stage.decay_from)
        adam.step()
        return losses

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"step": self.step} | {name: adam.state_dict() for name, adam in self._adam.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self.step = state["step"]
        for name, adam in self._adam.items():
            adam.load_state_dict(state[name])


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def total(terms: LossTerms) -> Tensor:
    """The loss that a player minimises."""
    return torch.stack(list(terms.values())).sum()


def decay(progress: float, start: float) -> float:
    """Factor on the learning rate at ``progress`` (0 ... 1): 1 until ``start``, then linear to 0 at 1."""
    return 1.0 if progress <= start else (1 - progress) / (1 - start)

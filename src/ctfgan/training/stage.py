"""What a trainer trains, a method's stages, and what a stage works with while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor, nn

from ctfgan.data.batches import BatchStream
from ctfgan.data.dataset import Dataset
from ctfgan.distributed.engine import Engine, compile_players
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.storage.checkpoints import AVERAGE, NETWORKS
from ctfgan.training.alarms import Alarms
from ctfgan.training.divergence import DivergenceMonitor
from ctfgan.training.objectives.adversarial import AdversarialObjective
from ctfgan.training.optimizers import Ema, GanOptimizers
from ctfgan.training.settings import CheckSettings, StageSettings, TrainingSettings


@dataclass(frozen=True)
class Stage:
    """One adversarial game of a method."""

    name: str
    settings: StageSettings
    objective: AdversarialObjective
    enter: Callable[[], None]
    """Called once when the stage begins or is resumed: freezes what the stage must not change."""
    hands_over_average: bool = True
    """Whether the next stage builds on the moving average of what this one trained; if not, on the weights."""


@dataclass(frozen=True)
class Method:
    """What the trainer trains: networks by name, and the stages that share them."""

    networks: nn.ModuleDict
    stages: tuple[Stage, ...]
    is_conditional: bool
    """Whether its images are meant to show the class that was asked for."""
    batch_rng: BatchRng
    """Every random draw of training comes from here: conditions, noise, patches."""


class StageState:
    """A stage of a method, entered; everything in it begins anew with the next one.

    Args:
        method: whose stage it is.
        number: which one, from 0.
        dataset: what it trains on.
        settings: of the run.
        seed: of the run.
        lr_scale: factor on the rates of a run that was rolled back.
        engine: what it computes on.

    Attributes:
        optimizers: of both players.
        ema: moving average of the generator; None for a run without one.
        batches: what the players see.
        early_stopping: judges the distances of the checks.
        monitor: of the losses.
        alarms: what checks have warned of.
        check_is_due: whether the step that was done last still wants its check.
    """

    def __init__(
        self,
        method: Method,
        number: int,
        dataset: Dataset,
        settings: TrainingSettings,
        seed: int,
        lr_scale: float,
        engine: Engine,
    ) -> None:
        self.number = number
        self.stage = stage = method.stages[number]
        stage.enter()
        self.check_is_due = False
        self._device = engine.device
        self._networks = method.networks
        generator = stage.objective.generator.train()
        self.optimizers = GanOptimizers(generator, stage.objective.discriminator, stage.settings, engine, lr_scale)
        self.ema = None if settings.ema_decay is None else Ema(generator, settings.ema_decay)
        if settings.compile:
            compile_players(generator, stage.objective.discriminator)
        self.batches = BatchStream(
            dataset,
            stage.settings.batch_size,
            seed * 1_000 + number,
            method.batch_rng,
            stage.settings.fake_classes,
            engine.device,
        )
        self.early_stopping = EarlyStopping(settings.checks, stage.settings.patience)
        self.monitor = DivergenceMonitor(settings.recovery.window, stage.objective.won, engine.processes, engine.device)
        measured = dataset.evaluated_classes
        counts = np.bincount(measured.training.labels, minlength=len(measured.labels)).tolist()
        self.alarms = Alarms(settings.alarms, measured.names, counts)

    @property
    def step(self) -> int:
        """Generator steps done."""
        return self.optimizers.step

    @property
    def generator(self) -> nn.Module:
        """The network that checks and bundles use: the average if there is one."""
        return self.stage.objective.generator if self.ema is None else self.ema.network

    def end_reason(self) -> str | None:
        """Why the stage is over; None while it is not."""
        if self.early_stopping.is_reached:
            return self.early_stopping.reason()
        if self.step >= self.stage.settings.steps:
            return f"all {self.stage.settings.steps} steps done"
        return None

    def take_steps(self, steps: int) -> None:
        """Let the stage have so many generator steps, and its rates fall accordingly."""
        self.stage = replace(self.stage, settings=self.stage.settings.model_copy(update={"steps": steps}))
        self.optimizers.take(self.stage.settings)

    def leave(self) -> None:
        """Let the generator be what the next stage builds on."""
        if self.ema is not None and self.stage.hands_over_average:
            self.ema.hand_over(self.stage.objective.generator)

    def tensors(self) -> dict[str, Tensor]:
        """Weights of the networks and of their averages, for a checkpoint."""
        average = {} if self.ema is None else self.ema.network.state_dict(prefix=AVERAGE)
        return {**self._networks.state_dict(prefix=NETWORKS), **average}

    def state(self) -> dict[str, Any]:
        """For a checkpoint: all but :meth:`tensors`."""
        return {
            "stage": self.number,
            "stage_steps": self.stage.settings.steps,
            "optimizers": self.optimizers.state(),
            "objective": self.stage.objective.state(),
            "ema_updates": 0 if self.ema is None else self.ema.updates,
            "batches": self.batches.state(),
            "distances": list(self.early_stopping.distances),
            "check_due": self.check_is_due,
            "monitor": self.monitor.state(),
            "alarms": self.alarms.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`; :meth:`tensors` are for the caller to overwrite."""
        if self.stage.settings.end_minute is not None:
            self.take_steps(state.get("stage_steps", self.stage.settings.steps))
        if self.ema is not None:
            self.ema.updates = state["ema_updates"]
        self.optimizers.restore(state["optimizers"])
        self.stage.objective.restore(state["objective"], self._device)
        self.batches.restore(state["batches"])
        for distance in state["distances"]:
            self.early_stopping.observe(distance)
        self.check_is_due = state["check_due"]
        self.monitor.restore(state["monitor"])
        self.alarms.restore(state["alarms"])


class EarlyStopping:
    """When is a stage done? "Until no significant improvement" made exact (decision 11).

    Args:
        checks: smoothing and what counts as an improvement.
        patience: checks without one after which the stage is done; None never ends it.
        distances: of the checks so far, lower being better.

    Attributes:
        distances: of the checks so far.
        stale_checks: checks since the smoothed distance last improved significantly.
    """

    def __init__(self, checks: CheckSettings, patience: int | None, distances: Iterable[float] = ()) -> None:
        self._checks = checks
        self._patience = patience
        self._best = float("inf")  # of the smoothed distances
        self.distances: list[float] = []
        self.stale_checks = 0
        for distance in distances:
            self.observe(distance)

    def observe(self, distance: float) -> None:
        """A check is done."""
        self.distances.append(distance)
        smoothed = fmean(self.distances[-self._checks.smoothing :])
        if smoothed < self._best * (1 - self._checks.significant):
            self._best, self.stale_checks = smoothed, 0
        else:
            self.stale_checks += 1

    @property
    def is_reached(self) -> bool:
        """Whether the smoothed distance has gone ``patience`` checks without a significant improvement."""
        return self._patience is not None and self.stale_checks >= self._patience

    def reason(self) -> str:
        """What is reached, in words."""
        return f"no improvement by {self._checks.significant:.0%} in {self.stale_checks} checks"

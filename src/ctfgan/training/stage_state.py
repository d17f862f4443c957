"""What a stage works with while it is played: optimisers, batches, average, and what its checks remember."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, nn

from ctfgan.data.batches import BatchStream
from ctfgan.data.dataset import Dataset
from ctfgan.distributed.engine import Engine, compile_players
from ctfgan.training.alarms import Alarms
from ctfgan.training.divergence import Health
from ctfgan.training.early_stopping import EarlyStopping
from ctfgan.training.ema import Ema
from ctfgan.training.loop import GanOptimizers
from ctfgan.training.method import Method
from ctfgan.training.settings import TrainingSettings


class StageState:
    """A stage of a method, entered; everything in it begins anew with the next one.

    Args:
        method: whose stage it is.
        number: which one, from 0.
        dataset: what it trains on.
        settings: of the run.
        seed: of the run.
        slowed: factor on the rates of a run that was rolled back.
        engine: what it computes on.

    Attributes:
        number: as given.
        stage: the stage.
        updates: optimisers of both players.
        ema: moving average of the generator; None for a run without one.
        batches: what the players see.
        plateau: distances of the checks so far.
        health: of the losses.
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
        slowed: float,
        engine: Engine,
    ) -> None:
        stage = method.stages[number]
        stage.enter()
        self.number = number
        self.stage = stage
        self.check_is_due = False
        self._device = engine.device
        self._networks = method.networks
        generator = stage.objective.generator.train()
        self.updates = GanOptimizers(generator, stage.objective.discriminator, stage.settings, engine, slowed)
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
        self.plateau = EarlyStopping(settings.checks, stage.settings.patience)
        self.health = Health(settings.recovery.window, stage.objective.won, engine.processes, engine.device)
        measured = dataset.evaluated_classes
        counts = np.bincount(measured.training.labels, minlength=len(measured.labels)).tolist()
        self.alarms = Alarms(settings.alarms, measured.names, counts)

    @property
    def step(self) -> int:
        """Generator steps done."""
        return self.updates.step

    @property
    def generator(self) -> nn.Module:
        """The network that checks and bundles use: the average if there is one."""
        return self.stage.objective.generator if self.ema is None else self.ema.network

    def leave(self) -> None:
        """Let the generator be what the next stage builds on."""
        if self.ema is not None and self.stage.hands_over_average:
            self.ema.hand_over(self.stage.objective.generator)

    def kept(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint."""
        average = {} if self.ema is None else self.ema.network.state_dict(prefix="average.")
        return {**self._networks.state_dict(prefix="networks."), **average}

    def state(self) -> dict[str, Any]:
        """For a checkpoint: all but the tensors of :meth:`kept`."""
        return {
            "stage": self.number,
            "updates": self.updates.state(),
            "game": self.stage.objective.state(),
            "ema_updates": 0 if self.ema is None else self.ema.updates,
            "batches": self.batches.state(),
            "distances": list(self.plateau.distances),
            "check_due": self.check_is_due,
            "health": self.health.state(),
            "alarms": self.alarms.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`; the tensors of :meth:`kept` are for the caller to overwrite."""
        if self.ema is not None:
            self.ema.updates = state["ema_updates"]
        self.updates.restore(state["updates"])
        self.stage.objective.restore(state["game"], self._device)
        self.batches.restore(state["batches"])
        self.plateau.distances = list(state["distances"])
        self.check_is_due = state.get("check_due", False)  # earlier versions always finished a check
        if "health" in state:  # a run that began before there was any goes on as if it had begun here
            self.health.restore(state["health"])
            self.alarms.restore(state["alarms"])

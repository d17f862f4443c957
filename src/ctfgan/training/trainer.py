"""The stages of a method, one after the other: play, look, save, decide when a stage is done."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ctfgan.data.batches import BatchStream
from ctfgan.data.prepare import Dataset
from ctfgan.errors import Interrupted, ProcessLost, RunError
from ctfgan.metrics.recogniser import TrainedRecogniser
from ctfgan.nn.row_parts import Kept, kept_of
from ctfgan.progress import silent
from ctfgan.training.alarms import Alarm, Alarms
from ctfgan.training.checks import Checker
from ctfgan.training.collecting import overwrite
from ctfgan.training.ema import Ema
from ctfgan.training.health import Health, Unhealthy, line_figures
from ctfgan.training.keeping import Keeper, Snapshot
from ctfgan.training.loop import StepLosses, Updates, play
from ctfgan.training.method import Method, Observer, Stage
from ctfgan.training.plateau import Plateau
from ctfgan.training.recovery import ALARM, DIAGNOSIS, ROLLBACK, Recovery, Rollback, cut_back, diagnosis
from ctfgan.training.run_folder import RunFolder, StoredCheckpoint
from ctfgan.training.runtime import Engine, Stopped, StopRequest, compile_players, wait_for
from ctfgan.training.settings import TrainingSettings


class Trainer:
    """A run in memory; :meth:`run` brings it from where it stands to its end.

    Several processes hold the same run; the main one alone writes its folder.
    """

    def __init__(
        self,
        method: Method,
        dataset: Dataset,
        recogniser: TrainedRecogniser,
        settings: TrainingSettings,
        folder: RunFolder,
        seed: int,
        engine: Engine,
    ) -> None:
        self._method = method
        self._dataset = dataset
        self._settings = settings
        self._folder = folder
        self._seed = seed
        self._engine = engine
        self._device = engine.device
        self._journal = folder.journal()
        self._seconds = 0.0
        self._counted = time.monotonic()  # when the seconds of training were last added up
        self._steps_before = 0  # generator steps of the stages that are done
        self._is_saved = False  # as it stands now
        self._figures: dict[str, float] = {}  # of the last line of the journal
        self._keeper = Keeper(folder, engine, settings.keep_checkpoints)
        self._recovery = Recovery(settings.recovery, folder)
        self._checker = Checker(
            dataset, recogniser, settings.checks, folder.path / "sheets", engine, by_class=method.is_conditional
        )
        training = dataset.measured.training
        self._counts = np.bincount(training.labels, minlength=len(dataset.measured.labels)).tolist()
        engine.prepare(method.networks)
        self._enter(0)

    def run(self, observer: Observer, stop: StopRequest) -> None:
        """Train all remaining stages; after a failure, go on from the last good checkpoint with lower rates.

        Raises:
            Interrupted: a signal asked for an end; the state is saved.
            ProcessLost: another process died; see :meth:`rescue`.
            RunError: training failed again and again; the checkpoints on disk are from before.
        """
        if not self._engine.processes.on_main(lambda: bool(self._folder.checkpoints())):
            self._save()
        is_done = False
        while not is_done:
            try:
                is_done = self._finish_stage(observer, stop)
            except Unhealthy as failure:
                self._roll_back(failure, observer)

    def _finish_stage(self, observer: Observer, stop: StopRequest) -> bool:
        """Play the stage to its end and enter the next one; returns whether there is none."""
        stage = self._stage
        observer.on_stage(stage.name, self._number + 1, len(self._method.stages), self._updates.step, stage.settings)
        reason = self._play(stage, observer, stop)
        self._write("stage-end", stage=stage.name, step=self._updates.step, reason=reason)
        observer.on_stage_end(stage.name, reason)
        if self._number + 1 == len(self._method.stages):
            return True
        self._hand_over()
        self._save()
        return False

    def _play(self, stage: Stage, observer: Observer, stop: StopRequest) -> str:
        """Play one stage from where it stands, be that a step, a check that is due or its end; return why it ended."""
        self._counted = time.monotonic()
        steps = play(stage.game, self._batches, stage.settings, self._updates)
        while True:
            self._heed(stop)
            if self._check_is_due:
                with suppress(Stopped):  # the request is heeded next
                    self._check(stage, observer, stop)
                self._counted = time.monotonic()  # a check is no training
            elif self._plateau.is_reached():
                return self._plateau.reason()
            elif (losses := next(steps, None)) is not None:
                self._follow(stage, losses, observer)
            else:
                return f"all {stage.settings.steps} steps done"

    def _follow(self, stage: Stage, losses: StepLosses, observer: Observer) -> None:
        """What comes after every step."""
        step = self._updates.step
        self._is_saved = False
        self._check_is_due = step % self._settings.checks.every == 0 or step == stage.settings.steps
        if self._ema is not None:
            self._ema.update(stage.game.generator, self._updates.generator_changes)
        self._health.follow(losses, step)
        observer.on_step(step, losses)
        if step % self._settings.journal_every == 0:
            self._log(stage, losses)

    def _heed(self, stop: StopRequest) -> None:
        """End here, with the state saved, if a signal asked for it; a check that is due waits until the run goes on.

        Raises:
            Interrupted: it did.
        """
        signal_number = self._engine.processes.agreed(stop.signal_number or 0)
        if not signal_number:
            return
        step = self._updates.step
        if not self._is_saved:
            self._count_seconds()
            self._health.require_finite(step)
            self._save(good=False)
        place = f"in stage {self._stage.name!r} after step {step}{', before its check' if self._check_is_due else ''}"
        raise Interrupted(f"stopped {place}, state saved; {self._keeper.way_on}", signal_number)

    def _enter(self, number: int) -> None:
        """Set up the optimisers, batches and average of a stage."""
        stage = self._method.stages[number]
        stage.enter()
        self._number = number
        self._stage = stage
        self._check_is_due = False  # of the step that was done last
        generator = stage.game.generator.train()
        self._updates = Updates(
            generator, stage.game.discriminator, stage.settings, self._engine, self._recovery.slowed
        )
        self._ema = None if self._settings.ema_decay is None else Ema(generator, self._settings.ema_decay)
        if self._settings.compile:
            compile_players(generator, stage.game.discriminator)
        self._batches = BatchStream(
            self._dataset,
            stage.settings.batch_size,
            self._seed * 1_000 + number,
            self._method.chance,
            stage.settings.fake_classes,
            self._device,
        )
        self._plateau = Plateau(self._settings.checks, stage.settings.patience)
        window = self._settings.recovery.window
        self._health = Health(window, stage.game.won, self._engine.processes, self._device)
        self._alarms = Alarms(self._settings.alarms, self._dataset.measured.names, self._counts)

    def _hand_over(self) -> None:
        """Go to the next stage."""
        if self._ema is not None and self._stage.hands_over_average:
            self._ema.hand_over(self._stage.game.generator)
        self._steps_before += self._updates.step
        self._enter(self._number + 1)

    def _generator(self) -> nn.Module:
        """The network that checks and bundles use: the average if there is one."""
        return self._stage.game.generator if self._ema is None else self._ema.network

    def _count_seconds(self) -> None:
        """Add what was trained since the last time; only here does the clock wait for the device."""
        wait_for(self._device)
        now = time.monotonic()
        self._seconds += now - self._counted
        self._counted = now

    def _write(self, event: str, **content: Any) -> None:
        """A line of the journal, from the main process."""
        if self._engine.processes.is_main:
            self._journal.write(event, **content)

    def _log(self, stage: Stage, losses: StepLosses) -> None:
        figures = line_figures(losses, stage.game.logits)
        means = self._engine.processes.mean(torch.stack(list(figures.values())))
        self._count_seconds()
        values = dict(zip(figures, means.tolist(), strict=True)) | stage.game.readings()
        self._figures = values
        self._health.judge(self._updates.step, values)
        rounded = {name: round(value, 6) for name, value in values.items()}
        seconds = round(self._seconds, 2)
        self._write("step", stage=stage.name, step=self._updates.step, seconds=seconds, **rounded)

    def _check(self, stage: Stage, observer: Observer, stop: StopRequest) -> None:
        """Look, warn and save.

        Several processes, whose shares of the work differ, do not leave it in its middle.

        Raises:
            Stopped: a signal came before it had looked; nothing has changed.
        """
        self._count_seconds()
        self._health.require_finite(self._updates.step)
        players = {"generator": stage.game.generator, "discriminator": stage.game.discriminator}
        progress = stop.leave if self._engine.processes.count == 1 else silent
        report = self._checker.check(
            self._generator(), players, stage.name, self._number + 1, self._updates.step, progress
        )
        self._check_is_due = False
        if report.distance < min(self._plateau.distances, default=float("inf")):
            self._health.progress()
        self._plateau.distances.append(report.distance)
        self._write("check", seconds=round(self._seconds, 2), **report.line())
        alarms = self._alarms.look(report)
        for alarm in alarms:
            self._write(ALARM, **asdict(alarm))
        self._save(report.distance)
        observer.on_check(report)
        for alarm in alarms:
            observer.on_alarm(alarm)

    def _roll_back(self, failure: Unhealthy, observer: Observer) -> None:
        """Go back to the last good checkpoint, there to go on with lower rates.

        Raises:
            RunError: it was tried often enough; the run stands at that checkpoint.
        """
        self._count_seconds()
        stage, step, recovery, seconds = self._stage, self._updates.step, self._recovery, self._seconds
        processes = self._engine.processes

        def warn(message: str) -> None:
            observer.on_alarm(Alarm("checkpoint", stage.name, step, message))

        target = Path(processes.on_main(lambda: str(recovery.target(failure, warn))))
        checkpoint = processes.main_first(lambda: self._folder.load(target))
        verdict = None
        if recovery.is_spent:
            verdict = diagnosis(failure, stage.name, step, recovery, recovery.rates(stage.settings))
        else:
            recovery.lower()
        self._continue_from(checkpoint)
        self._seconds = seconds  # what failed has cost time, too
        recovery.went_to(self._position())
        if processes.is_main:
            cut_back(self._journal, checkpoint.state["journal"])
        figures = {name: value if isfinite(value) else str(value) for name, value in self._figures.items()}
        if verdict is not None:
            self._write(DIAGNOSIS, stage=stage.name, step=step, message=verdict, figures=figures)
        else:
            rollback = Rollback(
                stage.name, step, self._stage.name, self._updates.step, str(failure), recovery.count, recovery.attempts,
                *recovery.rates(self._stage.settings), recovery.slowed,
            )  # fmt: skip
            self._write(ROLLBACK, **asdict(rollback), figures=figures)
            observer.on_rollback(rollback)
        self._save(self._folder.manifest(target)["distance"])
        if verdict is not None:
            raise RunError(verdict)

    def _save(self, distance: float | None = None, *, good: bool = True) -> None:
        """Write a checkpoint.

        Args:
            distance: what a check of exactly these weights found.
            good: whether a rollback may end here, if nothing speaks against it; not where a signal fell, so that a run
                that was resumed goes back to where it would have gone without.

        Raises:
            Unhealthy: a weight is not finite; the checkpoints on disk are from before.
        """
        self._keeper.save(self._snapshot(distance, good=good))
        self._is_saved = True

    def _kept(self) -> dict[str, Kept]:
        """The tensors of a checkpoint."""
        kept = kept_of(self._method.networks, "networks.")
        if self._ema is not None:
            kept |= kept_of(self._ema.network, "average.")
        return kept | {f"moments.{name}": tensor for name, tensor in self._updates.moments().items()}

    def _snapshot(self, distance: float | None = None, *, good: bool = False) -> Snapshot:
        state = {
            "stage": self._number,
            "updates": self._updates.state(),
            "game": self._stage.game.state(),
            "ema_updates": 0 if self._ema is None else self._ema.updates,
            "batches": self._batches.state(),
            "rng": self._method.chance.rng.get_state(),
            "distances": list(self._plateau.distances),
            "check_due": self._check_is_due,
            "steps_before": self._steps_before,
            "seconds": self._seconds,
            "journal": self._journal.size(),
            "health": self._health.state(),
            "alarms": self._alarms.state(),
            "recovery": self._recovery.state(),
        }
        note = {
            "stage": self._stage.name,
            "stage_step": self._updates.step,
            "distance": distance,
            "good": good and self._health.is_good,
        }
        return Snapshot(self._position(), self._kept(), state, note)

    def _position(self) -> int:
        """Number of a checkpoint: generator steps and stage switches so far."""
        return self._steps_before + self._updates.step + self._number

    def rescue(self, lost: ProcessLost) -> ProcessLost:
        """Save the run after another process was lost (:meth:`~ctfgan.training.keeping.Keeper.rescue`); returns what to
        say about it.
        """
        return self._keeper.rescue(self._snapshot(), lost)

    def restore(self, checkpoint: StoredCheckpoint) -> None:
        """Continue from a checkpoint, bit for bit on the same device and number of threads."""
        if "game" not in checkpoint.state:
            raise RunError(f"{self._folder.path} was trained by an earlier version; train it again")
        if "recovery" in checkpoint.state:
            self._recovery.restore(checkpoint.state["recovery"])
        self._continue_from(checkpoint)
        if self._engine.processes.is_main:
            self._journal.truncate(checkpoint.state["journal"])

    def _continue_from(self, checkpoint: StoredCheckpoint) -> None:
        """All of a checkpoint but how often the run was rolled back."""
        state = checkpoint.state
        self._enter(state["stage"])
        if self._ema is not None:
            self._ema.updates = state["ema_updates"]
        self._updates.restore(state["updates"])
        overwrite(self._kept(), checkpoint.tensors)
        self._stage.game.restore(state["game"], self._device)
        self._batches.restore(state["batches"])
        self._method.chance.rng.set_state(state["rng"])
        self._plateau.distances = list(state["distances"])
        self._check_is_due = state.get("check_due", False)  # a run of before finished its checks
        self._steps_before = state["steps_before"]
        self._seconds = state["seconds"]
        if "health" in state:  # a run that began before there was any goes on as if it had begun here
            self._health.restore(state["health"])
            self._alarms.restore(state["alarms"])
        self._is_saved = True

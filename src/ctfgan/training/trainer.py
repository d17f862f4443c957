"""The stages of a method, one after the other: play, look, save, decide when a stage is done."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from ctfgan.core.errors import Interrupted, ProcessLost, RunError
from ctfgan.core.progress import silent
from ctfgan.core.signals import Stopped, StopRequest
from ctfgan.data.dataset import Dataset
from ctfgan.distributed.engine import Engine, wait_for
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier
from ctfgan.nn.shared_norm import distribute
from ctfgan.storage.run_folder import RunFolder, StoredCheckpoint
from ctfgan.storage.tensor_files import UNFIT, overwrite
from ctfgan.training.alarms import Alarm
from ctfgan.training.checkpoint_writer import CheckpointWriter, TrainState
from ctfgan.training.divergence import Diverged, line_figures
from ctfgan.training.loop import StepLosses, train_steps
from ctfgan.training.method import Callback, Method, Stage
from ctfgan.training.rollback import ALARM, DIAGNOSIS, ROLLBACK, Recovery, Rollback, cut_back, diagnosis
from ctfgan.training.settings import TrainingSettings
from ctfgan.training.stage_state import StageState
from ctfgan.training.validation import Validator


class Trainer:
    """A run in memory; :meth:`run` brings it from where it stands to its end.

    Several processes hold the same run; the main one alone writes its folder.
    """

    def __init__(
        self,
        method: Method,
        dataset: Dataset,
        eval_classifier: TrainedEvalClassifier,
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
        self._is_saved = False  # whether a checkpoint says how things stand now
        self._figures: dict[str, float] = {}  # of the last line of the journal
        self._keeper = CheckpointWriter(folder, engine, settings.keep_checkpoints)
        self._recovery = Recovery(settings.recovery, folder)
        self._checker = Validator(
            dataset, eval_classifier, settings.checks, folder.path / "sheets", engine, by_class=method.is_conditional
        )
        distribute(method.networks, engine)
        self._now = self._enter(0)

    def run(self, callback: Callback, stop: StopRequest) -> None:
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
                is_done = self._finish_stage(callback, stop)
            except Diverged as failure:
                self._roll_back(failure, callback)

    def _finish_stage(self, callback: Callback, stop: StopRequest) -> bool:
        """Play the stage to its end and enter the next one; returns whether there is none."""
        stage = self._now.stage
        callback.on_stage(stage.name, self._now.number + 1, len(self._method.stages), self._now.step, stage.settings)
        reason = self._play(stage, callback, stop)
        self._write("stage-end", stage=stage.name, step=self._now.step, reason=reason)
        callback.on_stage_end(stage.name, reason)
        if self._now.number + 1 == len(self._method.stages):
            return True
        self._hand_over()
        self._save()
        return False

    def _play(self, stage: Stage, callback: Callback, stop: StopRequest) -> str:
        """Play one stage from where it stands, be that a step, a check that is due or its end; return why it ended."""
        self._counted = time.monotonic()
        steps = train_steps(stage.objective, self._now.batches, stage.settings, self._now.updates)
        while True:
            self._heed(stop)
            if self._now.check_is_due:
                with suppress(Stopped):  # the request is heeded next
                    self._check(stage, callback, stop)
                self._counted = time.monotonic()  # a check is no training
            elif self._now.plateau.is_reached():
                return self._now.plateau.reason()
            elif (losses := next(steps, None)) is not None:
                self._follow(stage, losses, callback)
            else:
                return f"all {stage.settings.steps} steps done"

    def _follow(self, stage: Stage, losses: StepLosses, callback: Callback) -> None:
        """What comes after every step."""
        step = self._now.step
        self._is_saved = False
        self._now.check_is_due = step % self._settings.checks.every == 0 or step == stage.settings.steps
        if self._now.ema is not None:
            self._now.ema.update(stage.objective.generator)
        self._now.health.follow(losses, step)
        callback.on_step(step, losses)
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
        step = self._now.step
        if not self._is_saved:
            self._count_seconds()
            self._now.health.require_finite(step)
            self._save(good=False)
        place = f"in stage {self._now.stage.name!r} after step {step}"
        due = ", before its check" if self._now.check_is_due else ""
        raise Interrupted(f"stopped {place}{due}, state saved; {self._keeper.way_on}", signal_number)

    def _enter(self, number: int) -> StageState:
        """Set up a stage."""
        return StageState(
            self._method, number, self._dataset, self._settings, self._seed, self._recovery.slowed, self._engine
        )

    def _hand_over(self) -> None:
        """Go to the next stage."""
        self._now.leave()
        self._steps_before += self._now.step
        number = self._now.number + 1
        del self._now  # its moments and average make room
        self._now = self._enter(number)

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
        figures = line_figures(losses, stage.objective.logits)
        means = self._engine.processes.mean(torch.stack(list(figures.values())))
        self._count_seconds()
        values = dict(zip(figures, means.tolist(), strict=True)) | stage.objective.readings()
        self._figures = values
        self._now.health.judge(self._now.step, values)
        rounded = {name: round(value, 6) for name, value in values.items()}
        seconds = round(self._seconds, 2)
        self._write("step", stage=stage.name, step=self._now.step, seconds=seconds, **rounded)

    def _check(self, stage: Stage, callback: Callback, stop: StopRequest) -> None:
        """Look, warn and save.

        Several processes, whose shares of the work differ, do not leave it in its middle.

        Raises:
            Stopped: a signal came before it had looked; nothing has changed.
        """
        self._count_seconds()
        self._now.health.require_finite(self._now.step)
        players = {"generator": stage.objective.generator, "discriminator": stage.objective.discriminator}
        progress = stop.leave if self._engine.processes.count == 1 else silent
        report = self._checker.check(
            self._now.generator, players, stage.name, self._now.number + 1, self._now.step, progress
        )
        self._now.check_is_due = False
        if report.distance < min(self._now.plateau.distances, default=float("inf")):
            self._now.health.progress()
        self._now.plateau.distances.append(report.distance)
        self._write("check", seconds=round(self._seconds, 2), **report.line())
        alarms = self._now.alarms.look(report)
        for alarm in alarms:
            self._write(ALARM, **asdict(alarm))
        self._save(report.distance)
        callback.on_check(report)
        for alarm in alarms:
            callback.on_alarm(alarm)

    def _roll_back(self, failure: Diverged, callback: Callback) -> None:
        """Go back to the last good checkpoint, there to go on with lower rates.

        Raises:
            RunError: it was tried often enough; the run stands at that checkpoint.
        """
        self._count_seconds()
        stage, step, recovery, seconds = self._now.stage, self._now.step, self._recovery, self._seconds
        processes = self._engine.processes

        def warn(message: str) -> None:
            callback.on_alarm(Alarm("checkpoint", stage.name, step, message))

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
                stage.name, step, self._now.stage.name, self._now.step, str(failure), recovery.count, recovery.attempts,
                *recovery.rates(self._now.stage.settings), recovery.slowed,
            )  # fmt: skip
            self._write(ROLLBACK, **asdict(rollback), figures=figures)
            callback.on_rollback(rollback)
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
            Diverged: a weight is not finite; the checkpoints on disk are from before.
        """
        self._keeper.save(self._snapshot(distance, good=good))
        self._is_saved = True

    def _snapshot(self, distance: float | None = None, *, good: bool = False) -> TrainState:
        state = {
            **self._now.state(),
            "rng": self._method.batch_rng.rng.get_state(),
            "steps_before": self._steps_before,
            "seconds": self._seconds,
            "journal": self._journal.size(),
            "recovery": self._recovery.state(),
        }
        note = {
            "stage": self._now.stage.name,
            "stage_step": self._now.step,
            "distance": distance,
            "good": good and self._now.health.is_good,
        }
        return TrainState(self._position(), self._now.kept(), state, note)

    def _position(self) -> int:
        """Number of a checkpoint: generator steps and stage switches so far."""
        return self._steps_before + self._now.step + self._now.number

    def rescue(self, lost: ProcessLost) -> ProcessLost:
        """Save the run after another process was lost (:meth:`~.CheckpointWriter.rescue`);
        returns what to say about it.
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
        if state["stage"] >= len(self._method.stages):
            raise RunError(f"the checkpoint is of stage {state['stage'] + 1}, which its recipe has not{UNFIT}")
        del self._now  # its moments and average make room
        self._now = self._enter(state["stage"])
        overwrite(self._now.kept(), checkpoint.tensors)  # says so if they are of other networks
        self._now.restore(state)
        self._method.batch_rng.rng.set_state(state["rng"])
        self._steps_before = state["steps_before"]
        self._seconds = state["seconds"]
        self._is_saved = True

"""The stages of a method, one after the other: train, log, check, save, decide when a stage is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ctfgan.core.errors import CtfganError, Interrupted, ProcessLost, RunError
from ctfgan.core.progress import silent
from ctfgan.core.signals import Stopped, StopRequest
from ctfgan.data.dataset import Dataset
from ctfgan.distributed.engine import Engine, wait_for
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier
from ctfgan.nn.norm import distribute
from ctfgan.storage.checkpoints import UNFIT, Checkpoint, overwrite
from ctfgan.storage.run_folder import RunFolder
from ctfgan.training.alarms import Alarm
from ctfgan.training.clock import RunClock
from ctfgan.training.divergence import (
    ALARM,
    DIAGNOSIS,
    ROLLBACK,
    Diverged,
    Rollback,
    RollbackPolicy,
    cut_back,
    diagnosis,
)
from ctfgan.training.loop import StepLosses, log_values, train_steps
from ctfgan.training.settings import StageSettings, TrainingSettings
from ctfgan.training.stage import Method, StageState
from ctfgan.training.validation import CheckReport, Validator


class Callback(Protocol):
    """Somebody who watches a run, such as the command line."""

    def on_stage(self, name: str, number: int, of: int, step: int, settings: StageSettings) -> None:
        """A stage begins, or goes on at ``step``."""

    def on_steps_revised(self, settings: StageSettings) -> None:
        """The stage that is trained has another number of steps from now on."""

    def on_step(self, step: int, losses: StepLosses) -> None:
        """A generator step is done."""

    def on_check(self, report: CheckReport) -> None:
        """A check is done and its sheet and checkpoint are written."""

    def on_alarm(self, alarm: Alarm) -> None:
        """A check warns of something; training goes on."""

    def on_rollback(self, rollback: Rollback) -> None:
        """Training has failed and goes on from an earlier checkpoint, whose stage is announced next."""

    def on_stage_end(self, name: str, reason: str) -> None:
        """A stage has ended."""


class Trainer:
    """A run in memory; :meth:`run` brings it from where it stands to its end.

    Several processes hold the same run; the main one alone writes its folder.

    Args:
        method: networks and stages.
        dataset: what they train on.
        eval_classifier: what checks measure with.
        settings: of training.
        folder: of the run, which the main process holds.
        seed: of the run.
        engine: what it computes on.
        checkpoint: where a run goes on, bit for bit on the same device and number of threads; None begins it.
        spent: seconds that the run has taken before this; a checkpoint knows better.

    Raises:
        RunError: the checkpoint does not fit the method.
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
        checkpoint: Checkpoint | None = None,
        spent: float = 0.0,
    ) -> None:
        self._method = method
        self._dataset = dataset
        self._settings = settings
        self._folder = folder
        self._seed = seed
        self._engine = engine
        self._processes = engine.processes
        self._journal = folder.journal()
        self._clock = RunClock(spent)
        self._steps_before = 0  # generator steps of the stages that are done
        self._is_saved = False  # whether a checkpoint says how things stand now
        self._logged: dict[str, float] = {}  # values of the last line of the journal
        self._policy = RollbackPolicy(settings.recovery, folder)
        self._validator = Validator(
            dataset, eval_classifier, settings.checks, folder.path / "sheets", engine, by_class=method.is_conditional
        )
        distribute(method.networks, engine)
        self._now: StageState
        if checkpoint is None:
            self._now = self._enter(0)
            return
        self._policy.restore(checkpoint.state["recovery"])
        self._restore(checkpoint)
        self._clock.restore(checkpoint.state, self._now.step)
        if self._processes.is_main:
            self._journal.truncate(checkpoint.state["journal"])

    def run(self, callback: Callback, stop: StopRequest) -> None:
        """Train all remaining stages; after a failure, go on from the last good checkpoint with lower rates.

        Raises:
            Interrupted: a signal asked for an end; the state is saved.
            ProcessLost: another process died; see :meth:`rescue`.
            RunError: training failed again and again; the checkpoints on disk are from before.
        """
        if not self._processes.on_main(lambda: bool(self._folder.checkpoints())):
            self._save()
        steps = self._begin(callback)
        while True:
            stage = self._now.stage
            try:
                # Stop, if a signal asked any process for it; a check that is due waits until the run goes on.
                signal_number = self._processes.agreed(stop.signal_number or 0)
                if signal_number:
                    self._stop(signal_number)

                # Check: measure the generator, draw a sheet, save. A signal in its middle is heeded next.
                if self._now.check_is_due:
                    with suppress(Stopped):
                        self._check(callback, stop)
                    self._clock.start()  # a check is no training
                    steps = self._steps()  # which may be others than before
                    continue

                # Enter the next stage, if this one is over.
                reason = self._now.end_reason()
                if reason is not None:
                    self._write("stage-end", stage=stage.name, step=self._now.step, reason=reason)
                    callback.on_stage_end(stage.name, reason)
                    if self._now.number + 1 == len(self._method.stages):
                        return
                    steps = iter(())  # moments and average of this stage make room
                    self._enter_next()
                    self._save()
                    steps = self._begin(callback)
                    continue

                # Train: the discriminator's steps, then one of the generator, whose average follows.
                losses = next(steps)
                self._is_saved = False
                step = self._now.step
                self._now.check_is_due = step % self._settings.checks.every == 0 or step == stage.settings.steps
                if self._now.ema is not None:
                    self._now.ema.update(stage.objective.generator)
                self._now.monitor.follow(losses, step)
                callback.on_step(step, losses)

                # Log, and see whether losses and logits have diverged.
                if step % self._settings.journal_every == 0:
                    self._log(losses)
            except Diverged as failure:
                steps = iter(())
                self._roll_back(failure, callback)
                steps = self._begin(callback)

    def _enter(self, number: int) -> StageState:
        return StageState(
            self._method, number, self._dataset, self._settings, self._seed, self._policy.lr_scale, self._engine
        )

    def _enter_next(self) -> None:
        self._now.leave()
        self._steps_before += self._now.step
        number = self._now.number + 1
        del self._now  # its moments and average make room
        self._now = self._enter(number)
        self._clock.enter(0)

    def _begin(self, callback: Callback) -> Iterator[StepLosses]:
        """Announce the stage as it stands; returns its remaining steps."""
        now, stage = self._now, self._now.stage
        callback.on_stage(stage.name, now.number + 1, len(self._method.stages), now.step, stage.settings)
        self._clock.start()
        return self._steps()

    def _steps(self) -> Iterator[StepLosses]:
        """The remaining steps of the stage as it stands."""
        now = self._now
        return train_steps(now.stage.objective, now.batches, now.stage.settings, now.optimizers)

    def _keep_pace(self, callback: Callback) -> None:
        """Give a stage that is to end at a certain minute the steps that fit until then (decision 34)."""
        now, settings = self._now, self._now.stage.settings
        end = settings.end_minute
        if end is None or now.step >= settings.steps or not self._clock.has_passed_steps(now.step):
            return
        steps = now.step + self._processes.on_main(lambda: self._clock.steps_until(60 * end, now.step))
        if steps == settings.steps:
            return
        now.take_steps(steps)
        self._write("pace", stage=now.stage.name, step=now.step, steps=steps, elapsed=round(self._clock.elapsed(), 2))
        callback.on_steps_revised(now.stage.settings)

    def _stop(self, signal_number: int) -> None:
        """End here, with the state saved.

        Raises:
            Interrupted: always.
        """
        step, due = self._now.step, ", before its check" if self._now.check_is_due else ""
        if not self._is_saved:
            self._count_seconds()
            self._now.monitor.require_finite(step)
            self._save(good=False)
        where = f"in stage {self._now.stage.name!r} after step {step}"
        raise Interrupted(f"stopped {where}{due}, state saved; {self._way_on}", signal_number)

    def _count_seconds(self) -> None:
        """Add what was trained since the last time; only here does the clock wait for the device."""
        wait_for(self._engine.device)
        self._clock.count()

    def _write(self, event: str, **content: Any) -> None:
        """A line of the journal, from the main process."""
        if self._processes.is_main:
            self._journal.write(event, **content)

    def _log(self, losses: StepLosses) -> None:
        """Write means over the processes.

        Raises:
            Diverged: training has failed.
        """
        stage, step = self._now.stage, self._now.step
        own = log_values(losses, stage.objective.logits)
        means = self._processes.mean(torch.stack(list(own.values())))
        self._count_seconds()
        self._logged = dict(zip(own, means.tolist(), strict=True)) | stage.objective.log_values()
        self._now.monitor.judge(step, self._logged)
        rounded = {name: round(value, 6) for name, value in self._logged.items()}
        self._write("step", stage=stage.name, step=step, seconds=round(self._clock.trained, 2), **rounded)

    def _check(self, callback: Callback, stop: StopRequest) -> None:
        """Measure, warn and save.

        Several processes, whose shares of the work differ, do not leave it in its middle.

        Raises:
            Stopped: a signal came before it had measured; nothing has changed.
            Diverged: a loss or a weight is not finite.
        """
        self._count_seconds()
        self._now.monitor.require_finite(self._now.step)
        progress = stop.leave if self._processes.count == 1 else silent
        report = self._validator.check(
            self._now.generator, self._now.stage.name, self._now.number + 1, self._now.step, progress
        )
        self._now.check_is_due = False
        if report.distance < min(self._now.early_stopping.distances, default=float("inf")):
            self._now.monitor.progress()
        self._now.early_stopping.observe(report.distance)
        self._write("check", seconds=round(self._clock.trained, 2), **report.line())
        self._keep_pace(callback)
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
        stage, step, policy = self._now.stage, self._now.step, self._policy

        def warn(message: str) -> None:
            callback.on_alarm(Alarm("checkpoint", stage.name, step, message))

        target = Path(self._processes.on_main(lambda: str(policy.target(failure, warn))))
        checkpoint = self._processes.main_first(lambda: self._folder.load(target, is_checked=self._processes.is_main))
        verdict = None
        if policy.is_spent:
            verdict = diagnosis(failure, stage.name, step, policy, policy.rates(stage.settings))
        else:
            policy.lower()
        self._restore(checkpoint)
        self._clock.enter(self._now.step)  # what failed has cost time, too
        policy.note_target(self._position())
        if self._processes.is_main:
            cut_back(self._journal, checkpoint.state["journal"])
        figures = {name: value if isfinite(value) else str(value) for name, value in self._logged.items()}
        if verdict is not None:
            self._write(DIAGNOSIS, stage=stage.name, step=step, message=verdict, figures=figures)
        else:
            rollback = Rollback(
                stage.name, step, self._now.stage.name, self._now.step, str(failure), policy.count, policy.attempts,
                *policy.rates(self._now.stage.settings), policy.lr_scale,
            )  # fmt: skip
            self._write(ROLLBACK, **asdict(rollback), figures=figures)
            callback.on_rollback(rollback)
        self._save(self._folder.manifest(target)["distance"])
        if verdict is not None:
            raise RunError(verdict)

    def _save(self, distance: float | None = None, *, good: bool = True) -> None:
        """Write a checkpoint, from the main process.

        Args:
            distance: what a check of exactly these weights found.
            good: whether a rollback may end here, if nothing speaks against it; not where a signal fell, so that a run
                that was resumed goes back to where it would have gone without.

        Raises:
            Diverged: a weight is not finite; the checkpoints on disk are from before.
        """
        checkpoint = self._checkpoint()
        _require_finite([name for names in self._processes.all_of(_not_finite(checkpoint.tensors)) for name in names])
        self._processes.on_main(lambda: self._save_here(checkpoint, distance, good=good))
        self._is_saved = True

    def _save_here(self, checkpoint: Checkpoint, distance: float | None, *, good: bool) -> None:
        now = self._now
        note = {"stage": now.stage.name, "stage_step": now.step, "distance": distance}
        self._folder.save(self._position(), checkpoint, {**note, "good": good and now.monitor.is_good})
        self._folder.prune(self._settings.keep_checkpoints)

    def rescue(self, lost: ProcessLost) -> ProcessLost:
        """Save the run after another process was lost in the middle of a step; returns what to say about it.

        Every process holds the whole state and changes it only after all have agreed, so whoever gets the run's lock
        may save it: the main process has it, and after its death the first survivor on a machine that sees the folder.
        The step under way begins anew on resuming, discriminator steps that it had done remain done. On a GPU a broken
        exchange may have reached the weights before anybody knew, so there the last checkpoint has to do.
        """
        if self._engine.device.type != "cpu":
            return ProcessLost(f"{lost}; nothing was saved beyond the last checkpoint, {self._way_on}")
        moment = f"in stage {self._now.stage.name!r} after step {self._now.step}"
        try:
            with nullcontext() if self._processes.is_main else self._folder.held():
                is_new = not self._folder.has(self._position())
                if is_new:
                    checkpoint = self._checkpoint()
                    _require_finite(_not_finite(checkpoint.tensors))
                    self._save_here(checkpoint, None, good=False)
        except (CtfganError, OSError) as error:
            return ProcessLost(f"{lost}; its state {moment} was not saved here ({error}); {self._way_on}")
        return ProcessLost(f"{lost}; stopped {moment}, state saved; {self._way_on}", has_saved=is_new)

    @property
    def _way_on(self) -> str:
        return f"go on with 'ctfgan resume {self._folder.path}'"

    def _position(self) -> int:
        """Number of a checkpoint: generator steps and stage switches so far."""
        return self._steps_before + self._now.step + self._now.number

    def _checkpoint(self) -> Checkpoint:
        state = {
            **self._now.state(),
            "rng": self._method.batch_rng.rng.get_state(),
            "steps_before": self._steps_before,
            **self._clock.state(),
            "journal": self._journal.size(),
            "recovery": self._policy.state(),
        }
        return Checkpoint(self._now.tensors(), state)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """All of a checkpoint but how often the run was rolled back, and its time."""
        state = checkpoint.state
        if state["stage"] >= len(self._method.stages):
            raise RunError(f"the checkpoint is of stage {state['stage'] + 1}, which its recipe has not{UNFIT}")
        if hasattr(self, "_now"):
            del self._now  # its moments and average make room
        self._now = self._enter(state["stage"])
        overwrite(self._now.tensors(), checkpoint.tensors)  # says so if they are of other networks
        self._now.restore(state)
        self._method.batch_rng.rng.set_state(state["rng"])
        self._steps_before = state["steps_before"]
        self._is_saved = True


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors that have a number which is not finite."""
    return [name for name, tensor in tensors.items() if not tensor.isfinite().all()]


def _require_finite(broken: list[str]) -> None:
    if broken:
        raise Diverged(f"{broken[0]} is not finite")

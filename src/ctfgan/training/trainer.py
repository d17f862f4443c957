"""The stages of a method, one after the other: play, look, save, decide when a stage is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ctfgan.chance import Chance
from ctfgan.data.batches import BatchStream
from ctfgan.data.prepare import Dataset
from ctfgan.errors import CtfganError, Interrupted, ProcessLost, RunError
from ctfgan.metrics.recogniser import TrainedRecogniser
from ctfgan.nn.row_parts import Kept, kept_of
from ctfgan.training.checks import Checker, CheckReport
from ctfgan.training.collecting import not_finite, on_main_with_all_rows, overwrite
from ctfgan.training.ema import Ema
from ctfgan.training.loop import StepLosses, Updates, play
from ctfgan.training.objectives.adversarial import AdversarialGame
from ctfgan.training.plateau import Plateau
from ctfgan.training.run_folder import Checkpoint, RunFolder, StoredCheckpoint
from ctfgan.training.runtime import Engine, StopRequest, compile_players, wait_for
from ctfgan.training.settings import StageSettings, TrainingSettings
from ctfgan.training.tensor_files import Rows


@dataclass(frozen=True)
class Stage:
    """One adversarial game of a method."""

    name: str
    settings: StageSettings
    game: AdversarialGame
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
    chance: Chance
    """Every random draw of training comes from here: conditions, noise, patches."""


class Observer(Protocol):
    """Somebody who watches a run, such as the command line."""

    def on_stage(self, name: str, number: int, of: int, step: int, settings: StageSettings) -> None:
        """A stage begins, or goes on at ``step``."""

    def on_step(self, step: int, losses: StepLosses) -> None:
        """A generator step is done."""

    def on_check(self, report: CheckReport) -> None:
        """A check is done and its sheet and checkpoint are written."""

    def on_stage_end(self, name: str, reason: str) -> None:
        """A stage has ended."""


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
        self._checker = Checker(
            dataset, recogniser, settings.checks, folder.path / "sheets", engine, by_class=method.is_conditional
        )
        engine.prepare(method.networks)
        self._enter(0)

    def run(self, observer: Observer, stop: StopRequest) -> None:
        """Train all remaining stages.

        Raises:
            Interrupted: a signal asked for an end; the state is saved.
            ProcessLost: another process died; see :meth:`rescue`.
            RunError: training diverged; the checkpoints on disk are from before.
        """
        if not self._engine.processes.on_main(lambda: bool(self._folder.checkpoints())):
            self._save()
        while True:
            stage = self._stage
            observer.on_stage(
                stage.name, self._number + 1, len(self._method.stages), self._updates.step, stage.settings
            )
            reason = self._play(stage, observer, stop)
            self._write("stage-end", stage=stage.name, step=self._updates.step, reason=reason)
            observer.on_stage_end(stage.name, reason)
            if self._number + 1 == len(self._method.stages):
                return
            self._hand_over()
            self._save()

    def _play(self, stage: Stage, observer: Observer, stop: StopRequest) -> str:
        """Play one stage; return why it ended."""
        checks = self._settings.checks
        if self._plateau.is_reached():  # saved between the last check and the switch
            return self._plateau_reason()
        self._counted = time.monotonic()
        for losses in play(stage.game, self._batches, stage.settings, self._updates):
            step = self._updates.step
            if self._ema is not None:
                self._ema.update(stage.game.generator, self._updates.generator_changes)
            observer.on_step(step, losses)
            signal_number = self._engine.processes.agreed(stop.signal_number or 0)
            if step % self._settings.journal_every == 0:
                self._log(stage, losses)
            is_check = step % checks.every == 0 or step == stage.settings.steps
            if is_check:
                self._check(stage, observer)
                if self._plateau.is_reached():
                    return self._plateau_reason()
            if signal_number:
                if not is_check:
                    self._count_seconds()
                    self._save()
                raise Interrupted(
                    f"stopped in stage {stage.name!r} after step {step}, state saved; {self._way_on()}", signal_number
                )
        return f"all {stage.settings.steps} steps done"

    def _plateau_reason(self) -> str:
        significant = self._settings.checks.significant
        return f"no improvement by {significant:.0%} in {self._plateau.stale_checks()} checks"

    def _enter(self, number: int) -> None:
        """Set up the optimisers, batches and average of a stage."""
        stage = self._method.stages[number]
        stage.enter()
        self._number = number
        self._stage = stage
        generator = stage.game.generator.train()
        self._updates = Updates(generator, stage.game.discriminator, stage.settings, self._engine)
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

    def _way_on(self) -> str:
        return f"go on with 'ctfgan resume {self._folder.path}'"

    def _write(self, event: str, **content: Any) -> None:
        """A line of the journal, from the main process."""
        if self._engine.processes.is_main:
            self._journal.write(event, **content)

    def _log(self, stage: Stage, losses: StepLosses) -> None:
        terms = {f"discriminator_{name}": term for name, term in losses.discriminator.items()}
        terms |= {f"generator_{name}": term for name, term in losses.generator.items()}
        means = self._engine.processes.mean(torch.stack(list(terms.values())))
        self._count_seconds()
        values = dict(zip(terms, means.tolist(), strict=True)) | stage.game.readings()
        rounded = {name: round(value, 6) for name, value in values.items()}
        seconds = round(self._seconds, 2)
        self._write("step", stage=stage.name, step=self._updates.step, seconds=seconds, **rounded)

    def _check(self, stage: Stage, observer: Observer) -> None:
        self._count_seconds()
        report = self._checker.check(self._generator(), stage.name, self._number + 1, self._updates.step)
        self._plateau.distances.append(report.distance)
        self._write(
            "check",
            stage=stage.name,
            step=report.step,
            seconds=round(self._seconds, 2),
            distance=report.distance,
            top_1=report.top_1,
            sheet=f"sheets/{report.sheet.name}",
        )
        self._save(report.distance)
        observer.on_check(report)
        self._counted = time.monotonic()

    def _save(self, distance: float | None = None) -> None:
        """Write a checkpoint; ``distance`` is what a check of exactly these weights found.

        Raises:
            RunError: a weight is not finite; the checkpoints on disk are from before.
        """
        kept, processes = self._kept(), self._engine.processes
        self._refuse([name for names in processes.all_of(not_finite(kept)) for name in names])
        on_main_with_all_rows(processes, kept, lambda whole: self._save_here(whole, distance))

    def _refuse(self, broken: list[str]) -> None:
        if broken:
            raise RunError(
                f"training diverged in stage {self._stage.name!r} before step {self._updates.step} ({broken[0]} is not "
                "finite); lower its learning rates with --set and train again"
            )

    def _kept(self) -> dict[str, Kept]:
        """The tensors of a checkpoint."""
        kept = kept_of(self._method.networks, "networks.")
        if self._ema is not None:
            kept |= kept_of(self._ema.network, "average.")
        return kept | {f"moments.{name}": tensor for name, tensor in self._updates.moments().items()}

    def _save_here(self, tensors: Mapping[str, Tensor | Rows], distance: float | None) -> None:
        state = {
            "stage": self._number,
            "updates": self._updates.state(),
            "game": self._stage.game.state(),
            "ema_updates": 0 if self._ema is None else self._ema.updates,
            "batches": self._batches.state(),
            "rng": self._method.chance.rng.get_state(),
            "distances": list(self._plateau.distances),
            "steps_before": self._steps_before,
            "seconds": self._seconds,
            "journal": self._journal.size(),
        }
        note = {"stage": self._stage.name, "stage_step": self._updates.step, "distance": distance}
        self._folder.save(self._position(), Checkpoint(tensors, state), note)
        self._folder.prune(self._settings.keep_checkpoints)

    def _position(self) -> int:
        """Number of a checkpoint: generator steps and stage switches so far."""
        return self._steps_before + self._updates.step + self._number

    def rescue(self, lost: ProcessLost) -> ProcessLost:
        """Save the run after another process was lost in the middle of a step; returns what to say about it.

        Every process holds the whole state and changes it only after all have agreed, so whoever gets the run's lock
        may save it: the main process has it, and after its death the first survivor on a machine that sees the folder.
        Of sharded tables nobody has the lost rows, so there is nothing to save.
        The step under way begins anew on resuming, discriminator steps that it had done remain done. On a GPU a broken
        exchange may have reached the weights before anybody knew, so there the last checkpoint has to do.
        """
        if self._device.type != "cpu":
            return ProcessLost(f"{lost}; nothing was saved beyond the last checkpoint, {self._way_on()}")
        kept = self._kept()
        whole = {name: tensor for name, tensor in kept.items() if isinstance(tensor, Tensor)}
        if len(whole) < len(kept):
            last = next(reversed(self._folder.checkpoints()), None)
            return ProcessLost(f"{lost}, and with it rows of sharded tables; what is left is {last}, {self._way_on()}")
        where = f"in stage {self._stage.name!r} after step {self._updates.step}"
        try:
            with nullcontext() if self._engine.processes.is_main else self._folder.held():
                is_new = not self._folder.has(self._position())
                if is_new:
                    self._refuse(not_finite(kept))
                    self._save_here(whole, None)
        except (CtfganError, OSError) as error:
            return ProcessLost(f"{lost}; its state {where} was not saved here ({error}); {self._way_on()}")
        return ProcessLost(f"{lost}; stopped {where}, state saved; {self._way_on()}", has_saved=is_new)

    def restore(self, checkpoint: StoredCheckpoint) -> None:
        """Continue from a checkpoint, bit for bit on the same device and number of threads."""
        state = checkpoint.state
        if "game" not in state:
            raise RunError(f"{self._folder.path} was trained by an earlier version; train it again")
        self._enter(state["stage"])
        if self._ema is not None:
            self._ema.updates = state["ema_updates"]
        self._updates.restore(state["updates"])
        overwrite(self._kept(), checkpoint.tensors)
        self._stage.game.restore(state["game"], self._device)
        self._batches.restore(state["batches"])
        self._method.chance.rng.set_state(state["rng"])
        self._plateau.distances = list(state["distances"])
        self._steps_before = state["steps_before"]
        self._seconds = state["seconds"]
        if self._engine.processes.is_main:
            self._journal.truncate(state["journal"])

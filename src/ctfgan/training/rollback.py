"""After training has failed: back to the last good checkpoint with lower rates, but not for ever (decision 28)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctfgan.core.errors import RunError
from ctfgan.core.files import delete_folder
from ctfgan.core.text import times
from ctfgan.storage.run_folder import RECIPE, Journal, RunFolder
from ctfgan.training.divergence import Diverged
from ctfgan.training.settings import RecoverySettings, StageSettings

ROLLBACK, DIAGNOSIS, ALARM = "rollback", "diagnosis", "alarm"  # events of the journal


@dataclass(frozen=True)
class Rollback:
    """A run has gone back."""

    stage: str
    """Where it failed."""
    step: int
    """Generator step in which it did."""
    to_stage: str
    """Where it goes on."""
    to_step: int
    """Generator step after which it does."""
    reason: str
    """What was seen."""
    number: int
    """1 for the run's first rollback."""
    of: int
    """Most rollbacks."""
    generator_rate: float
    """From now on, before the stage's decay."""
    discriminator_rate: float
    """From now on, before the stage's decay."""
    slowed: float
    """What all rates of the recipe are multiplied by."""


class Recovery:
    """How often a run was rolled back, and what became of its rates.

    Args:
        settings: how often it may be, and what the rates are multiplied by.
        folder: the run.

    Attributes:
        run: its path.
        count: rollbacks so far.
        slowed: what the stages' rates are multiplied by.
    """

    def __init__(self, settings: RecoverySettings, folder: RunFolder) -> None:
        self._settings = settings
        self._folder = folder
        self.run = folder.path
        self.count = 0
        self.slowed = 1.0
        self._target: int | None = None  # position of the checkpoint that the last rollback went to

    @property
    def is_spent(self) -> bool:
        """Whether there are no more attempts."""
        return self.count >= self._settings.attempts

    @property
    def attempts(self) -> int:
        """How many there are in all."""
        return self._settings.attempts

    def lower(self) -> None:
        """Count a rollback, and lower the rates."""
        self.count += 1
        self.slowed *= self._settings.rate_factor

    def rates(self, stage: StageSettings) -> tuple[float, float]:
        """Of the generator and of the discriminator, before the stage's decay."""
        return stage.generator_rate * self.slowed, stage.discriminator_rate * self.slowed

    def target(self, failure: Diverged, warn: Callable[[str], None]) -> Path:
        """The newest good checkpoint that is intact; those after it, from a failing state, are deleted.

        Where the last rollback went to the newest good one, and the run failed again before it had another, the one
        before is tried.

        Raises:
            RunError: there is none.
        """
        self._folder.put_damaged_aside(warn)
        good = self._folder.good()
        if len(good) > 1 and self._folder.manifest(good[-1])["step"] == self._target:
            good.pop()
        if not good:
            raise RunError(f"training failed before its first checkpoint ({failure}); train again with lower rates")
        everything = self._folder.checkpoints()
        for folder in everything[everything.index(good[-1]) + 1 :]:
            delete_folder(folder)
        return good[-1]

    def went_to(self, position: int) -> None:
        """Remember the checkpoint that the run has gone back to."""
        self._target = position

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self.count, "slowed": self.slowed, "target": self._target}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self.count, self.slowed, self._target = state["count"], state["slowed"], state["target"]


def diagnosis(failure: Diverged, stage: str, step: int, recovery: Recovery, rates: tuple[float, float]) -> str:
    """Why a run was given up, in one sentence: where, what was seen, what was tried, what to do.

    Args:
        failure: what was seen.
        stage: where.
        step: generator step.
        recovery: how often it was tried.
        rates: that it failed with, of generator and discriminator.
    """
    tried = (
        f"it was rolled back {times(recovery.count)} and failed again" if recovery.count else "it was not rolled back"
    )
    return (
        f"training failed in stage {stage!r} at step {step:,}: {failure}; {tried}, at last with generator_rate "
        f"{rates[0]:.3g} and discriminator_rate {rates[1]:.3g}; train again with {failure.remedy} (--set), or raise "
        f"training.recovery.attempts in {recovery.run / RECIPE} and go on with 'ctfgan resume {recovery.run}'"
    )


@dataclass(frozen=True)
class HealthRecord:
    """What figures of a run should say of its health."""

    rollbacks: int
    slowed: float
    """What the recipe's rates were multiplied by at the end."""
    alarms: dict[str, int]
    """Warnings by kind."""

    @classmethod
    def of(cls, journal: Journal) -> HealthRecord:
        """As a run's journal tells."""
        lines, _ = journal.readable()  # figures must not wait for a damaged line
        rollbacks = [line for line in lines if line["event"] == ROLLBACK]
        alarms = Counter(line["kind"] for line in lines if line["event"] == ALARM)
        return cls(len(rollbacks), rollbacks[-1]["slowed"] if rollbacks else 1.0, dict(alarms))


def cut_back(journal: Journal, size: int) -> None:
    """Forget what the journal says of the steps that a rollback undoes, but not that there were rollbacks before it."""
    events = (ROLLBACK, DIAGNOSIS)
    lines = [line for line in journal.readable()[0] if line["event"] in events]
    journal.truncate(size)
    kept = sum(line["event"] in events for line in journal.readable()[0])
    journal.keep(lines[kept:])

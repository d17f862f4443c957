"""Training that fails: losses that are not finite, a discriminator that has collapsed; and the way back (decision 28).

A run goes back to its last good checkpoint and on with lower rates, but not for ever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ctfgan.core.errors import RunError
from ctfgan.core.files import delete_folder
from ctfgan.core.text import times
from ctfgan.distributed.processes import Processes
from ctfgan.storage.journal import Journal
from ctfgan.storage.run_folder import RECIPE, RunFolder
from ctfgan.training.loop import StepLosses
from ctfgan.training.settings import RecoverySettings, StageSettings

NEVER = 1 << 30  # a step that no stage reaches
WON = 1e-4  # a discriminator's loss this near its end moves nothing
CONSTANT = 1e-4  # range of logits, relative to their size but at least to 1, that is no judgement
EXPLODED = 1e6  # of a loss, either way
VICTORY = "victory"
ROLLBACK, DIAGNOSIS, ALARM = "rollback", "diagnosis", "alarm"  # events of the journal

LOWER_BOTH = "lower rates"
SPARE_THE_GENERATOR = (
    "a lower discriminator_rate or fewer critic_steps, or with augmentation.policy where images are few"
)


class Diverged(RunError):
    """Training has failed since the last good checkpoint.

    Attributes:
        remedy: what to train again with.
    """

    def __init__(self, reason: str, remedy: str = LOWER_BOTH) -> None:
        super().__init__(reason)
        self.remedy = remedy


class DivergenceMonitor:
    """Follows the losses of a stage; the device is waited for only where a line of the journal waits for it anyway.

    Args:
        window: lines of the journal in a row that make a collapse.
        won: the discriminator's adversarial loss once it has nothing left to learn; None if there is no such point.
        processes: they find the same.
        device: of the losses.
    """

    def __init__(self, window: int, won: float | None, processes: Processes, device: torch.device) -> None:
        self._window = window
        self._won = won
        self._processes = processes
        self._device = device
        self._since = self._number(NEVER)  # first step with a loss that is not finite, on the device
        self._streaks: dict[str, int] = {}

    @property
    def is_good(self) -> bool:
        """Whether nothing speaks against going back to how things stand now."""
        return not self._streaks

    def follow(self, losses: StepLosses, step: int) -> None:
        """Take note of a step, without waiting for it."""
        terms = torch.stack([*losses.discriminator.values(), *losses.generator.values()])
        self._since = torch.where(terms.isfinite().all(), self._since, self._since.clamp(max=step))

    def progress(self) -> None:
        """The samples have never been better: whatever the discriminator does, the generator learns from it."""
        self._streaks.pop(VICTORY, None)

    def require_finite(self, step: int, line: Mapping[str, float] = MappingProxyType({})) -> None:
        """Look at the losses so far, and at figures of now.

        Raises:
            Diverged: one was not finite, on any process.
        """
        since = min(self._processes.all_of(int(self._since.item())))
        broken = [f"{name} is {value}" for name, value in line.items() if not isfinite(value)]
        if broken or since <= step:
            raise Diverged(f"{broken[0] if broken else 'a loss is not finite'} since step {min(since, step):,}")

    def judge(self, step: int, line: Mapping[str, float]) -> None:
        """Look at the figures of a line of the journal, the same on all processes.

        Raises:
            Diverged: training has failed.
        """
        self.require_finite(step, line)
        signs = self._signs(line)
        self._streaks = {sign: self._streaks.get(sign, 0) + 1 for sign in signs}
        for sign, (words, remedy) in signs.items():
            if self._streaks[sign] >= self._window:
                raise Diverged(f"{words} in {self._streaks[sign]} lines of the journal up to step {step:,}", remedy)

    def _signs(self, line: Mapping[str, float]) -> dict[str, tuple[str, str]]:
        """What speaks for a collapse, by kind: words, and what helps."""
        signs = {}
        loss = line.get("discriminator_adversarial")
        if loss is not None and self._won is not None and loss < self._won + WON:
            words = f"the discriminator tells all images apart (its loss is {loss:.2g}) and the samples do not improve"
            signs[VICTORY] = words, SPARE_THE_GENERATOR
        for kind in ("real", "fake"):
            size, mean = line.get(f"{kind}_logit_range"), line.get(f"{kind}_logit", 0.0)
            if size is not None and size <= CONSTANT * max(1.0, abs(mean)):
                words = f"the discriminator says the same of every {kind} image (a logit of {mean:.4g})"
                signs["constant"] = words, LOWER_BOTH
        name, value = max(line.items(), key=lambda item: abs(item[1]), default=("", 0.0))
        if abs(value) > EXPLODED:
            signs["exploded"] = f"{name} has exploded (it is {value:.2g})", LOWER_BOTH
        return signs

    def state(self) -> dict[str, Any]:
        """For a checkpoint; there is none while a loss is not finite."""
        return {"streaks": dict(self._streaks)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self._streaks = dict(state["streaks"])
        self._since = self._number(NEVER)

    def _number(self, value: int) -> Tensor:
        return torch.tensor(value, device=self._device)


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


class RollbackPolicy:
    """How often a run was rolled back, and what became of its rates.

    Args:
        settings: how often it may be, and what the rates are multiplied by.
        folder: the run.

    Attributes:
        run: its path.
        count: rollbacks so far.
        lr_scale: what the stages' rates are multiplied by.
    """

    def __init__(self, settings: RecoverySettings, folder: RunFolder) -> None:
        self._settings = settings
        self._folder = folder
        self.run = folder.path
        self.count = 0
        self.lr_scale = 1.0
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
        self.lr_scale *= self._settings.rate_factor

    def rates(self, stage: StageSettings) -> tuple[float, float]:
        """Of the generator and of the discriminator, before the stage's decay."""
        return stage.generator_rate * self.lr_scale, stage.discriminator_rate * self.lr_scale

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

    def note_target(self, position: int) -> None:
        """Remember the checkpoint that the run has gone back to."""
        self._target = position

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self.count, "lr_scale": self.lr_scale, "target": self._target}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self.count, self.lr_scale, self._target = state["count"], state["lr_scale"], state["target"]


def diagnosis(failure: Diverged, stage: str, step: int, policy: RollbackPolicy, rates: tuple[float, float]) -> str:
    """Why a run was given up, in one sentence: where, what was seen, what was tried, what to do.

    Args:
        failure: what was seen.
        stage: where.
        step: generator step.
        policy: how often it was tried.
        rates: that it failed with, of generator and discriminator.
    """
    tried = f"it was rolled back {times(policy.count)} and failed again" if policy.count else "it was not rolled back"
    return (
        f"training failed in stage {stage!r} at step {step:,}: {failure}; {tried}, at last with generator_rate "
        f"{rates[0]:.3g} and discriminator_rate {rates[1]:.3g}; train again with {failure.remedy} (--set), or raise "
        f"training.recovery.attempts in {policy.run / RECIPE} and go on with 'ctfgan resume {policy.run}'"
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

"""What a trainer trains, and who watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.training.alarms import Alarm
from ctfgan.training.loop import StepLosses
from ctfgan.training.objectives.adversarial import AdversarialObjective
from ctfgan.training.rollback import Rollback
from ctfgan.training.settings import StageSettings
from ctfgan.training.validation import CheckReport


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


class Callback(Protocol):
    """Somebody who watches a run, such as the command line."""

    def on_stage(self, name: str, number: int, of: int, step: int, settings: StageSettings) -> None:
        """A stage begins, or goes on at ``step``."""

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

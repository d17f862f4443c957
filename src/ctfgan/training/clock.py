"""The time that a run takes: in training, in all, and per step of the stage that it is in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

STATE = ("seconds", "elapsed", "entered")
"""Entries of a checkpoint's state that a clock decides, and no random number."""


class RunClock:
    """Seconds of a run, as if it had never been interrupted.

    Args:
        spent: seconds that it has taken before this.

    Attributes:
        trained: seconds of training, without preparation, checks and saving.
    """

    def __init__(self, spent: float) -> None:
        self.trained = 0.0
        self._counted = time.monotonic()  # when the seconds of training were last added up
        self._began = time.monotonic() - spent
        self._entered = (spent, 0)  # seconds of the run, and step, when the stage began or went on after a failure

    def elapsed(self) -> float:
        """Seconds that the run has taken, preparation and checks included."""
        return time.monotonic() - self._began

    def start(self) -> None:
        """What follows is training."""
        self._counted = time.monotonic()

    def count(self) -> None:
        """What was since the last time was training."""
        now = time.monotonic()
        self.trained += now - self._counted
        self._counted = now

    def enter(self, step: int) -> None:
        """A stage begins, or goes on after a failure, at a generator step."""
        self._entered = self.elapsed(), step

    def steps_until(self, seconds: float, step: int) -> int:
        """Generator steps that fit until the run has taken so many seconds, checks included.

        Args:
            seconds: of the whole run.
            step: of the stage, later than where it was entered.
        """
        elapsed, (entered, first) = self.elapsed(), self._entered
        return round(max(0.0, seconds - elapsed) / ((elapsed - entered) / (step - first)))

    def has_passed_steps(self, step: int) -> bool:
        """Whether the stage has made steps since it was entered."""
        return step > self._entered[1]

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return dict(zip(STATE, (self.trained, self.elapsed(), self._entered), strict=True))

    def restore(self, state: Mapping[str, Any], step: int) -> None:
        """Go on as a checkpoint says; one of an earlier version knows the seconds of training alone.

        Args:
            state: of the checkpoint.
            step: of the stage in which it was written.
        """
        elapsed = state.get("elapsed", 0.0)
        self.trained = state["seconds"]
        self._began = time.monotonic() - elapsed
        self._entered = state.get("entered", (elapsed, step))

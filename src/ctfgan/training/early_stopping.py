"""When is a stage done? "Until no significant improvement" made exact (decision 11)."""

from __future__ import annotations

from statistics import fmean

from ctfgan.training.settings import CheckSettings


class EarlyStopping:
    """Judges a series of distances, lower being better.

    Args:
        checks: smoothing and what counts as an improvement.
        patience: checks without one after which the stage is done; None never ends it.
    """

    def __init__(self, checks: CheckSettings, patience: int | None) -> None:
        self._checks = checks
        self._patience = patience
        self.distances: list[float] = []

    def is_reached(self) -> bool:
        """Whether the smoothed distance has gone ``patience`` checks without a significant improvement."""
        return self._patience is not None and self.stale_checks() >= self._patience

    def reason(self) -> str:
        """What is reached, in words."""
        return f"no improvement by {self._checks.significant:.0%} in {self.stale_checks()} checks"

    def stale_checks(self) -> int:
        """Checks since the smoothed distance last improved significantly."""
        best, stale = float("inf"), 0
        for end in range(1, len(self.distances) + 1):
            smoothed = fmean(self.distances[max(0, end - self._checks.smoothing) : end])
            if smoothed < best * (1 - self._checks.significant):
                best, stale = smoothed, 0
            else:
                stale += 1
        return stale

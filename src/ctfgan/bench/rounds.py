"""Times of several things side by side: they take turns, so that a busy machine is unfair to none of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of each arm in each round."""

    seconds: dict[str, list[float]]

    def median(self, arm: str) -> float:
        """Median seconds of one call."""
        return statistics.median(self.seconds[arm])

    def ratio(self, arm: str, other: str) -> float:
        """How many times as long as ``other`` an arm takes: the median over the rounds of their ratio in a round."""
        pairs = zip(self.seconds[arm], self.seconds[other], strict=True)
        return statistics.median(one / two for one, two in pairs)


def interleaved(arms: Mapping[str, Callable[[], object]], rounds: int, calls: int = 1) -> Times:
    """Call the arms in turn, ``calls`` times each, for some rounds; one round before them warms up and is not counted.

    Args:
        arms: what to time, by name; an arm returns when its work is done.
        rounds: how often every arm gets its turn.
        calls: calls in a turn; the seconds are of one call.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, call in arms.items():
            started = time.perf_counter()
            for _ in range(calls if number else 1):
                call()
            if number:
                seconds[name].append((time.perf_counter() - started) / calls)
    return Times(seconds)

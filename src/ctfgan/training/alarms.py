"""What a series of checks warns of: classes without variety, a generator that falls behind, weights that run away.

Warnings change nothing about training (decision 28).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any, Literal

from ctfgan.core.text import MOST_LISTED, a_few
from ctfgan.metrics.diversity import alike_below
from ctfgan.training.settings import AlarmSettings
from ctfgan.training.validation import CheckReport

AlarmKind = Literal["class variety", "variety", "recognition", "distance", "growth", "checkpoint"]

SKILL = 0.3  # of recognition above chance, 0 ... 1, that a generator must have had to lose it
LOST_SKILL = 0.1  # of the same, at most, where recognition counts as lost


@dataclass(frozen=True)
class Alarm:
    """A warning."""

    kind: AlarmKind
    stage: str
    step: int
    message: str
    """One sentence: what was seen, and what helps."""
    subjects: tuple[str, ...] = ()
    """The classes or layers that it is about, all of them."""


class Alarms:
    """Judges the checks of a stage, one after the other.

    Args:
        settings: thresholds.
        classes: names of the measured ones.
        counts: real images that training has of each of them; without any, a class stands apart in ``top_1``.
    """

    def __init__(self, settings: AlarmSettings, classes: Sequence[str], counts: Sequence[int]) -> None:
        self._settings = settings
        self._classes = classes
        self._counts = counts
        self._alike: dict[int, int] = {}  # checks in a row in which the samples of a class were alike
        self._all_alike = 0  # the same of all samples
        self._distances: list[tuple[int, float]] = []  # step and distance of every check
        self._best_top_1 = 0.0
        self._values: list[dict[str, float]] = []  # greatest singular values at the last checks
        self._told: dict[str, list[str]] = {}

    def look(self, report: CheckReport) -> list[Alarm]:
        """What a check warns of that the one before did not."""
        found = [
            self._class_variety(report),
            self._variety(report),
            self._recognition(report),
            self._distance(report),
            self._growth(report),
        ]
        told, self._told = self._told, {}
        new = []
        for alarm in found:
            if alarm is None:
                continue
            before = told.get(alarm.kind)
            if before is None or not set(alarm.subjects) <= set(before):
                new.append(alarm)
            # A class that leaves and comes back is not told again as long as others stay.
            self._told[alarm.kind] = sorted({*alarm.subjects, *(before or ())})
        return new

    def _class_variety(self, report: CheckReport) -> Alarm | None:
        if report.class_variety is None:
            return None
        threshold = alike_below(self._settings.variety, report.variety_floor)
        low = [label for label, ratio in enumerate(report.class_variety) if ratio is not None and ratio < threshold]
        self._alike = {label: self._alike.get(label, 0) + 1 for label in low}
        lasting = [label for label, checks in self._alike.items() if checks >= self._settings.checks]
        if not lasting:
            return None
        lasting.sort(key=lambda label: self._counts[label])
        names = a_few([f"{self._classes[label]!r} ({self._counts[label]:,})" for label in lasting])
        word = "class" if len(lasting) == 1 else "classes"
        worst = max(ratio for label in lasting if (ratio := report.class_variety[label]) is not None)
        return Alarm(
            "class variety",
            report.stage,
            report.step,
            f"the samples of {len(lasting):,} {word} are nearly alike ({worst:.0%} or less of the variety of the real "
            f"images): {names}, real images in brackets; what helps is more images, augmentation "
            "(--set augmentation.policy=\"['translation', 'cutout']\") or lower rates",
            tuple(self._classes[label] for label in lasting),
        )

    def _variety(self, report: CheckReport) -> Alarm | None:
        low = report.variety is not None and report.variety < self._settings.variety
        self._all_alike = self._all_alike + 1 if low else 0
        if self._all_alike < self._settings.checks:
            return None
        message = (
            f"all samples are nearly alike, whatever their class ({report.variety:.0%} of the real images' variety "
            f"for {self._all_alike} checks); what helps is lower rates, or augmentation where images are few"
        )
        return Alarm("variety", report.stage, report.step, message)

    def _recognition(self, report: CheckReport) -> Alarm | None:
        if report.top_1 is None:
            return None
        best = self._best_top_1
        self._best_top_1 = max(best, report.top_1)
        chance = 1 / len(self._classes)
        # Of a mean over classes; where some have no sample at all, it is one over samples of different classes.
        samples = report.least_of_a_class * sum(count > 0 for count in self._counts) or report.images
        error = sqrt(chance * (1 - chance) / samples)
        skill = (report.top_1 - chance) / (1 - chance)
        if (best - chance) / (1 - chance) < SKILL or skill > LOST_SKILL or report.top_1 > chance + 3 * error:
            return None
        message = (
            f"the classes of the samples cannot be told any more: top-1 is {report.top_1:.1%} where chance is "
            f"{chance:.1%}, after {best:.1%}; what helps is lower rates, and training.release=best keeps the best "
            "check's weights"
        )
        return Alarm("recognition", report.stage, report.step, message)

    def _distance(self, report: CheckReport) -> Alarm | None:
        best_step, best = min(self._distances, key=lambda check: check[1], default=(0, float("inf")))
        self._distances.append((report.step, report.distance))
        last = [distance for _, distance in self._distances[-self._settings.checks - 1 :]]
        rises = len(last) > self._settings.checks and all(a < b for a, b in pairwise(last))
        if not rises or report.distance <= self._settings.distance * best:
            return None
        message = (
            f"the distance has risen in {self._settings.checks} checks, to {report.distance:.4g}; the best was "
            f"{best:.4g} at step {best_step:,}, which training.release=best would release; what helps is lower rates"
        )
        return Alarm("distance", report.stage, report.step, message)

    def _growth(self, report: CheckReport) -> Alarm | None:
        now = {
            f"{player}.{layer}": value for player, layers in report.spectra.items() for layer, value in layers.items()
        }
        before, self._values = self._values, [*self._values, now][-self._settings.checks :]
        if len(before) < self._settings.checks:
            return None
        largest = {name: max(values.get(name, 0.0) for values in before) for name in now}
        grown = [name for name, value in now.items() if value > self._settings.growth * largest[name]]
        if not grown:
            return None
        grown.sort(key=lambda name: largest[name] / now[name])
        steps = ", ".join(f"{name} from {largest[name]:.3g} to {now[name]:.3g}" for name in grown[:MOST_LISTED])
        message = (
            f"the greatest singular value of {a_few(grown)} has grown suddenly ({steps}), as it does before a "
            "collapse; what helps is lower rates"
        )
        return Alarm("growth", report.stage, report.step, message, tuple(grown))

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "alike": dict(self._alike),
            "all_alike": self._all_alike,
            "distances": list(self._distances),
            "best_top_1": self._best_top_1,
            "values": list(self._values),
            "told": dict(self._told),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self._alike = dict(state["alike"])
        self._all_alike = state["all_alike"]
        self._distances = list(state["distances"])
        self._best_top_1 = state["best_top_1"]
        self._values = list(state["values"])
        self._told = dict(state["told"])

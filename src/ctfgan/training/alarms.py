"""What a series of checks warns of: classes without variety, and classes that cannot be recognised any more.

Warnings change nothing about training (decision 28).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

from ctfgan.core.text import a_few
from ctfgan.metrics.diversity import alike_below
from ctfgan.training.settings import AlarmSettings
from ctfgan.training.validation import CheckReport

AlarmKind = Literal["class variety", "recognition", "checkpoint"]

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
    """The classes that it is about, all of them."""


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
        self._best_top_1 = 0.0
        self._raised: dict[str, list[str]] = {}  # kind -> subjects of the alarms that last

    def look(self, report: CheckReport) -> list[Alarm]:
        """What a check warns of that the one before did not."""
        before, self._raised = self._raised, {}
        new = []
        for alarm in (self._class_variety(report), self._recognition(report)):
            if alarm is None:
                continue
            known = before.get(alarm.kind)
            if known is None or not set(alarm.subjects) <= set(known):
                new.append(alarm)
            # A class that leaves and comes back is not named again as long as others stay.
            self._raised[alarm.kind] = sorted({*alarm.subjects, *(known or ())})
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

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"alike": dict(self._alike), "best_top_1": self._best_top_1, "raised": dict(self._raised)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self._alike = dict(state["alike"])
        self._best_top_1 = state["best_top_1"]
        self._raised = dict(state["raised"])

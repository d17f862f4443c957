"""Is training still a game? Losses that are not finite, and a discriminator that has collapsed (decision 28)."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ctfgan.core.errors import RunError
from ctfgan.distributed.processes import Processes
from ctfgan.training.loop import StepLosses

NEVER = 1 << 30  # a step that no stage reaches
WON = 1e-4  # a discriminator's loss this near its end moves nothing
CONSTANT = 1e-4  # range of logits, relative to their size but at least to 1, that is no judgement
EXPLODED = 1e6  # of a loss, either way
FEWEST_RANGED = 4
VICTORY = "victory"

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


class Health:
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
        found = {}
        loss = line.get("discriminator_adversarial")
        if loss is not None and self._won is not None and loss < self._won + WON:
            words = f"the discriminator tells all images apart (its loss is {loss:.2g}) and the samples do not improve"
            found[VICTORY] = words, SPARE_THE_GENERATOR
        for kind in ("real", "fake"):
            size, mean = line.get(f"{kind}_logit_range"), line.get(f"{kind}_logit", 0.0)
            if size is not None and size <= CONSTANT * max(1.0, abs(mean)):
                words = f"the discriminator says the same of every {kind} image (a logit of {mean:.4g})"
                found["constant"] = words, LOWER_BOTH
        name, value = max(line.items(), key=lambda item: abs(item[1]), default=("", 0.0))
        if abs(value) > EXPLODED:
            found["exploded"] = f"{name} has exploded (it is {value:.2g})", LOWER_BOTH
        return found

    def state(self) -> dict[str, Any]:
        """For a checkpoint; there is none while a loss is not finite."""
        return {"streaks": dict(self._streaks)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self._streaks = dict(state["streaks"])
        self._since = self._number(NEVER)

    def _number(self, value: int) -> Tensor:
        return torch.tensor(value, device=self._device)


def line_figures(losses: StepLosses, logits: tuple[Tensor, Tensor] | None) -> dict[str, Tensor]:
    """What a line of the journal says of a step: losses, mean and range of the real and of the fake logits.

    No range is given of very few images, which may well get the same logit.

    Args:
        losses: of the step.
        logits: of the last discriminator step, real and fake, ``(N,)`` each; None if the game has none.
    """
    found = {f"discriminator_{name}": term for name, term in losses.discriminator.items()}
    found |= {f"generator_{name}": term for name, term in losses.generator.items()}
    for kind, values in zip(("real", "fake"), logits or (), strict=False):
        found[f"{kind}_logit"] = values.mean()
        if len(values) >= FEWEST_RANGED:
            found[f"{kind}_logit_range"] = values.max() - values.min()
    return found

"""Learning which mixture of old classes looks most like a new one (decision 25)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ctfgan.bundle import Bundle
from ctfgan.data.images import Bytes, to_float
from ctfgan.lifecycle.blending import Blender
from ctfgan.progress import Progress, silent
from ctfgan.settings import Seed, Settings
from ctfgan.training.runtime import alone
from ctfgan.training.synthesis import draw_condition, synthesise

SMALLEST_SIDE = 4  # images are compared at full size and at halves of it down to this
COARSE_SIDE = 16  # candidates are looked for at this size or the next below
LOOKED_AT = 1_024  # old classes among which candidates are looked for
LOOKS = 4  # images of each of them
REAL_IMAGES = 256  # of a new class that are looked at
AT_ONCE = 8  # new classes
VARIANCE_FLOOR = 1e-4  # below the root, whose slope would have no bound
NEGLIGIBLE = 1e-3  # weights below this are left out of the result


class MixtureSettings(Settings):
    """How mixtures are learned."""

    candidates: int = Field(default=64, ge=1)
    """Old classes that may take part in a mixture: those that look most like the new class; all, if there are no
    more."""
    images: int = Field(default=32, ge=4)
    """Synthetic images of a mixture whose mean and deviation are compared with those of the real ones."""
    steps: int = Field(default=200, ge=1)
    """Steps of Adam on the weights of a mixture."""
    rate: float = Field(default=0.1, gt=0)
    """Adam's learning rate of their logarithms."""
    seed: Seed = 0
    """Of noise and low-quality images."""


@dataclass(frozen=True)
class Mixture:
    """What a new class begins as."""

    parts: Tensor
    """Old classes, ``(k,)`` int64, the strongest first."""
    weights: Tensor
    """Their weights, ``(k,)`` float32, which add up to 1."""
    nearest: int
    """The old class that alone looks most like the new one."""
    losses: dict[str, float]
    """Distance from the real images, on noise that was not learned with: of the ``uniform`` mixture of all candidates,
    of the ``nearest`` class alone, of the ``learned`` mixture, and of what was ``chosen``, the best of these."""


def learn_mixtures(
    bundle: Bundle,
    images: Sequence[Bytes],
    low_quality: Sequence[Bytes] | None,
    settings: MixtureSettings,
    device: torch.device,
    progress: Progress = silent,
) -> list[Mixture]:
    """The mixture of old classes that each new class begins as; the generator itself is frozen.

    Args:
        bundle: the old classes.
        images: real images of each new class, uint8 ``(N, R, R, K)``.
        low_quality: with matched pairing low-quality images of each, uint8 ``(L, r, r, K)``.
        settings: how.
        device: where.
        progress: shows the steps.
    """
    blender = Blender(bundle, device)
    real = [to_float(part[:REAL_IMAGES]).to(device) for part in images]
    candidates = _candidates(bundle, real, settings, device)
    low = [None] * len(real) if low_quality is None else [_turns(part, settings.images) for part in low_quality]
    found = []
    for start in range(0, len(real), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        targets = torch.stack([description(one) for one in real[part]])
        given = torch.stack(low[part]) if blender.is_matched else None  # type: ignore[arg-type]
        what = f"new classes {start + 1:,} to {min(start + AT_ONCE, len(real)):,} of {len(real):,}"
        found += _Fit(blender, settings, candidates[part], targets, given).learn(progress, what)
    return found


def description(images: Tensor) -> Tensor:
    """Mean and standard deviation of every pixel at several sizes, ``(..., N, K, R, R)`` to ``(..., D)``.

    Scaled so that the squared distance of two descriptions is the squared difference of a pixel's mean plus that of
    its deviation, averaged over pixels and sizes; a pixel's range is [-1, 1].
    """
    parts = []
    *lead, _, _, _, side = images.shape
    maps = images.flatten(0, -4)
    while True:
        size = maps.unflatten(0, (*lead, -1))
        mean, variance = size.mean(dim=-4), size.var(dim=-4, correction=0)
        numbers = mean.shape[-3:].numel()
        parts += [one.flatten(-3) / sqrt(numbers) for one in (mean, (variance + VARIANCE_FLOOR).sqrt())]
        if side % 2 or side // 2 < SMALLEST_SIDE:
            return torch.cat(parts, dim=-1) / sqrt(len(parts) / 2)
        side //= 2
        maps = F.avg_pool2d(maps, 2)


class _Fit:
    """The mixtures of a few new classes, learned side by side; none has a say in another's."""

    def __init__(
        self, blender: Blender, settings: MixtureSettings, candidates: Tensor, targets: Tensor, low: Tensor | None
    ) -> None:
        self._blender = blender
        self._settings = settings
        self._candidates = candidates  # (n, k)
        self._targets = targets  # (n, D)
        self._low = low  # (n, images, K, r, r)

    def learn(self, progress: Progress, what: str) -> list[Mixture]:
        settings, count = self._settings, self._candidates.shape[1]
        single = torch.stack([self._single(index) for index in range(len(self._candidates))])  # (n, k)
        nearest = single.argmin(dim=1)
        # Half of the weight on the nearest class, so that it is where learning begins, and not only where it may end.
        logits = F.one_hot(nearest, count).float() * log(max(2, count - 1))
        logits.requires_grad_(True)
        optimiser = torch.optim.Adam([logits], lr=settings.rate)
        for _ in progress(range(settings.steps), settings.steps, what):
            optimiser.zero_grad()
            self._losses(logits.softmax(dim=1), settings.seed).sum().backward()
            optimiser.step()
        weights = logits.detach().softmax(dim=1)
        weights = torch.where(weights < NEGLIGIBLE, 0, weights)
        return self._judged(weights / weights.sum(dim=1, keepdim=True), nearest)

    @torch.no_grad()
    def _judged(self, learned: Tensor, nearest: Tensor) -> list[Mixture]:
        """The best of the learned mixture, the nearest class and the uniform mixture, on noise of its own."""
        choices = {
            "learned": learned,
            "nearest": F.one_hot(nearest, learned.shape[1]).to(learned),
            "uniform": torch.full_like(learned, 1 / learned.shape[1]),
        }
        losses = {name: self._losses(weights, self._settings.seed + 1) for name, weights in choices.items()}
        best = torch.stack(list(losses.values())).argmin(dim=0)  # (n,)
        final = torch.stack(list(choices.values()))[best, torch.arange(len(best))].cpu()
        losses["chosen"] = torch.stack(list(losses.values()))[best, torch.arange(len(best))]
        mixtures = []
        for index, weights in enumerate(final):
            order = weights.argsort(descending=True)[: int((weights > 0).sum())]
            mixtures.append(
                Mixture(
                    self._candidates[index][order],
                    weights[order],
                    int(self._candidates[index][nearest[index].cpu()]),
                    {name: float(loss[index]) for name, loss in losses.items()},
                )
            )
        return mixtures

    def _losses(self, weights: Tensor, seed: int) -> Tensor:
        """Squared distances ``(n,)`` of the mixtures' images from the real ones."""
        images = self._blender.images(self._candidates, weights, self._low, seed, self._settings.images)
        return (description(images) - self._targets).square().sum(dim=1)

    @torch.no_grad()
    def _single(self, index: int) -> Tensor:
        """The same ``(k,)`` for each candidate of one new class alone."""
        losses = []
        for candidates in self._candidates[index][:, None].split(AT_ONCE):
            low = None if self._low is None else self._low[index].expand(len(candidates), -1, -1, -1, -1)
            whole = torch.ones(len(candidates), 1, device=self._blender.device)
            images = self._blender.images(candidates, whole, low, self._settings.seed, self._settings.images)
            losses.append((description(images) - self._targets[index]).square().sum(dim=1))
        return torch.cat(losses)


def _candidates(bundle: Bundle, real: list[Tensor], settings: MixtureSettings, device: torch.device) -> Tensor:
    """The old classes ``(n, k)`` whose coarse images are most like those of each new class."""
    count = len(bundle.classes)
    if count <= settings.candidates:
        return torch.arange(count).expand(len(real), -1)
    # Of very many classes a share is looked at, spread evenly over all of them.
    looked_at = torch.arange(min(count, LOOKED_AT)) * count // min(count, LOOKED_AT)
    described = []
    for labels in looked_at.split(AT_ONCE * LOOKS):
        condition = draw_condition(labels.repeat_interleave(LOOKS), bundle.bank, settings.seed)
        made = to_float(synthesise(bundle.generator, condition, settings.seed, alone(torch.device("cpu"))))
        described.append(description(_coarse(made).unflatten(0, (-1, LOOKS))))
    targets = torch.stack([description(_coarse(one.cpu())) for one in real])
    distances = torch.cdist(targets, torch.cat(described))
    return looked_at[distances.topk(min(settings.candidates, len(looked_at)), largest=False).indices]


def _coarse(images: Tensor) -> Tensor:
    while images.shape[-1] > COARSE_SIDE:
        images = F.avg_pool2d(images, 2)
    return images


def _turns(images: Bytes, count: int) -> Tensor:
    """``count`` of the images in turn, as floats."""
    return to_float(images[torch.arange(count).numpy() % len(images)])

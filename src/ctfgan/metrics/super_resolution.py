"""Several results of one low-quality image: how faithful they are to it, and how much they differ.

A low-quality image leaves open what it does not show, so that many results are right. Super-resolution measures both:
LR-PSNR, the fidelity of a result that is reduced again (Lugmayr et al., "NTIRE 2021 Learning the Super-Resolution Space
Challenge"), and the standard deviation of a pixel over results (Lugmayr et al., "SRFlow", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from torch import Tensor

from ctfgan.data.images import Bytes
from ctfgan.data.low_quality_bank import degrade
from ctfgan.data.settings import DegradationSettings
from ctfgan.metrics.diversity import mean_distance

ROUNDING = 1 / 12
"""Mean squared error of rounding to grey levels: no image counts as nearer than that."""


@dataclass(frozen=True)
class ResultScores:
    """Of several results for each of some low-quality images; means over these."""

    psnr: float
    """LR-PSNR in dB: of results, reduced to the low-quality image's size as degraded copies are, against it."""
    spread: float
    """Standard deviation of a pixel over the results of an image, in grey levels (0 ... 255)."""
    diversity: float | None
    """Mean distance of two results of an image on the recogniser's features, divided by that of two real images of its
    class; None where the real images do not differ."""


@dataclass(frozen=True)
class SuperResolution:
    """What comes of low-quality images, from several generators, beside real images."""

    images: int
    """Low-quality images, each with the class that it shows."""
    results: int
    """Of each; of real images as many as there are, if they are fewer."""
    size: int
    """Side of the low-quality images in pixels."""
    bank: str
    """Where these are from."""
    rows: dict[str, ResultScores]
    """By what made the results; other real images of the class among them."""

    def heading(self) -> str:
        """What is measured, in words."""
        return (
            f"{self.results} results for each of {self.images:,} images of the {self.bank} ({self.size}x{self.size}), "
            "of the class that it shows, with other noise"
        )

    def sentence(self) -> str:
        """All of it in one line."""
        rows = (
            f"{name}: LR-PSNR {row.psnr:.1f} dB, spread {row.spread:.1f} grey levels"
            + ("" if row.diversity is None else f", {row.diversity:.2f} of that of real images on features")
            for name, row in self.rows.items()
        )
        return f"{self.heading()}; {'; '.join(rows)}"


def low_quality_psnr(results: Bytes, low_quality: Bytes) -> float:
    """Mean LR-PSNR in dB of results ``(S, R, R, K)`` against the low-quality image ``(r, r, K)``; at most 58.9."""
    reduced = degrade(results, DegradationSettings(size=len(low_quality)), seed=0)
    errors = np.square(reduced.astype(np.float64) - low_quality).mean(axis=(1, 2, 3))
    return float((10 * np.log10(255**2 / np.maximum(errors, ROUNDING))).mean())


def pixel_spread(results: Bytes) -> float:
    """Standard deviation of a pixel over results ``(S, R, R, K)``, S > 1, in grey levels; mean over pixels."""
    return float(results.std(axis=0, ddof=1, dtype=np.float64).mean())


def score_results(
    low_quality: Bytes, results: Sequence[Bytes], features: Sequence[Tensor], real_distances: Sequence[float]
) -> ResultScores:
    """Scores of the results of some low-quality images.

    Args:
        low_quality: uint8 ``(N, r, r, K)``.
        results: of each image uint8 ``(S, R, R, K)``, S > 1.
        features: of its results, ``(S, D)``.
        real_distances: mean distance of two real images of its class on the same features.
    """
    own, real = fmean(mean_distance(of_one).item() for of_one in features), fmean(real_distances)
    return ResultScores(
        psnr=fmean(low_quality_psnr(of_one, low) for of_one, low in zip(results, low_quality, strict=True)),
        spread=fmean(pixel_spread(of_one) for of_one in results),
        diversity=own / real if real > 0 else None,
    )

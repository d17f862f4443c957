"""Sweeps over what the paper leaves open: how few good images, how many cheap ones, which part does the work."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ctfgan.core.errors import ConfigError, pick
from ctfgan.data.prepare import high_quality_sources
from ctfgan.data.sources.registry import open_source
from ctfgan.evaluation.campaign import CampaignRun
from ctfgan.recipes.catalogue import baseline_of
from ctfgan.recipes.overlay import full_names, with_settings
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.recipes.validate import check_recipe

HQ_FRACTIONS = (1.0, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1)
LQ_RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)
LQ_SWEEP_FRACTION = 0.15  # four times as many low-quality images leave a quarter of the pool to hold out

SOURCE = ("high_quality", "reference", "only", "image_column", "label_column", "class_level")
"""Settings of the data that say which high-quality images there are."""
OURS, BASELINE = "CTF-GAN", "SN-GAN + Projection"


@dataclass(frozen=True)
class SweepPoint(CampaignRun):
    """One run of a sweep."""

    series: str
    x: float | str
    """A number where the axis is one; else what was changed."""


@dataclass(frozen=True)
class Sweep:
    """Points with the name of their axis."""

    name: str
    axis: str
    points: tuple[SweepPoint, ...]


class Variant(NamedTuple):
    """A place of a sweep, whatever the seed."""

    series: str
    x: float | str
    recipe: Recipe


def hq_fraction(base: Recipe) -> list[Variant]:
    """Fewer and fewer good images, for CTF-GAN and for the baseline."""
    variants: list[Variant] = []
    for fraction in HQ_FRACTIONS:
        setting = {"data.high_quality_fraction": fraction}
        variants.append(Variant(OURS, fraction, with_settings(base, setting, ())))
        variants.append(Variant(BASELINE, fraction, with_settings(baseline_of(base), setting, ())))
    return variants


def lq_share(base: Recipe) -> list[Variant]:
    """More and more cheap images per good one, of the same class and of any; with none there is the baseline alone."""
    if base.data.glyphs.low_quality_font_folders:
        raise ConfigError("the sweep lq-share degrades images; leave data.glyphs.low_quality_font_folders out")
    if base.data.low_quality is not None:
        raise ConfigError(
            f"data.low_quality is {base.data.low_quality!r}; the sweep lq-share degrades images, leave --lq out"
        )
    variants: list[Variant] = []
    fewer = {"data.high_quality_fraction": LQ_SWEEP_FRACTION}
    for pairing, ratio in itertools.product(("matched", "independent"), LQ_RATIOS):
        share = {"data.degradation.share": ratio * LQ_SWEEP_FRACTION, "data.pairing": pairing}
        variants.append(Variant(f"{pairing} pairing", ratio, with_settings(base, fewer | share, ())))
    return [*variants, Variant(BASELINE, 0.0, with_settings(baseline_of(base), fewer, ()))]


def ablations(base: Recipe) -> list[Variant]:
    """What each part contributes: self-supervision, the features, statistics, merges and noise, the pairing."""
    changes: dict[str, dict[str, object]] = {
        "whole method": {},
        "without SP": {
            "method.self_supervision.discriminator_weight": 0.0,
            "method.self_supervision.generator_weight": 0.0,
        },
        "CTF shuffled": {"method.features.ctf": "shuffled"},
        "CTF zeroed": {"method.features.ctf": "zero"},
        "instance statistics": {"method.features.statistics": "instance"},
        "3x3 merges": {"method.features.merge_kernel": 3},
        "tiled noise": {"method.features.noise_maps": "tiled"},
        "no consistency": {"method.transfer.consistency": 0.0, "method.generate.consistency": 0.0},
        # Without a common class there is nothing to be consistent with, so this is two changes.
        "independent, no consistency": {"data.pairing": "independent"},
    }
    variants = [Variant(OURS, name, with_settings(base, change, ())) for name, change in changes.items()]
    return [*variants, Variant(OURS, "no LQ: baseline", baseline_of(base))]


SWEEPS: dict[str, tuple[str, Callable[[Recipe], list[Variant]]]] = {
    "hq-fraction": ("share of the good images", hq_fraction),
    "lq-share": ("cheap images per good one", lq_share),
    "ablations": ("what was changed", ablations),
}


def plan_sweep(name: str, base: Recipe, seeds: int) -> Sweep:
    """The points of a named sweep.

    Raises:
        ConfigError: an unknown sweep, or a recipe of another method than CTF-GAN.
    """
    axis, variants_of = pick(SWEEPS, name, "sweep")
    return _sweep(name, axis, variants_of(base), seeds)


def vary(base: Recipe, settings: Sequence[tuple[str, tuple[str, ...]]], seeds: int) -> Sweep:
    """The points of all combinations of one or two settings: the first is the axis, the second makes the series.

    Args:
        base: what everything else is taken from.
        settings: names, as for ``--set``, with their values.
        seeds: runs of each point.

    Raises:
        ConfigError: more than two settings, an unknown name or value, or the same one twice.
    """
    if not 1 <= len(settings) <= 2:
        raise ConfigError(f"--vary is given {len(settings)} times; vary one setting, or two")
    if len(full_names(base, [name for name, _ in settings])) < len(settings):
        raise ConfigError(f"--vary names {settings[0][0]!r} twice; name it once, with all its values")
    axis, xs = settings[0]
    series, kinds = settings[1] if len(settings) == 2 else ("", ("",))
    variants: list[Variant] = []
    for kind, x in itertools.product(kinds, xs):
        assignments = (f"{axis}={x}", *([f"{series}={kind}"] if series else []))
        name = f"{series}={kind}" if series else base.name
        variants.append(Variant(name, _place(x), with_settings(base, {}, assignments)))
    name = "vary-" + _plain("-".join(name.split(".")[-1] for name, _ in settings))
    values = [f"{kind} {x}".strip() for kind, x in itertools.product(kinds, xs) for _ in range(seeds)]
    sweep = _sweep(name, axis, variants, seeds)
    _check_apart([point.recipe for point in sweep.points], values)
    return sweep


def _sweep(name: str, axis: str, variants: Sequence[Variant], seeds: int) -> Sweep:
    points = []
    series_folders = _folders([series for series, *_ in variants])
    x_folders = _folders([str(x) for _, x, _ in variants])
    for series, x, recipe in variants:
        for number in range(seeds):
            seed = recipe.seed + number
            seeded = parse_recipe(recipe.model_dump() | {"seed": seed}, recipe.name)
            folder = f"{series_folders[series]}/{x_folders[str(x)]}-seed{seed}"
            points.append(SweepPoint(folder, seeded, series, x))
    _check([point.recipe for point in points])
    return Sweep(name, axis, tuple(points))


def _check(recipes: Sequence[Recipe]) -> None:
    """Find every mistake that shows before training: one bad point must not come up after hours of good ones."""
    for recipe in recipes:
        check_recipe(recipe)
        if not recipe.method.is_conditional:
            raise ConfigError(
                f"a {recipe.method.kind} model has no classes to be judged by; sweep a conditional method"
            )
    for location in {place for recipe in recipes if (place := recipe.data.low_quality)}:
        open_source(location)
    sources = {tuple(getattr(recipe.data, name) for name in SOURCE): recipe.data for recipe in recipes}
    for data in sources.values():
        if data.high_quality is not None:
            high_quality_sources(data)


def _place(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _check_apart(recipes: Sequence[Recipe], values: Sequence[str]) -> None:
    """Refuse two points that would be one run, whose figures would be shown twice."""
    first: dict[str, str] = {}
    for recipe, value in zip(recipes, values, strict=True):
        key = recipe.to_json()
        if key in first:
            raise ConfigError(
                f"--vary gives {first[key]!r} and {value!r}, which are the same run; name each value once"
            )
        first[key] = value


def _folders(texts: Sequence[str]) -> dict[str, str]:
    """A folder name for each text: its plain one; where several have that, all that it leaves out is escaped."""
    plain = {text: _plain(text) for text in texts}
    count = Counter(plain.values())
    return {text: name if name == text or count[name] == 1 else _escaped(text) for text, name in plain.items()}


def _escaped(text: str) -> str:
    """A text with its capitals, signs and blanks percent-encoded; a plain name has no per cent sign."""
    return "".join(
        letter if _plain(letter) == letter else "".join(f"%{byte:02X}" for byte in letter.encode()) for letter in text
    )


def _plain(text: str) -> str:
    """A folder name."""
    kept = "".join(letter if letter.isalnum() or letter in ".-=" else "-" for letter in text.lower())
    return "-".join(part for part in kept.split("-") if part)

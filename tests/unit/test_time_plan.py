"""The dial: what a recipe becomes for some minutes on a machine of known speed (decision 34)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from ctfgan.core.errors import ConfigError
from ctfgan.distributed.engine import Engine
from ctfgan.distributed.processes import Processes
from ctfgan.recipes.catalogue import origin_of
from ctfgan.recipes.overlay import recipe
from ctfgan.recipes.recipe import CtfGan, Recipe
from ctfgan.runs import time_plan
from ctfgan.runs.context import Callbacks, RunContext, open_context
from ctfgan.runs.time_plan import Dial, settings_at, with_plan, with_short_classifiers
from ctfgan.training.estimate import Estimate
from ctfgan.training.stage import Method

T = TypeVar("T")
GLYPHS = ("data.glyphs.characters=AB", "glyphs.images_per_class=40", "data.resolution=16", "device=cpu")


class Machine:
    """In which a step takes as long as its networks are wide, squared; an image of a check a thousandth of a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds_at_an_eighth: float, most_width: float = 1.0) -> None:
        self.tried: list[float] = []
        self._seconds, self._most = seconds_at_an_eighth, most_width
        monkeypatch.setattr(time_plan, "estimate", self.estimate)
        monkeypatch.setattr(time_plan, "seconds_per_sample", lambda *_: 0.001)

    def estimate(self, method: Method, dataset: object, engine: Engine) -> list[Estimate]:
        widest = max(p.shape[0] for p in method.networks["generator"].parameters() if p.ndim == 4)
        width = widest / 256
        self.tried.append(width)
        if width > self._most:
            raise torch.OutOfMemoryError("of the machine")
        cost = self._seconds * (8 * width) ** 2
        return [
            Estimate(stage.name, stage.settings.steps, cost * (1 if number == 0 else 2), 0)
            for number, stage in enumerate(method.stages)
        ]


def planned(minutes: float, *settings: str, name: str = "ctf-glyphs", keep: tuple[str, ...] = ()) -> tuple[Recipe, str]:
    """The recipe of a plan whose clock begins now, and what is said about it."""
    chosen = recipe(name, *GLYPHS, *settings)
    context = open_context(chosen, Callbacks())
    dial = Dial.of(minutes, chosen, origin_of(chosen), keep)
    context, lines = with_plan(context, dial, 0.0)
    return context.recipe, "\n".join(lines)


def seconds_of(plan: Recipe, cost: float) -> float:
    """Of its stages and checks on a machine."""
    assert isinstance(plan.method, CtfGan)
    wide = (8 * plan.method.networks.generator_width) ** 2
    steps = plan.method.transfer.steps + 2 * plan.method.generate.steps
    checks = (plan.method.transfer.steps + plan.method.generate.steps) // plan.training.checks.every
    return steps * cost * wide + checks * plan.training.checks.images * 0.001


@pytest.mark.parametrize("minutes", [5, 20, 60])
@pytest.mark.parametrize("cost", [0.002, 0.05, 0.3])
def test_a_plan_fills_the_time_and_keeps_the_proportion_of_the_stages(
    minutes: float, cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(monkeypatch, cost)
    plan, _ = planned(minutes)
    assert isinstance(plan.method, CtfGan)
    assert seconds_of(plan, cost) == pytest.approx(0.98 * 60 * minutes, rel=0.03)
    assert plan.method.transfer.steps == pytest.approx(plan.method.generate.steps, abs=2)
    assert plan.method.generate.end_minute == pytest.approx(0.98 * minutes, rel=0.01)
    assert plan.method.transfer.end_minute == pytest.approx(0.98 * minutes / 3, rel=0.05)


def test_networks_get_wider_as_long_as_six_thousand_steps_fit_and_no_wider_than_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # An average step takes 1.5 times the cost; of the time 0.9 * 0.98 is for steps.
    widths = []
    for minutes in (5, 60, 600, 6_000):
        machine = Machine(monkeypatch, 0.1)
        plan, said = planned(minutes)
        networks = plan.method.networks
        widths.append(networks.generator_width)
        fitting = 60 * minutes * 0.98 * 0.9 / (0.15 * (8 * networks.generator_width) ** 2)
        assert fitting >= 6_000 or networks.generator_width == 0.125
        assert networks.generator_width == 1 or fitting / 4 < 6_000
        assert networks.discriminator_width == min(1, 2 * networks.generator_width)
        assert len(machine.tried) <= 5
        assert ("6,000 are asked for" in said) == (networks.generator_width < 1)
    assert widths == [0.125, 0.125, 0.5, 1.0]


def test_networks_get_narrower_where_a_thousand_steps_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, 0.5)
    plan, said = planned(5)
    assert plan.method.networks.generator_width == 1 / 16
    assert plan.stages["generate"].generator_rate == 8e-4
    assert "fewer than 1,000 steps would fit" in said


def test_a_width_that_does_not_fit_into_the_memory_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0.0001, most_width=0.25)
    plan, said = planned(60)
    assert plan.method.networks.generator_width == 0.25
    assert machine.tried[-1] == 0.5
    assert "does not fit into the memory" in said


class OneOfTwo(Processes):
    """A process whose companion computes the same, and waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 2

    def on_main(self, work: Callable[[], T]) -> T:
        return work()


def test_one_of_several_processes_that_lacks_memory_ends_for_the_others_would_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Machine(monkeypatch, 0.0001, most_width=0.25)
    monkeypatch.setattr(time_plan, "seconds_per_sample", None)  # which comes after the choice, and is not reached
    chosen = recipe("ctf-glyphs", *GLYPHS)
    context = open_context(chosen, Callbacks())
    context = replace(context, engine=replace(context.engine, processes=OneOfTwo()))
    with pytest.raises(ConfigError, match=r"networks of generator_width 0\.5 do not fit .*width=0\.25"):
        with_plan(context, Dial.of(60, chosen, origin_of(chosen)), 0.0)


def test_the_published_widths_have_the_published_rate_and_batch() -> None:
    narrow = recipe("ctf-folders")
    values = settings_at(narrow, 8, 0.125)
    assert values["method.networks.generator_width"] == values["method.networks.discriminator_width"] == 1
    assert values["method.generate.generator_rate"] == values["method.transfer.discriminator_rate"] == 2e-4
    assert values["method.generate.batch_size"] == 64
    assert all(dict(_flat(narrow))[name] == value for name, value in settings_at(narrow, 1, 0.125).items())


def _flat(one: Recipe) -> dict[str, object]:
    from ctfgan.core.settings import flatten

    return flatten(one.model_dump())


def test_what_is_set_stays_and_the_plan_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, 0.01)
    # One differs from the named recipe, the other is what it says anyway.
    plan, said = planned(20, "generate.steps=777", "checks.every=99", keep=("method.networks.generator_width",))
    assert plan.stages["generate"].steps == 777
    assert plan.stages["generate"].end_minute is None
    assert plan.training.checks.every == 99
    assert plan.method.networks.generator_width == 0.125
    assert plan.stages["transfer"].end_minute is not None
    assert seconds_of(plan, 0.01) == pytest.approx(0.98 * 20 * 60, rel=0.1)  # checks every 99 steps included
    for text in ("generate.steps=777", "checks.every=99", "generator_width=0.125", "stage generate: all steps, as set"):
        assert text in said


@pytest.mark.parametrize("name", ["projection-glyphs", "prog-gan-folders", "ac-gan-folders"])
def test_baselines_are_planned_by_the_same_rule(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, 0.01)
    plan, said = planned(20, name=name)
    *_, last = plan.stages.values()
    assert last.end_minute == pytest.approx(0.98 * 20, rel=0.01)
    assert last.steps > origin_steps(name)
    assert "plan for 20 minutes" in said


def origin_steps(name: str) -> int:
    *_, last = recipe(name).stages.values()
    return last.steps


def test_too_little_time_is_refused_with_what_fits() -> None:
    with pytest.raises(ConfigError, match=r"minutes is 0\.001"):
        planned(0.001)
    with pytest.raises(ConfigError, match="minutes is -5; give the run some time"):
        Dial.of(-5, recipe("ctf-glyphs"), None)
    with pytest.raises(ConfigError, match="minutes is inf"):
        Dial.of(float("inf"), recipe("ctf-glyphs"), None)


def test_classifiers_take_a_fifth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctfgan.metrics.eval_classifier.EvalClassifierTrainer.seconds_per_image", lambda *_: 0.001)
    context = open_context(recipe("ctf-glyphs", *GLYPHS), Callbacks())

    def images(minutes: float, *keep: str, codes: bool = False) -> int:
        chosen = context if not codes else coded(context)
        dial = Dial(minutes, frozenset(keep), time.monotonic(), 0.125)
        return with_short_classifiers(chosen, dial)[0].recipe.recogniser.images

    assert images(60) == 150_000
    assert images(5) == 60_000
    assert images(5, codes=True) == 30_000
    assert images(5, "recogniser.images") == 150_000
    with pytest.raises(ConfigError, match=r"take .* of it on this machine; give the run at least"):
        images(0.1)


def coded(context: RunContext) -> RunContext:
    networks = context.recipe.method.networks.model_copy(update={"class_tables": "codes"})
    method = context.recipe.method.model_copy(update={"networks": networks})
    return replace(context, recipe=context.recipe.model_copy(update={"method": method}))


def test_a_dry_run_shows_the_plan_and_settings_that_are_named_win(
    run_cli: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(monkeypatch, 0.01)
    sets = [part for setting in (*GLYPHS, "generate.batch_size=32") for part in ("--set", setting)]
    outcome = run_cli("train", "--minutes", 20, *sets, "--dry-run")  # type: ignore[operator]
    assert outcome.code == 0
    assert "plan for 20 minutes" in outcome.out
    assert "left as set: method.generate.batch_size=32" in outcome.out
    assert "Nothing was written" in outcome.out


def test_a_gpu_without_a_named_recipe_is_given_an_hour(
    run_cli: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Machine(monkeypatch, 0.01)
    monkeypatch.setattr("ctfgan.cli.train._is_on_gpu", lambda device: device == "cpu")
    sets = [part for setting in GLYPHS for part in ("--set", setting)]
    out = run_cli("train", *sets, "--dry-run").out  # type: ignore[operator]
    assert "on a GPU, with no recipe named: 60 minutes" in out
    assert "plan for 60 minutes" in out
    named = run_cli("train", "--recipe", "ctf-glyphs", *sets, "--dry-run").out  # type: ignore[operator]
    assert "plan for" not in named


def test_networks_that_do_not_fit_at_all_are_refused_with_a_narrower_width(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, 0.01, most_width=0.1)
    with pytest.raises(
        ConfigError, match=r"generator_width 0\.125 do not fit .* such as --set generator_width=0\.0625"
    ):
        planned(20)


def test_of_prog_gans_numbers_of_steps_both_are_planned_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, 0.01)
    plan, said = planned(20, "phase_steps=400", name="prog-gan-folders")
    assert plan.stages["grow"].end_minute is None
    assert plan.stages["grow"].steps == origin_steps("prog-gan-folders")
    assert "stage grow: all steps, as set" in said
    assert "method.phase_steps=400" in said


def test_checks_that_are_set_far_apart_are_said_to_leave_the_clock_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, 0.1)
    _, said = planned(5, "checks.every=100000")
    assert "a stage has no check before its end" in said
    _, said = planned(5)
    assert "a stage has no check" not in said


def test_rates_follow_a_width_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    Machine(monkeypatch, 0.0001)
    plan, _ = planned(60, "generator_width=1.0", "discriminator_width=1.0")
    assert plan.method.networks.generator_width == 1
    assert plan.stages["generate"].generator_rate == plan.stages["transfer"].discriminator_rate == 2e-4
    assert plan.stages["generate"].batch_size == 64

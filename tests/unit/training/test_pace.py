"""A stage with an end minute gets the steps that fit until then, whatever a step takes (decision 34)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ctfgan
from ctfgan.core.errors import ConfigError, Interrupted
from ctfgan.core.signals import StopRequest
from ctfgan.runs.context import Callbacks, NullCallback
from ctfgan.training.loop import StepLosses
from ctfgan.training.settings import StageSettings
from ctfgan.training.validation import CheckReport, Validator
from tests.unit.training.test_trainer import _given

TINY = (
    "glyphs.characters=0123", "glyphs.images_per_class=12", "data.resolution=16", "device=cpu", "tracker=none",
    "transfer.batch_size=6", "generate.batch_size=6", "transfer.patience=none", "generator_width=0.05",
    "discriminator_width=0.05", "checks.every=5", "checks.images=16", "checks.sheet_rows=1", "recogniser.images=256",
    "recogniser.width=4", "journal_every=1", "transfer.end_minute=0.5", "generate.end_minute=1",
)  # fmt: skip
PLANNED = ("transfer.steps=20", "generate.steps=20")


class Clock(NullCallback):
    """A clock that moves by some seconds with every step and with every check, and by nothing else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, check: float = 0.0) -> None:
        self.now, self.seconds = 1_000.0, seconds
        measure = Validator.check

        def taking_time(*arguments: Any) -> CheckReport:
            self.now += check
            return measure(*arguments)

        monkeypatch.setattr(Validator, "check", taking_time)
        self.steps: list[int] = []
        self.revised: list[int] = []
        self.stop: tuple[int, StopRequest] | None = None
        for module in ("training.clock", "runs.new_run"):
            monkeypatch.setattr(f"ctfgan.{module}.time", self)

    def monotonic(self) -> float:
        return self.now

    def on_step(self, step: int, losses: StepLosses) -> None:
        self.now += self.seconds
        self.steps.append(step)
        if self.stop is not None and len(self.steps) == self.stop[0]:
            self.stop[1].signal_number = 2

    def on_steps_revised(self, settings: StageSettings) -> None:
        self.revised.append(settings.steps)


def stages(clock: Clock) -> list[int]:
    """Steps of each stage."""
    return [one for one, following in zip(clock.steps, [*clock.steps[1:], 1], strict=True) if following == 1]


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 3.0])
def test_each_stage_ends_at_its_minute_on_a_machine_of_another_speed_than_planned(
    seconds: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = Clock(monkeypatch, seconds)
    run = ctfgan.train(ctfgan.recipe("ctf-glyphs", *TINY, *PLANNED), tmp_path / "run", Callbacks(clock))
    transfer, generate = stages(clock)
    # Preparing took no time on this clock, since it is the trainer's alone.
    assert seconds * transfer == pytest.approx(30, abs=5 * seconds if seconds > 2 else 2)
    assert seconds * (transfer + generate) == pytest.approx(60, abs=2 * seconds)
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    paces = [line["steps"] for line in lines if line["event"] == "pace"]
    assert paces == clock.revised
    assert bool(paces) == (seconds != 1.5)
    ends = [line["reason"] for line in lines if line["event"] == "stage-end"]
    assert ends == [f"all {transfer} steps done", f"all {generate} steps done"]


@pytest.mark.parametrize("check", [0.0, 4.0])
@pytest.mark.parametrize("stopped_after", [12, 14, 15, 31])
def test_a_resumed_run_keeps_its_clock_and_its_plan(
    stopped_after: int, check: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between checks, right before one and with one that is due."""
    run, request = tmp_path / "run", StopRequest()
    clock = Clock(monkeypatch, 1.0, check)
    clock.stop = stopped_after, request
    recipe = ctfgan.recipe("ctf-glyphs", *TINY, *PLANNED)
    with monkeypatch.context() as patch:
        patch.setattr("ctfgan.runs.new_run.stop_on_signals", lambda **_: _given(request))
        with pytest.raises(Interrupted):
            ctfgan.train(recipe, run, Callbacks(clock))
    clock.stop = None
    before = clock.now
    clock.now += 100_000  # the night
    ctfgan.resume(run, Callbacks(clock))
    assert clock.now - 100_000 - 1_000 == pytest.approx(60, abs=5)
    assert clock.now > before


def test_steps_that_are_set_on_resuming_count_whatever_the_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = Clock(monkeypatch, 1.0)
    run = ctfgan.train(ctfgan.recipe("ctf-glyphs", *TINY, *PLANNED), tmp_path / "run", Callbacks(clock))
    _, done = stages(clock)
    with pytest.raises(ConfigError, match=f"has done {done} in stage 'generate'"):
        ctfgan.resume(run, settings=["generate.steps=3"])
    ctfgan.resume(run, Callbacks(clock), settings=[f"generate.steps={done + 7}"])
    assert clock.steps[-1] == done + 7
    assert json.loads((run / "recipe.json").read_text())["method"]["generate"]["end_minute"] is None


@pytest.mark.parametrize("way", ["named", "written"])
def test_steps_that_are_set_count_though_they_are_those_of_the_plan(
    way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = Clock(monkeypatch, 4.0)
    run = ctfgan.train(ctfgan.recipe("ctf-glyphs", *TINY, *PLANNED), tmp_path / "run", Callbacks(clock))
    assert clock.steps[-1] < 20
    if way == "named":  # as many as were planned, of which fewer were done
        ctfgan.resume(run, Callbacks(clock), settings=["generate.steps=20"])
        assert clock.steps[-1] == 20
    else:
        text = json.loads((run / "recipe.json").read_text())
        text["method"]["generate"]["steps"] = 23
        (run / "recipe.json").write_text(json.dumps(text))
        ctfgan.resume(run, Callbacks(clock))
        assert clock.steps[-1] == 23

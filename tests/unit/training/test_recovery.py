"""Training that fails: rolled back, with lower rates, bit for bit whoever resumes; given up with a diagnosis."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ctfgan
from ctfgan.core.errors import RunError
from ctfgan.data.batches import Batch
from ctfgan.recipes.overlay import with_settings
from ctfgan.runs.context import Callbacks, NullCallback
from ctfgan.storage.run_folder import RunFolder
from ctfgan.training.alarms import Alarm
from ctfgan.training.divergence import Rollback
from ctfgan.training.objectives.adversarial import AdversarialObjective, LossTerms
from ctfgan.training.optimizers import GanOptimizers
from ctfgan.training.validation import CheckReport
from tests.unit.training.test_trainer import TINY, assert_same_bits, final_state, stopped_and_resumed

RECIPE = ctfgan.recipe("ctf-glyphs", *TINY)


class Listener(NullCallback):
    def __init__(self) -> None:
        self.rollbacks: list[Rollback] = []

    def on_rollback(self, rollback: Rollback) -> None:
        self.rollbacks.append(rollback)


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, float], None]:
    """``fragile(step, rate)``: images of stage 2's given step are not numbers as long as the rates are above ``rate``
    times the recipe's: a real failure, which lower rates cure.
    """
    honest = GanOptimizers.discriminator_step

    def install(step: int, rate: float) -> None:
        def discriminator(self: GanOptimizers, objective: AdversarialObjective, batch: Batch) -> LossTerms:
            if self._stage.critic_steps == 1 and self.step == step - 1 and self._lr_scale > rate:
                batch = replace(batch, real=batch.real * float("nan"))
            return honest(self, objective, batch)

        monkeypatch.setattr(GanOptimizers, "discriminator_step", discriminator)

    return install


def lines(run: Path, event: str) -> list[dict[str, Any]]:
    return RunFolder(run).journal().read(event)


def test_a_run_that_fails_goes_on_from_the_last_good_state_with_half_the_rates(
    fragile: Callable[[int, float], None], tmp_path: Path
) -> None:
    fragile(3, 0.5)
    listener = Listener()
    run = ctfgan.train(RECIPE, tmp_path / "run", Callbacks(listener))
    (told,) = listener.rollbacks
    assert (told.stage, told.step, told.to_stage, told.to_step) == ("generate", 3, "generate", 2)
    assert told.generator_rate == RECIPE.method.generate.generator_rate / 2  # type: ignore[union-attr]
    assert told.discriminator_rate == RECIPE.method.generate.discriminator_rate / 2  # type: ignore[union-attr]
    assert told.reason == "discriminator_adversarial is nan since step 3"
    (written,) = lines(run, "rollback")
    assert written["reason"] == told.reason
    assert written["figures"]["discriminator_adversarial"] == "nan", "JSON has no number for it"
    steps = [(line["stage"], line["step"]) for line in lines(run, "step")]
    assert steps == [(stage, step) for stage in ("transfer", "generate") for step in (1, 2, 3, 4)]
    assert ctfgan.load(run).sample(["0"], 2).images.shape == (2, 16, 16, 1)
    provenance = json.loads((run / "bundle/provenance.json").read_text())
    assert provenance["health"] == {"rollbacks": 1, "slowed": 0.5, "alarms": {}}


@pytest.mark.parametrize("stopped_after", [6, pytest.param(7, marks=pytest.mark.slow)])
def test_a_run_stopped_before_or_after_its_rollback_ends_in_the_same_bits(
    fragile: Callable[[int, float], None], stopped_after: int, tmp_path: Path
) -> None:
    """The seventh step is the one that fails: the signal that comes with it is heeded once the run has gone back."""
    fragile(3, 0.5)
    whole = ctfgan.train(RECIPE, tmp_path / "whole")
    stopped_and_resumed(RECIPE, tmp_path / "run", stopped_after)
    assert_same_bits(tmp_path / "run", whole)


def test_the_checkpoint_of_a_signal_is_no_place_to_go_back_to(
    fragile: Callable[[int, float], None], tmp_path: Path
) -> None:
    recipe = with_settings(RECIPE, {}, ("checks.every=4",))
    fragile(4, 0.5)
    whole = ctfgan.train(recipe, tmp_path / "whole")
    stopped_and_resumed(recipe, tmp_path / "run", 6)
    assert [line["to_step"] for line in lines(tmp_path / "run", "rollback")] == [0]
    assert_same_bits(tmp_path / "run", whole)


def test_a_second_failure_in_a_row_goes_one_good_checkpoint_further_back(
    fragile: Callable[[int, float], None], tmp_path: Path
) -> None:
    fragile(3, 0.25)
    run = ctfgan.train(RECIPE, tmp_path / "run")
    found = [(line["number"], line["to_stage"], line["to_step"]) for line in lines(run, "rollback")]
    assert found == [(1, "generate", 2), (2, "generate", 0)], "the first line has survived the second rollback"
    assert lines(run, "rollback")[1]["generator_rate"] == RECIPE.method.generate.generator_rate / 4  # type: ignore[union-attr]


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    fragile: Callable[[int, float], None], tmp_path: Path
) -> None:
    fragile(3, 0.5)
    told: list[str] = []

    class Vandal(Listener):
        def on_stage(self, name: str, number: int, of: int, step: int, settings: object) -> None:
            self.number = number

        def on_check(self, report: CheckReport) -> None:
            if (self.number, report.step, self.rollbacks) == (2, 2, []):
                (RunFolder(tmp_path / "run").checkpoints()[-1] / "state.pt").write_bytes(b"")

        def on_alarm(self, alarm: Alarm) -> None:
            told.append(alarm.message)

    listener = Vandal()
    ctfgan.train(RECIPE, tmp_path / "run", Callbacks(listener))
    assert [(found.to_stage, found.to_step) for found in listener.rollbacks] == [("generate", 0)]
    (message,) = told
    assert "step-00000007/state.pt is missing or damaged" in message
    assert "put aside as damaged-step-" in message


def test_a_lowered_rate_is_that_of_the_step(fragile: Callable[[int, float], None], tmp_path: Path) -> None:
    """A run that failed at the first step of stage 2 ends like one that began that stage with half the rates."""
    halves = {f"method.generate.{name}_rate": RECIPE.method.generate.generator_rate / 2  # type: ignore[union-attr]
              for name in ("generator", "discriminator")}  # fmt: skip
    expected = final_state(ctfgan.train(with_settings(RECIPE, halves, ()), tmp_path / "half"))
    fragile(1, 0.5)
    found = final_state(ctfgan.train(RECIPE, tmp_path / "run"))
    assert [name for name in expected if not expected[name].equal(found[name])] == []


ABSURD = ("transfer.discriminator_rate=1e38", "recovery.attempts=2")


def test_a_run_that_always_fails_ends_with_a_diagnosis_and_a_state_to_go_on_from(
    run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    """An absurd rate, nothing patched."""
    run = tmp_path / "run"
    arguments = [part for setting in (*TINY, *ABSURD) for part in ("--set", setting)]
    outcome = run_cli("train", "--recipe", "ctf-glyphs", "--out", run, *arguments)
    assert outcome.code == 2
    (sentence,) = outcome.err.splitlines()
    assert "training failed in stage 'transfer' at step " in sentence
    assert "it was rolled back 2 times and failed again, at last with generator_rate 0.0002 and" in sentence
    assert "train again with lower rates (--set)" in sentence
    assert f"raise training.recovery.attempts in {run / 'recipe.json'} and go on with 'ctfgan resume {run}'" in sentence
    assert outcome.out.count("going back to step 0 of stage 'transfer' with generator_rate") == 2
    assert "discriminator_rate 5e+37 (rollback 1 of at most 2)" in outcome.out
    (verdict,) = lines(run, "diagnosis")
    assert verdict["message"] in sentence
    assert verdict["figures"]
    folder = RunFolder(run)
    (only,) = folder.checkpoints()
    assert folder.manifest(only)["stage_step"] == 0
    folder.load(only)

    # Nothing has changed, so it fails again; what was counted before counts.
    with pytest.raises(RunError, match="rolled back 2 times and failed again"):
        ctfgan.resume(run)
    assert len(lines(run, "rollback")) == 2
    assert len(lines(run, "diagnosis")) == 2

    # One more attempt, with rates that are not absurd.
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["training"]["recovery"] |= {"attempts": 3, "rate_factor": 1e-40}
    (run / "recipe.json").write_text(json.dumps(recipe))
    ctfgan.resume(run)
    assert [line["number"] for line in lines(run, "rollback")] == [1, 2, 3]
    assert (run / "bundle").is_dir()


def test_without_attempts_the_first_failure_is_the_end(fragile: Callable[[int, float], None], tmp_path: Path) -> None:
    fragile(1, 0.0)
    recipe = with_settings(RECIPE, {}, ("recovery.attempts=0",))
    with pytest.raises(RunError, match=r"at step 1: discriminator_adversarial is nan since step 1; it was not rolled"):
        ctfgan.train(recipe, tmp_path / "run")


def test_a_discriminator_that_a_rate_has_broken_is_seen_although_all_losses_are_finite(tmp_path: Path) -> None:
    """Weights of 1e4 leave every ReLU of a spectrally normalised discriminator on one side; nothing is patched."""
    settings = ("transfer.discriminator_rate=1e4", "transfer.steps=12", "recovery.window=4", "recovery.attempts=0",
                "checks.every=100")  # fmt: skip
    with pytest.raises(RunError, match=r"the discriminator says the same of every (real|fake) image"):
        ctfgan.train(with_settings(RECIPE, {}, settings), tmp_path / "run")


def test_a_failing_state_is_no_good_checkpoint_and_is_gone_after_the_rollback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Logits that say nothing from step 3 of stage 1 on: five lines of the journal, two checks among them."""
    honest = AdversarialObjective.discriminator_terms
    seen: list[list[bool]] = []

    def terms(self: AdversarialObjective, batch: Batch) -> LossTerms:
        found = honest(self, batch)
        assert self.logits is not None
        if stage_step[0] >= 3 and not listener.rollbacks:
            self.logits = self.logits[0] * 0, self.logits[1] * 0
        return found

    class Following(Listener):
        def on_step(self, step: int, losses: object) -> None:
            stage_step[0] = step + 1

        def on_check(self, report: object) -> None:
            folder = RunFolder(tmp_path / "run")
            seen.append([folder.manifest(path)["good"] for path in folder.checkpoints()])

        def on_rollback(self, rollback: Rollback) -> None:
            super().on_rollback(rollback)
            stage_step[0] = rollback.to_step + 1

    stage_step, listener = [1], Following()
    monkeypatch.setattr(AdversarialObjective, "discriminator_terms", terms)
    recipe = with_settings(RECIPE, {}, ("transfer.steps=8", "recovery.window=5", "keep_checkpoints=1"))
    ctfgan.train(recipe, tmp_path / "run", Callbacks(listener))
    assert [(told.step, told.to_step) for told in listener.rollbacks] == [(7, 2)]
    assert seen[1][-1] is False
    assert seen[2][-1] is False
    assert all(True in kept for kept in seen), "whatever is pruned, a good one stays"
    assert RunFolder(tmp_path / "run").good() == RunFolder(tmp_path / "run").checkpoints()

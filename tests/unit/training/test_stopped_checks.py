"""A signal in the middle of a check: it is left at once, and done first thing when the run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ctfgan
from ctfgan.core.errors import Interrupted
from ctfgan.core.signals import StopRequest
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier
from ctfgan.runs.context import Callbacks, NullCallback
from ctfgan.storage.run_folder import RunFolder
from ctfgan.training.optimizers import Ema
from ctfgan.training.validation import CheckReport
from tests.unit.training.test_trainer import TINY, _given, assert_same_bits

SETTINGS = (*TINY, "checks.images=600", "alarms.checks=1", "keep_checkpoints=2")
RECIPE = ctfgan.recipe("ctf-glyphs", *SETTINGS)
ENDED_EARLY = ctfgan.recipe("ctf-glyphs", *SETTINGS, "transfer.patience=1", "checks.significant=0.99")


@pytest.fixture(autouse=True, scope="module")
def _every_class_is_warned_of() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctfgan.training.alarms.alike_below", lambda threshold, floor: 9.0)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ctfgan.train(RECIPE, tmp_path_factory.mktemp("whole") / "run")


class Reader:
    """Counts what the recogniser is asked to read, and asks for a stop at the beginning of one of these.

    Of a run's first check it reads samples, training images, and more of these by class; of each later one, samples.
    """

    def __init__(self, patch: pytest.MonkeyPatch, request: StopRequest, stop_at: int, batch: int) -> None:
        self.calls = 0
        self.batches = 0
        honest = TrainedEvalClassifier.read

        def read(eval_classifier: TrainedEvalClassifier, images: np.ndarray, progress: Any) -> Any:
            self.calls += 1
            is_last = self.calls == stop_at

            def spy(items: Any, total: int, what: str) -> Iterator[int]:
                for number, item in enumerate(progress(items, total, what)):
                    if is_last and number == batch:
                        request.signal_number = 15
                    self.batches += 1
                    yield item

            return honest(eval_classifier, images, spy)

        patch.setattr(TrainedEvalClassifier, "read", read)


def stopped(recipe: Any, run: Path, stop_at: int, batch: int = 0) -> tuple[str, Reader]:
    """Train or resume, stopped at the ``stop_at``-th reading's given batch; returns what was said and the reader."""
    request = StopRequest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctfgan.runs.new_run.stop_on_signals", lambda **_: _given(request))
        reader = Reader(patch, request, stop_at, batch)
        with pytest.raises(Interrupted) as stop:
            ctfgan.resume(run) if recipe is None else ctfgan.train(recipe, run)
    assert stop.value.exit_code == 143
    return str(stop.value), reader


def assert_same_run(run: Path, whole: Path) -> None:
    """Weights, optimisers, journal, checkpoints with what is noted of them, sheets, bundle."""
    assert_same_bits(run, whole)
    ours, theirs = RunFolder(run), RunFolder(whole)
    assert [folder.name for folder in ours.checkpoints()] == [folder.name for folder in theirs.checkpoints()]
    for own, other in zip(ours.checkpoints(), theirs.checkpoints(), strict=True):
        for part in ("step", "stage", "stage_step", "distance", "good"):
            assert ours.manifest(own)[part] == theirs.manifest(other)[part]
        states = [torch.load(folder / "state.pt", weights_only=True) for folder in (own, other)]
        for part in ("alarms", "monitor", "recovery", "check_due", "distances"):
            assert states[0][part] == states[1][part]
    for folder in ("sheets", "bundle"):
        contents = [
            {path.name: path.read_bytes() for path in (of / folder).iterdir() if path.name != "provenance.json"}
            for of in (run, whole)
        ]
        assert contents[0] == contents[1]


FIRST, SECOND, LAST = 1, 4, 6  # readings of samples: at step 2 and 4 of stage 1, and at step 4 of stage 2


@pytest.mark.parametrize(
    ("stop_at", "stage", "step"), [(FIRST, "transfer", 2), (SECOND, "transfer", 4), (LAST, "generate", 4)]
)
def test_a_stop_in_a_check_saves_at_once_and_the_run_ends_in_the_same_bits(
    stop_at: int, stage: str, step: int, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    said, reader = stopped(RECIPE, run, stop_at)
    assert said == (
        f"stopped in stage {stage!r} after step {step}, before its check, state saved; go on with 'ctfgan resume {run}'"
    )
    assert reader.calls == stop_at, "nothing was read after the signal"
    folder = RunFolder(run)
    note = folder.manifest(folder.checkpoints()[-1])
    assert (note["stage"], note["stage_step"], note["distance"], note["good"]) == (stage, step, None, False)
    checks = folder.journal().read("check")
    assert (stage, step) not in [(line["stage"], line["step"]) for line in checks], "what it had found is thrown away"
    ctfgan.resume(run)
    assert_same_run(run, whole)
    assert RunFolder(run).journal().read("alarm"), "warnings are among what is the same"


def test_a_stop_between_two_batches_of_one_reading_is_heeded(whole: Path, tmp_path: Path) -> None:
    """600 samples are two batches; the next thing to read would be the training images."""
    _, reader = stopped(RECIPE, tmp_path / "run", FIRST, batch=0)
    assert (reader.calls, reader.batches) == (1, 1)


def test_a_stop_while_samples_are_made_is_heeded_before_anything_is_read(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, forwards = StopRequest(), 0

    def count(module: torch.nn.Module, inputs: Any, output: Any) -> None:
        nonlocal forwards
        if not module.training:
            forwards += 1
            request.signal_number = 15

    honest = Ema.__init__

    def init(self: Ema, network: torch.nn.Module, decay: float) -> None:
        honest(self, network, decay)
        self.network.register_forward_hook(count)

    with monkeypatch.context() as patch:
        patch.setattr(Ema, "__init__", init)
        patch.setattr("ctfgan.runs.new_run.stop_on_signals", lambda **_: _given(request))
        patch.setattr(TrainedEvalClassifier, "read", None)
        with pytest.raises(Interrupted, match="after step 2, before its check"):
            ctfgan.train(RECIPE, tmp_path / "run")
    assert forwards == 1, "of three chunks"
    ctfgan.resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_a_check_may_be_stopped_again_and_again(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopped(RECIPE, run, SECOND)
    before = RunFolder(run).checkpoints()
    for _ in range(2):
        said, reader = stopped(None, run, 1)
        assert "after step 4, before its check" in said
        assert reader.calls == 1
        assert RunFolder(run).checkpoints() == before
    ctfgan.resume(run)
    assert_same_run(run, whole)


@pytest.mark.slow
def test_a_stage_whose_stopped_check_finds_a_plateau_ends_with_it(tmp_path: Path) -> None:
    whole = ctfgan.train(ENDED_EARLY, tmp_path / "whole")
    (end, _) = RunFolder(whole).journal().read("stage-end")
    assert end["reason"] == "no improvement by 99% in 1 checks"
    run = tmp_path / "run"
    stopped(ENDED_EARLY, run, SECOND)
    ctfgan.resume(run)
    assert_same_run(run, whole)


class AfterCheck(NullCallback):
    """Asks for a stop when a check has been told."""

    def __init__(self, request: StopRequest) -> None:
        self._request = request

    def on_check(self, report: CheckReport) -> None:
        self._request.signal_number = 2


def test_a_stop_right_after_a_check_keeps_what_the_check_found(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, request = tmp_path / "run", StopRequest()
    with monkeypatch.context() as patch:
        patch.setattr("ctfgan.runs.new_run.stop_on_signals", lambda **_: _given(request))
        with pytest.raises(Interrupted, match="after step 2, state saved"):
            ctfgan.train(RECIPE, run, Callbacks(AfterCheck(request)))
    folder = RunFolder(run)
    assert folder.manifest(folder.checkpoints()[-1])["distance"] is not None
    ctfgan.resume(run)
    assert_same_run(run, whole)

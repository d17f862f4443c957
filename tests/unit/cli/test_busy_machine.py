"""Threads on a machine that other programs keep busy: how they wait, and what is said."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from ctfgan.cli import console
from ctfgan.training.loop import StepLosses
from ctfgan.training.settings import StageSettings

SAY_POLICY = """
import os, sys
from ctfgan.cli.main import main
sys.argv = ["ctfgan", "--version"]
try:
    main()
finally:
    print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("own", "policy"),
    [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active"), ({"GOMP_SPINCOUNT": "9"}, None)],
)
def test_threads_of_a_command_sleep_while_they_wait_unless_the_user_says_how(
    own: dict[str, str], policy: str | None
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | own
    ended = subprocess.run([sys.executable, "-c", SAY_POLICY], env=environment, capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == f"{policy} False", ended.stderr


@pytest.mark.parametrize(
    ("threads", "processors", "device", "is_said"),
    [(2, 0.4, "cpu", True), (2, 1.6, "cpu", False), (1, 0.4, "cpu", False), (2, 0.4, "meta", False)],
)
def test_threads_that_get_less_than_one_processor_are_told_of_once(
    threads: int, processors: float, device: str, is_said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, said = [100.0], list[str]()
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(console.time, "process_time", lambda: 7 + now[0] * processors)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(console, "say", said.append)
    monkeypatch.setattr(console, "_losses", lambda losses: "")  # of "meta" there are no numbers
    view = console.TrainingView()
    view.on_stage("generate", 1, 1, 0, StageSettings(steps=100, batch_size=8))
    losses = StepLosses({"adversarial": torch.zeros((), device="cpu")}, {"adversarial": torch.zeros((), device=device)})
    for step in range(1, 20):
        now[0] += 4
        view.on_step(step, losses)
    notes = [line for line in said if line.startswith("note: ")]
    assert len(notes) == is_said
    assert all("2 threads have had 0.4 of a processor for 16 s" in note for note in notes)

"""What a series of checks warns of, and that a real check of a real generator shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ctfgan
from ctfgan.models.interfaces import Condition, Noise
from ctfgan.models.resnet_gan import ResnetGenerator
from ctfgan.recipes.overlay import with_settings
from ctfgan.runs.context import Callbacks, NullCallback
from ctfgan.storage.run_folder import RunFolder
from ctfgan.training.alarms import Alarm, Alarms
from ctfgan.training.settings import AlarmSettings
from ctfgan.training.validation import CheckReport
from tests.unit.training.test_trainer import TINY, final_state

NAMES = tuple("abcdefgh")
WELL = CheckReport("generate", 100, 50.0, 0.9, Path(), 800, 0.9, [0.9] * 8, 0.7)


def told(reports: Sequence[CheckReport], alarms: Alarms | None = None) -> list[list[Alarm]]:
    alarms = alarms or Alarms(AlarmSettings(), NAMES, [100, 100, 7, 100, 100, 100, 100, 100])
    return [alarms.look(replace(report, step=100 * number)) for number, report in enumerate(reports, start=1)]


def collapsed(*labels: int) -> CheckReport:
    return replace(WELL, class_variety=[0.02 if label in labels else 0.9 for label in range(8)])


def test_a_healthy_series_is_silent() -> None:
    assert told([replace(WELL, distance=900 / step) for step in range(1, 10)]) == [[]] * 9


def test_classes_that_stay_alike_are_named_with_their_images_once_until_more_join() -> None:
    two, three = collapsed(2, 5), collapsed(2, 5, 6)
    found = told([two, two, two, two, three, three, three, WELL, two, two, two])
    assert [[alarm.subjects for alarm in alarms] for alarms in found] == [
        [], [], [("c", "f")], [], [], [], [("c", "f", "g")], [], [], [], [("c", "f")],
    ]  # fmt: skip
    (alarm,) = found[2]
    assert alarm.kind == "class variety"
    assert alarm.message.startswith("the samples of 2 classes are nearly alike (2% or less of the variety of the real")
    assert "'c' (7), 'f' (100), real images in brackets" in alarm.message, "the smallest first"
    assert "augmentation" in alarm.message


def test_a_handful_is_named_and_the_rest_counted() -> None:
    (alarm,) = told([collapsed(*range(8))] * 3)[2]
    assert "'e' (100) and 3 more, real images in brackets" in alarm.message
    assert "'f'" not in alarm.message
    assert alarm.subjects == ("c", "a", "b", "d", "e", "f", "g", "h")


def test_what_real_images_reach_by_chance_is_no_collapse() -> None:
    few = replace(WELL, class_variety=[0.15] * 8, variety_floor=0.1)
    assert told([few] * 5) == [[]] * 5


def test_recognition_that_falls_to_chance_is_told_at_once_but_not_one_that_never_rose() -> None:
    lost = replace(WELL, top_1=0.13)
    assert [alarm.kind for alarm in told([WELL, lost])[1]] == ["recognition"]
    assert told([lost] * 4) == [[]] * 4
    assert told([WELL, replace(WELL, top_1=0.3)])[1] == []


def test_a_resumed_series_goes_on_counting() -> None:
    alarms, resumed = (Alarms(AlarmSettings(), NAMES, [100] * 8) for _ in range(2))
    told([collapsed(1)] * 2, alarms)
    resumed.restore(alarms.state())
    (alarm,) = resumed.look(collapsed(1))
    assert alarm.subjects == ("b",)
    later = Alarms(AlarmSettings(), NAMES, [100] * 8)
    later.restore(resumed.state())
    assert later.look(collapsed(1)) == []


class Listener(NullCallback):
    def __init__(self) -> None:
        self.alarms: list[Alarm] = []

    def on_alarm(self, alarm: Alarm) -> None:
        self.alarms.append(alarm)


SMALL = tuple(setting for setting in TINY if not setting.startswith(("transfer.", "generate.")))
RECIPE = ctfgan.recipe("projection-glyphs", *SMALL, "adversarial.steps=10", "adversarial.batch_size=6",
                       "glyphs.images_per_class=40", "checks.images=40", "recogniser.images=4000")  # fmt: skip


def test_a_healthy_run_raises_no_alarm_and_checks_leave_training_as_it_is(tmp_path: Path) -> None:
    listener = Listener()
    often = ctfgan.train(RECIPE, tmp_path / "often", Callbacks(listener))
    journal = RunFolder(often).journal()
    assert listener.alarms == []
    assert [line["event"] for line in journal.read() if line["event"] in ("alarm", "rollback")] == []
    checks = journal.read("check")
    assert len(checks) == 5
    assert all(line["least_class_variety"] > 0.3 for line in checks)
    once = ctfgan.train(with_settings(RECIPE, {}, ("checks.every=10",)), tmp_path / "once")
    expected, found = final_state(once), final_state(often)
    assert [name for name in expected if name != "distances" and not expected[name].equal(found[name])] == []


def test_a_generator_that_ignores_the_noise_for_one_class_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = ResnetGenerator.forward

    def deaf(self: ResnetGenerator, condition: Condition, noise: Noise) -> torch.Tensor:
        return honest(self, condition, Noise(noise.latent * (condition.labels != 2)[:, None], noise.blocks))

    monkeypatch.setattr(ResnetGenerator, "forward", deaf)
    listener = Listener()
    run = ctfgan.train(RECIPE, tmp_path / "run", Callbacks(listener))
    (alarm,) = listener.alarms
    assert (alarm.kind, alarm.step, alarm.subjects) == ("class variety", 6, ("2",)), "at the third check, then no more"
    assert "the samples of 1 class are nearly alike (0% or less" in alarm.message
    journal = RunFolder(run).journal()
    (line,) = journal.read("alarm")
    assert line == {"event": "alarm", "kind": "class variety", "stage": "adversarial", "step": 6,
                    "message": alarm.message, "subjects": ["2"]}  # fmt: skip
    assert journal.read("check")[-1]["least_class_variety"] == 0.0
    provenance = json.loads((run / "bundle/provenance.json").read_text())
    assert provenance["health"]["alarms"] == {"class variety": 1}

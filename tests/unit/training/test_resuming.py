"""What may change of a run's recipe between one training and the next, and how a finished run trains on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import ctfgan
from ctfgan.core.errors import ConfigError, CtfganError, Interrupted, RunError
from ctfgan.core.signals import StopRequest
from ctfgan.recipes.catalogue import RECIPES, named_recipe
from ctfgan.recipes.overlay import changed_settings, with_settings
from ctfgan.recipes.recipe import Recipe
from ctfgan.recipes.resuming import check_patience, check_settings, check_steps
from ctfgan.runs.context import Callbacks
from ctfgan.runs.resumed_run import is_finished
from ctfgan.storage.run_folder import RunFolder
from tests.unit.training.test_trainer import FINISHED, TINY, Stopper, _given, assert_same_bits, final_state

RECIPE = ctfgan.recipe("ctf-glyphs", *TINY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ctfgan.train(RECIPE, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def edit(run: Path, name: str, value: object) -> None:
    """Change ``recipe.json`` as with an editor."""
    recipe = json.loads((run / "recipe.json").read_text())
    *path, last = name.split(".")
    place: Any = recipe
    for part in path:
        place = place[part]
    assert last in place
    place[last] = value
    (run / "recipe.json").write_text(json.dumps(recipe))


def unfinish(run: Path) -> None:
    shutil.rmtree(run / "bundle")


def resume(run: Path, *settings: str) -> list[str]:
    said: list[str] = []
    ctfgan.resume(run, Callbacks(say=said.append), None, settings)
    return said


def content(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


# What may change


HELD = [
    ("method.networks.generator_width", 0.1), ("method.networks.noise", 17), ("seed", 3), ("data.seed", 3),
    ("data.resolution", 32), ("data.high_quality_fraction", 0.5), ("data.degradation.size", 4),
    ("method.transfer.betas", [0.5, 0.9]), ("training.ema_decay", None), ("recogniser.width", 8),
    ("method.self_supervision.discriminator_weight", 0.5), ("data.reference", "published"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), HELD)
@pytest.mark.parametrize("by", ["an editor", "--set"])
def test_what_checkpoints_and_data_hang_on_is_refused_with_both_values_and_nothing_is_changed(
    name: str, value: Any, by: str, run: Path
) -> None:
    unfinish(run)
    old = changed_settings(RECIPE, None)[name][0]
    settings = []
    if by == "--set":
        settings = [f"{name}={json.dumps(value) if value is not None else 'none'}"]
    else:
        edit(run, name, value)
    before = content(run)
    new = tuple(value) if isinstance(value, list) else value
    with pytest.raises(ConfigError) as refusal:
        resume(run, *settings)
    assert f"{name} is {new!r}, was {old!r}" in str(refusal.value)
    assert "train a new run" in str(refusal.value)
    assert content(run) == before


def test_a_changed_width_is_refused_by_every_reader_of_the_weights(run: Path) -> None:
    edit(run, "method.networks.generator_width", 0.1)
    with pytest.raises(ConfigError, match=r"method.networks.generator_width is 0.1, was 0.05"):
        ctfgan.evaluate(run)


def agree(run: Path) -> None:
    """Have data.json say that the run has trained with what its recipe says now."""
    data = json.loads((run / "data.json").read_text())
    data["recipe"] = json.loads((run / "recipe.json").read_text())
    (run / "data.json").write_text(json.dumps(data))


@pytest.mark.parametrize(("name", "value"), [
    ("method.networks.generator_width", 0.1), ("method.networks.noise", 17), ("training.ema_decay", None),
    ("method.self_supervision", {"discriminator_weight": 0.0, "generator_weight": 0.0}),
    ("method.networks.discriminator_width", 0.1),
])  # fmt: skip
def test_networks_that_do_not_fit_the_checkpoint_are_refused_anyway(name: str, value: Any, run: Path) -> None:
    unfinish(run)
    edit(run, name, value)
    agree(run)
    with pytest.raises(RunError, match=r"does not fit its recipe \(.*undo what was changed in recipe.json"):
        resume(run)


def test_a_finished_run_whose_networks_do_not_fit_is_not_measured(run: Path) -> None:
    edit(run, "method.networks.generator_width", 0.1)
    agree(run)
    with pytest.raises(RunError, match="does not fit the checkpoints; undo what was changed"):
        ctfgan.evaluate(run)


def test_a_run_whose_stage_is_gone_is_refused(run: Path) -> None:
    unfinish(run)
    edit(run, "method.transfer.steps", 0)
    edit(run, "start.path", "/somewhere")
    agree(run)
    with pytest.raises(RunError, match=r"is of stage 2, which its recipe has not"):
        resume(run)


FREED = {
    "checks.sheet_rows=2", "alarms.checks=2", "recovery.window=5", "recovery.attempts=1",
    "keep_checkpoints=1", "journal_every=2", "release=best", "tracker=none", "device=cpu", "name=other",
    "evaluation.images=200", "generate.generator_rate=1e-5", "generate.discriminator_rate=1e-5",
    "generate.decay_from=0.5", "generate.patience=5", "generate.batch_size=8", "generate.critic_steps=2",
    "generate.accumulate=2", "generate.generator_batches=2", "generate.consistency=0.5", "precision=bfloat16",
    "augmentation.policy=['flip']", "lecam.weight=0.3", "penalty.r1=0.1", "ema_decay=0.9", "generate.fake_classes=real",
}  # fmt: skip


def test_what_no_checkpoint_hangs_on_may_change_and_takes_effect(run: Path) -> None:
    settings = (*sorted(FREED), "generate.steps=8")
    resume(run, *settings)
    folder = RunFolder(run)
    assert folder.manifest(folder.checkpoints()[-1])["stage_step"] == 8
    checks = [line["step"] for line in folder.journal().read("check") if line["stage"] == "generate"]
    assert checks == [2, 4, 6, 8]
    assert json.loads((run / "recipe.json").read_text()) == json.loads(with_settings(RECIPE, {}, settings).to_json())
    assert ctfgan.load(run).bundle.recipe.name == "other"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_may_go_on_as_it_is(name: str) -> None:
    recipe = named_recipe(name)
    check_settings(recipe, recipe, "run")
    stage = [name for name, value in recipe.method if hasattr(value, "steps") and value.steps][-1]
    stage = f"grow-{recipe.data.resolution}" if stage == "grow" else stage
    check_steps(recipe, recipe, stage, 1, "run")


def test_images_that_moved_get_their_new_place_but_do_not_come_or_go() -> None:
    recipe = with_settings(named_recipe("ctf-folders"), {"data.high_quality": "/a", "data.low_quality": "/b"}, ())
    check_settings(recipe, with_settings(recipe, {"data.high_quality": "/c", "data.low_quality": "/d"}, ()), "run")
    with pytest.raises(ConfigError, match=r"data.low_quality is None, was '/b'"):
        check_settings(recipe, with_settings(recipe, {"data.low_quality": None}, ()), "run")


# Steps


def test_a_finished_run_trains_on_and_is_what_it_would_be_if_it_had_had_the_steps_from_the_start(
    tmp_path: Path,
) -> None:
    """Where rates do not fall: a decay follows the length of the stage."""
    plain = with_settings(RECIPE, {}, ("generate.decay_from=1", "release=last"))
    long = ctfgan.train(with_settings(plain, {}, ("generate.steps=8",)), tmp_path / "long")
    run = ctfgan.train(plain, tmp_path / "run")
    (run / "figures.json").write_text('{"old": 1}')
    old = (run / "bundle/model.safetensors").read_bytes()
    said = resume(run, "generate.steps=8")
    assert_same_bits(run, long)
    new = (run / "bundle/model.safetensors").read_bytes()
    assert (new == (long / "bundle/model.safetensors").read_bytes(), new == old) == (True, False)
    assert (run / "recipe.json").read_bytes() == (long / "recipe.json").read_bytes()
    assert json.loads((run / "data.json").read_text())["changes"] == [
        {"after_steps": 8, "settings": {"method.generate.steps": {"before": 4, "now": 8}}}
    ]
    (aside,) = run.glob("figures*.json")
    assert aside.read_text() == '{"old": 1}'
    assert f"the figures so far are of the old weights and are kept as {aside}" in "\n".join(said)
    assert is_finished(RunFolder(run))


def test_a_falling_rate_follows_the_longer_stage(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 4 of 8 steps the rate is where the fall begins, and not at its end."""
    rates: list[float] = []
    step = torch.optim.Adam.step

    def noting(self: torch.optim.Adam) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", noting)
    stage = RECIPE.method.generate  # type: ignore[union-attr]
    assert stage.decay_from == 0.5
    resume(run, "generate.steps=8")
    assert sorted(set(rates), reverse=True) == pytest.approx([stage.generator_rate * left / 4 for left in (4, 3, 2, 1)])


def test_editing_the_steps_of_a_finished_run_does_the_same(run: Path) -> None:
    edit(run, "method.generate.steps", 6)
    assert not is_finished(RunFolder(run))
    with pytest.raises(RunError, match=r"is not finished; finish it with 'ctfgan resume"):
        ctfgan.evaluate(run)
    resume(run)
    assert RunFolder(run).manifest(RunFolder(run).checkpoints()[-1])["stage_step"] == 6
    assert is_finished(RunFolder(run))


def test_training_on_that_is_stopped_goes_on_to_the_same_bits_and_the_old_bundle_stays_meanwhile(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    resume(other, "generate.steps=8")
    old = (run / "bundle/model.safetensors").read_bytes()
    request = StopRequest()
    with monkeypatch.context() as patch:
        patch.setattr("ctfgan.runs.new_run.stop_on_signals", lambda **_: _given(request))
        with pytest.raises(Interrupted):
            ctfgan.resume(run, Callbacks(Stopper(1, request)), None, ("generate.steps=8",))
    assert (run / "bundle/model.safetensors").read_bytes() == old
    assert not is_finished(RunFolder(run))
    resume(run)
    assert_same_bits(run, other)


def test_the_history_of_changes_grows(run: Path) -> None:
    resume(run, "generate.steps=5")
    resume(run, "generate.steps=6", "keep_checkpoints=3")
    changes = json.loads((run / "data.json").read_text())["changes"]
    assert [change["after_steps"] for change in changes] == [8, 9]
    assert [sorted(change["settings"]) for change in changes] == [
        ["method.generate.steps"],
        ["method.generate.steps", "training.keep_checkpoints"],
    ]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            ("generate.steps=3",),
            "method.generate.steps is 3, but .* has done 4 in stage 'generate'; set it to at least 4",
        ),
        (("transfer.steps=9",), "method.transfer.steps is 9, was 4, but .* stands in stage 'generate' and does not go"),
        (("transfer.steps=2",), "method.transfer.steps is 2, was 4, but .* stands in stage 'generate' and does not go"),
        (("transfer.steps=0", "start.path=/x"), "start.path is '/x', was None"),
        (("generate.step=9",), "unknown setting 'generate.step'"),
        (("steps=9",), "'steps' is ambiguous"),
        (("generate.steps",), "has no value"),
        (("generate.steps=9", "generate.batch_size=7", "generate.accumulate=2"), "cannot share evenly"),
        (("generate.steps=9", "generate.patience=1", "checks.significant=5.0"), "has ended for another reason"),
    ],
)
def test_steps_that_a_run_cannot_go_on_with_are_refused(settings: tuple[str, ...], sentence: str, run: Path) -> None:
    before = content(run)
    with pytest.raises(CtfganError, match=sentence):
        resume(run, *settings)
    assert content(run) == before


def test_a_stage_may_be_ended_where_it_stands(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, request = tmp_path / "other", StopRequest()
    with monkeypatch.context() as patch:
        patch.setattr("ctfgan.runs.new_run.stop_on_signals", lambda **_: _given(request))
        with pytest.raises(Interrupted):
            ctfgan.train(RECIPE, other, Callbacks(Stopper(3, request)))
    resume(other, "transfer.steps=3")
    ends = [(line["stage"], line["step"]) for line in RunFolder(other).journal().read("stage-end")]
    assert ends == [("transfer", 3), ("generate", 4)]
    resume(other)  # the changed first stage, which is over, is no change any more
    assert torch.isfinite(final_state(other)["distances"]).all()


def test_settings_that_need_no_training_are_written_into_a_finished_run(run: Path) -> None:
    said = resume(run, "evaluation.images=123")
    assert said == [FINISHED.format(run).replace("already;", "already and has its new settings;")]
    assert json.loads((run / "recipe.json").read_text())["evaluation"]["images"] == 123


def test_a_run_without_a_checkpoint_may_change_altogether(run: Path) -> None:
    for folder in ("bundle", "checkpoints"):
        shutil.rmtree(run / folder)
    resume(run, "generator_width=0.1", "generate.steps=1")
    recipe = json.loads((run / "data.json").read_text())["recipe"]
    assert recipe["method"]["networks"]["generator_width"] == 0.1
    assert ctfgan.load(run).bundle.recipe.method.networks.generator_width == 0.1


@pytest.mark.parametrize(
    ("stage", "step", "settings", "is_refused"),
    [
        ("grow-4", 2, ("grow.steps=100000",), False),
        ("grow-4", 2, ("phase_steps=3",), True),
        ("grow-32", 50, ("grow.steps=49",), True),
        ("grow-32", 50, ("grow.steps=50",), False),
    ],
)
def test_a_growing_run_may_lengthen_its_last_size_alone(
    stage: str, step: int, settings: tuple[str, ...], is_refused: bool
) -> None:
    before: Recipe = with_settings(named_recipe("prog-gan-folders"), {}, ("data.resolution=32", "phase_steps=40"))
    now = with_settings(before, {}, settings)

    def check() -> None:
        check_settings(before, now, "run")
        check_steps(before, now, stage, step, "run")
        check_patience(before, now, stage, [1.0], "run")

    if is_refused:
        with pytest.raises(ConfigError, match=settings[0].split("=")[0]):
            check()
    else:
        check()


def test_places_that_are_wrong_are_refused_before_anything_is_written(run: Path) -> None:
    (run / "figures.json").write_text("{}")
    before = content(run)
    for more in ((), ("generate.steps=50",)):
        with pytest.raises(CtfganError, match="no_such_fonts"):
            resume(run, 'data.glyphs.font_folders=["/no_such_fonts"]', *more)
        assert content(run) == before


@pytest.mark.slow
def test_a_stage_that_patience_ended_goes_on_with_another_patience(tmp_path: Path) -> None:
    impatient = ("generate.steps=40", "generate.patience=1", "checks.significant=0.99")
    run = ctfgan.train(ctfgan.recipe("ctf-glyphs", *TINY, *impatient), tmp_path / "run")
    folder = RunFolder(run)
    done = folder.manifest(folder.checkpoints()[-1])["stage_step"]
    assert done < 40
    assert resume(run)[-1].startswith(f"{run} is finished already")
    resume(run, "generate.patience=none")
    assert folder.manifest(folder.checkpoints()[-1])["stage_step"] == 40
    assert is_finished(folder)

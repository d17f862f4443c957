"""Resume: train 2k equals train k and resume k, in each stage and across the switch."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import ctfgan
from ctfgan.core.errors import Interrupted, RunError
from ctfgan.core.signals import StopRequest
from ctfgan.recipes.recipe import Recipe
from ctfgan.runs.context import Callbacks, NullCallback
from ctfgan.storage.run_folder import RunFolder
from ctfgan.training.loop import StepLosses

TINY = (
    "glyphs.characters=0123", "glyphs.images_per_class=12", "data.resolution=16", "keep_checkpoints=20",
    "transfer.steps=4", "generate.steps=4", "transfer.batch_size=6", "generate.batch_size=6",
    "transfer.critic_steps=2", "generator_width=0.05", "discriminator_width=0.05", "checks.every=2",
    "checks.images=16", "checks.sheet_rows=1", "recogniser.images=256", "recogniser.width=4", "journal_every=1",
)  # fmt: skip


FINISHED = "{} is finished already; more steps than it has train it on, such as --set generate.steps=N"


class Stopper(NullCallback):
    """Raises the stop signal after some steps, as Ctrl-C would."""

    def __init__(self, after: int, request: StopRequest) -> None:
        self._left = after
        self._request = request

    def on_step(self, step: int, losses: StepLosses) -> None:
        self._left -= 1
        if self._left == 0:
            self._request.signal_number = 2


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return ctfgan.recipe("ctf-glyphs", *TINY)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ctfgan.train(recipe, tmp_path_factory.mktemp("whole") / "run")


def final_state(run: Path) -> dict[str, torch.Tensor]:
    newest = RunFolder(run).checkpoints()[-1]
    state = torch.load(newest / "state.pt", weights_only=True)
    tensors = load_file(newest / "networks.safetensors")
    for player in ("generator", "discriminator"):
        for index, values in state["optimizers"][player]["state"].items():
            tensors |= {f"{player}.{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    tensors["rng"] = state["rng"]
    tensors["distances"] = torch.tensor(state["distances"])
    tensors["batches"] = torch.tensor([state["batches"]["epoch"], state["batches"]["position"]])
    return tensors


def stopped_and_resumed(recipe: Recipe, run: Path, after: int) -> Interrupted:
    """Train into ``run``, stopped as by Ctrl-C after some steps and then resumed to the end; returns how it stopped."""
    request = StopRequest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctfgan.runs.new_run.stop_on_signals", lambda **_: _given(request))
        with pytest.raises(Interrupted, match=f"ctfgan resume {run}") as stop:
            ctfgan.train(recipe, run, Callbacks(Stopper(after, request)))
    ctfgan.resume(run)
    return stop.value


def assert_same_bits(run: Path, whole: Path) -> None:
    expected, found = final_state(whole), final_state(run)
    assert expected.keys() == found.keys()
    assert not [name for name in expected if not torch.equal(expected[name], found[name])]
    assert _losses(run) == _losses(whole)


@pytest.mark.parametrize(
    "stopped_after", [1, 4, 7, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 3, 5, 6))]
)
def test_stopping_anywhere_and_resuming_ends_in_the_same_bits(
    recipe: Recipe, whole: Path, stopped_after: int, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert stopped_and_resumed(recipe, run, stopped_after).exit_code == 130
    assert_same_bits(run, whole)
    assert RunFolder(run).best().name == RunFolder(whole).best().name
    model = "bundle/model.safetensors"
    assert (run / model).read_bytes() == (whole / model).read_bytes()


AIDED = (
    "strengthening.augmentation.policy=['translation', 'cutout']", "augmentation.target=0.6", "images_to_full=40",
    "lecam.weight=0.3", "lecam.from_step=2", "penalty.r1=0.1", "penalty.every=3",
)  # fmt: skip
CODES = ("class_tables=codes", "class_code=6")
SMALL = tuple(setting for setting in TINY if not setting.startswith(("transfer.", "generate.")))
GROWN = (*SMALL, "grow.steps=4", "phase_steps=2", "grow.batch_size=8")


@pytest.mark.parametrize(
    ("name", "settings", "stopped_after"),
    [("ctf-glyphs", (*TINY, *AIDED), 6), ("ctf-glyphs", (*TINY, *CODES), 6),
     pytest.param("ctf-glyphs", (*TINY, *CODES), 3, marks=pytest.mark.slow),
     pytest.param("ctf-glyphs", (*TINY, *AIDED), 3, marks=pytest.mark.slow),
     pytest.param("prog-gan-folders", GROWN, 3, marks=pytest.mark.slow),
     pytest.param("prog-gan-folders", (*GROWN, *CODES), 7, marks=pytest.mark.slow),
     ("prog-gan-folders", (*GROWN, *AIDED, "augmentation.target=none"), 7)],
)  # fmt: skip
def test_growth_class_codes_and_the_aids_for_small_data_resume_to_the_same_bits_too(
    name: str, settings: tuple[str, ...], stopped_after: int, tmp_path: Path
) -> None:
    recipe = ctfgan.recipe(name, *settings)
    whole = ctfgan.train(recipe, tmp_path / "whole")
    stopped_and_resumed(recipe, tmp_path / "run", stopped_after)
    assert_same_bits(tmp_path / "run", whole)


def test_a_growing_run_plays_every_size_and_releases_the_full_one(tmp_path: Path) -> None:
    run = ctfgan.train(ctfgan.recipe("prog-gan-folders", *GROWN, "release=last"), tmp_path / "run")
    ends = [(line["stage"], line["step"]) for line in RunFolder(run).journal().read("stage-end")]
    assert ends == [("grow-4", 2), ("grow-8", 4), ("grow-16", 4)]
    bundle = ctfgan.load(run)
    assert bundle.bundle.generator.level == 2
    assert bundle.bundle.generator.alpha.item() == 1.0
    assert bundle.sample(["0"], 3).images.shape == (3, 16, 16, 1)


def test_the_journal_tells_why_each_stage_ended_and_when(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "journal.jsonl").read_text().splitlines()]
    ends = [(line["stage"], line["step"], line["reason"]) for line in lines if line["event"] == "stage-end"]
    assert ends == [("transfer", 4, "all 4 steps done"), ("generate", 4, "all 4 steps done")]
    assert [line["step"] for line in lines if line["event"] == "check"] == [2, 4, 2, 4]


def test_every_check_leaves_a_sheet(whole: Path) -> None:
    names = sorted(path.name for path in (whole / "sheets").iterdir())
    assert names == [f"{stage}-{step:06d}.png" for stage, step in
                     itertools.product(("1-transfer", "2-generate"), (2, 4))]  # fmt: skip


def test_a_run_whose_images_changed_is_not_resumed(whole: Path, tmp_path: Path) -> None:
    run = unfinished(whole, tmp_path / "run")
    with_other_images(run, "glyphs", "images_per_class", 13)
    with pytest.raises(RunError, match="have changed since"):
        ctfgan.resume(run)


def with_other_images(run: Path, *setting: Any) -> None:
    """As if the images had changed: a run that is told to have trained with other settings of its data."""
    *place, name, value = setting
    recipe, data = (json.loads((run / file).read_text()) for file in ("recipe.json", "data.json"))
    recipe["data"][place[0]][name] = value
    (run / "recipe.json").write_text(json.dumps(recipe))
    (run / "data.json").write_text(json.dumps({**data, "recipe": recipe}))


def test_only_the_newest_and_the_best_checkpoints_stay(recipe: Recipe, tmp_path: Path) -> None:
    from ctfgan.recipes.overlay import with_settings

    run = ctfgan.train(with_settings(recipe, {}, ("keep_checkpoints=1",)), tmp_path / "run")
    folder = RunFolder(run)
    assert set(folder.checkpoints()) == {folder.checkpoints()[-1], folder.best()}


def flip_last_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def unfinished(whole: Path, run: Path) -> Path:
    """A copy of a run that was killed while it wrote its bundle."""
    return shutil.copytree(whole, run, ignore=shutil.ignore_patterns("bundle"))


def resumed(run: Path) -> list[str]:
    """Resume a run; returns what was said of it."""
    told: list[str] = []
    ctfgan.resume(run, Callbacks(say=told.append))
    return [line for line in told if str(run) in line]


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(whole: Path, tmp_path: Path) -> None:
    run = unfinished(whole, tmp_path / "run")
    for newest in RunFolder(run).checkpoints()[-2:]:
        flip_last_bit(newest / "networks.safetensors")
    assert resumed(run) == [
        f"{run}/checkpoints/step-00000007/networks.safetensors is missing or damaged; put aside as "
        "damaged-step-00000007",
        f"{run}/checkpoints/step-00000009/networks.safetensors is missing or damaged; put aside as "
        "damaged-step-00000009",
        f"resuming from {run}/checkpoints/step-00000005",
    ]
    assert_same_bits(run, whole)
    assert RunFolder(run).best().name == RunFolder(whole).best().name


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(whole / "recipe.json", run)
    (run / "journal.jsonl").write_text('{"event": "step", "st')
    (run / "checkpoints/.step-00000000.partial-1").mkdir(parents=True)
    assert resumed(run) == [f"{run} was stopped before its first checkpoint and begins anew"]
    assert_same_bits(run, whole)
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]


def test_a_damaged_bundle_is_made_again(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    assert resumed(run) == [FINISHED.format(run)]
    flip_last_bit(run / "bundle/model.safetensors")
    first, second = resumed(run)
    assert "model.safetensors has another hash than provenance.json says" in first
    assert first.endswith("it is made again from the run's checkpoint")
    assert second == f"resuming from {run}/checkpoints/step-00000009"
    assert (run / "bundle/model.safetensors").read_bytes() == (whole / "bundle/model.safetensors").read_bytes()
    assert_same_bits(run, whole)


@pytest.mark.parametrize("damage", [flip_last_bit, Path.unlink, lambda file: file.write_bytes(b"")])
def test_a_damaged_recogniser_is_made_again_or_named(
    damage: Callable[[Path], None], whole: Path, tmp_path: Path
) -> None:
    run = unfinished(whole, tmp_path / "run")
    damage(run / "recogniser.safetensors")
    assert (
        resumed(run)[0] == f"{run}/recogniser.safetensors is missing or damaged and is made again from the run's images"
    )
    assert (run / "recogniser.safetensors").read_bytes() == (whole / "recogniser.safetensors").read_bytes()
    data = json.loads((run / "data.json").read_text())
    data["extractor"] = "ctfgan-recogniser-of-old"
    (run / "data.json").write_text(json.dumps(data))
    shutil.rmtree(run / "bundle")
    with pytest.raises(RunError, match=r"another one than the run's ctfgan-recogniser-of-old; restore the file"):
        ctfgan.resume(run)


def test_a_lost_journal_is_told_and_costs_nothing_else(whole: Path, tmp_path: Path) -> None:
    run = unfinished(whole, tmp_path / "run")
    (run / "journal.jsonl").unlink()
    assert (
        resumed(run)[0]
        == f"{run}/journal.jsonl has lost lines since step-00000009 was saved; training does not need them"
    )
    steps = [json.loads((of / "bundle/provenance.json").read_text())["steps"] for of in (run, whole)]
    assert steps == [8, 8]


@pytest.mark.parametrize("name", ["recipe.json", "data.json"])
def test_a_damaged_json_file_is_named(name: str, whole: Path, tmp_path: Path) -> None:
    run = unfinished(whole, tmp_path / "run")
    (run / name).write_bytes((run / name).read_bytes()[:-20])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=rf"{name} is missing or damaged .*; restore it or train again"):
        ctfgan.resume(run)
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}
    assert before.items() >= after.items()


def test_a_second_process_is_refused_before_it_looks_at_data(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unfinished(whole, tmp_path / "run")
    monkeypatch.setattr("ctfgan.runs.new_run.open_context", None)
    with RunFolder(run).held(), pytest.raises(RunError, match="another process is at work on run"):
        ctfgan.resume(run)
    with pytest.raises(RunError, match="exists already; go on with 'ctfgan resume"):
        ctfgan.train(ctfgan.recipe("ctf-glyphs", *TINY), run)


class _given:
    def __init__(self, request: StopRequest) -> None:
        self._request = request

    def __enter__(self) -> StopRequest:
        return self._request

    def __exit__(self, *error: object) -> None:
        return None


def _losses(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_a_run_whose_low_quality_images_changed_is_not_resumed(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    run = unfinished(whole, tmp_path / "run")
    with_other_images(run, "degradation", "noise", 0.5)
    with pytest.raises(RunError, match="the low-quality images have changed since"):
        ctfgan.resume(run)


def test_resuming_a_finished_run_leaves_it_as_it_is(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    ctfgan.resume(run)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

"""A run's journal in TensorBoard and in other trackers: the same points, none twice, and never in the way of a run."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import ctfgan
from ctfgan.core.errors import ConfigError, Interrupted
from ctfgan.core.signals import StopRequest
from ctfgan.distributed.processes import Processes
from ctfgan.recipes.recipe import Recipe
from ctfgan.runs.context import Callbacks, NullCallback
from ctfgan.storage.run_folder import RECIPE, RunFolder
from ctfgan.training import trackers
from ctfgan.training.trackers import JournalFollower, tracked

TINY = (
    "glyphs.characters=0123", "glyphs.images_per_class=12", "data.resolution=16", "keep_checkpoints=20",
    "transfer.steps=4", "generate.steps=4", "transfer.batch_size=6", "generate.batch_size=6", "device=cpu",
    "generator_width=0.05", "discriminator_width=0.05", "checks.every=2",
    "checks.images=16", "checks.sheet_rows=1", "recogniser.images=256", "recogniser.width=4", "journal_every=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return ctfgan.recipe("ctf-glyphs", *TINY)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ctfgan.train(recipe, tmp_path_factory.mktemp("whole") / "run")


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def hyperparameters(run: Path) -> Any:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events(run / "tensorboard").summary_metadata["_hparams_/session_start_info"].plugin_data.content
    return HParamsPluginData.FromString(content).session_start_info.hparams


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    found = events(run / "tensorboard")
    return {tag: [(p.step, p.value) for p in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def expected_curves(run: Path, first_stage: int = 4) -> dict[str, list[tuple[int, float]]]:
    """From the journal's text: stage 2 goes on where stage 1 ended."""
    expected = defaultdict(list)
    for text in (run / "journal.jsonl").read_text().splitlines():
        line = json.loads(text)
        if line["event"] in ("step", "check"):
            step = line["step"] + first_stage * (line["stage"] == "generate")
            for name, value in line.items():
                if name not in ("event", "stage", "step", "sheet"):
                    expected[f"{line['event']}/{name}"].append((step, pytest.approx(value, rel=1e-6)))
    return expected


def test_tensorboard_shows_the_curves_of_the_journal_over_all_stages(whole: Path) -> None:
    found, expected = curves(whole), expected_curves(whole)
    assert found == expected
    assert [step for step, _ in found["step/seconds"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [step for step, _ in found["check/distance"]] == [2, 4, 6, 8]


def test_tensorboard_shows_the_sheets_the_ends_of_stages_and_the_settings(whole: Path) -> None:
    found = events(whole / "tensorboard")
    sheets = found.Images("sheet")
    assert [sheet.step for sheet in sheets] == [2, 4, 6, 8]
    with Image.open(whole / "sheets/1-transfer-000002.png") as picture:
        assert (sheets[0].width, sheets[0].height) == picture.size
    texts = [event.tensor_proto.string_val[0].decode() for event in found.Tensors("stage-end/text_summary")]
    assert texts == ["stage transfer, reason all 4 steps done", "stage generate, reason all 4 steps done"]
    settings = hyperparameters(whole)
    assert settings["training.checks.every"].number_value == 2
    assert settings["data.glyphs.characters"].string_value == "0123"


@contextmanager
def _given(request: StopRequest) -> Iterator[StopRequest]:
    yield request


class Stopper(NullCallback):
    """Asks for an end at a step, after the journal's line or in the midst of everything."""

    def __init__(self, after: int, request: StopRequest, *, killed: bool) -> None:
        self._left, self._request, self._killed = after, request, killed

    def on_step(self, step: int, losses: object) -> None:
        self._left -= 1
        if self._left == 0 and self._killed:
            raise RuntimeError("killed")
        if self._left == 0:
            self._request.signal_number = 2


def cut_short(recipe: Recipe, run: Path, after: int, *, killed: bool) -> None:
    request = StopRequest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctfgan.runs.new_run.stop_on_signals", lambda **_: _given(request))
        with pytest.raises(RuntimeError if killed else Interrupted):
            ctfgan.train(recipe, run, Callbacks(Stopper(after, request, killed=killed)))


@pytest.mark.parametrize(("after", "killed"), [(3, False), (8, True)])
def test_resuming_shows_no_point_twice(recipe: Recipe, after: int, killed: bool, tmp_path: Path) -> None:
    """Killed, a run goes back to the check before; what it then does again has been shown already."""
    run = tmp_path / "run"
    cut_short(recipe, run, after, killed=killed)
    lines = len(RunFolder(run).journal().read("step"))
    ctfgan.resume(run)
    assert lines == after - killed
    assert curves(run) == expected_curves(run)
    assert [sheet.step for sheet in events(run / "tensorboard").Images("sheet")] == [2, 4, 6, 8]
    assert hyperparameters(run)["training.checks.every"].number_value == 2


def test_without_a_tracker_nothing_is_written_and_the_weights_are_the_same(
    recipe: Recipe, whole: Path, tmp_path: Path
) -> None:
    run = ctfgan.train(ctfgan.recipe("ctf-glyphs", *TINY, "tracker=none"), tmp_path / "run")
    assert sorted(path.name for path in whole.iterdir() if path.name not in {path.name for path in run.iterdir()}) == [
        "tensorboard", "tracker.json"
    ]  # fmt: skip
    model = "bundle/model.safetensors"
    assert (run / model).read_bytes() == (whole / model).read_bytes()


class FakeWandb(types.ModuleType):
    """What is called of wandb; a log can be made to fail."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.inits: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.settings: dict[str, Any] = {}
        self.is_down = False
        self.finished = 0
        self.config = types.SimpleNamespace(update=lambda values, allow_val_change: self.settings.update(values))
        self.id = "abc123"

    def init(self, **arguments: Any) -> FakeWandb:
        self.inits.append(arguments)
        return self

    def log(self, values: dict[str, Any], step: int) -> None:
        if self.is_down:
            raise OSError("no route to host\nand more")
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished += 1

    def Image(self, path: str) -> str:
        return f"picture of {path}"


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    import importlib.machinery

    fake = FakeWandb()
    fake.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_another_tracker_hears_the_same_and_goes_on_under_the_same_name(
    recipe: Recipe, wandb: FakeWandb, tmp_path: Path
) -> None:
    chosen = ctfgan.recipe("ctf-glyphs", *TINY, "tracker=wandb")
    run = tmp_path / "named"
    cut_short(chosen, run, 4, killed=True)
    ctfgan.resume(run)
    first, second = wandb.inits
    assert first == {"project": "ctfgan", "name": "named", "id": None, "resume": "allow"}
    assert second == first | {"id": "abc123"}
    assert wandb.finished == 2
    assert wandb.settings["training.checks.every"] == 2
    found = defaultdict(list)
    for step, values in wandb.logged:
        for name, value in values.items():
            if isinstance(value, float):
                found[name].append((step, value))
    expected = expected_curves(run)
    del found["step/seconds"], expected["step/seconds"]  # step 3 was shown before it was done again
    assert found == expected
    sheets = {step: values["sheet"] for step, values in wandb.logged if "sheet" in values}
    assert sheets.keys() == {2, 4, 6, 8}
    assert sheets[2] == f"picture of {run}/sheets/1-transfer-000002.png"
    assert not (run / "tensorboard").exists()


def test_steps_never_fall_for_a_tracker_that_cannot_go_back(wandb: FakeWandb, tmp_path: Path) -> None:
    listener, folder = follower("wandb", tmp_path)
    journal = folder.journal()
    for step in (1, 2, 3):
        journal.write("step", stage="only", step=step, loss=float(step))
    journal.write("rollback", stage="only", step=1, why="loss is nan")
    for step in (2, 3, 4):
        journal.write("step", stage="only", step=step, loss=float(10 * step))
    listener.finish()
    assert wandb.logged == [
        (1, {"step/loss": 1.0}), (2, {"step/loss": 2.0}), (3, {"step/loss": 3.0}),
        (3, {"rollback": "stage only, why loss is nan"}), (4, {"step/loss": 40.0}),
    ]  # fmt: skip


def test_a_run_that_goes_back_on_its_way_shows_the_new_course_alone(tmp_path: Path) -> None:
    listener, folder = follower("tensorboard", tmp_path)
    journal = folder.journal()
    for stage, step, loss in [("a", 1, 1), ("a", 2, 2), ("b", 1, 3), ("b", 2, 4)]:
        journal.write("step", stage=stage, step=step, loss=loss)
    for stage, step, loss in [("a", 2, 20), ("b", 1, 30)]:
        journal.write("step", stage=stage, step=step, loss=loss)
    listener.finish()
    assert curves(folder.path) == {"step/loss": [(1, 1.0), (2, 20.0), (3, 30.0)]}


def test_a_tracker_that_fails_is_complained_of_once_and_tried_again_later(
    wandb: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    now = [0.0]
    monkeypatch.setattr(trackers, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    listener, folder = follower("wandb", tmp_path, said.append)
    journal = folder.journal()
    journal.write("step", stage="only", step=1, loss=1)
    wandb.is_down = True
    for step in (2, 3):
        journal.write("step", stage="only", step=step, loss=step)
        now[0] += 61.0
    wandb.is_down = False
    assert len(said) == 1
    assert "tracker wandb failed (OSError: no route to host); training goes on" in said[0]
    journal.write("step", stage="only", step=4, loss=4)
    wandb.is_down = True
    journal.write("step", stage="only", step=5, loss=5)
    wandb.is_down = False
    journal.write("step", stage="only", step=6, loss=6)  # within the pause
    now[0] += 61.0
    journal.write("step", stage="only", step=7, loss=7)
    assert [step for step, _ in wandb.logged] == [1, 4, 7]
    listener.finish()
    assert len(said) == 1
    assert len(journal.read("step")) == 7


def test_a_missing_package_and_a_missing_login_are_said_before_any_work(
    run_cli: Callable, refused: Callable, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_login(**arguments: Any) -> None:
        raise ValueError("api_key not configured (no-tty)")

    monkeypatch.setattr(wandb, "init", no_login)
    monkeypatch.setattr("ctfgan.runs.new_run.open_context", lambda *_: pytest.fail("data were opened"))
    error = refused("train", "--out", "run", "--set", "tracker=wandb")
    assert "training.tracker is wandb, which cannot begin (ValueError: api_key not configured (no-tty)); " in error
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = refused("train", "--out", "run", "--set", "tracker=mlflow")
    assert "training.tracker is mlflow, whose package is not installed; run 'pip install mlflow'" in error
    error = refused("train", "--out", "run", "--set", "tracker=excel")
    assert "training.tracker is 'excel', but input should be 'tensorboard', 'wandb', 'mlflow' or 'trackio'" in error


def test_a_tracker_listens_as_long_as_its_block_lasts(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    with tracked("tensorboard", folder, Processes(), print):
        folder.journal().write("step", stage="only", step=1, loss=1)
    assert folder.listeners == []
    assert curves(folder.path) == {"step/loss": [(1, 1.0)]}
    with pytest.raises(ConfigError), tracked("trackio", folder, Processes(), print):
        pytest.fail("trackio is no dependency")


class FakeMlflow(types.ModuleType):
    """What is called of mlflow, as a list of calls."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            self.calls.append((name, *values, *named.items()))
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="m1"))

        return call


def test_mlflow_is_told_numbers_texts_and_sheets_and_goes_on_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.machinery

    fake = FakeMlflow()
    fake.__spec__ = importlib.machinery.ModuleSpec("mlflow", None)
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    listener, folder = follower("mlflow", tmp_path)
    folder.journal().write("check", stage="a", step=2, distance=0.5, sheet="sheets/x.png")
    folder.journal().write("stage-end", stage="a", step=2, reason="done")
    listener.finish()
    assert fake.calls == [
        ("set_experiment", "ctfgan"), ("start_run", ("run_id", None), ("run_name", "run")),
        ("log_params", {"name": "small", "training.checks.every": "2"}),
        ("log_metrics", {"check/distance": 0.5}, ("step", 2)),
        ("log_artifact", str(folder.path / "sheets/x.png"), "sheets"),
        ("log_text", "stage a, reason done", "events/00000002-stage-end.txt"), ("end_run",),
    ]  # fmt: skip
    fake.calls.clear()
    JournalFollower("mlflow", folder, print).on_line({"event": "step", "stage": "a", "step": 3, "loss": 1.0})
    assert fake.calls[1:] == [("start_run", ("run_id", "m1"), ("run_name", "run")),
                              ("log_metrics", {"step/loss": 1.0}, ("step", 3))]  # fmt: skip


@pytest.mark.slow
def test_no_tracker_is_imported_early() -> None:
    from typing import get_args

    from ctfgan.training.settings import TrackerName

    names = [*get_args(TrackerName)]
    code = f"import sys, ctfgan.runs.new_run, ctfgan.cli.main; sys.exit(any(n in sys.modules for n in {names}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def run_folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / RECIPE).write_text(json.dumps({"name": "small", "training": {"checks": {"every": 2}}}))
    return folder


def follower(name: Any, tmp_path: Path, say: Callable[[str], None] = print) -> tuple[JournalFollower, RunFolder]:
    folder = run_folder(tmp_path)
    listener = JournalFollower(name, folder, say)
    folder.listeners.append(listener.on_line)
    return listener, folder


def test_a_damaged_line_of_the_journal_does_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    first, folder = follower("tensorboard", tmp_path)
    folder.journal().write("step", stage="a", step=1, loss=1.0)
    first.finish()
    with (folder.path / "journal.jsonl").open("a") as file:
        file.write('{"event": "st\n')
    again = JournalFollower("tensorboard", folder, print)
    again.on_line({"event": "step", "stage": "a", "step": 2, "loss": 0.5})
    again.finish()
    (losses,) = (points for tag, points in curves(folder.path).items() if tag.endswith("loss"))
    assert losses == [(1, 1.0), (2, 0.5)]

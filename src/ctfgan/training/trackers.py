"""Following a run's journal with a tracker. The journal is the truth; a tracker only shows it and never ends a run."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ctfgan.core.errors import ConfigError
from ctfgan.core.settings import flatten
from ctfgan.distributed.processes import Processes
from ctfgan.storage.run_folder import RECIPE, TRACKER, RunFolder
from ctfgan.training.settings import TrackerName

PROJECT = "ctfgan"  # the project or experiment that runs are filed under
CURVES = ("step", "check")  # events whose numbers are curves; all others are text
PAUSE = 60.0  # seconds for which a tracker that failed is left alone; it may wait long for its network each time

Value = bool | int | float | str


class Tracker(Protocol):
    """One place that shows curves and pictures of a run, begun or gone on with by making it. All may raise anything."""

    identity: str
    """What it knows the run by, to go on with it after a resume."""

    def settings(self, values: dict[str, Value]) -> None:
        """Settings of the run by full name."""

    def log(self, values: Mapping[str, float | str | Path], step: int) -> None:
        """Points of curves, texts, and pictures in files, at a generator step."""

    def finish(self) -> None:
        """Write or send what is left."""


class TensorBoard:
    """Event files in ``RUN/tensorboard/``; ``tensorboard --logdir RUN`` shows them. Points can be taken back."""

    identity = "tensorboard"

    def __init__(self, run: Path, first_step: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if first_step is not None:
            time.sleep(1.0)  # event files are read in the order of the seconds they were begun in
        self._writer: Any = SummaryWriter(run / "tensorboard", purge_step=first_step)

    def settings(self, values: dict[str, Value]) -> None:
        self._writer.add_hparams(values, {}, run_name=".")

    def log(self, values: Mapping[str, float | str | Path], step: int) -> None:
        for name, value in values.items():
            if isinstance(value, Path):
                with Image.open(value) as picture:
                    self._writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")
            elif isinstance(value, str):
                self._writer.add_text(name, value, step)
            else:
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases; its own environment variables (WANDB_MODE, WANDB_ENTITY ...) hold."""

    def __init__(self, run: Path, known_as: str | None) -> None:
        self._wandb: Any = importlib.import_module("wandb")
        self._run = self._wandb.init(project=PROJECT, name=run.name, id=known_as, resume="allow")
        self.identity = str(self._run.id)

    def settings(self, values: dict[str, Value]) -> None:
        self._run.config.update(values, allow_val_change=True)

    def log(self, values: Mapping[str, float | str | Path], step: int) -> None:
        pictures = {name: self._wandb.Image(str(path)) for name, path in values.items() if isinstance(path, Path)}
        self._run.log({**values, **pictures}, step=step)

    def finish(self) -> None:
        self._run.finish()


class Trackio(Wandb):
    """trackio, which has wandb's functions and keeps its curves on this machine unless told otherwise."""

    def __init__(self, run: Path, known_as: str | None) -> None:
        self._wandb = importlib.import_module("trackio")
        self._run = self._wandb.init(project=PROJECT, name=known_as or run.name, resume="allow")
        self.identity = str(self._run.name)

    def settings(self, values: dict[str, Value]) -> None:
        self._wandb.config.update(values, allow_val_change=True)


class MLflow:
    """MLflow; its own environment variables (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, MLFLOW_RUN_ID) hold."""

    def __init__(self, run: Path, known_as: str | None) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        self._mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT))
        run_id = known_as or os.environ.get("MLFLOW_RUN_ID")
        self.identity = str(self._mlflow.start_run(run_id=run_id, run_name=run.name).info.run_id)

    def settings(self, values: dict[str, Value]) -> None:
        texts = [(name, str(value)[:500]) for name, value in values.items()]  # the longest that every server takes
        for start in range(0, len(texts), 100):  # the most at once
            self._mlflow.log_params(dict(texts[start : start + 100]))

    def log(self, values: Mapping[str, float | str | Path], step: int) -> None:
        numbers = {name: value for name, value in values.items() if not isinstance(value, str | Path)}
        if numbers:
            self._mlflow.log_metrics(numbers, step=step)
        for name, value in values.items():
            if isinstance(value, Path):
                self._mlflow.log_artifact(str(value), f"{name}s")
            elif isinstance(value, str):
                self._mlflow.log_text(value, f"events/{step:08d}-{name}.txt")

    def finish(self) -> None:
        self._mlflow.end_run()


@contextmanager
def tracked(
    name: TrackerName | None, folder: RunFolder, processes: Processes, say: Callable[[str], None]
) -> Iterator[None]:
    """Follow the journal of a run as long as the block lasts, from the main process.

    Args:
        name: the tracker; None follows nothing.
        folder: the run, which need not be there yet.
        processes: all of them must come here.
        say: told once if the tracker fails on the way.

    Raises:
        ConfigError: the tracker's package is missing, or it refuses to begin.
    """
    if name is None:
        yield
        return
    followers: list[JournalFollower] = []  # the main process's alone

    def begin() -> None:
        followers.append(JournalFollower(name, folder, say))

    processes.on_main(begin)
    folder.listeners += [follower.on_line for follower in followers]
    try:
        yield
    finally:
        for follower in followers:
            folder.listeners.remove(follower.on_line)
            follower.finish()


class JournalFollower:
    """Tells a tracker what a journal says: numbers against generator steps over all stages, sheets, what happened.

    A line that comes to a step a second time, after the run went back to a checkpoint, replaces what TensorBoard shows
    from there on; the others, which cannot take points back, are not told of it.

    Args:
        name: of the tracker in the settings, which is its package's too.
        folder: the run; keeps what the tracker knows it by.
        say: told once if the tracker fails on the way.

    Raises:
        ConfigError: the package is missing, or the tracker refuses to begin, such as for want of a login.
    """

    def __init__(self, name: TrackerName, folder: RunFolder, say: Callable[[str], None]) -> None:
        self._name = name
        self._folder = folder
        self._say = say
        self._tracker: Tracker | None = None
        self._can_go_back = name == "tensorboard"
        self._first_step: int | None = None  # from which on TensorBoard's points are taken back at its next start
        self._steps: dict[str, int] = {}  # the last step of each stage so far
        self._reached: dict[str, int] = {}  # the last position of each kind of curve
        self._quiet_until = 0.0
        self._has_complained = False
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"training.tracker is {name}, whose package is not installed; run 'pip install {name}', or use --set "
                "tracker=none (of a run that began already, in its recipe.json: null)"
            )
        for line in folder.journal().readable()[0]:  # a damaged line must not keep a run from going on
            position = self._position(line)
            if line["event"] in CURVES:
                self._reached[line["event"]] = position
        if name == "tensorboard" or (folder.path / RECIPE).exists():
            return  # no folder to write into yet; or a run that goes on, which a network must not keep from that
        try:
            self._tracker = self._start(None)
        except Exception as error:  # each package has errors of its own
            raise ConfigError(
                f"training.tracker is {name}, which cannot begin ({_reason(error)}); mend that, or use --set "
                "tracker=tensorboard or tracker=none"
            ) from error

    def on_line(self, line: Mapping[str, Any]) -> None:
        """A line was written into the journal."""
        event, position = line["event"], self._position(line)
        if event in CURVES and position <= self._reached.get(event, -1):  # the run went back
            if not self._can_go_back:
                return
            self._reached = {event: min(reached, position - 1) for event, reached in self._reached.items()}
            self._first_step = position if self._first_step is None else min(position, self._first_step)
            self.finish()
        if event in CURVES:
            self._reached[event] = position
        elif not self._can_go_back:
            position = max(position, *self._reached.values(), 0)  # a step behind is refused
        if time.monotonic() >= self._quiet_until:
            with self._complaining():
                self._show(line, position)

    def finish(self) -> None:
        """Close the tracker."""
        tracker, self._tracker = self._tracker, None
        if tracker is not None:
            with self._complaining():
                tracker.finish()

    def _show(self, line: Mapping[str, Any], position: int) -> None:
        path = self._folder.path / TRACKER
        known = self._folder.read_json(TRACKER) if path.exists() else {}
        if self._tracker is None:
            self._tracker = self._start(known.get(self._name))
            self._first_step = None
        if self._name not in known:
            settings = flatten(self._folder.read_json(RECIPE)).items()
            self._tracker.settings({name: value if isinstance(value, Value) else json.dumps(value, ensure_ascii=False)
                                    for name, value in settings})  # fmt: skip
            self._folder.write_json(TRACKER, known | {self._name: self._tracker.identity})
        event = line["event"]
        content = {name: value for name, value in line.items() if name not in ("event", "step", "sheet")}
        if event not in CURVES:
            self._tracker.log({event: ", ".join(f"{name} {value}" for name, value in content.items())}, position)
            return
        points = {f"{event}/{name}": float(value) for name, value in content.items() if isinstance(value, int | float)}
        sheet = {"sheet": self._folder.path / line["sheet"]} if "sheet" in line else {}
        self._tracker.log({**points, **sheet}, position)

    def _start(self, known_as: str | None) -> Tracker:
        run = self._folder.path.absolute()  # a new run is called like its folder
        if self._name == "tensorboard":
            return TensorBoard(run, self._first_step)
        kinds: dict[str, Callable[[Path, str | None], Tracker]] = {"wandb": Wandb, "trackio": Trackio, "mlflow": MLflow}
        return kinds[self._name](run, known_as)

    def _position(self, line: Mapping[str, Any]) -> int:
        """Generator steps over all stages up to a line."""
        if {"stage", "step"} <= line.keys():
            stages = list(self._steps)
            # Stages come in a fixed order: coming to one again takes the later ones back.
            before = stages.index(line["stage"]) if line["stage"] in stages else len(stages)
            self._steps = {stage: self._steps[stage] for stage in stages[:before]} | {line["stage"]: line["step"]}
        return sum(self._steps.values())

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """Say once that the tracker failed, and leave it alone for a while."""
        try:
            yield
        except Exception as error:  # a network, a full disk, a server: none of them ends a run of a week
            self._quiet_until = time.monotonic() + PAUSE
            if not self._has_complained:
                self._has_complained = True
                self._say(
                    f"tracker {self._name} failed ({_reason(error)}); training goes on, journal.jsonl has everything, "
                    f"and the tracker is tried again every {PAUSE:.0f} seconds"
                )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

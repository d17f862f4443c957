"""The trackers that a run can be followed with, each one of accelerate's; the only file that knows them."""

from __future__ import annotations

import importlib
import importlib.util
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker, TrackioTracker, WandBTracker
from numpy.typing import NDArray
from PIL import Image

from ctfgan.core.errors import ConfigError
from ctfgan.training.settings import TrackerName

PROJECT = "ctfgan"  # the project or experiment that runs are filed under

Value = bool | int | float | str


class Tracker(ABC):
    """One place that shows curves and pictures of a run. Every method may raise whatever its package raises.

    Args:
        name: of the tracker in the settings, which is its package's too.
        run: the run folder; a new run is called like it.
    """

    is_local: ClassVar[bool] = False
    """Whether it writes below the run folder, so that it can begin only when that is there."""
    can_go_back: ClassVar[bool] = False
    """Whether points can be taken back; else what was shown once is not shown again."""

    def __init__(self, name: TrackerName, run: Path) -> None:
        self._name = name
        self._run = run.absolute()
        self._inner: GeneralTracker

    def start(self, known_as: str | None, first_step: int | None) -> str:
        """Begin or go on.

        Args:
            known_as: what an earlier start of the same run returned; None begins a new one.
            first_step: points from this step on are taken back; None takes none. Only for a tracker that can.

        Returns:
            What the tracker knows the run by.
        """
        inner = self._build(known_as, first_step)
        inner.main_process_only = False  # this is the main process already; accelerate would ask its own launcher
        inner.start()
        self._inner = inner
        return self._identity()

    def hyperparameters(self, values: dict[str, Value]) -> None:
        """Settings of the run by full name."""
        self._inner.store_init_configuration(values)

    def numbers(self, values: dict[str, float], step: int) -> None:
        """Points of curves at a generator step."""
        self._inner.log(values, step=step)

    def text(self, name: str, text: str, step: int) -> None:
        """Something that happened."""
        self._inner.log({name: text}, step=step)

    @abstractmethod
    def picture(self, name: str, path: Path, step: int) -> None:
        """A sheet of samples."""

    def finish(self) -> None:
        """Write or send what is left."""
        self._inner.finish()

    @abstractmethod
    def _build(self, known_as: str | None, first_step: int | None) -> GeneralTracker:
        """The tracker of accelerate, not started."""

    @abstractmethod
    def _identity(self) -> str:
        """What the started tracker knows the run by."""


class TensorBoard(Tracker):
    """Event files in ``RUN/tensorboard/``; ``tensorboard --logdir RUN`` shows them."""

    is_local = True
    can_go_back = True

    def picture(self, name: str, path: Path, step: int) -> None:
        """A sheet of samples."""
        self._inner.log_images({name: _pixels(path)[None]}, step=step, dataformats="NHWC")

    def _build(self, known_as: str | None, first_step: int | None) -> GeneralTracker:
        if first_step is not None:
            time.sleep(1.0)  # event files are read in the order of the seconds they were begun in
        return TensorBoardTracker(self._name, self._run, purge_step=first_step)

    def _identity(self) -> str:
        return self._name


class WeightsAndBiases(Tracker):
    """Weights & Biases; its own environment variables (WANDB_MODE, WANDB_ENTITY ...) hold."""

    def picture(self, name: str, path: Path, step: int) -> None:
        """A sheet of samples."""
        self._inner.log_images({name: [_pixels(path)]}, step=step)

    def _build(self, known_as: str | None, first_step: int | None) -> GeneralTracker:
        return WandBTracker(PROJECT, name=self._run.name, id=known_as, resume="allow")

    def _identity(self) -> str:
        return str(self._inner.tracker.id)


class MLflow(Tracker):
    """MLflow; MLFLOW_TRACKING_URI says where."""

    def text(self, name: str, text: str, step: int) -> None:
        """Something that happened, as a file; accelerate's tracker drops everything that is no number."""
        importlib.import_module(self._name).log_text(text, f"events/{step:08d}-{name}.txt")

    def picture(self, name: str, path: Path, step: int) -> None:
        """A sheet of samples."""
        self._inner.log_artifact(str(path), f"{name}s")

    def _build(self, known_as: str | None, first_step: int | None) -> GeneralTracker:
        return MLflowTracker(experiment_name=PROJECT, run_id=known_as, run_name=self._run.name)

    def _identity(self) -> str:
        return str(self._inner.tracker.info.run_id)


class Trackio(Tracker):
    """trackio, which keeps its curves on this machine unless told otherwise."""

    def picture(self, name: str, path: Path, step: int) -> None:
        """A sheet of samples."""
        self._inner.log({name: importlib.import_module(self._name).Image(str(path))}, step=step)

    def _build(self, known_as: str | None, first_step: int | None) -> GeneralTracker:
        return TrackioTracker(PROJECT, name=known_as or self._run.name, resume="allow")

    def _identity(self) -> str:
        return str(self._inner.tracker.name)


TRACKERS: dict[TrackerName, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def tracker_for(name: TrackerName, run: Path) -> Tracker:
    """A tracker, not started yet.

    Raises:
        ConfigError: its package is not installed.
    """
    if importlib.util.find_spec(name) is None:
        raise ConfigError(
            f"training.tracker is {name}, whose package is not installed; run 'pip install {name}', or use --set "
            "tracker=none (of a run that began already, in its recipe.json: null)"
        )
    return TRACKERS[name](name, run)


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))

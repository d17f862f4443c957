"""Following a run's journal with a tracker. The journal is the truth; a tracker only shows it and never ends a run."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ctfgan.core.errors import ConfigError
from ctfgan.core.settings import flatten
from ctfgan.distributed.engine import Engine, accelerate_state
from ctfgan.storage.run_folder import RECIPE, TRACKER, RunFolder
from ctfgan.training.settings import TrackerName
from ctfgan.training.trackers import Tracker, Value, tracker_for

CURVES = ("step", "check")  # events whose numbers are curves; all others are text
FIRST_PAUSE = 60.0  # seconds before a tracker that failed is tried again; doubled every time
LONGEST_PAUSE = 3600.0


@contextmanager
def tracked(name: TrackerName | None, folder: RunFolder, engine: Engine, say: Callable[[str], None]) -> Iterator[None]:
    """Follow the journal of a run as long as the block lasts, from the main process.

    Args:
        name: the tracker; None follows nothing.
        folder: the run, which need not be there yet.
        engine: all of its processes must come here.
        say: told once if the tracker fails on the way.

    Raises:
        ConfigError: the tracker's package is missing, or it refuses to begin.
    """
    if name is None:
        yield
        return
    # No plain value, so it does not travel: only the main process's is opened.
    held: list[Tracking] = []

    def begin() -> None:
        tracking = Tracking(name, tracker_for(name, folder.path), folder, say)
        tracking.open()
        held.append(tracking)

    with accelerate_state():
        engine.processes.on_main(begin)
        for tracking in held:
            folder.listeners.append(tracking.on_line)
        try:
            yield
        finally:
            for tracking in held:
                folder.listeners.remove(tracking.on_line)
                tracking.finish()


class Tracking:
    """Tells a tracker what a journal says: numbers against generator steps over all stages, sheets, what happened.

    A line that comes to a step a second time, after the run went back to a checkpoint, replaces what a tracker shows
    from there on if that can be taken back; else it is left out. Lines wait while a tracker fails, and are told later.

    Args:
        name: of the tracker in the settings.
        tracker: not started yet.
        folder: the run; keeps what the tracker knows it by.
        say: told once if the tracker fails on the way.
    """

    def __init__(self, name: TrackerName, tracker: Tracker, folder: RunFolder, say: Callable[[str], None]) -> None:
        self._name = name
        self._tracker = tracker
        self._folder = folder
        self._say = say
        self._steps: dict[str, int] = {}  # the last step of each stage so far
        self._reached: dict[str, int] = {}  # the last position of each kind of curve
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._started = False
        self._take_back: int | None = None
        self._pause = FIRST_PAUSE
        self._next_try = 0.0
        self._has_complained = False

    def open(self) -> None:
        """Read how far a run was followed; of a new one begin with a tracker elsewhere, before any expensive work.

        Raises:
            ConfigError: it refuses, such as for want of a login.
        """
        for line in self._folder.journal().readable()[0]:  # a damaged line must not keep a run from going on
            position = self._position(line)
            if line["event"] in CURVES:
                self._reached[line["event"]] = position
        if self._tracker.is_local or (self._folder.path / RECIPE).exists():
            return  # no folder to write into yet; or a run that goes on, which a network must not keep from that
        try:
            self._start(None)
        except Exception as error:  # each package has errors of its own
            raise ConfigError(
                f"training.tracker is {self._name}, which cannot begin ({_reason(error)}); mend that, or use --set "
                "tracker=tensorboard or tracker=none"
            ) from error

    def on_line(self, line: Mapping[str, Any]) -> None:
        """A line was written into the journal."""
        line = dict(line)
        position = self._position(line)
        event = line["event"]
        if event in CURVES:
            if position <= self._reached.get(event, -1):  # the run went back
                if not self._tracker.can_go_back:
                    return
                self._go_back(position)
            self._reached[event] = position
        elif not self._tracker.can_go_back:
            position = max(position, *self._reached.values(), 0)  # a step behind is refused
        self._waiting.append((position, line))
        if time.monotonic() >= self._next_try:
            self._tell_all()

    def finish(self) -> None:
        """Tell what waits, and close the tracker."""
        if self._waiting:
            self._tell_all()
        if self._started:
            with self._complaining():
                self._tracker.finish()
        if self._waiting:
            self._say(
                f"tracker {self._name} never got the last {len(self._waiting)} lines of {self._folder.path}'s journal"
            )

    def _position(self, line: Mapping[str, Any]) -> int:
        """Generator steps over all stages up to a line."""
        if {"stage", "step"} <= line.keys():
            stages = list(self._steps)
            # Stages come in a fixed order: coming to one again takes the later ones back.
            before = stages.index(line["stage"]) if line["stage"] in stages else len(stages)
            self._steps = {stage: self._steps[stage] for stage in stages[:before]} | {line["stage"]: line["step"]}
        return sum(self._steps.values())

    def _go_back(self, position: int) -> None:
        """Forget what is shown from a position on."""
        self._reached = {event: min(reached, position - 1) for event, reached in self._reached.items()}
        self._waiting = deque(waiting for waiting in self._waiting if waiting[0] < position)
        self._take_back = position if self._take_back is None else min(position, self._take_back)
        if self._started:
            with self._complaining():
                self._tracker.finish()
            self._started = False

    def _tell_all(self) -> None:
        with self._complaining():
            known_as = self._known_as()
            if not self._started:
                self._start(known_as)
            if known_as is None:
                settings = flatten(self._folder.read_json(RECIPE))
                self._tracker.hyperparameters(
                    {
                        name: value if isinstance(value, Value) else json.dumps(value, ensure_ascii=False)
                        for name, value in settings.items()
                    }
                )
                self._remember()
            while self._waiting:
                position, line = self._waiting[0]
                self._tell(position, line)
                self._waiting.popleft()
            self._pause = FIRST_PAUSE

    def _tell(self, position: int, line: dict[str, Any]) -> None:
        event = line["event"]
        content = {name: value for name, value in line.items() if name not in ("event", "step", "sheet")}
        if event not in CURVES:
            self._tracker.text(event, ", ".join(f"{name} {value}" for name, value in content.items()), position)
            return
        numbers = {f"{event}/{name}": float(value) for name, value in content.items() if isinstance(value, int | float)}
        self._tracker.numbers(numbers, position)
        if "sheet" in line:
            self._tracker.picture("sheet", self._folder.path / line["sheet"], position)

    def _start(self, known_as: str | None) -> None:
        self._known = self._tracker.start(known_as, self._take_back)
        self._started = True
        self._take_back = None

    def _known_as(self) -> str | None:
        """What the tracker knows the run by, if it has met it; a run that changed its tracker is new to the other."""
        path = self._folder.path / TRACKER
        known = self._folder.read_json(TRACKER).get(self._name) if path.exists() else None
        return None if known is None else str(known)

    def _remember(self) -> None:
        others = self._folder.read_json(TRACKER) if (self._folder.path / TRACKER).exists() else {}
        self._folder.write_json(TRACKER, others | {self._name: self._known})

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        """Say once that the tracker failed, and try again later."""
        try:
            yield
        except Exception as error:  # a network, a full disk, a server: none of them ends a run of a week
            self._next_try = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if not self._has_complained:
                self._has_complained = True
                self._say(
                    f"tracker {self._name} failed ({_reason(error)}); training goes on, journal.jsonl has everything, "
                    "and the tracker is tried again now and then"
                )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

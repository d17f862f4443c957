"""What a run's folder tells by itself, without its data, at whatever moment the run is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ctfgan.core.errors import RunError
from ctfgan.evaluation.sweeps import origin_of
from ctfgan.recipes.overlay import changed_settings
from ctfgan.recipes.recipe import Recipe
from ctfgan.reports.comparison import RunResult, run_result
from ctfgan.reports.plots_of_metrics import read_figures
from ctfgan.runs.train import is_finished
from ctfgan.storage.run_folder import JOURNAL, RECIPE, RECOGNISER, RunFolder


@dataclass(frozen=True)
class Story:
    """A run as its folder tells it."""

    folder: RunFolder
    label: str
    """What the run is called on the page."""
    result: RunResult
    no_figures: str | None
    """Why there are no figures, in one sentence; None if there are."""
    damaged_lines: int
    """Of the journal."""

    @property
    def recipe(self) -> Recipe:
        """The run's."""
        return self.result.recipe

    @property
    def summary(self) -> dict[str, Any]:
        """Content of the run's ``data.json``."""
        return self.result.data

    @property
    def is_finished(self) -> bool:
        """Whether all stages are trained and the bundle is there."""
        return is_finished(self.folder)

    def status(self) -> str:
        """Where training stands."""
        if self.is_finished:
            return "finished"
        stages = self.result.course.stages
        return f"unfinished: stage {stages[-1].name}, step {stages[-1].steps:,}" if stages else "just begun"

    def wall_time(self) -> tuple[datetime, timedelta] | None:
        """When the run began and how long it took until the newest line of its journal, by the times of its files.

        None if these times cannot be right: copying a folder may lose them.
        """
        # Both are written when a run begins, and each may be written again: by 'resume --set', or where it was damaged.
        files = [file for name in (RECIPE, RECOGNISER) if (file := self.folder.path / name).exists()]
        began, journal = min(file.stat().st_mtime for file in files), self.folder.path / JOURNAL
        taken = journal.stat().st_mtime - began if journal.exists() else 0.0
        if taken < self.result.seconds:
            return None
        return datetime.fromtimestamp(began), timedelta(seconds=round(taken))

    def changes(self) -> list[str] | None:
        """How the recipe differs from the named one that it began as; None if there is none of this name."""
        named = origin_of(self.recipe)
        if named is None:
            return None
        changed = changed_settings(self.recipe, named)
        return [f"{name} = {now} (not {before})" for name, (now, before) in changed.items()]


def read_story(path: Path, label: str) -> Story:
    """Read all of a run's folder but weights and images.

    Raises:
        RunError: no run folder, or its recipe or ``data.json`` is damaged.
        ConfigError: its recipe has settings that are not allowed.
    """
    folder = RunFolder.open(path)
    figures, no_figures = None, None
    try:
        figures = read_figures(path)
        if figures is None:
            no_figures = f"This run was not evaluated: 'ctfgan evaluate {path}' measures it against held-out images"
            if not is_finished(folder):
                no_figures = f"This run is not finished, so it was not evaluated; go on with 'ctfgan resume {path}'"
    except RunError as error:
        no_figures = str(error)
    lines, damaged = folder.journal().readable()
    return Story(folder, label, run_result(folder, lines, figures), no_figures, damaged)

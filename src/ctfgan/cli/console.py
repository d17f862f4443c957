"""What a person sees while something runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ctfgan.core.text import duration
from ctfgan.distributed.launch import is_main

if TYPE_CHECKING:  # these import torch, which takes seconds, and lists of names are printed here, too
    from ctfgan.runs.context import Callbacks
    from ctfgan.training.alarms import Alarm
    from ctfgan.training.divergence import Rollback
    from ctfgan.training.loop import StepLosses
    from ctfgan.training.settings import StageSettings
    from ctfgan.training.validation import CheckReport

LINE_EVERY_SECONDS = 15.0  # between progress lines where no bar can be shown
WATCH_SECONDS = 15.0  # of training, after which it is said if threads get in each other's way
TABLE_WIDTH = 200
BAR_EVERY_SECONDS = 0.2  # reading a loss waits for the device

# Of several processes the main one alone speaks.
terminal = Console(highlight=False, soft_wrap=True, quiet=not is_main())


def say(text: str) -> None:
    """Print a line as it is."""
    terminal.print(text, markup=False)


def progress(items: Iterable[int], total: int, what: str) -> Iterator[int]:
    """A bar around a loop; without a terminal a line now and then, and one at the end of a loop that took a while."""
    if terminal.is_terminal:
        with _bar() as bar:
            yield from bar.track(items, total=total, description=what)
        return
    started = spoke = time.monotonic()
    for number, item in enumerate(items):
        yield item
        now = time.monotonic()
        if now - spoke > LINE_EVERY_SECONDS:
            spoke = now
            say(f"{what}: {number + 1:,} of {total:,}, {duration((now - started) * (total / (number + 1) - 1))} left")
    seconds = time.monotonic() - started
    if seconds > 1:
        say(f"{what}: {total:,} in {seconds:.0f} s")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; numbers to the right."""
    table = Table(show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(
            heading, justify="left" if heading in {"run", "method", "images", "recipe", "for"} else "right"
        )
    for row in rows:
        table.add_row(*map(Text, row))  # a name with brackets is no markup
    # A table cut to a narrow terminal would lose its numbers; wrapped lines do not.
    wide = Console(highlight=False, width=max(terminal.width, TABLE_WIDTH), quiet=terminal.quiet)
    wide.print(table)


class TrainingView:
    """Shows stages, steps with images/s and time left, losses, checks."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._knows_threads = False

    def on_stage(self, name: str, number: int, of: int, step: int, settings: StageSettings) -> None:
        self._name = f"stage {number}/{of} {name}"
        self._settings = settings
        self._first = step
        self._started = self._spoke = self._last_step = time.monotonic()
        self._watch()
        if step:
            say(f"{self._name}: going on at step {step:,}")
        if terminal.is_terminal:
            self._bar = _bar("{task.fields[detail]}")
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=settings.steps, completed=step, detail="")

    def on_steps_revised(self, settings: StageSettings) -> None:
        self._settings = settings
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=settings.steps)

    def on_step(self, step: int, losses: StepLosses) -> None:
        self._last_step = now = time.monotonic()
        if not self._knows_threads and now - self._watched >= WATCH_SECONDS:
            self._look_at_threads(now, losses)
        if now - self._spoke < (LINE_EVERY_SECONDS if self._bar is None else BAR_EVERY_SECONDS):
            return
        self._spoke = now
        per_step = (now - self._started) / (step - self._first)
        images = self._settings.batch_size * (self._settings.critic_steps + 1) / per_step
        detail = f"{images:,.0f} images/s, {_losses(losses)}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step, detail=detail)
            return
        left = (self._settings.steps - step) * per_step
        say(f"{self._name}: step {step:,} of {self._settings.steps:,}, {detail}, {duration(left)} left")

    def on_check(self, report: CheckReport) -> None:
        # The rate is of training alone: the time since the last step went into this check.
        self._started += time.monotonic() - self._last_step
        text = f"{self._name}: step {report.step:,}: distance {report.distance:.2f}"
        text += "" if report.top_1 is None else f", top-1 {report.top_1:.1%}"
        if report.top_1_lq_only is not None:
            text += f" ({report.top_1_lq_only:.1%} of classes with LQ images only)"
        text += f" (to training images); sheet {report.sheet}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=report.step)
        self._say(text)
        self._watch()

    def on_alarm(self, alarm: Alarm) -> None:
        self._say(f"warning: {alarm.message}")

    def on_rollback(self, rollback: Rollback) -> None:
        self.close()
        say(
            f"{self._name}: {rollback.reason}; going back to step {rollback.to_step:,} of stage {rollback.to_stage!r} "
            f"with generator_rate {rollback.generator_rate:.3g} and discriminator_rate "
            f"{rollback.discriminator_rate:.3g} (rollback {rollback.number} of at most {rollback.of})"
        )

    def on_stage_end(self, name: str, reason: str) -> None:
        self.close()
        say(f"{self._name} ended: {reason}")

    def _watch(self) -> None:
        self._watched, self._computed = time.monotonic(), time.process_time()

    def _look_at_threads(self, now: float, losses: StepLosses) -> None:
        """Say it, once, if all threads together get less than one processor: one alone would be as fast."""
        import torch

        threads = torch.get_num_threads()
        processors = (time.process_time() - self._computed) / (now - self._watched)
        if threads > 1 and processors < 1 and all(term.device.type == "cpu" for term in losses.generator.values()):
            self._knows_threads = True
            self._say(
                f"note: {threads} threads have had {processors:.1f} of a processor for {now - self._watched:.0f} s, "
                "because other programs keep this machine busy; one alone may be faster (OMP_NUM_THREADS=1 before the "
                "command)"
            )
        self._watch()

    def _say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is None:
            say(text)
        else:
            self._bar.console.print(text, markup=False)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def callbacks() -> Iterator[Callbacks]:
    """Everything shown on this console; the bar is taken away however the work ends."""
    from ctfgan.runs.context import Callbacks

    view = TrainingView()
    try:
        yield Callbacks(view, progress, say)
    finally:
        view.close()


def say_done(run: Path) -> None:
    """What to type next."""
    name = shlex.quote(str(run))
    say(f"done: {name}. Next: ctfgan evaluate {name}   or   ctfgan sample {name} --out grid.png")
    say(f"All about it on one page: ctfgan report {name}")


def _bar(*more: str) -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn()]
    return Progress(*columns, TimeRemainingColumn(), *(TextColumn(text) for text in more), console=terminal)


def _losses(losses: StepLosses) -> str:
    discriminator = sum(term.item() for term in losses.discriminator.values())
    generator = sum(term.item() for term in losses.generator.values())
    return f"D {discriminator:.2f}, G {generator:.2f}"

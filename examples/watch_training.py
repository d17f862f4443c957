"""Watch a run from Python: print what its checks find, and keep the sheet of the best one.

python examples/watch_training.py runs/watched
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import ctfgan
from ctfgan.runs.context import Callbacks, NullCallback
from ctfgan.training.validation import CheckReport


class KeepsTheBest(NullCallback):
    """An observer: everything but checks passes by; of those the best sheet is kept."""

    def __init__(self) -> None:
        self.best: CheckReport | None = None

    def on_check(self, report: CheckReport) -> None:
        """Called after each check, when its sheet and its checkpoint are written."""
        print(f"{report.stage}, step {report.step}: distance {report.distance:.1f}, top-1 {report.top_1:.1%}")
        if self.best is None or report.distance < self.best.distance:
            self.best = report


def main() -> None:
    """Train on eight letters and keep the best sheet beside the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the new run folder")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="of the recipe"
    )
    arguments = parser.parse_args()

    recipe = ctfgan.recipe("ctf-glyphs", "data.glyphs.characters=ABCDEFGH", *arguments.settings)
    callback = KeepsTheBest()
    run = ctfgan.train(recipe, arguments.out, Callbacks(callback=callback, say=print))
    assert callback.best is not None, "every stage ends with a check"
    kept = shutil.copy(callback.best.sheet, run / "best-sheet.png")
    print(f"best: {callback.best.stage}, step {callback.best.step}; its sheet is {kept}")


if __name__ == "__main__":
    main()

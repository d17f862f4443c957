"""The table and the plot of docs/results.md, from docs/results.csv.

    python benchmarks/results.py docs/results.csv --plot docs/images/shares.png

Rows of the CSV are runs (``ctfgan compare --csv``, one call for each data set); arms are runs of the same length that
differ in their seeds alone.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure

from ctfgan.reports.csv_rows import CsvRow, read_csv
from ctfgan.reports.run_results import spread

SETTINGS = {
    ("cifar10-jpeg.npz", "degraded 16x16"): "CIFAR-10 JPEGs, LQ 16x16 of the same class",
    ("tiny.npz", "degraded 16x16"): "tiny-imagenet, 200 classes, LQ 16x16 of the same class",
    ("hwdb95.npz", "degraded 12x12"): "HWDB, 95 characters, LQ 12x12 of the same class",
    ("hwdb95.npz", "mnist.npz"): "HWDB, 95 characters, LQ = MNIST digits",
}
STEPS = 1_500  # of every run of the table; others in the CSV belong to other questions
BASELINE, OURS, PAPER_LOSS = "SN-GAN + Projection", "CTF-GAN", "CTF-GAN, paper's loss"
COLOURS = {BASELINE: "tab:grey", OURS: "tab:blue", PAPER_LOSS: "tab:orange"}

Arms = dict[tuple[str, float], list[CsvRow]]
"""Runs by method and share of good images."""


def arms_of(rows: list[CsvRow], setting: tuple[str, str]) -> Arms:
    """The arms of a setting; the baseline sees no low-quality images, so that all settings of a set share it.

    What another recogniser measured than the baseline's belongs to other questions.
    """
    arms: Arms = defaultdict(list)
    here = [row for row in rows if (row["set"], int(row["steps"])) == (setting[0], STEPS)]
    recognisers = {row["recogniser"] for row in here if row["low_quality"] == "none"}
    for row in here:
        if row["low_quality"] in (setting[1], "none") and row["recogniser"] in recognisers:
            paper = "transfer.consistency=0.0" in row["settings"]
            name = BASELINE if row["low_quality"] == "none" else PAPER_LOSS if paper else OURS
            arms[name, float(row["share"])].append(row)
    return dict(sorted(arms.items(), key=lambda arm: (list(COLOURS).index(arm[0][0]), -arm[0][1])))


def cell(rows: list[CsvRow], column: str, form: str) -> str:
    """Mean over seeds, and their standard deviation if there are several."""
    values = [float(row[column]) for row in rows if row[column]]
    if not values:
        return "-"
    scale = 100 if form.endswith("%") else 1
    return spread([scale * value for value in values], form.rstrip("%")) + (" %" if scale == 100 else "")


def table(rows: list[CsvRow]) -> str:
    """A Markdown table: an arm a row, below the name of its setting."""
    columns = {
        "distance ↓": ("distance", ".1f"), "top-1 ↑": ("top_1", ".1f%"), "precision": ("precision", ".2f"),
        "recall": ("recall", ".2f"), "seconds": ("seconds", ".0f"),
        "distance at equal seconds": ("equal_seconds_distance", ".1f"), "top-1 there": ("equal_seconds_top_1", ".1f%"),
    }  # fmt: skip
    lines = ["| | good images | seeds | " + " | ".join(columns) + " |", "|---" * (3 + len(columns)) + "|"]
    for setting, title in SETTINGS.items():
        arms = arms_of(rows, setting)
        if not arms:
            continue
        floor = next(iter(arms.values()))[0]
        real = (
            f"real against real: distance {float(floor['floor_distance']):.1f}, top-1 {float(floor['floor_top_1']):.1%}"
        )
        lines.append(f"| **{title}** ({real}) " + "| " * (2 + len(columns)) + "|")
        for (name, share), found in arms.items():
            images = " / ".join(sorted({f"{int(row['hq_images']):,}" for row in found}))
            cells = [cell(found, column, form) for column, form in columns.values()]
            lines.append(f"| {name} | {share:.0%} ({images}) | {len(found)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows: list[CsvRow]) -> Figure:
    """Distance and top-1 against the share of good images, every seed a point, lines through the means."""
    shown = [setting for setting in SETTINGS if arms_of(rows, setting)]
    figure = Figure(figsize=(3.3 * len(shown), 6), layout="constrained")
    axes = figure.subplots(2, len(shown), squeeze=False, sharex=True)
    for place, setting in enumerate(shown):
        arms = arms_of(rows, setting)
        for method, colour in COLOURS.items():
            found = {share: runs for (name, share), runs in arms.items() if name == method}
            for axis, column, scale in ((axes[0, place], "distance", 1), (axes[1, place], "top_1", 100)):
                if not found:
                    continue
                values = {share: [scale * float(run[column]) for run in runs] for share, runs in found.items()}
                shares, means = [100 * share for share in values], [fmean(v) for v in values.values()]
                axis.plot(shares, means, color=colour, label=method)
                if method == BASELINE:
                    axis.axhline(means[0], color=colour, linestyle=":", linewidth=1, label="the same, all good images")
                for share, seeds in values.items():
                    axis.plot([100 * share] * len(seeds), seeds, "o", color=colour, markersize=4, alpha=0.6)
        axes[0, place].set_title(
            SETTINGS[setting].replace(", LQ", ",\nLQ").replace(", 200", ",\n200"), fontsize="small"
        )
        axes[0, place].set_ylim(bottom=0)
        axes[1, place].set_ylim(bottom=0)
        axes[1, place].set_xlabel("share of the good images, %")
        axes[1, place].set_xlim(0, 105)
    axes[0, 0].set_ylabel("Frechet distance (lower is better)")
    axes[1, 0].set_ylabel("top-1, %")
    axes[0, 0].legend(fontsize="x-small", loc="lower right")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    lines = read_csv(asked.csv)
    if lines is None:
        parser.error(f"{asked.csv} is no table of ctfgan compare --csv")
    rows = [row for row in lines if row["distance"]]  # the others were not evaluated
    other = {row["set"] for row in rows} - {name for name, _ in SETTINGS}
    if other:
        print(f"passed over, being of no setting here: runs on {', '.join(sorted(other))}", file=sys.stderr)
    print(table(rows))
    if asked.plot:
        plot(rows).savefig(asked.plot, dpi=110)


if __name__ == "__main__":
    main()

"""Cost against the number of classes, drawn."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from ctfgan.bench.classes import ClassCost
from ctfgan.reports.comparison import as_png


def class_plot(costs: Sequence[ClassCost]) -> bytes:
    """PNG of three panels by number of classes: step time against the fewest, memory that is added, start-up."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    steps, memory, start = figure.subplots(1, 3)
    for cost in costs:
        counts = sorted(cost.starts)
        base = cost.starts[counts[0]]
        ratios = [cost.times.ratio(str(count), str(counts[0])) for count in counts]
        (line,) = steps.plot(counts, ratios, marker="o", label=cost.stage)
        grown = [(cost.starts[count].memory - base.memory) / 1e6 for count in counts]
        codes = [(cost.starts[count].codes - base.codes) / 1e6 for count in counts]
        memory.plot(counts[1:], grown[1:], marker="o", color=line.get_color())
        memory.plot(counts[1:], codes[1:], linestyle=":", color=line.get_color())
        start.plot(counts, [cost.starts[count].seconds for count in counts], marker="o")
    steps.axhline(1.05, color="grey", linestyle=":")
    steps.set(ylabel="step time / that of the fewest classes", ylim=(0, None))
    memory.set(ylabel="memory added, MB (dotted: codes)")
    start.set(ylabel="start-up, s", ylim=(0, None))
    steps.legend(fontsize="small")
    for axis in (steps, memory, start):
        axis.set(xscale="log", xlabel="classes")
        axis.grid(alpha=0.3)
    memory.set_yscale("log", nonpositive="mask")  # a few MB may be missing, by chance
    return as_png(figure)

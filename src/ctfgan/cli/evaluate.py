"""``ctfgan evaluate``."""

from __future__ import annotations

from pathlib import Path

import click

FEW_REFERENCES = 500


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--device", metavar="NAME", help="Another device than the run's recipe names.")
def evaluate(run: Path, device: str | None) -> None:
    """Measure RUN against held-out real images, for its training low-quality bank and a held-out one.

    The extractor is a recogniser trained on the run's own real images, so the figures bear its name; they are no IS
    and no FID. Lower is better for Frechet distance and KID, higher for the others. The floor is what real images
    score against other real images.
    """
    from ctfgan.cli import show
    from ctfgan.evaluation import evaluate as evaluate_run
    from ctfgan.reports.compare import figure_cells
    from ctfgan.runs import Watch
    from ctfgan.training.run_folder import FIGURES

    result = evaluate_run(run, Watch(progress=show.progress), device)
    headings = ("images", "n", "top-1 ↑", "top-5 ↑", "recogniser score ↑", "Frechet distance ↓", "KID ↓")
    rows = [(name, f"{row.count:,}", *figure_cells(row.as_dict())) for name, row in result.rows.items()]
    show.say("")
    show.print_table(headings, rows)
    if result.protocol.real < FEW_REFERENCES:
        show.say(f"\nnote: with only {result.protocol.real:,} held-out real images the distances are unreliable")
    copies = result.copies
    show.say(
        f"\ncopies: {copies.closer_than_real:.1%} of samples are nearer to a training image than 99 % of held-out real "
        f"images are (chance gives 1 %); median distance {copies.median_generated:.1f} grey levels, real "
        f"{copies.median_real:.1f}"
    )
    show.say(f"protocol: {result.protocol.sentence()}\nwritten to {run / FIGURES}")

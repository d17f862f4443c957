"""``ctfgan evaluate``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from ctfgan.cli.options import OTHER_DEVICE, PATH, TOP_K, TRIES, check_readable


@click.command()
@click.argument("run", type=PATH)
@click.option("--images", type=click.IntRange(min=100), metavar="N", help="Generated images per low-quality bank.")
@click.option("--per-class", type=click.IntRange(min=0), metavar="K",
              help="Also measure K classes, each by itself; 0 for none.")  # fmt: skip
@click.option("--cas", "--classification-score", "classification_score", is_flag=True, default=None,
              help="Also say what a classifier gains by generated images beside augmentation and LQ.")  # fmt: skip
@click.option("--cas-seeds", "classification_seeds", type=click.IntRange(min=1), metavar="S",
              help="Classifiers of each mix that --cas trains, for its uncertainty.")  # fmt: skip
@click.option("--keep-readable", is_flag=True, default=None,
              help="Also measure samples that are drawn anew until they are read as their class.")  # fmt: skip
@TOP_K
@TRIES
@click.option("--extractor", "extractors", type=PATH, multiple=True, metavar="FILE.py",
              help="Also measure with an extractor of your own; the file is run. May be repeated.")  # fmt: skip
@click.option("--inception", is_flag=True, help="Also Inception score, FID, KID; downloads the weights if need be.")
@click.option("--inception-weights", type=PATH, metavar="FILE.pth", help="The same from weights at hand.")
@click.option("--out", type=PATH, metavar="FILE.json",
              help="Store the figures there and leave RUN as it is; other extractors' in FILE stay.")  # fmt: skip
@OTHER_DEVICE
def evaluate(
    run: Path,
    images: int | None,
    per_class: int | None,
    classification_score: bool | None,
    classification_seeds: int | None,
    keep_readable: bool | None,
    top_k: int | None,
    tries: int | None,
    extractors: tuple[Path, ...],
    inception: bool,
    inception_weights: Path | None,
    out: Path | None,
    device: str | None,
) -> None:
    """Measure RUN against held-out real images, for its training low-quality bank and a held-out one.

    The extractor is a recogniser trained on the run's own real images, so the figures bear its name; they are no IS
    and no FID. Others can be added, each with figures under its own name. The arrows show what is better. The floor is
    what real images score against other real images; few images make any distance larger, so compare it with the
    distance of samples at the floor's size. Classes are as frequent as among the real images; top-1 and top-5 are means
    over the classes, and stand apart for those that the run has seen low-quality images of only.

    --cas trains classifiers on the good training images, with the usual augmentation, with the low-quality images and
    with generated ones, all for the same number of steps, and tests them on the held-out real images: does
    'ctfgan sample' make images worth adding to what you have anyway?

    Where low-quality images show their class, several results of the same image are compared: LR-PSNR, how near they
    are to it when reduced to its size, and how much they differ, for G_A behind G_LH and for G_LH alone.

    --keep-readable puts samples as 'ctfgan sample --keep-readable' chooses them beside all. The recogniser's top-1 is
    what they were chosen by and says nothing, so that a second one, of another seed, measures all sets, too: its top-1
    says how many show their class, recall what variety was lost.
    """
    from ctfgan.storage.run_folder import FIGURES, RunFolder

    check_readable(keep_readable, top_k, tries)
    RunFolder.open(run)  # a misspelt run must not wait for torch, nor for a download
    from ctfgan.cli import console
    from ctfgan.evaluation import Evaluation, load_extractors
    from ctfgan.evaluation import evaluate as evaluate_run
    from ctfgan.reports.run_results import classification_table, metric_table, super_resolution_table
    from ctfgan.runs.context import Callbacks

    def show_figures(result: Evaluation) -> None:
        content = result.as_dict()
        for key, card in result.protocol.extractors.items():
            console.say(f"\n{card.name}:")
            console.print_table(*metric_table(content, key))
        console.say("")
        if result.super_resolution is not None:
            console.say(f"enhance and vary: {result.super_resolution.heading()}")
            console.print_table(*super_resolution_table(content["super_resolution"]))
            console.say("")
        if result.classification is not None:
            console.print_table(*classification_table(content["classification"]))
            console.say(result.classification.sentence())
            console.say(result.classification.hardest_sentence())
        for note in result.notes:
            console.say(f"note: {note}")
        for name, rejections in result.rejections.items():
            console.say(f"{name}: {rejections.sentence()}")
        console.say(f"copies: {result.copies.sentence()}")
        console.say(f"protocol: {result.protocol.sentence()}")

    if out is None and not os.access(run, os.W_OK):
        console.say(
            f"note: {run} is no folder that you may write to; the figures are shown, and stored with --out FILE alone"
        )
    more = load_extractors(
        extractors, inception=inception, inception_weights=inception_weights, device=device or "auto"
    )
    evaluate_run(
        run,
        Callbacks(progress=console.progress),
        device,
        images=images,
        per_class=per_class,
        classification_score=classification_score,
        classification_seeds=classification_seeds,
        keep_readable=keep_readable,
        top_k=top_k,
        tries=tries,
        extractors=more,
        out=out,
        show=show_figures,
    )
    console.say(f"written to {out or run / FIGURES}")
    if out is None:  # the page shows what is in the run
        console.say(f"Next: ctfgan report {shlex.quote(str(run))}")

"""A tiny CTF-GAN from end to end in a temporary folder: train, resume, sample; about ten seconds."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctfgan.doctor.findings import Finding

STEPS = 8
SETTINGS = (
    "glyphs.characters=ABCD", "glyphs.images_per_class=12", "data.resolution=16", "keep_checkpoints=20",
    f"transfer.steps={STEPS}", f"generate.steps={STEPS}", "transfer.batch_size=8", "generate.batch_size=8",
    "generator_width=0.05", "discriminator_width=0.05", f"checks.every={STEPS // 2}", "checks.images=16",
    "checks.sheet_rows=1", "recogniser.images=256", "recogniser.width=4", "journal_every=1", "tracker=none",
)  # fmt: skip


def self_test(device: str) -> Iterator[Finding]:
    """Train on rendered glyphs, resume from the middle, sample from the bundle; everything finite, all bits the same.

    Args:
        device: as for ``--device``.
    """
    from ctfgan.recipes.overlay import recipe
    from ctfgan.runs.train import resume, train

    started = time.monotonic()
    with _own_cache() as folder:
        run = train(recipe("ctf-glyphs", *SETTINGS, f"device={device}"), folder / "run")
        yield _trained(run, time.monotonic() - started)
        again = _back_to_the_middle(run, folder / "again")
        resume(again)
        yield _resumed(run, again)
        yield _sampled(run, device)
    yield Finding("ok", "took", f"{time.monotonic() - started:.1f} s")


@contextmanager
def _own_cache() -> Iterator[Path]:
    """A temporary folder, with a cache in it that nobody else sees."""
    before = os.environ.get("CTFGAN_CACHE")
    with tempfile.TemporaryDirectory(prefix="ctfgan-doctor-") as folder:
        os.environ["CTFGAN_CACHE"] = str(Path(folder, "cache"))
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["CTFGAN_CACHE"]
            else:
                os.environ["CTFGAN_CACHE"] = before


def _trained(run: Path, seconds: float) -> Finding:
    from ctfgan.storage.run_folder import RunFolder

    lines = [line for line in RunFolder(run).journal().read("step") if line["stage"] == "generate"]
    first, last = lines[0], lines[-1]
    rate = (last["step"] - first["step"]) / max(last["seconds"] - first["seconds"], 0.01)
    detail = (
        f"{2 * STEPS} steps of a tiny CTF-GAN in {seconds:.1f} s with all preparation; {rate:.1f} steps/s in stage 2"
    )
    return Finding("ok", "trains", detail)


def _back_to_the_middle(run: Path, again: Path) -> Path:
    """A copy of the run as if it had been stopped at the check in the middle of stage 2."""
    from ctfgan.storage.run_folder import BUNDLE, RunFolder

    shutil.copytree(run, again)
    shutil.rmtree(again / BUNDLE)
    shutil.rmtree(RunFolder(again).checkpoints()[-1])
    return again


def _resumed(run: Path, again: Path) -> Finding:
    import torch

    from ctfgan.storage.run_folder import RunFolder

    whole, resumed = (RunFolder(path).load(RunFolder(path).checkpoints()[-1]).tensors for path in (run, again))
    if [name for name in whole if not torch.isfinite(whole[name]).all()]:
        return Finding("fail", "weights", "are not finite after training", "try --device cpu; report this if it fails")
    differing = [name for name in whole if not torch.equal(whole[name], resumed[name])]
    if not differing:
        return Finding("ok", "resumes", f"to the same bits ({len([*whole])} tensors)")
    detail = f"{len(differing)} of {len([*whole])} tensors differ after resuming"
    on_cpu = RunFolder(run).read_json("data.json")["device"].startswith("cpu")
    if on_cpu:
        return Finding("fail", "resumes", detail, "set OMP_NUM_THREADS to a fixed number; report this if it stays")
    return Finding("ok", "resumes", f"{detail}: a GPU adds up in an order of its own")


def _sampled(run: Path, device: str) -> Finding:
    import numpy as np

    from ctfgan.sampling.model import load

    model = load(run, device=device)
    first, second = (model.sample(["A", "B"], 4, seed=1).images for _ in range(2))
    if first.shape != (8, 16, 16, 1) or not np.array_equal(first, second):
        detail = f"{first.shape} instead of (8, 16, 16, 1), or other images of the same seed"
        return Finding("fail", "samples", detail, "try --device cpu; report this if it fails too")
    return Finding("ok", "samples", "from its bundle, the same images for the same seed")

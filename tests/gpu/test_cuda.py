"""What only a CUDA device can show; skipped without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ctfgan
from tests.conftest import TINY_RUN

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_run_of_a_gpu_is_measured_and_sampled_without_one(tmp_path: Path) -> None:
    run = ctfgan.train(ctfgan.recipe("ctf-glyphs", *TINY_RUN, "device=cuda", "evaluation.images=100"), tmp_path / "run")
    figures = ctfgan.evaluate(run, device="cpu").reported
    assert np.isfinite(figures.frechet)
    on_cpu = ctfgan.load(run, device="cpu").sample(["A"], 4, seed=1).images.astype(int)
    on_gpu = ctfgan.load(run, device="cuda").sample(["A"], 4, seed=1).images.astype(int)
    assert np.abs(on_cpu - on_gpu).max() <= 3  # the same noise; sums are rounded in another order


def test_the_baseline_trains_on_a_gpu(tmp_path: Path) -> None:
    settings = [setting for setting in TINY_RUN if "transfer" not in setting and "generate." not in setting]
    settings += ["adversarial.steps=4", "adversarial.batch_size=8", "device=cuda"]
    run = ctfgan.train(ctfgan.recipe("projection-glyphs", *settings), tmp_path / "run")
    assert ctfgan.load(run).sample(n=1).images.shape == (4, 16, 16, 1)

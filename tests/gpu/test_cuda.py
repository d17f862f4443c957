"""What only a CUDA device can show; skipped without one."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_images import synthetic_images

import ctfgan
from ctfgan.data.batches import BatchStream
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings
from ctfgan.distributed.random_streams import BatchRng
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


@pytest.mark.parametrize("free", [None, 0], ids=["images on the device", "images on the CPU"])
def test_batches_on_a_gpu_are_those_of_a_cpu(
    free: int | None, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if free is not None:
        monkeypatch.setattr("ctfgan.data.dataset.free_memory", lambda device: free)
    synthetic_images(tmp_path / "made", 5, 20, 16, 3)
    dataset = prepare(DataSettings(high_quality=str(tmp_path / "made"), resolution=16), low_quality=True)
    device = torch.device("cuda")
    assert dataset.device_images(device)[0].is_resident == (free is None)
    streams = (BatchStream(dataset, 16, 0, BatchRng.of(1), device=where) for where in (torch.device("cpu"), device))
    for expected, found in itertools.islice(zip(*streams, strict=True), 9):
        for field in dataclasses.fields(expected):
            value = getattr(found, field.name)
            assert value.device.type == "cuda"
            torch.testing.assert_close(value.cpu(), getattr(expected, field.name))
        assert found.real.is_contiguous(memory_format=torch.channels_last)

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from ctfgan.data.dataset import DeviceImages, shared_tensor
from ctfgan.data.images import to_bytes

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
ROWS = torch.tensor([4, 4, 29, 0])


@pytest.mark.parametrize("is_resident", [True, False])
def test_gathered_images_are_those_of_the_rows_as_floats_in_channels_last_order(is_resident: bool) -> None:
    images = DeviceImages(PIXELS, CPU)
    images.is_resident = is_resident
    gathered = images.gather(ROWS)
    assert gathered.dtype == torch.float32
    assert gathered.is_contiguous(memory_format=torch.channels_last)
    assert (gathered.min() >= -1, gathered.max() <= 1) == (True, True)
    assert np.array_equal(to_bytes(gathered), PIXELS[ROWS.numpy()])


@pytest.mark.parametrize(("free", "is_resident"), [(PIXELS.nbytes * 4, True), (PIXELS.nbytes * 4 - 1, False)])
def test_a_device_takes_images_that_fit_into_a_quarter_of_what_is_free(
    free: int, is_resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctfgan.data.dataset.free_memory", lambda device: free)
    images = DeviceImages(PIXELS, torch.device("meta"))
    assert images.is_resident == is_resident
    gathered = images.gather(torch.zeros(4, dtype=torch.int64, device="meta") if is_resident else ROWS)
    assert (gathered.shape, gathered.device.type) == ((4, 3, 8, 8), "meta")


def test_images_of_a_file_are_not_copied_on_a_cpu_and_cause_no_warning(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", PIXELS)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    with warnings.catch_warnings(action="error"):
        tensor = shared_tensor(mapped)
    assert tensor.data_ptr() == mapped.ctypes.data

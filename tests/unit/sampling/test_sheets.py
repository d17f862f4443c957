from __future__ import annotations

import numpy as np

from ctfgan.data.images import sheet
from ctfgan.sampling.sheets import enlarged, sheet_of_columns


def test_columns_beyond_the_32nd_follow_below() -> None:
    images = np.random.default_rng(0).integers(0, 256, (35 * 2, 8, 8, 3), dtype=np.uint8)
    names = [chr(ord("0") + index) for index in range(35)]
    whole = np.asarray(sheet_of_columns(images, 2, names))
    first = np.asarray(sheet(np.concatenate([images[0:64:2], images[1:64:2]]), 32, names[:32], 6))
    assert np.array_equal(whole[: len(first)], first)
    second = sheet(np.concatenate([images[64::2], images[65::2]]), 3, names[32:], 8)
    assert np.array_equal(whole[len(first) :, : second.width], np.asarray(second))


def test_what_is_coarse_stays_so() -> None:
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    assert np.array_equal(enlarged(image, 6)[0, :, :, 0], np.kron(image[0, :, :, 0], np.ones((3, 3))))

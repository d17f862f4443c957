from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ctfgan.metrics.memorization import check_memorization


def pictures(start: int, end: int) -> NDArray[np.uint8]:
    """A 16x16 image of noise for each number."""
    drawn = [np.random.default_rng(number).integers(0, 256, (16, 16, 1)) for number in range(start, end)]
    return np.array(drawn, dtype=np.uint8).reshape(-1, 16, 16, 1)


@pytest.mark.parametrize("shared", [1, 20, 60])
def test_held_out_images_that_are_training_images_do_not_hide_copies(shared: int) -> None:
    """As in a published test part that repeats training images."""
    training, fresh = pictures(0, 200), pictures(1_000, 1_200)
    held_out = np.concatenate([training[:shared], pictures(500, 560 - shared)])
    found = check_memorization(training[::-1], held_out, [training])
    assert (found.closer_than_real, found.held_out) == (1, 60 - shared)
    found = check_memorization(fresh, held_out, [training])
    assert found.closer_than_real < 0.1
    assert found.median_generated > 10

"""Whether a reference of its own holds images that training sees: figures on these would flatter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctfgan.data.images import Bytes

PATCH = 8  # side of the central patch that is compared first
CHUNK = 4_096


def shared_rows(reference: Bytes, training: Bytes) -> NDArray[np.int64]:
    """Rows of the reference whose pixels are those of some training image.

    Reads of every training image no more than its centre; whole images only where the centres agree.

    Args:
        reference: uint8 ``(M, R, R, K)``.
        training: uint8 ``(N, R, R, K)``, memory-mapped or not.
    """
    centres = _centres(reference)
    known = {centre.tobytes() for centre in centres}
    found: set[bytes] = set()
    for start in range(0, len(training), CHUNK):
        part = training[start : start + CHUNK]
        for row in [row for row, centre in enumerate(_centres(part)) if centre.tobytes() in known]:
            found.add(part[row].tobytes())
    return np.array([row for row, image in enumerate(reference) if image.tobytes() in found], dtype=np.int64)


def _centres(images: Bytes) -> Bytes:
    start = (images.shape[1] - PATCH) // 2
    return np.ascontiguousarray(images[:, start : start + PATCH, start : start + PATCH])

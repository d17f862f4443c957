"""Packed images of noise, of any number of classes: what costs are measured with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ctfgan.core.files import new_folder
from ctfgan.data.packed import (
    CONTENT,
    DIGESTS,
    FORMAT,
    IMAGES,
    PackedImages,
    SourceSummary,
    open_packed,
    write_labels,
)

WRITTEN_AT_ONCE = 1 << 24  # bytes


def synthetic_images(folder: Path, classes: int, images_per_class: int, resolution: int, channels: int) -> PackedImages:
    """Write a folder as ``ctfgan data build`` would, of random bytes; image i is of class i mod ``classes``.

    Classes are named by their number, with leading zeros. The folder appears whole or not at all.

    Args:
        folder: must not exist.
        classes: C.
        images_per_class: of each.
        resolution: side in pixels.
        channels: 1 or 3.
    """
    count = classes * images_per_class
    names = [f"{number:0{len(str(classes - 1))}}" for number in range(classes)]
    shape = (count, resolution, resolution, channels)
    survey = SourceSummary("random bytes", count, (resolution,) * 3, {"L" if channels == 1 else "RGB": count}, (), ())
    content = {
        "format": FORMAT, "shape": shape, "classes": classes, "fit": "crop", "survey": asdict(survey),
        "fingerprint": f"synthetic {shape} {classes}",  # the content follows from these numbers
    }  # fmt: skip
    rng = np.random.default_rng(0)
    with new_folder(folder) as partial:
        images = np.lib.format.open_memmap(partial / IMAGES, mode="w+", dtype=np.uint8, shape=shape)
        flat = images.reshape(-1)
        for start in range(0, len(flat), WRITTEN_AT_ONCE):
            part = flat[start : start + WRITTEN_AT_ONCE]
            part[:] = np.frombuffer(rng.bytes(len(part)), dtype=np.uint8)
        images.flush()
        del images, flat
        np.save(partial / DIGESTS, np.arange(count, dtype=np.uint64))  # there are no copies
        write_labels(partial, np.arange(count) % classes, names)
        (partial / CONTENT).write_text(json.dumps(content), encoding="utf-8")
    return open_packed(folder)

"""Turn packs of real images into the .npz that ``ctfgan train --hq`` reads.

Usage: ``python benchmarks/prepare_packs.py hwdb|jpeg|omniglot PACK OUT``

hwdb: arrays x, y, char, mixed_class; classes that mix two characters are left out.
jpeg: arrays jpeg (all files in a row), offset, label, and class_name or wnid (CIFAR-10, Tiny ImageNet).
omniglot: one-bit 105x105 images in ``bits``, with label and class_name.
"""

from __future__ import annotations

import itertools
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

OMNIGLOT_SIDE = 105


def hwdb(arrays: dict[str, NDArray]) -> dict[str, NDArray]:
    mixed, labels = arrays["mixed_class"], arrays["y"]
    kept = ~mixed[labels]
    number = np.cumsum(~mixed) - 1  # old label to new label
    # Most characters of the pack have no name; those are called by their number in it.
    classes = np.array([name or f"class-{index:02d}" for index, name in enumerate(arrays["char"])])
    return {"images": arrays["x"][kept], "labels": number[labels[kept]], "classes": classes[~mixed]}


def jpeg(arrays: dict[str, NDArray]) -> dict[str, NDArray]:
    stream, offsets = arrays["jpeg"].tobytes(), arrays["offset"]
    images = [
        np.asarray(Image.open(BytesIO(stream[start:end])).convert("RGB")) for start, end in itertools.pairwise(offsets)
    ]
    names = arrays.get("class_name", arrays.get("wnid"))
    return {"images": np.stack(images), "labels": arrays["label"].astype(np.int64), "classes": names}


def omniglot(arrays: dict[str, NDArray]) -> dict[str, NDArray]:
    pixels = OMNIGLOT_SIDE**2
    ink = np.unpackbits(arrays["bits"], axis=1)[:, :pixels].reshape(-1, OMNIGLOT_SIDE, OMNIGLOT_SIDE)
    images = (255 * (1 - ink)).astype(np.uint8)
    return {"images": images, "labels": arrays["label"].astype(np.int64), "classes": arrays["class_name"]}


def main(kind: str, pack: Path, out: Path) -> None:
    with np.load(pack, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    content = {"hwdb": hwdb, "jpeg": jpeg, "omniglot": omniglot}[kind](arrays)
    np.savez(out, **content)
    print(f"{len(content['images']):,} images of {len(np.unique(content['labels'])):,} classes: {out}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

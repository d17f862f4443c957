"""How long it takes to open packed images of very many classes: ``python benchmarks/bench_manifest.py``.

The pixels are a sparse file, so little disk is used; opening never looks at them.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ctfgan.data.packed import CONTENT, DIGESTS, FORMAT, IMAGES, open_packed, write_labels


def main() -> None:
    images, classes = (int(given) for given in sys.argv[1:3]) if len(sys.argv) == 3 else (2_000_000, 1_000_000)
    shape = (images, 32, 32, 1)
    survey = {"location": "x", "images": images, "sides": [32, 32, 32], "modes": {}, "unreadable": [], "notes": []}
    content = {"format": FORMAT, "shape": shape, "classes": classes, "fit": "crop", "survey": survey, "fingerprint": ""}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.lib.format.open_memmap(folder / IMAGES, mode="w+", dtype=np.uint8, shape=shape)
        np.save(folder / DIGESTS, np.arange(images, dtype=np.uint64))
        started = time.perf_counter()
        write_labels(folder, np.arange(images) % classes, [f"class {number}" for number in range(classes)])
        (folder / CONTENT).write_text(json.dumps(content))
        print(f"{images:,} images, {classes:,} classes; manifest written in {time.perf_counter() - started:.2f} s")
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            started = time.perf_counter()
            packed = open_packed(folder)
            opened = time.perf_counter()
            rows, name = packed.rows_of(classes - 1).tolist(), packed.names[classes - 1]
            asked = time.perf_counter()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(f"opened in {1e3 * (opened - started):.2f} ms, rows and name of the last class in "
                  f"{1e6 * (asked - opened):.0f} us ({rows}, {name!r}), peak memory + {grown} KiB")  # fmt: skip
        started = time.perf_counter()
        assert len(packed.classes) == classes
        print(f"all names as a tuple: {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()

"""Turn the 100-class CASIA-HWDB pack (arrays x, y, char, mixed_class) into an .npz that ``ctfgan train --hq`` reads.

Classes that mix two characters are left out, which leaves 95. Usage: ``python benchmarks/prepare_hwdb.py PACK OUT``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(pack: Path, out: Path) -> None:
    with np.load(pack, allow_pickle=False) as archive:
        images, labels, names, mixed = (archive[key] for key in ("x", "y", "char", "mixed_class"))
    kept = ~mixed[labels]
    number = np.cumsum(~mixed) - 1  # old label to new label
    # Most characters of the pack have no name; those are called by their number in it.
    classes = np.array([name or f"class-{index:02d}" for index, name in enumerate(names)])
    np.savez(out, images=images[kept], labels=number[labels[kept]], classes=classes[~mixed])
    print(f"{kept.sum():,} images of {(~mixed).sum()} classes: {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

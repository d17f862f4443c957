"""The first rows of the last sample sheet of several runs, one below the other, with the runs' names: one PNG.

Usage: ``python benchmarks/stack_sheets.py OUT.png ROWS WIDTH LABEL=RUN ...``; WIDTH 0 keeps the sheets' own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw

from ctfgan.data.images import heading_font
from ctfgan.reports.pictures import sheets_of

HEADING = 22  # pixels that a sheet's own heading takes


def main(out: Path, rows: int, width: int, runs: list[tuple[str, Path]]) -> None:
    font = heading_font(15)
    strips = []
    for label, run in runs:
        sheets = sheets_of(run)
        assert sheets, f"{run} has no sheet"
        sheet = Image.open(sheets[-1])
        all_rows = json.loads((run / "recipe.json").read_text())["training"]["checks"]["sheet_rows"]
        cell = (sheet.height - HEADING) // all_rows
        strip = sheet.crop((0, 0, min(width or sheet.width, sheet.width), HEADING + rows * cell))
        page = Image.new("RGB", (strip.width, strip.height + HEADING), "white")
        ImageDraw.Draw(page).text((2, HEADING // 2), label, fill="black", font=font, anchor="lm")
        page.paste(strip, (0, HEADING))
        strips.append(page)
    whole = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    top = 0
    for strip in strips:
        whole.paste(strip, (0, top))
        top += strip.height
    whole.save(out, optimize=True)
    print(f"{out}: {whole.width}x{whole.height}")


if __name__ == "__main__":
    pairs = [argument.split("=", 1) for argument in sys.argv[4:]]
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [(label, Path(run)) for label, run in pairs])

"""The sample sheets of a run: which there are, some of them spread over time, as small as a page can bear."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ctfgan.reports.page_blocks import Embedded

NAME = re.compile(r"(\d+)-(.+)-(\d+)")
WIDEST = 1_600  # pixels of a sheet on a page
READABLE = 800  # CSS pixels that a sheet keeps on a narrow screen
AS_IT_IS = 300_000  # bytes up to which a sheet stays the PNG that it is


def sheets_of(run: Path) -> list[Path]:
    """The sample sheets of a run, in the order in which they were drawn."""
    return sorted((path for path in (run / "sheets").glob("*.png") if NAME.fullmatch(path.stem)), key=_moment)


def last_sheet(run: Path) -> Path | None:
    """The sample sheet of the end of a run's training."""
    return next(reversed(sheets_of(run)), None)


def spread_over_time(sheets: Sequence[Path], most: int) -> list[Path]:
    """At most so many of some sheets: the first, the last, and evenly spaced ones between them."""
    places = np.linspace(0, len(sheets) - 1, min(most, len(sheets))).round().astype(int)
    return [sheets[place] for place in places]


def embedded(sheet: Path, by_class: bool) -> Embedded | None:
    """A sheet as a part of a page; a large one narrower and as WebP. None if the file is no image.

    Args:
        sheet: the file.
        by_class: whether its columns are classes.
    """
    _, stage, step = _named(sheet)
    caption = f"stage {stage}, step {int(step):,}"
    columns = "one class a column, the same noise as in every other sheet" if by_class else "images without a class"
    try:
        content = smaller(sheet.read_bytes())
        with Image.open(BytesIO(content)) as picture:
            least = min(READABLE, picture.width)
    except (OSError, UnidentifiedImageError):
        return None
    return Embedded(content, f"sheet of generated images, {caption}: {columns}", caption, least_width=least)


def smaller(png: bytes) -> bytes:
    """A picture no wider than 1,600 pixels, as WebP unless it is small."""
    if len(png) <= AS_IT_IS:
        return png
    picture = Image.open(BytesIO(png)).convert("RGB")
    picture.thumbnail((WIDEST, 4 * WIDEST), Image.Resampling.LANCZOS)
    content = BytesIO()
    picture.save(content, format="WEBP", quality=80)
    return content.getvalue()


def _moment(sheet: Path) -> tuple[int, int]:
    """Stage number and step of a sheet's name."""
    number, _, step = _named(sheet)
    return int(number), int(step)


def _named(sheet: Path) -> tuple[str, str, str]:
    """Stage number, stage and step of a sheet's name."""
    found = NAME.fullmatch(sheet.stem)
    assert found is not None, f"{sheet} is no sheet"
    number, stage, step = found.groups()
    return number, stage, step

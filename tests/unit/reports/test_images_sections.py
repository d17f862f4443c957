from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ctfgan.reports.images_sections import data_section
from ctfgan.reports.page_blocks import Paragraph


@pytest.mark.parametrize(
    ("summary", "count"),
    [
        ({"unreadable": [["x.png", "zero bytes"]], "unreadable_count": 170_001}, "170,001"),
        ({"unreadable": [["x.png", "zero bytes"]] * 1_234}, "1,234"),  # a run from before, which names all of them
    ],
)
def test_the_report_counts_unreadable_images_that_are_not_named(summary: dict[str, Any], count: str) -> None:
    run: Any = SimpleNamespace(result=SimpleNamespace(counts={}), summary=summary)
    opened: Any = SimpleNamespace(no_data=None, found=[], studio=None)
    paragraphs = [block for block in data_section(run, opened, 2) if isinstance(block, Paragraph)]
    assert f"{count} images could not be read" in str(paragraphs)

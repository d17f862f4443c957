"""What the README promises about the project itself."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    command = next(line.strip() for line in readme.splitlines() if line.startswith("    ") and "pytest" in line)
    install, _, tests = command.rpartition(" && ")
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert install in lines
    assert tests in lines


def test_links_between_the_pages_lead_somewhere() -> None:

    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_test_and_source_file_of_the_paper_map_exists() -> None:

    for name in re.findall(r"`((?:tests|nn|models|training|recipes|data|metrics)/[\w/.]+\.py)`",
                           (ROOT / "docs/paper-map.md").read_text()):  # fmt: skip
        assert (ROOT / name).exists() or (ROOT / "src/ctfgan" / name).exists(), name

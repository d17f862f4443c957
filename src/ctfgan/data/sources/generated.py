"""What a set of generated images says of itself, as far as reading it needs: which folder holds which class."""

from __future__ import annotations

import json
from pathlib import Path

from ctfgan.errors import DataError

SET_MANIFEST = "manifest.json"
SET_KIND = "ctfgan set of samples"
UNFINISHED = ".unfinished.jsonl"


def check_finished(root: Path) -> None:
    """Refuse a set that ``ctfgan sample`` has begun and not finished.

    Raises:
        DataError: it is one.
    """
    if (root / UNFINISHED).exists():
        raise DataError(f"{root} is a set of samples that is not finished; run its 'ctfgan sample' command again first")


def classes_of_folders(root: Path) -> dict[str, str]:
    """Class name of each class folder of a set that ``ctfgan sample`` made; empty for any other folder.

    Not every class name can be a folder's name, and A and a would be one folder on some file systems.
    """
    try:
        content = json.loads((root / SET_MANIFEST).read_text())
    except (OSError, ValueError):  # no manifest, or somebody else's
        return {}
    if not isinstance(content, dict) or content.get("kind") != SET_KIND:
        return {}
    return {entry["folder"]: entry["name"] for entry in content["classes"] if "folder" in entry}

"""Write a software bill of materials (CycloneDX 1.6, JSON): what ctfgan needs to run, in the pinned versions.

python tools/sbom.py dist/sbom.json
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dependencies import ROOT, Dependency, direct, installed, licence, normal, pins


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    content = bill(datetime.now(UTC))
    Path(sys.argv[1]).write_text(json.dumps(content, indent=1) + "\n")
    print(f"{sys.argv[1]}: {len(content['components'])} components")


def bill(when: datetime) -> dict[str, Any]:
    """The document of a moment."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = {name: one for name, one in installed(direct()).items() if name in pins()}
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    edges = [{"ref": own, "dependsOn": sorted(purl(found[normal(one.name)]) for one in direct())}]
    edges += [
        {"ref": purl(one), "dependsOn": [purl(found[name]) for name in one.needs if name in found]}
        for one in found.values()
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid4().urn,
        "version": 1,
        "metadata": {
            "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application", "bom-ref": own, "purl": own, "name": project["name"],
                "version": project["version"], "licenses": [{"license": {"id": project["license"]}}],
            },
        },
        "components": [component(one) for one in found.values()],
        "dependencies": edges,
    }  # fmt: skip


def component(one: Dependency) -> dict[str, Any]:
    """One package; a licence that is no SPDX expression stays a name."""
    said = licence(one.installed)
    is_expression = one.installed.metadata.get("License-Expression") is not None
    licences = [{"expression": said}] if is_expression else [{"license": {"name": said}}]
    return {
        "type": "library", "bom-ref": purl(one), "purl": purl(one), "name": one.name, "version": one.version,
        "licenses": licences,
    }  # fmt: skip


def purl(one: Dependency) -> str:
    """A package URL, the name that vulnerability databases know."""
    assert re.fullmatch(r"[a-z0-9-]+", one.name), one.name
    return f"pkg:pypi/{one.name}@{one.version}"


if __name__ == "__main__":
    main()

"""Pins, licences, the audit's verdict, the bill of materials, and a wheel that works where nothing else is."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import sysconfig
import venv
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``tool("lock")``: a script of ``tools/`` as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in ("audit", "dependencies", "licences", "lock", "release", "sbom"):
        sys.modules.pop(name, None)


def test_every_direct_dependency_is_pinned_within_its_range(tool: Any) -> None:
    dependencies = tool("dependencies")
    pins = dependencies.pins()
    wanted = dependencies.direct(dependencies.extras())
    assert {"torch", "pytest", "onnx", "mkdocs"} <= {requirement.name for requirement in wanted}
    wrong = [str(one) for one in wanted if not one.specifier.contains(pins.get(dependencies.normal(one.name), "0"))]
    assert wrong == []
    assert all("+" not in version for version in pins.values())
    assert "atheris" not in pins


def test_a_package_without_a_pin_or_of_another_version_is_named(tool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, dependencies = tool("lock"), tool("dependencies")

    def fake(name: str, version: str, *, is_fixed: bool = False) -> Any:
        return dependencies.Dependency(name, SimpleNamespace(version=version), (), is_fixed)

    found = {"numpy": fake("numpy", "2.0"), "new": fake("new", "1"), "torch": fake("torch", "2.13.0+cpu"),
             "nvidia-nccl": fake("nvidia-nccl", "3", is_fixed=True)}  # fmt: skip
    monkeypatch.setattr(lock, "here", lambda: "Python 3.11 on Linux x86_64")
    monkeypatch.setattr(lock, "direct", lambda extras: [])
    monkeypatch.setattr(lock, "installed", lambda wanted: found)
    monkeypatch.setattr(lock, "pins", lambda: {"numpy": "2.4", "torch": "2.13.0", "old": "1"})
    monkeypatch.setattr(sys, "argv", ["lock.py", "--check"])
    with pytest.raises(SystemExit) as end:
        lock.main()
    assert str(end.value) == (
        "constraints.txt: numpy is 2.0, pinned is 2.4; new is needed and has no pin; old is pinned and nothing "
        "needs it; run python tools/lock.py in a fresh environment"
    )


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [({"License-Expression": "Apache-2.0 OR GPL-3.0-only"}, True),
     ({"License-Expression": "MIT AND GPL-3.0-only"}, False),
     ({"Classifier": "License :: OSI Approved :: MIT License"}, True), ({"License": "MIT\n\nlong text"}, True),
     ({"Classifier": "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"}, False), ({}, False)],
)  # fmt: skip
def test_a_licence_is_allowed_by_name_and_an_unknown_one_is_not(
    fields: dict[str, str], allowed: bool, tool: Any
) -> None:
    metadata = Message()
    for name, value in fields.items():
        metadata[name] = value.replace("\n", " ") if name != "License" else value.split("\n")[0]
    one = tool("dependencies").Dependency("some", SimpleNamespace(metadata=metadata), (), False)
    assert tool("licences").is_allowed(one) is allowed


def test_the_page_of_licences_has_the_pinned_versions(tool: Any) -> None:
    pins = tool("dependencies").pins()
    rows = [line.split(" | ") for line in (ROOT / "docs/licences.md").read_text().splitlines() if line.count("|") == 4]
    rows = [row for row in rows if not row[0].startswith(("| package", "|---"))]
    assert {row[0].removeprefix("| "): row[1] for row in rows}.items() <= pins.items()
    assert {"| torch", "| onnx"} <= {row[0] for row in rows}


def test_the_audit_tells_no_network_from_no_vulnerability_and_from_one(tool: Any) -> None:
    judged = tool("audit").judged
    fine = {"name": "click", "version": "8", "vulns": []}
    bad = {"name": "numpy", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2", "3"]}]}
    unknown = {"name": "own", "skip_reason": "not found"}

    def report(*packages: dict[str, Any]) -> str:
        return json.dumps({"dependencies": [*packages], "fixes": []})

    assert judged("", "ERROR:x\nNameResolutionError: no host") == (
        "audit: did NOT run, the vulnerability service cannot be asked (NameResolutionError: no host)", 0
    )  # fmt: skip
    assert judged(report(unknown), "") == ("audit: did NOT run, none of 1 packages is known to the service", 0)
    assert judged(report(fine, unknown), "") == ("audit: no known vulnerability in 1 packages, 1 are unknown", 0)
    assert judged(report(fine, bad), "") == (
        "audit: 1 known vulnerabilities: numpy 1: PYSEC-1 (mended in 2, 3)", 1
    )  # fmt: skip


def test_the_bill_of_materials_names_every_direct_dependency_and_closes_over_its_edges(tool: Any) -> None:
    bill = tool("sbom").bill(datetime(2026, 11, 21, tzinfo=UTC))
    names = {component["name"]: component["version"] for component in bill["components"]}
    dependencies = tool("dependencies")
    assert {dependencies.normal(one.name) for one in dependencies.direct()} <= names.keys()
    refs = {component["bom-ref"] for component in bill["components"]}
    assert all({*edge["dependsOn"]} <= refs for edge in bill["dependencies"])
    assert f"pkg:pypi/torch@{names['torch']}" in refs
    assert bill["metadata"]["component"]["purl"].startswith("pkg:pypi/ctfgan@")
    assert bill["metadata"]["timestamp"] == "2026-11-21T00:00:00Z"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # setuptools' own
def test_the_wheel_works_in_an_environment_of_its_own(tool: Any, tmp_path: Path) -> None:
    """What the wheel needs is borrowed from here; the package itself comes from the wheel alone."""
    out = tmp_path / "dist"
    out.mkdir()
    wheel, sdist = tool("release").build(out)
    assert sdist.stat().st_size < 2 << 20
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env/bin/python"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}

    def run(*command: object) -> str:
        done = subprocess.run([str(part) for part in command], cwd=tmp_path, env=environment, capture_output=True,
                              text=True, check=True)  # fmt: skip
        return done.stdout

    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    home = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (home / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert run(python, "-c", "import ctfgan; print(ctfgan.__file__)").startswith(str(home))
    shown = run(tmp_path / "env/bin/ctfgan", "--help")
    assert "doctor" in shown
    assert "ctf-glyphs" in run(tmp_path / "env/bin/ctfgan", "recipes")

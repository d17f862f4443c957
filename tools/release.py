"""Make a release in ``dist/``: sdist, wheel, software bill of materials, SHA-256 sums. Publishes nothing.

python tools/release.py
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from dependencies import ROOT

DIST = ROOT / "dist"
NO_JUNK = (
    "__pycache__",
    ".pyc",
    "checkpoints/",
    "journal.jsonl",
    ".venv",
    ".npy",
    ".npz",
    ".safetensors",
    ".pt",
    ".DS_Store",
)


def main() -> None:
    if DIST.exists() and any(DIST.iterdir()):
        raise SystemExit(f"{DIST} holds an earlier release; move it away first")
    unknown = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    if unknown.stdout:
        raise SystemExit(f"not everything is committed: {', '.join(unknown.stdout.split())}")
    DIST.mkdir(exist_ok=True)
    wheel, sdist = build(DIST)
    subprocess.run([sys.executable, Path(__file__).with_name("sbom.py"), DIST / "sbom.json"], check=True)
    names = sorted([wheel.name, sdist.name, "sbom.json"])
    sums = [f"{hashlib.sha256((DIST / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (DIST / "SHA256SUMS").write_text("".join(sums))
    print("".join(sums), end="")


def build(out: Path) -> tuple[Path, Path]:
    """Wheel and sdist, built with the setuptools of this environment from a copy of the tracked files.

    Raises:
        SystemExit: something is in them that should not be, or a file of the package is missing.
    """
    from setuptools import build_meta

    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    files = [name for name in tracked.split("\0") if name and (ROOT / name).is_file()]
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for name in files:
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, Path(folder, name))
        os.chdir(folder)
        try:
            sdist = out / build_meta.build_sdist(str(out))
            wheel = out / build_meta.build_wheel(str(out))
        finally:
            os.chdir(before)
    check(wheel, sdist, {name.removeprefix("src/") for name in files if name.startswith("src/")})
    return wheel, sdist


def check(wheel: Path, sdist: Path, package: set[str]) -> None:
    """Refuse a wheel without all files of the package, and junk in either."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        packed = set(archive.getnames())
    if missing := package - inside:
        raise SystemExit(
            f"{wheel.name} lacks {', '.join(sorted(missing))}; name them in package-data of pyproject.toml"
        )
    if foreign := {name for name in inside - package if ".dist-info/" not in name}:
        raise SystemExit(f"{wheel.name} holds {', '.join(sorted(foreign))}, which is no part of the package")
    if junk := sorted(name for name in inside | packed if any(word in name for word in NO_JUNK)):
        raise SystemExit(f"junk in the release: {', '.join(junk)}")


if __name__ == "__main__":
    main()

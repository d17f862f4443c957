"""Ask PyPI's advisories about every pinned version. Exit code 1 if something is found; 0, and a line that says so,
where the service cannot be asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dependencies import ROOT

LONGEST = 180  # seconds; a network that swallows packets must not hold the caller
PASSED_OVER: dict[str, str] = {}  # advisory -> why it does not concern ctfgan


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "constraints.txt"), "--no-deps",
                   "--disable-pip", "--timeout", "10", "--progress-spinner", "off", "--format", "json", "--output",
                   str(report)]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
            said = done.stderr
        except subprocess.TimeoutExpired:
            said = f"no answer in {LONGEST} seconds"
        text = report.read_text() if report.is_file() else ""
    verdict, code = judged(text, said)
    print(verdict)
    sys.exit(code)


def judged(report: str, said: str) -> tuple[str, int]:
    """One line and an exit code from pip-audit's report, empty if it wrote none, and from what it said."""
    if not report.strip():
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        return f"audit: did NOT run, the vulnerability service cannot be asked ({last[:200]})", 0
    packages = json.loads(report)["dependencies"]
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        return f"audit: did NOT run, none of {len(packages)} packages is known to the service", 0
    found = [
        f"{package['name']} {package['version']}: {advisory['id']}"
        + (f" (mended in {', '.join(advisory['fix_versions'])})" if advisory["fix_versions"] else "")
        for package in asked
        for advisory in package["vulns"]
        if advisory["id"] not in PASSED_OVER
    ]
    if found:
        return f"audit: {len(found)} known vulnerabilities: {'; '.join(found)}", 1
    rest = len(packages) - len(asked)
    return f"audit: no known vulnerability in {len(asked)} packages" + (f", {rest} are unknown" if rest else ""), 0


if __name__ == "__main__":
    main()

"""Write ``docs/licences.md``: the licences of what ctfgan needs to run; refuse those that would bind its users.

python tools/licences.py            write the page
python tools/licences.py --check    is every licence known and allowed, and is the page up to date?
"""

from __future__ import annotations

import argparse
import re

from dependencies import ROOT, Dependency, direct, installed, licence, pins

PAGE = ROOT / "docs/licences.md"
EXTRAS = ("hub", "export")

# Licences that ask for no more than to be named and passed on; MPL-2.0 binds changes to its own files alone.
ALLOWED = {
    "MIT", "MIT License", "MIT-CMU", "HPND", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "ISC",
    "Apache", "Apache-2.0", "Apache 2.0", "Apache License 2.0", "Apache Software License", "Zlib", "CC0-1.0",
    "Unlicense", "PSF-2.0", "Python-2.0", "Python Software Foundation License", "MPL-2.0", "BSL-1.0",
    "Apache-2.0 WITH LLVM-exception",
    "Mozilla Public License 2.0 (MPL 2.0)", "The Unlicense (Unlicense)", "3-Clause BSD License", "CNRI-Python",
    "ISC License (ISCL)", "BSD 3-Clause License", "MIT-0",
}  # fmt: skip
# NVIDIA's own terms; only torch's build for CUDA brings them, and nothing of ours contains them.
OTHER_TERMS = ("nvidia-", "cuda-")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something is amiss")
    check = arguments.parse_args().check
    always = installed(direct())
    extra = {name: one for name, one in installed(direct(EXTRAS)).items() if name not in always}
    refused = [f"{name}: {licence(one.installed)}" for name, one in (always | extra).items() if not is_allowed(one)]
    if refused:
        raise SystemExit(
            f"licences that nobody has allowed yet: {'; '.join(refused)} (see ALLOWED in tools/licences.py)"
        )
    text = page(always, extra)
    if not check:
        PAGE.write_text(text)
    elif not PAGE.is_file() or versions(PAGE.read_text()) != versions(text):
        raise SystemExit(f"{PAGE.relative_to(ROOT)} is out of date; run python tools/licences.py")
    print(f"licences: {len(always)} packages, {len(extra)} more with the extras, all allowed")


def is_allowed(dependency: Dependency) -> bool:
    """Whether all parts of a licence are allowed, or one of those that one may choose from."""
    if dependency.name.startswith(OTHER_TERMS):
        return True
    for choice in re.split(r"\s+OR\s+", licence(dependency.installed)):
        parts = re.split(r"\s+AND\s+|[,;]\s*", choice)
        if all(part in ALLOWED or part.strip(" ()") in ALLOWED for part in parts):
            return True
    return False


def versions(text: str) -> list[str]:
    """A page without its last column: builds of one version may name their licence in other words."""
    return [line.rpartition(" | ")[0] for line in text.splitlines() if line.startswith("|")]


def page(always: dict[str, Dependency], extra: dict[str, Dependency]) -> str:
    """The page: what is pinned, so that it is the same wherever it is written."""
    pinned = pins()
    parts = [
        "# Licences of what ctfgan needs",
        "",
        "ctfgan itself is under the MIT licence. This page is written by `python tools/licences.py` from what the",
        "packages say about themselves, in the versions of `constraints.txt`; `.ci/run` refuses a licence that nobody",
        "has allowed.",
        "torch's build for CUDA brings NVIDIA's libraries besides, under NVIDIA's terms.",
    ]
    for title, found in (("Always", always), (f"With the extras {' and '.join(EXTRAS)}", extra)):
        parts += ["", f"## {title}", "", "| package | version | licence |", "|---|---|---|"]
        parts += [
            f"| {name} | {one.version} | {licence(one.installed)} |" for name, one in found.items() if name in pinned
        ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()

"""Write ``constraints.txt``: one version of everything that ``ctfgan[dev]`` needs, as it is installed here.

python tools/lock.py            in a fresh environment, after pip install -e '.[dev]'
python tools/lock.py --check    is everything pinned, and is what is pinned installed?
"""

from __future__ import annotations

import argparse
import platform

from dependencies import ROOT, direct, extras, installed, normal, pins

HEAD = """\
# Every package behind ctfgan[dev], written by tools/lock.py; pip install -c constraints.txt -e '.[dev]'.
# No hashes: torch's builds for CPUs and for CUDA are other files of the same version.
"""
MADE_WITH = "# Made with "


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something is amiss")
    wanted = direct(extras())
    found = installed(wanted)
    if not arguments.parse_args().check:
        lines = [f"{name}=={dependency.version}\n" for name, dependency in found.items()]
        (ROOT / "constraints.txt").write_text(HEAD + f"{MADE_WITH}{here()}\n" + "".join(lines))
        print(f"constraints.txt: {len(lines)} packages")
        return
    pinned = pins()
    mistakes = [f"{requirement} has no pin" for requirement in wanted if normal(requirement.name) not in pinned]
    mistakes += [f"{name} is {one.version}, pinned is {pinned[name]}" for name, one in found.items()
                 if name in pinned and one.version != pinned[name]]  # fmt: skip
    if f"{MADE_WITH}{here()}\n" in (ROOT / "constraints.txt").read_text():  # elsewhere other packages are needed
        mistakes += [f"{name} is needed and has no pin" for name in found if name not in pinned | fixed(found)]
        mistakes += [f"{name} is pinned and nothing needs it" for name in pinned if name not in found]
    if mistakes:
        raise SystemExit(
            "constraints.txt: " + "; ".join(mistakes) + "; run python tools/lock.py in a fresh environment"
        )
    print(f"constraints.txt: all {len(found)} packages pinned")


def here() -> str:
    """What decides which packages are needed."""
    major, minor, _ = platform.python_version_tuple()
    return f"Python {major}.{minor} on {platform.system()} {platform.machine()}"


def fixed(found: dict) -> dict[str, str]:
    """Packages whose version follows from another pin, such as the CUDA libraries of torch."""
    return {name: one.version for name, one in found.items() if one.is_fixed}


if __name__ == "__main__":
    main()

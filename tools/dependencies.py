"""What the project depends on, directly and through others, as it is installed where this runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BY_HAND = frozenset({"fuzz"})  # extras that no other one brings and nothing is pinned for


@dataclass(frozen=True)
class Dependency:
    """A distribution that the project needs."""

    name: str
    """Normalised."""
    installed: Distribution
    needs: tuple[str, ...]
    """Names of what it needs itself."""
    is_fixed: bool
    """Whether whoever needs it names one version only, as torch does for its CUDA libraries."""

    @property
    def version(self) -> str:
        """Without the local part, which tells one build of torch from another."""
        return self.installed.version.partition("+")[0]


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def direct(extras: Iterable[str] = ()) -> list[Requirement]:
    """The requirements of ``pyproject.toml`` and of some of its extras, extras of extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts, waiting, seen = list(project["dependencies"]), list(extras), set()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for text in project["optional-dependencies"][extra]:
            requirement = Requirement(text)
            if normal(requirement.name) == project["name"]:
                waiting += requirement.extras
            else:
                texts.append(text)
    return [Requirement(text) for text in texts]


def extras() -> list[str]:
    """Names of the extras that are pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [extra for extra in project["optional-dependencies"] if extra not in BY_HAND]


def installed(requirements: Iterable[Requirement]) -> dict[str, Dependency]:
    """All distributions behind some requirements, by normalised name.

    Raises:
        SystemExit: one of them is not installed here.
    """
    found: dict[str, Dependency] = {}
    done: set[tuple[str, str]] = set()
    waiting = [(requirement, "") for requirement in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = normal(requirement.name)
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"{name} is not installed; run pip install -c constraints.txt -e '.[dev]'") from None
        further = [(Requirement(text), wanted) for text in dist.requires or () for wanted in ("", *requirement.extras)]
        further = [
            (one, wanted) for one, wanted in further if one.marker is None or one.marker.evaluate({"extra": wanted})
        ]
        needs = {normal(one.name) for one, _ in further}
        fixed = any(part.operator == "==" and "*" not in part.version for part in requirement.specifier)
        before = found.get(name)
        if before is not None:
            needs |= set(before.needs)
            fixed |= before.is_fixed
        found[name] = Dependency(name, dist, tuple(sorted(needs)), fixed)
        for one, wanted in further:
            key = (str(one), wanted)
            if key not in done:
                done.add(key)
                waiting.append((one, wanted))
    return dict(sorted(found.items()))


def pins() -> dict[str, str]:
    """Versions in ``constraints.txt``, by normalised name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, version in pairs}


def licence(dist: Distribution) -> str:
    """What a distribution says about its licence: an expression, else classifiers, else a text's first line."""
    found = dist.metadata
    if expression := found.get("License-Expression"):
        return str(expression)
    named = [text.rpartition(" :: ")[2] for text in found.get_all("Classifier") or () if text.startswith("License :: ")]
    named = [name for name in named if name != "OSI Approved"]
    if named:
        return " AND ".join(sorted(named))
    text = (found.get("License") or "").strip()
    return text.splitlines()[0] if text else "unknown"

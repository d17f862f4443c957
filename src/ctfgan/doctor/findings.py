"""What an examination finds: one line each, with a remedy where something should be mended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ctfgan.core.files import expanded

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of an examination."""

    status: Status
    """``fail``: ctfgan does not work so; ``warn``: it works, but worse than it could."""
    name: str
    detail: str
    remedy: str = ""
    """One sentence: what to do; empty where there is nothing to do."""


Check = Callable[[], Iterable[Finding]]


def examined(name: str, check: Check) -> Iterator[Finding]:
    """The findings of a check; one that breaks is itself a finding. The home folder is written ``~``."""
    try:
        for finding in check():
            yield Finding(finding.status, finding.name, _shareable(finding.detail), _shareable(finding.remedy))
    except Exception as error:  # a broken library raises what it likes, and the other checks must go on
        yield Finding(
            "fail", name, f"could not be examined ({reason(error)})", "mend what failed above, or report this"
        )


def reason(error: BaseException) -> str:
    """An error in one line."""
    return _shareable(" ".join(f"{type(error).__name__}: {error}".split()))[:300]


def _shareable(text: str) -> str:
    home = str(expanded("~"))
    return text.replace(home, "~") if len(home) > 1 else text

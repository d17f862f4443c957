"""Installed libraries against what ctfgan's own metadata asks for, and known traps among them."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ctfgan.core.errors import ConfigError
from ctfgan.distributed.launch import launch
from ctfgan.doctor.findings import Finding, reason

NEEDED_BY = {
    "hub": "hf:owner/name, parquet files, and sharing on the Hub",
    "export": "exporting to ONNX",
    "docs": "building the documentation",
    "dev": "the tests",
    "fuzz": "fuzzing the readers by hand",
}
LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "ACCELERATE_USE_CPU")


def libraries() -> Iterator[Finding]:
    """Versions of what is needed always, then what each extra adds."""
    yield _python()
    needed = [Requirement(text) for text in requires("ctfgan") or ()]
    for requirement in needed:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _needed(requirement)
    for extra in metadata("ctfgan").get_all("Provides-Extra") or ():
        own = [
            requirement
            for requirement in needed
            if requirement.name != "ctfgan"
            and requirement.marker is not None
            and not requirement.marker.evaluate({"extra": ""})
            and requirement.marker.evaluate({"extra": extra})
        ]
        if own:
            yield _extra(extra, own)


def traps() -> Iterator[Finding]:
    """What broke the installations of others."""
    yield _figures()
    found = {name: os.environ[name] for name in LAUNCHERS if name in os.environ}
    try:
        started = launch().count
    except ConfigError as error:
        yield Finding("fail", "launcher", str(error), "unset these variables, or start as the sentence says")
        return
    text = ", ".join(f"{name}={value}" for name, value in found.items())
    yield Finding("ok", "launcher", f"{started} process" + (f" ({text})" if text else ", no launcher's variables"))


def _python() -> Finding:
    wanted = metadata("ctfgan")["Requires-Python"]
    found = platform.python_version()
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Finding("ok", "ctfgan", f"{version('ctfgan')} on Python {found} (needs {wanted})")
    return Finding("fail", "ctfgan", f"needs Python {wanted}, this is {found}", "make an environment of that Python")


def _needed(requirement: Requirement) -> Finding:
    found = _version(requirement.name)
    install = f"pip install '{requirement.name}{requirement.specifier}'"
    if found is None:
        return Finding("fail", requirement.name, f"is not installed (needs {requirement.specifier})", f"run {install}")
    if not requirement.specifier.contains(found, prereleases=True):
        return Finding("fail", requirement.name, f"is {found} (needs {requirement.specifier})", f"run {install}")
    return Finding("ok", requirement.name, f"{found} (needs {requirement.specifier})")


def _extra(extra: str, own: list[Requirement]) -> Finding:
    found = {requirement: _version(requirement.name) for requirement in own}
    name, text = f"[{extra}]", f"for {NEEDED_BY[extra]}"
    wrong = [
        f"{requirement.name} is {number}, needs {requirement.specifier}"
        for requirement, number in found.items()
        if number is not None and not requirement.specifier.contains(number, prereleases=True)
    ]
    install = f"pip install 'ctfgan[{extra}]'"
    if wrong:
        return Finding("warn", name, f"{text}: {', '.join(wrong)}", f"run {install}")
    missing = [requirement.name for requirement, number in found.items() if number is None]
    if missing:
        return Finding("ok", name, f"{text}: without {', '.join(missing)}; {install} adds it")
    return Finding("ok", name, f"{text}: {', '.join(f'{r.name} {number}' for r, number in found.items())}")


def _figures() -> Finding:
    """Torchmetrics imports torchvision where there is one, and a torchvision of another torch does not import."""
    try:
        importlib.import_module("torchmetrics.image.fid")
    except Exception as error:  # RuntimeError: operator torchvision::nms does not exist
        vision = _version("torchvision")
        remedy = "install torchmetrics again" if vision is None else (
            f"torchvision {vision} may be of another torch; ctfgan needs none, so 'pip uninstall torchvision', or "
            "install the one that fits"
        )  # fmt: skip
        return Finding("fail", "torchmetrics imports", reason(error), remedy)
    return Finding("ok", "torchmetrics imports", "figures can be computed")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

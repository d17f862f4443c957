"""Is this machine fit for ctfgan, and if not, what is to be done? For people and for bug reports."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ctfgan.doctor.findings import Check, Finding, Status, examined
from ctfgan.doctor.folders import fonts, places, weights
from ctfgan.doctor.installed import libraries, traps
from ctfgan.doctor.machine import devices, system
from ctfgan.doctor.small_run import self_test

__all__ = ["Finding", "Status", "examine"]


def examine(device: str = "auto", *, with_self_test: bool = True) -> Iterator[tuple[str, Finding]]:
    """Look at everything, one section after the other; nothing that is found ends it, nothing stays on disk.

    Args:
        device: what the self-test computes on.
        with_self_test: whether a tiny generator is trained, about ten seconds.

    Yields:
        The name of a section, and one finding of it.
    """
    sections: dict[str, Check] = {
        "system": system,
        "libraries": libraries,
        "devices": devices,
        "known traps": traps,
        "places": places,
        "weights": weights,
        "fonts": fonts,
    }
    if with_self_test:
        sections["self-test"] = partial(self_test, device)
    for section, check in sections.items():
        for finding in examined(section, check):
            yield section, finding

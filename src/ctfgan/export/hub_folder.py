"""A bundle as a folder for the Hugging Face Hub."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ctfgan.bundle.bundle import Bundle, load_bundle, publish
from ctfgan.bundle.card import Rights
from ctfgan.core.errors import CtfganError
from ctfgan.export.graph import graphs_of
from ctfgan.export.parity import max_error


def export_hub(bundle: Bundle, out: Path, *, license: str | None = None, datasets: Sequence[str] = ()) -> float:
    """Write a bundle and its model card to a new folder, and read it again as whoever downloads it will.

    Args:
        bundle: from :func:`~ctfgan.bundle.bundle.load_bundle`.
        out: must not exist, or be empty.
        license: of the weights, as the Hub writes it (``cc-by-4.0``); None keeps what the bundle says, if anything.
        datasets: names on the Hub of the training data; none keeps what the bundle says.

    Returns:
        The largest difference of a pixel from the original, on random inputs; always 0.

    Raises:
        ConfigError: something is at ``out`` already, or a licence or name that the Hub could not read.
        CtfganError: what was read makes other images; nothing is then left at ``out``.
    """
    publish(bundle, out, Rights.stated(bundle.provenance, license, datasets))
    pairs = zip(graphs_of(bundle), graphs_of(load_bundle(out)), strict=True)
    error = max(max_error(original, again.run) for original, again in pairs)
    if error > 0:
        shutil.rmtree(out)
        raise CtfganError(
            f"the bundle read again differs by up to {error:.2e}; nothing was written, please report this"
        )
    return error

"""Extractors of the user's own: a Python file that is named on the command line and run.

The file defines

- ``NAME``: what its metrics are called after; with ``NAME = "768"`` they are FID-768, KID-768 and score-768;
- ``load(device)``: returns an ``nn.Module`` in evaluation mode on the device. Called without gradient on uint8
  images ``(N, 3, R, R)`` in the generator's own size (grey repeated), N at most 50, it returns features ``(N, D)``,
  or features and logits ``(N, C)``. Resizing is its own affair;
- ``RESIZE``, if it likes: what it does to an image's size, in words, for the protocol.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from ctfgan.core.errors import CtfganError
from ctfgan.core.text import excerpt
from ctfgan.data.images import Bytes
from ctfgan.metrics.features import EVAL_CLASSIFIER, INCEPTION, SECOND_RECOGNISER, ExtractorCard, as_colour

BATCH = 50
RESERVED = frozenset({EVAL_CLASSIFIER, SECOND_RECOGNISER, INCEPTION, "2048"})  # FID-2048 is the published Inception's
PROBE_SIDE = 32  # of the images that a plug-in is tried on


class Plugin:
    """A module from a user's file, held to the contract above."""

    def __init__(self, module: nn.Module, card: ExtractorCard, device: torch.device) -> None:
        self.card = card
        self._module = module
        self._device = device

    @torch.no_grad()
    def read(self, images: Bytes) -> tuple[Tensor, Tensor | None]:
        """Features ``(N, D)`` and probabilities ``(N, C)`` or None of uint8 images ``(N, R, R, K)``.

        Raises:
            CtfganError: the module failed, or broke the contract.
        """
        features, probabilities = [], []
        for start in range(0, len(images), BATCH):
            batch = as_colour(images[start : start + BATCH], self._device)
            extracted, logits = _call_plugin(self._module, batch, self.card.name)
            features.append(extracted)
            if logits is not None:
                probabilities.append(logits.softmax(dim=1))
        return torch.cat(features), torch.cat(probabilities) if probabilities else None


def load_plugin(file: Path, device: torch.device) -> Plugin:
    """Run a user's file and try its module on a few images.

    Raises:
        CtfganError: no such file, or one that breaks the contract, with what is wrong.
    """
    if not file.is_file():
        raise CtfganError(f"extractor {file} does not exist; give a Python file that defines NAME and load(device)")
    source = _run(file)
    name = getattr(source, "NAME", None)
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,40}", name):
        raise CtfganError(
            f"extractor {file}: NAME is {name!r}; define it as 1 to 40 letters, digits, dots, dashes or underscores"
        )
    if name.lower() in RESERVED:
        raise CtfganError(f"extractor {file}: NAME {name!r} belongs to an extractor of the program; choose another")
    if not callable(getattr(source, "load", None)):
        raise CtfganError(f"extractor {file} defines no function load(device); add it, returning an nn.Module")
    try:
        module = source.load(device)
    except Exception as error:  # a user's code may fail in any way
        raise CtfganError(f"extractor {file}: load(device) failed ({_in_words(error)}); mend the file") from error
    if not isinstance(module, nn.Module):
        raise CtfganError(f"extractor {file}: load(device) returned {type(module).__name__}; return an nn.Module")
    module.eval().requires_grad_(False)
    return Plugin(module, _card(file, name, source, module, device), device)


def _run(file: Path) -> ModuleType:
    """The file as a module; unlike an import this leaves no compiled copy beside it."""
    module = ModuleType(f"ctfgan_extractor_{file.stem}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(file.read_bytes(), str(file), "exec", dont_inherit=True), module.__dict__)
    except Exception as error:  # a user's code may fail in any way
        raise CtfganError(f"extractor {file} cannot be run ({_in_words(error)}); mend the file") from error
    return module


def _card(file: Path, name: str, source: ModuleType, module: nn.Module, device: torch.device) -> ExtractorCard:
    pixels = np.random.default_rng(0).integers(0, 256, (3, PROBE_SIDE, PROBE_SIDE, 3), dtype=np.uint8)
    with torch.no_grad():
        features, _ = _call_plugin(module, as_colour(pixels, device), str(file))
    return ExtractorCard(
        key=name,
        name=f"{name} ({file.name}, {_fingerprint(file, module)[:12]})",
        width=features.shape[1],
        resize=str(getattr(source, "RESIZE", "by the plug-in")),
        distance=f"FID-{name}",
        kernel=f"KID-{name}",
        score=f"score-{name}",
    )


def _call_plugin(module: nn.Module, batch: Tensor, name: str) -> tuple[Tensor, Tensor | None]:
    try:
        output = module(batch)
    except Exception as error:  # a user's code may fail in any way
        shape = tuple(batch.shape)
        raise CtfganError(
            f"extractor {name} failed on uint8 images of shape {shape} ({_in_words(error)}); mend it"
        ) from error
    features, logits = output if isinstance(output, (tuple, list)) and len(output) == 2 else (output, None)
    if not isinstance(features, Tensor):
        raise CtfganError(f"extractor {name} returned {type(output).__name__}; return features, or (features, logits)")
    for what, tensor in (("features", features), ("logits", logits)):
        if what == "logits" and tensor is None:
            continue
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise CtfganError(f"extractor {name} returned {what} that are no float tensor; return float tensors")
        if tensor.ndim != 2 or len(tensor) != len(batch) or tensor.shape[1] == 0:
            raise CtfganError(
                f"extractor {name} returned {what} of shape {tuple(tensor.shape)} for {len(batch)} images; "
                f"return ({len(batch)}, length)"
            )
        if not tensor.isfinite().all():
            raise CtfganError(f"extractor {name} returned {what} that are not finite; mend it")
    return features.float().cpu(), None if logits is None else logits.float().cpu()


def _fingerprint(file: Path, module: nn.Module) -> str:
    """SHA-256 of the file and of all tensors of its module."""
    digest = hashlib.sha256(file.read_bytes())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _in_words(error: Exception) -> str:
    return excerpt(f"{type(error).__name__}: {error}")

"""Class-conditional image generators for very many classes, from few good and many cheap images (CTF-GAN).

>>> import ctfgan
>>> run = ctfgan.train(ctfgan.recipe("ctf-glyphs"))
>>> images = ctfgan.load(run).sample(["A", "b"], 8).images
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ctfgan.core.errors import CtfganError

if TYPE_CHECKING:
    from ctfgan.evaluation import evaluate, load_extractors
    from ctfgan.recipes.overlay import recipe
    from ctfgan.recipes.recipe import Recipe
    from ctfgan.runs.new_run import train
    from ctfgan.runs.resumed_run import resume
    from ctfgan.sampling.model import from_pretrained, load

__all__ = [
    "CtfganError",
    "Recipe",
    "evaluate",
    "from_pretrained",
    "load",
    "load_extractors",
    "recipe",
    "resume",
    "train",
]

_HOMES = {
    "Recipe": "ctfgan.recipes.recipe",
    "evaluate": "ctfgan.evaluation",
    "from_pretrained": "ctfgan.sampling.model",
    "load": "ctfgan.sampling.model",
    "load_extractors": "ctfgan.evaluation",
    "recipe": "ctfgan.recipes.overlay",
    "resume": "ctfgan.runs.resumed_run",
    "train": "ctfgan.runs.new_run",
}


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds; `ctfgan --help` must not wait for it.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ctfgan' has no attribute {name!r}")

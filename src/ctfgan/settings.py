"""The base of every settings class: frozen, no unknown names, all mistakes reported at once."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**48)]
"""A seed that every random generator in use accepts, small multiples of it too."""


class Settings(BaseModel):
    """Immutable, strictly named settings; each subclass lives beside the code that it configures."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )

"""The base of every settings class: frozen, no unknown names, all mistakes reported at once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Immutable, strictly named settings; each subclass lives beside the code that it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

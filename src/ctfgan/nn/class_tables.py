"""What networks know of classes: a table of C learned rows in every layer, or one fixed code for each that all read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.nn.blocks import linear, spectrally_normalised

CLASSES = "classes"
LOW_QUALITY_LABELS = "low-quality labels"
"""The two spaces that tables have rows for; they may have equally many."""

Initialiser = Callable[[Tensor], object]
"""Fills a tensor in place."""


class ClassEmbedding(nn.Embedding):
    """A learned vector for each of C classes, ids ``(N,)`` int64 to ``(N, width)``.

    Attributes:
        space: name of the classes that have the rows: of two equally large spaces, no shape can tell.
    """

    def __init__(self, count: int, width: int, space: str, init: Initialiser) -> None:
        super().__init__(count, width)
        self.space = space
        init(self.weight)


class CodeTable(nn.Module):
    """Codes of C classes: what networks know of a class before they learn anything. Data, no weights (decision 31).

    They are in no state dict and have no moving average; whoever saves a network saves the codes beside it, once.

    Shapes: ids ``(N,)`` int64 in ``[0, C)``; returns ``(N, code)`` float32.

    Args:
        codes: ``(C, code)``, in half precision to save memory.
    """

    codes: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.codes).float()

    def __deepcopy__(self, memo: object) -> CodeTable:
        """A module of its own on the same codes, which nobody changes."""
        return CodeTable(self.codes)


class FixedNorm(nn.Module):
    """A linear map of codes to vectors of one norm; the code 0, of a class that has none, stays 0.

    In the place of a table of C vectors under one spectral norm, which leaves each of them a norm of about
    ``sqrt(d) / (sqrt(C) + sqrt(d))``: with thousands of classes the class would hardly count (decision 31).

    Shapes: codes ``(N, code)``; returns ``(N, width)``.
    """

    def __init__(self, code: int, width: int, norm: float) -> None:
        super().__init__()
        self.map = linear(code, width, bias=False)
        self.norm = norm

    def forward(self, codes: Tensor) -> Tensor:
        return self.norm * F.normalize(self.map(codes), dim=1, eps=1e-6)


@dataclass(frozen=True)
class ClassSpace:
    """C classes, and how networks know them (decisions 23 and 31)."""

    count: int
    """C."""
    name: str = CLASSES
    """What its tables are found by: see :func:`table_spaces`."""
    codes: Tensor | None = None
    """``(C, code)`` in half precision, which all layers read through linear maps of their own; None: every layer has a
    table of its own, as in the paper."""

    def encoder(self) -> nn.Module:
        """From labels ``(N,)`` to what the maps of one network share: the labels themselves, or codes ``(N, code)``."""
        return nn.Identity() if self.codes is None else CodeTable(self.codes)

    def map(self, width: int, start: float | None = None) -> nn.Module:
        """From what :meth:`encoder` returns to ``(N, width)``; ``start`` for all classes at first, if it is given."""
        if self.codes is None:
            return self._table(width, None if start is None else partial(nn.init.constant_, val=start))
        layer = linear(self.codes.shape[1], width)
        if start is not None:
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, start)
        return layer

    def embedding(
        self, width: int, *, normalised: bool, init: Initialiser | None = None, norm: float = 1.0
    ) -> nn.Module:
        """From labels ``(N,)`` straight to ``(N, width)``, for a network that needs classes in one place only.

        A table starts as Glorot's uniform numbers unless ``init`` says otherwise, and is under spectral norm if it is
        ``normalised``; vectors made of codes have a ``norm`` each.
        """
        if self.codes is None:
            return self._table(width, init, normalised=normalised)
        return nn.Sequential(CodeTable(self.codes), FixedNorm(self.codes.shape[1], width, norm))

    def bias(self) -> nn.Module:
        """From labels ``(N,)`` to one number each, ``(N, 1)``, 0 at first."""
        if self.codes is None:
            return self._table(1, nn.init.zeros_)
        layer = linear(self.codes.shape[1], 1)
        nn.init.zeros_(layer.weight)
        return nn.Sequential(CodeTable(self.codes), layer)

    def _table(self, width: int, init: Initialiser | None, *, normalised: bool = False) -> ClassEmbedding:
        table = ClassEmbedding(self.count, width, self.name, init or nn.init.xavier_uniform_)
        return spectrally_normalised(table) if normalised else table


def table_spaces(network: nn.Module) -> dict[str, str]:
    """The class tables of a network: from the module's name to the name of its space."""
    return {name: module.space for name, module in network.named_modules() if isinstance(module, ClassEmbedding)}

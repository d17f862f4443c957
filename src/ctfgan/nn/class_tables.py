"""What a network keeps of each class: tables of C rows, of which a training step touches only those of its batch.

A dense table is an embedding: its gradient has its whole size, and an ordinary optimiser steps it. A row-lazy one
(:class:`ClassTable`) gets the gradient of the gathered rows alone and is written row by row; its optimiser, its moving
average and its spectral norm cost the same for ten classes and for a million. Its rows
may be spread over several processes (:mod:`ctfgan.nn.row_parts`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.nn.layers import Initialiser, embedding, linear
from ctfgan.nn.row_parts import Peers, RowPart, RowTable, draw_rows_

BLOCK_ROWS = 4_096  # rows whose products are added up in the table's own precision
START_ITERATIONS = 15  # as many as torch's spectral norm starts with

CLASSES = "classes"
LOW_QUALITY_LABELS = "low-quality labels"
"""The two spaces that tables have rows for; they may have equally many."""


_SPACE = "class_space"


@dataclass(frozen=True)
class RowChange:
    """Rows of a table that a step has changed, as a fixed number of slots: nobody has to wait for the device to count.

    Slots beyond the last distinct row repeat the first one.
    """

    ids: Tensor
    """``(N,)`` int64."""
    before: Tensor
    """``(N, width)``."""
    after: Tensor
    """``(N, width)``."""
    is_first: Tensor
    """``(N,)`` bool; true once for every distinct row."""


class ClassTable(RowTable):
    """C rows of ``width`` numbers, row-lazy: the gradient is a sparse tensor of the gathered rows.

    Shapes: ids ``(N,)`` int64 in ``[0, rows)``; returns ``(N, width)``.

    Args:
        rows: C.
        width: of a row.
        init: fills a block of rows, whatever the number of its rows.
        peers: the processes that hold the table together; None for this one alone.

    Attributes:
        weight: ``(rows, width)``, or the rows of this process and the spare one; changed by :meth:`write` alone once
            training has begun.
    """

    BY_ROW = ("weight",)

    def __init__(self, rows: int, width: int, init: Initialiser, peers: Peers | None = None) -> None:
        super().__init__(None if peers is None else RowPart(rows, peers))
        # The spare row of a part must be zero; a whole table is drawn at once, and a second writing would cost time.
        empty = torch.empty(rows, width) if self.part is None else torch.zeros(len(self.part) + 1, width)
        self.weight = nn.Parameter(empty)
        if not self.weight.is_meta:
            own = self.weight.detach() if self.part is None else self.weight.detach()[:-1]
            draw_rows_(own, 0 if self.part is None else self.part.start, rows, init)

    def forward(self, ids: Tensor) -> Tensor:
        if self.part is not None:
            return self.part.learnt(ids, self.weight)
        return F.embedding(ids, self.weight, sparse=True)

    @torch.no_grad()
    def write(self, change: RowChange) -> None:
        """Put rows into their places."""
        # Slots of the same row hold the same numbers, so the order in which they are written does not matter.
        self.weight.index_copy_(0, change.ids, change.after)


class NormalisedTable(ClassTable):
    """A row-lazy table divided by its spectral norm, known from its Gram matrix (decision 23).

    The largest singular value of W is the root of the largest eigenvalue of ``W^T W``, ``(width, width)``, which
    follows a change of N rows at a cost of N x width^2. One power iteration per forward pass in training mode, as
    torch's spectral norm makes; the gradient does not flow through the norm, since it would reach every row.

    Attributes:
        gram: ``W^T W`` in float64.
        direction: ``(width,)``, the power iteration's estimate of the first right singular vector.
    """

    gram: Tensor
    direction: Tensor

    def __init__(self, rows: int, width: int, init: Initialiser, peers: Peers | None = None) -> None:
        super().__init__(rows, width, init, peers)
        self.register_buffer("gram", self._of_all(gram_of(self.weight.detach())))
        start = torch.randn(width, dtype=torch.float64)
        self.register_buffer("direction", F.normalize(start, dim=0))
        for _ in range(START_ITERATIONS):
            self._iterate()

    def forward(self, ids: Tensor) -> Tensor:
        if self.training:
            self._iterate()
        return super().forward(ids) / self.spectral_norm().to(self.weight.dtype)

    def spectral_norm(self) -> Tensor:
        """The present estimate of the largest singular value, float64 without dimension."""
        return (self.direction @ self.gram @ self.direction).clamp_min(1e-24).sqrt()

    @torch.no_grad()
    def write(self, change: RowChange) -> None:
        super().write(change)
        once = change.is_first[:, None]
        before, after = change.before.double() * once, change.after.double() * once
        self.gram += self._of_all(after.mT @ after - before.mT @ before)

    def _of_all(self, products: Tensor) -> Tensor:
        """The sum of products of rows over everybody's rows."""
        return products if self.part is None else self.part.peers.total(products)

    @torch.no_grad()
    def remeasure(self) -> None:
        """Measure anew what is known of the norm, after the rows were replaced by others."""
        self.gram.copy_(self._of_all(gram_of(self.weight)))
        for _ in range(START_ITERATIONS):
            self._iterate()

    @torch.no_grad()
    def _iterate(self) -> None:
        self.direction.copy_(F.normalize(self.gram @ self.direction, dim=0, eps=1e-24))


@torch.no_grad()
def random_signs_(rows: Tensor) -> None:
    """Fill with -1 and 1 by chance: what codes start as. As far apart as normal numbers, and drawn three times as fast.

    Eight numbers come of one random byte: 128 million, the codes of a million classes, would otherwise take a second.
    """
    if rows.is_meta:
        return
    drawn = torch.randint(256, (-(-rows.numel() // 8),), dtype=torch.uint8)
    signs = np.unpackbits(drawn.numpy(), count=rows.numel()).view(np.int8)
    signs *= 2
    signs -= 1
    rows.copy_(torch.from_numpy(signs).view_as(rows))


@torch.no_grad()
def gram_of(rows: Tensor) -> Tensor:
    """``W^T W`` of ``(C, width)``, ``(width, width)`` in float64; products of 4,096 rows are added up in the table's
    own precision.
    """
    gram = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64, device=rows.device)
    for block in rows.split(BLOCK_ROWS):
        gram += (block.mT @ block).double()
    return gram


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
    """C classes, and how networks keep what they learn of each (decisions 23 and 31)."""

    count: int
    """C."""
    code: int | None = None
    """None: every layer has a table of its own, as in the paper. Else all layers of a network read one code of this
    length, each through a linear map of its own."""
    lazy: bool = False
    """Whether tables are row-lazy."""
    name: str = CLASSES
    """What its tables are found by: see :func:`table_spaces`."""
    peers: Peers | None = None
    """The processes that hold row-lazy tables together; None if each holds them all."""
    codes: Tensor | None = None
    """``(C, code)`` in half precision, where classes are known by codes that nothing changes."""

    def encoder(self) -> nn.Module:
        """From labels ``(N,)`` to what the maps of one network share: the labels themselves, or codes ``(N, code)``."""
        if self.codes is not None:
            return CodeTable(self.codes)
        if self.code is None:
            return nn.Identity()
        return self._table(self.code, random_signs_, normalised=False)

    def map(self, width: int, start: float | None = None) -> nn.Module:
        """From what :meth:`encoder` returns to ``(N, width)``; ``start`` for all classes at first, if it is given."""
        length = self.code if self.codes is None else self.codes.shape[1]
        if length is None:
            fill = None if start is None else partial(nn.init.constant_, val=start)
            return self._table(width, fill, normalised=False)
        layer = linear(length, width)
        if start is not None:
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, start)
        return layer

    def embedding(
        self, width: int, *, normalised: bool, init: Initialiser | None = None, norm: float = 1.0
    ) -> nn.Module:
        """From labels ``(N,)`` straight to ``(N, width)``, for a network that needs classes in one place only; tables
        start as Glorot's uniform numbers unless ``init`` says otherwise, vectors made of codes have a ``norm``.
        """
        if self.codes is not None:
            return nn.Sequential(CodeTable(self.codes), FixedNorm(self.codes.shape[1], width, norm))
        if self.code is None:
            return self._table(width, init, normalised=normalised)
        codes = self._table(self.code, random_signs_, normalised=normalised)
        return nn.Sequential(codes, linear(self.code, width, bias=False, normalised=normalised))

    def bias(self) -> nn.Module:
        """From labels ``(N,)`` to one number each, ``(N, 1)``, 0 at first."""
        if self.codes is not None:
            layer = linear(self.codes.shape[1], 1)
            nn.init.zeros_(layer.weight)
            return nn.Sequential(CodeTable(self.codes), layer)
        return self._table(1, nn.init.zeros_, normalised=False)

    def _table(self, width: int, init: Initialiser | None, *, normalised: bool) -> nn.Module:
        if init is None:
            # nn.init.xavier_uniform_ of the whole table, written so that it may be drawn in blocks of rows.
            bound = math.sqrt(3) * math.sqrt(2 / (self.count + width))
            init = partial(nn.init.uniform_, a=-bound, b=bound)
        table: nn.Module
        if self.lazy:
            table = (NormalisedTable if normalised else ClassTable)(self.count, width, init, self.peers)
        else:
            table = embedding(self.count, width, normalised=normalised, init=init)
        vars(table)[_SPACE] = self.name  # which of two equally large spaces, no shape can tell
        return table


def table_spaces(network: nn.Module) -> dict[str, str]:
    """The class tables of a network, dense and row-lazy: from the module's name to the name of its space."""
    return {name: vars(module)[_SPACE] for name, module in network.named_modules() if _SPACE in vars(module)}


def lazy_tables(network: nn.Module) -> dict[str, ClassTable]:
    """The row-lazy tables of a network by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, ClassTable)}


def merged_rows(ids: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Add up rows of the same id, in a fixed number of slots (see :class:`RowChange`).

    Args:
        ids: ``(N,)`` int64, with repetitions.
        rows: ``(N, width)``.

    Returns:
        Ids ``(N,)``, sums ``(N, width)``, and ``(N,)`` bool: whether the slot is the first of its id.
    """
    ordered, order = ids.sort(stable=True)
    is_new = torch.ones_like(ordered, dtype=torch.bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    slot = is_new.cumsum(0) - 1
    sums = torch.zeros_like(rows).index_add_(0, slot, rows[order])
    is_first = torch.arange(len(ids), device=ids.device) <= slot[-1]
    found = ordered[:1].expand_as(ordered).clone().scatter_(0, slot, ordered)
    return found, torch.where(is_first[:, None], sums, sums[:1]), is_first

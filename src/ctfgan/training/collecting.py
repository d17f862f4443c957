"""What a checkpoint keeps, out of and back into processes that hold some rows of a table each (decision 24)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ctfgan.errors import RunError
from ctfgan.nn.row_parts import Kept, OwnRows
from ctfgan.training.processes import Processes
from ctfgan.training.tensor_files import Rows, StoredTensors


class CollectedRows:
    """A table in the hands of all processes, as the main one sees it while the others wait for what it asks.

    Args:
        name: by which the owners know it.
        own: the main process's rows.
        processes: who to ask.
    """

    def __init__(self, name: str, own: OwnRows, processes: Processes) -> None:
        self._name = name
        self._own = own
        self._processes = processes

    def __len__(self) -> int:
        return self._own.part.rows

    @property
    def nbytes(self) -> int:
        """Of the whole table."""
        row = self._own.rows.shape[1:].numel() * self._own.rows.element_size()
        return len(self) * row

    def read(self, start: int, stop: int) -> Tensor:
        """Rows ``[start, stop)`` on the CPU."""
        like = self._own.rows
        found = torch.empty(stop - start, *like.shape[1:], dtype=like.dtype, device="cpu")
        for owner, low, high in self._own.part.owners(start, stop):
            place = found[low - start : high - start]
            if owner == self._processes.rank:
                place.copy_(_between(self._own, low, high))
            else:
                self._processes.ask((self._name, owner, low, high))
                self._processes.receive(place, owner)
        return found


def on_main_with_all_rows(
    processes: Processes, kept: Mapping[str, Kept], work: Callable[[Mapping[str, Tensor | Rows]], None]
) -> None:
    """Let the main process work on whole tensors, of which the other processes hand over their rows on demand.

    Args:
        processes: all of them call this.
        kept: what each of them has, under the same names.
        work: of the main process.
    """

    def hand_over(request: tuple[str, int, int, int]) -> None:
        name, owner, low, high = request
        if owner == processes.rank:
            own = kept[name]
            assert isinstance(own, OwnRows)
            processes.send_to_main(_between(own, low, high))

    whole: dict[str, Tensor | Rows] = {
        name: CollectedRows(name, own, processes) if isinstance(own, OwnRows) else own for name, own in kept.items()
    }
    processes.on_main(lambda: work(whole), hand_over)


@torch.no_grad()
def overwrite(kept: Mapping[str, Kept], stored: StoredTensors) -> None:
    """Put what was stored into the tensors of this process; of a table it reads the rows that it holds.

    Raises:
        RunError: other tensors were stored than this process has.
    """
    for name in kept.keys() | stored.keys():
        if name not in kept or name not in stored:
            raise RunError(f"the checkpoint does not fit its recipe ({name} is in one of them only); train it again")
    for name, own in kept.items():
        if isinstance(own, OwnRows):
            own.rows.copy_(stored.rows(name, own.part.start, own.part.stop))
        else:
            own.copy_(stored[name])


def not_finite(kept: Mapping[str, Kept]) -> list[str]:
    """The names of tensors that have a number which is not finite, in what this process holds."""
    tensors = {name: own.rows if isinstance(own, OwnRows) else own for name, own in kept.items()}
    return [name for name, tensor in tensors.items() if not tensor.isfinite().all()]


def _between(own: OwnRows, low: int, high: int) -> Tensor:
    return own.rows[low - own.part.start : high - own.part.start]

"""Writing a run's state down: at checks, on a signal, and by whoever survives when a process is lost."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ctfgan.core.errors import CtfganError, ProcessLost
from ctfgan.distributed.engine import Engine
from ctfgan.storage.run_folder import Checkpoint, RunFolder
from ctfgan.training.divergence import Diverged


@dataclass(frozen=True)
class TrainState:
    """All that a run needs to go on from a moment."""

    position: int
    """Number of the checkpoint."""
    tensors: dict[str, Tensor]
    """Of the networks and of their averages."""
    state: dict[str, Any]
    """The rest; see :class:`~ctfgan.storage.run_folder.Checkpoint`."""
    note: dict[str, Any]
    """Stage, step, distance, and whether a run may be rolled back to it, to be read without the rest."""

    @property
    def moment(self) -> str:
        """In words."""
        return f"in stage {self.note['stage']!r} after step {self.note['stage_step']}"


class CheckpointWriter:
    """Writes snapshots into a run folder; the main process does, unless it is lost.

    Args:
        folder: the run.
        engine: its processes hold the run together.
        keep: newest checkpoints that stay, besides the best one.
    """

    def __init__(self, folder: RunFolder, engine: Engine, keep: int) -> None:
        self._folder = folder
        self._engine = engine
        self._keep = keep

    @property
    def way_on(self) -> str:
        """What to type to go on."""
        return f"go on with 'ctfgan resume {self._folder.path}'"

    def save(self, snapshot: TrainState) -> None:
        """Write a checkpoint; all processes call this.

        Raises:
            Diverged: a weight is not finite; the checkpoints on disk are from before.
        """
        processes = self._engine.processes
        _require_finite([name for names in processes.all_of(_not_finite(snapshot.tensors)) for name in names])
        processes.on_main(lambda: self._write(snapshot))

    def rescue(self, snapshot: TrainState, lost: ProcessLost) -> ProcessLost:
        """Save the run after another process was lost in the middle of a step; returns what to say about it.

        Every process holds the whole state and changes it only after all have agreed, so whoever gets the run's lock
        may save it: the main process has it, and after its death the first survivor on a machine that sees the folder.
        The step under way begins anew on resuming, discriminator steps that it had done remain done. On a GPU a broken
        exchange may have reached the weights before anybody knew, so there the last checkpoint has to do.
        """
        if self._engine.device.type != "cpu":
            return ProcessLost(f"{lost}; nothing was saved beyond the last checkpoint, {self.way_on}")
        try:
            with nullcontext() if self._engine.processes.is_main else self._folder.held():
                is_new = not self._folder.has(snapshot.position)
                if is_new:
                    _require_finite(_not_finite(snapshot.tensors))
                    self._write(snapshot)
        except (CtfganError, OSError) as error:
            return ProcessLost(f"{lost}; its state {snapshot.moment} was not saved here ({error}); {self.way_on}")
        return ProcessLost(f"{lost}; stopped {snapshot.moment}, state saved; {self.way_on}", has_saved=is_new)

    def _write(self, snapshot: TrainState) -> None:
        self._folder.save(snapshot.position, Checkpoint(snapshot.tensors, snapshot.state), snapshot.note)
        self._folder.prune(self._keep)


def _not_finite(tensors: dict[str, Tensor]) -> list[str]:
    """The names of tensors that have a number which is not finite."""
    return [name for name, tensor in tensors.items() if not tensor.isfinite().all()]


def _require_finite(broken: list[str]) -> None:
    if broken:
        raise Diverged(f"{broken[0]} is not finite")

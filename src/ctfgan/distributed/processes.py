"""The processes that train one model together: who this one is, and what they tell each other (decision 24).

Tensors of training travel in torch's default group (NCCL on GPUs, gloo on CPUs); plain values, images and requests to
stop travel in a gloo group of their own, so that a GPU need not be waited for.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from ctfgan.core.errors import ConfigError, CtfganError, ProcessLost
from ctfgan.core.text import excerpt
from ctfgan.distributed.launch import Launch, usable_processors

T = TypeVar("T")

STEP_TIMEOUT = timedelta(minutes=30)  # for what every process does at the same time
MAIN_TIMEOUT = timedelta(days=2)  # for what the main process does alone: packing data, training a recogniser
BUCKET = 1 << 24  # numbers that are averaged at once: large enough for speed, small beside the activations
SHARED_ERRORS = (CtfganError, OSError, MemoryError)  # what one process must not keep to itself


class Processes:
    """One process among all of a run, and how they exchange gradients and words; alone unless told otherwise.

    All methods but the attributes are for all processes to call, in the same order.

    Args:
        rank: which one this is, 0 ... count - 1; 0 is the main one, which alone writes and speaks.
        count: how many there are.
        local_rank: which one this is on its machine.
        kind: of the devices whose tensors they exchange, ``cuda`` or ``cpu``.
        control: gloo group of plain values; None only for a process alone.
    """

    def __init__(
        self,
        rank: int = 0,
        count: int = 1,
        local_rank: int = 0,
        kind: str = "cpu",
        control: dist.ProcessGroup | None = None,
    ) -> None:
        assert (control is None) == (count == 1), "several processes need a group to talk in"
        self.rank = rank
        self.count = count
        self.local_rank = local_rank
        self.kind = kind
        self._control = control
        self._vote: tuple[Tensor, dist.Work] | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def average(self, gradients: list[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in place; the device is not waited for."""
        if self.count == 1:
            return
        with noticing_loss():
            waiting = []
            for bucket in _buckets(gradients):
                flat = torch.cat([gradient.reshape(-1) for gradient in bucket]).div_(self.count)
                waiting.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
            for bucket, flat, work in waiting:
                work.wait()
                parts = flat.split([gradient.numel() for gradient in bucket])
                means = [part.view(gradient.shape) for part, gradient in zip(parts, bucket, strict=True)]
                torch._foreach_copy_(bucket, means)

    def mean(self, statistic: Tensor) -> Tensor:
        """Mean over all processes of something that no gradient is wanted of."""
        if self.count == 1:
            return statistic.detach()
        total = statistic.detach().clone(memory_format=torch.contiguous_format)
        with noticing_loss():
            dist.all_reduce(total)
        return total / self.count

    def copy_from_main(self, tensors: list[Tensor]) -> None:
        """Overwrite tensors by those of the main process."""
        if self.count == 1:
            return
        with noticing_loss():
            for tensor in tensors:
                sent = tensor.detach().contiguous()
                dist.broadcast(sent, src=0)
                tensor.detach().copy_(sent)

    def all_of(self, own: T) -> list[T]:
        """A plain value of every process, by rank."""
        if self.count == 1:
            return [own]
        values: list[Any] = [None] * self.count
        with noticing_loss():
            dist.all_gather_object(values, own, group=self._control)
        return values

    def on_main(self, work: Callable[[], T]) -> T:
        """Let the main process work while the others wait; its result or its error is everybody's.

        The result must be a plain value.
        """
        if self.count == 1:
            return work()
        outcome: list[Any] = [None, None]
        failure: Exception | None = None
        if self.is_main:
            try:
                outcome[0] = work()
            except SHARED_ERRORS as error:
                failure, outcome[1] = error, _told(error)
        with noticing_loss():
            dist.broadcast_object_list(outcome, src=0, group=self._control)
        _raise(failure, outcome[1])
        result: T = outcome[0]
        return result

    def main_first(self, work: Callable[[], T]) -> T:
        """Work on every process: on the main one first, then on one of each other machine, then on the rest.

        So the first one fills a cache that the others read. An error of one process is everybody's.
        """
        if self.count == 1:
            return work()
        turn = 0 if self.is_main else 1 if self.local_rank == 0 else 2
        results: list[T] = []
        for now in range(3):
            failure: Exception | None = None
            if now == turn:
                try:
                    results.append(work())
                except SHARED_ERRORS as error:
                    failure = error
            told = self.all_of(None if failure is None else _told(failure))
            _raise(failure, next((error for error in told if error is not None), None))
        return results[0]

    def agreed(self, request: int) -> int:
        """The largest request of any process, for all processes alike; with several one call late, so that none waits.

        Args:
            request: of this process, such as the number of a signal; 0 for none.
        """
        if self.count == 1:
            return request
        with noticing_loss():
            ballot = torch.tensor([request])
            work = dist.all_reduce(ballot, dist.ReduceOp.MAX, group=self._control, async_op=True)
            earlier, self._vote = self._vote, (ballot, work)
            if earlier is None:
                return 0
            earlier[1].wait()
        return int(earlier[0].item())

    def forget_requests(self) -> None:
        """Settle the last vote of :meth:`agreed`, so that what comes next does not hear of it."""
        vote, self._vote = self._vote, None
        if vote is not None:
            with noticing_loss():
                vote[1].wait()

    def leave(self) -> None:
        """Take the groups down, at the end of the program.

        A worker thread of gloo may hold the last reference to a tensor of Python's, and drop it at any time. If the
        interpreter is being torn down by then, that thread is ended in a C++ destructor, which aborts the process
        (SIGABRT). Threads are joined when the last reference to their group goes, so both groups go here, while the
        interpreter still stands; frames of an error that is being told may hold them, too.
        """
        with suppress(ProcessLost):
            self.forget_requests()
        self._control = None
        if dist.is_initialized():
            dist.destroy_process_group()
        gc.collect()


_joined: Processes | None = None  # of this program, once it has met the others: torch knows one default group


def join(launched: Launch, backend: str) -> Processes:
    """Meet the other processes of a launcher, once in a program's life.

    Args:
        launched: what the launcher says.
        backend: of tensors: ``nccl`` for those on GPUs, ``gloo`` for those on CPUs.

    Raises:
        ConfigError: they cannot meet.
    """
    global _joined
    if _joined is None:
        try:
            dist.init_process_group(backend, timeout=STEP_TIMEOUT)
            control = dist.new_group(backend="gloo", timeout=MAIN_TIMEOUT)
        except (RuntimeError, ValueError) as error:
            address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            raise ConfigError(
                f"the {launched.count} processes cannot meet at {address} ({excerpt(error)}); choose another address "
                "or port"
            ) from error
        if "OMP_NUM_THREADS" not in os.environ:  # which torchrun sets; each would take all processors
            torch.set_num_threads(max(1, usable_processors() // launched.local_count))
        kind = "cuda" if backend == "nccl" else "cpu"
        _joined = Processes(launched.rank, launched.count, launched.local_rank, kind, control)
        atexit.register(_joined.leave)
    return _joined


@contextmanager
def noticing_loss() -> Iterator[None]:
    """Turn what a broken exchange raises into :class:`~ctfgan.core.errors.ProcessLost`."""
    try:
        yield
    except RuntimeError as error:
        # Gloo has no error class of its own, but names the place in its source.
        if not isinstance(error, dist.DistError) and "/gloo/" not in str(error):
            raise
        raise ProcessLost(f"another process of this run is gone or does not answer ({excerpt(error)})") from error


def gather_statistics(own: Tensor) -> Tensor:
    """Statistics ``(N, ...)`` of every process of the default group, ``(processes, N, ...)``; gradients flow back to
    each.

    For batch norm over a batch that several processes share (:mod:`ctfgan.nn.norm`).
    """
    gathered: Tensor = _GatherStatistics.apply(own)  # type: ignore[no-untyped-call]
    return gathered


class _GatherStatistics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, own: Tensor) -> Tensor:
        everyones = own.new_empty(dist.get_world_size(), *own.shape)
        with noticing_loss():
            dist.all_gather(list(everyones.unbind()), own.contiguous())
        return everyones

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        # Every process's loss depends on this one's statistics.
        total = gradient.contiguous().clone()
        with noticing_loss():
            dist.all_reduce(total)
        return total[dist.get_rank()]


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Consecutive tensors, each bucket as long as it stays below the size or holds a single one."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.numel() > BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket


def _told(error: Exception) -> CtfganError:
    """An error in the form in which other processes hear of it."""
    if isinstance(error, CtfganError):
        return error
    return CtfganError(f"{type(error).__name__}: {error}; mend that and try again")


def _raise(own: Exception | None, told: CtfganError | None) -> None:
    """Raise this process's error if it has one, else that of another one."""
    error = own or told
    if error is not None:
        raise error

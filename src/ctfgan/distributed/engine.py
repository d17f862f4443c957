"""The only file that knows devices, precision, threads, signals and how processes find each other."""

from __future__ import annotations

import atexit
import os
import platform
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Literal

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import clear_environment
from torch import Tensor, nn

from ctfgan.core.errors import ConfigError, Terminated
from ctfgan.core.signals import HANGUP, handling
from ctfgan.core.text import excerpt, plural
from ctfgan.distributed.launch import Launch, launch
from ctfgan.distributed.processes import Processes

Precision = Literal["float32", "bfloat16"]

STEP_TIMEOUT = timedelta(minutes=30)  # for what every process does at the same time
MAIN_TIMEOUT = timedelta(days=2)  # for what the main process does alone: packing data, training a recogniser


@dataclass(frozen=True)
class Engine:
    """What a command computes on: a device, a precision, and the processes that share the work."""

    device: torch.device
    processes: Processes
    precision: Precision = "float32"
    """Of the losses' forward pass; weights, gradients and optimisers are float32."""

    def autocast(self) -> AbstractContextManager[object]:
        """Around a loss: its convolutions and matrix products in the engine's precision."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def describe(self) -> str:
        """Device and precision, with the number of processes if there are several."""
        text = describe_device(self.device) + ("" if self.precision == "float32" else f", {self.precision}")
        return text if self.processes.count == 1 else f"{self.processes.count} processes, each on {text}"


def alone(device: torch.device) -> Engine:
    """The engine of a single process, whatever started it."""
    return Engine(device, Processes())


def start_engine(device: str = "auto", precision: Precision = "float32") -> Engine:
    """The engine of this command; under a launcher all processes of it must call this.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` ...; of several processes each takes a GPU of its own.
        precision: of the losses' forward pass.

    Raises:
        ConfigError: the device does not exist here, or cannot be shared, or does not know the precision.
    """
    launched = launch()
    if launched.count == 1:
        engine = Engine(choose_device(device), Processes(), precision)
    else:
        engine = Engine(*_joined(device, launched), precision)
    kind = engine.device.type
    lacking = kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bfloat16" and (lacking or not torch.amp.is_autocast_available(kind)):
        raise ConfigError(f"training.precision is bfloat16, which {describe_device(engine.device)} lacks; use float32")
    return engine


def _joined(device: str, launched: Launch) -> tuple[torch.device, Processes]:
    """Join the other processes, or find the ones that this process joined before."""
    global _processes
    kind = _shared_kind(device, launched)
    if _processes is None:
        # accelerate opens the default group: NCCL where there are GPUs, gloo on CPUs.
        try:
            PartialState(cpu=kind == "cpu", timeout=STEP_TIMEOUT)
            control = dist.new_group(backend="gloo", timeout=MAIN_TIMEOUT)
        except (RuntimeError, ValueError) as error:
            address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            raise ConfigError(
                f"the {launched.count} processes cannot meet at {address} ({excerpt(error)}); choose another "
                "address or port"
            ) from error
        _processes = Processes(launched.rank, launched.count, launched.local_rank, control)
        atexit.register(_leave)
    state = PartialState()
    assert state.process_index == launched.rank
    assert state.num_processes == launched.count
    if state.device.type != kind:
        raise ConfigError(
            f"device {device!r} was asked for, but the processes of this command are joined on {state.device.type}; "
            "use one device for all that a command does"
        )
    return state.device, _processes


_processes: Processes | None = None  # of this process, once it has joined the others: torch knows one default group


@contextmanager
def accelerate_state() -> Iterator[None]:
    """While the block lasts, accelerate knows its processes, which its trackers insist on even for a single one."""
    if PartialState._shared_state:
        yield
        return
    # Of a launcher of one process it would make a group, and set threads and a device that are not its to choose; what
    # it remembers is forgotten afterwards, so that a program around ours can use accelerate in its own way.
    with clear_environment():
        PartialState(cpu=True)
    try:
        yield
    finally:
        PartialState._reset_state()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _shared_kind(device: str, launched: Launch) -> str:
    """``cuda`` or ``cpu``: what each of several processes takes one of."""
    kind = device
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cuda", "cpu"):
        raise ConfigError(
            f"device {device!r} is a single one, but {launched.count} processes were started; use auto, cuda or cpu"
        )
    if kind == "cuda" and launched.local_count > torch.cuda.device_count():
        raise ConfigError(
            f"{launched.local_count} processes were started on a machine with {torch.cuda.device_count()} GPUs; start "
            "one for each GPU, or use cpu"
        )
    return kind


def choose_device(name: str = "auto") -> torch.device:
    """The device of a run: ``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ConfigError: the named device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} is not available here; use auto or cpu") from error
    return device


def describe_device(device: torch.device) -> str:
    """Name of the device, with the number of threads for a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    threads = torch.get_num_threads()
    return f"cpu, {plural(threads, 'thread')}"


def processor() -> str:
    """Name of this machine's processor, or at least its kind."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def place(network: nn.Module, device: torch.device) -> None:
    """Move a network to a device, convolutions in channels-last order (1.3 to 1.9 times faster on a CPU)."""
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def compile_players(generator: nn.Module, discriminator: nn.Module, backend: str = "inductor") -> None:
    """Have torch compile what both players compute, in place; names of weights and copies of the networks stay.

    Where something cannot be compiled (no C++ compiler, an unknown operation), torch warns and goes on without it.
    Gradients of gradients are not possible.

    Args:
        generator: called as a whole.
        discriminator: entered through ``features``.
        backend: torch's name of the compiler.
    """
    import torch._dynamo

    torch._dynamo.config.suppress_errors = True
    generator.compile(backend=backend)
    # As its class has it, whatever an earlier stage put in its place.
    plain: Callable[..., Tensor] = type(discriminator).features.__get__(discriminator)  # type: ignore[attr-defined]
    discriminator.features = torch.compile(plain, backend=backend)  # type: ignore[assignment]


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given, so that a clock read afterwards tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopped(Exception):
    """Work that can be done again was left in its middle: a signal asked for an end."""


class StopRequest:
    """Whether SIGINT, SIGTERM or SIGHUP asked for an end.

    Args:
        patient: whether only the first signal counts. A launcher may send a second one right after the first, and ends
            a process that does not end by itself.

    Attributes:
        signal_number: the signal, or None.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.signal_number: int | None = None
        self._patient = patient
        self._is_pressed = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; a second one interrupts at once."""
        if self.signal_number is None:
            self.signal_number = number
        if number == HANGUP:
            return  # a terminal that closes sends it two or three times, by its shell and by the system: no impatience
        if self._is_pressed and not self._patient:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
        self._is_pressed = True

    def leave(self, items: Iterable[int], total: int, what: str) -> Iterator[int]:
        """A :data:`~ctfgan.core.progress.Progress` that shows nothing, of work that may be left in its middle.

        Raises:
            Stopped: before an item, once there was a signal.
        """
        for item in items:
            if self.signal_number is not None:
                raise Stopped
            yield item


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request that the training loop reads between steps.

    Outside the main thread, where Python takes no signal handlers, the request never comes.
    """
    request = StopRequest(patient=launch().count > 1)
    with handling(request.handle, interrupts=True):
        yield request

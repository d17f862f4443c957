"""What a launcher such as torchrun says about the processes of a command; read before torch is there.

How many processors there are, and how torch's threads are to wait for each other, is said here, too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from ctfgan.core.errors import ConfigError

Precision = Literal["float32", "bfloat16"]
WAY_OUT = "start with 'torchrun --nproc-per-node N -m ctfgan ...' (docs/scaling.md)"
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # in which a user may say how OpenMP's threads wait
OTHER_COUNTS = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")  # of the launchers of MPI


@dataclass(frozen=True)
class Launch:
    """One process among those that were started together."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Which one it is on its machine."""
    local_count: int = 1
    """How many there are on its machine."""


def usable_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def let_threads_sleep() -> None:
    """Have the threads of torch sleep while they wait for each other, unless the user has said how they are to wait.

    OpenMP lets them spin for milliseconds. Where other programs are busy, a thread that spins holds the processor that
    the one it waits for needs: two threads then trained 12 to 25 times slower than one (docs/log.md, 2026-11-29). What
    is computed stays the same to the bit. To be called before torch is imported, which reads the variable once.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "passive"


def is_main() -> bool:
    """Whether this is the process that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def launch() -> Launch:
    """What this process was started as; alone if there was no launcher.

    Raises:
        ConfigError: a launcher started several processes that cannot know of each other.
    """
    # 'accelerate launch' says in its own variables what it was asked for.
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no":
        raise ConfigError(
            f"accelerate was told to use mixed precision {precision!r}, which only the recipe decides; leave that out "
            "and use --set training.precision=bfloat16"
        )
    count = _number("WORLD_SIZE", 1)
    if "WORLD_SIZE" not in os.environ:
        others = [name for name in OTHER_COUNTS if _number(name, 1) > 1]
        if others:
            raise ConfigError(f"{others[0]} says that MPI started several processes, which know nothing of each other "
                              f"here; {WAY_OUT}")  # fmt: skip
        # 'accelerate launch --cpu --num_processes 2' names a meeting place and then starts one process only.
        if "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ:
            raise ConfigError(f"accelerate was asked for several processes and started one on the CPU; {WAY_OUT}")
    if count == 1:
        return Launch()
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(f"WORLD_SIZE is {count}, but {' and '.join(missing)} is not set; {WAY_OUT}")
    return Launch(_number("RANK", 0), count, _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", 1))


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, str(otherwise))
    if not text.isdigit():
        raise ConfigError(f"{name} is {text!r} and must be a number; {WAY_OUT}")
    return int(text)

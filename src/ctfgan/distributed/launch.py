"""What a launcher such as torchrun says about the processes of a command; read before torch is there.

How many processors there are is said here, too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from ctfgan.core.errors import ConfigError

Precision = Literal["float32", "bfloat16"]
WAY_OUT = "start with 'torchrun --nproc-per-node N -m ctfgan ...' (docs/scaling.md)"
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

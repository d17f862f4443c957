"""Worker processes of the tests: started once, for all that is to be looked at."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ctfgan.distributed.engine import start_engine
from tests import processes


def work(rank: int, count: int, port: int, results: Path) -> None:
    """Gather facts and leave them in ``results/<rank>.pt``."""
    os.environ |= processes.environment(rank, count, port)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.save(processes.facts(start_engine("cpu")), results / f"{rank}.pt")

"""Worker processes of the tests: started once, for all that is to be looked at."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ctfgan.training.runtime import start_engine
from tests import processes, sharded


def work(rank: int, count: int, port: int, results: Path, run: Path | None) -> None:
    """Gather facts and leave them in ``results/<rank>.pt``; go on with a sharded run, if one is given."""
    os.environ |= processes.environment(rank, count, port)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    engine = start_engine("cpu")
    found = processes.facts(engine)
    if run is not None:
        found["sharded"] = sharded.facts(engine, results)
        torch.set_default_dtype(torch.float32)
        found["lost"] = sharded.lost_and_resumed(run)
    torch.save(found, results / f"{rank}.pt")

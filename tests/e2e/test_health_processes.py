"""Two processes whose training fails: they go back together, and give up together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ctfgan.storage.run_folder import RunFolder
from tests.conftest import TINY_RUN
from tests.e2e.test_several_processes import PATIENCE, settings, start
from tests.processes import environment, free_port

ABSURD = ("transfer.discriminator_rate=1e38", "journal_every=2")


@pytest.mark.slow
def test_two_processes_go_back_and_give_up_together(tmp_path: Path) -> None:
    cured, lost = tmp_path / "cured", tmp_path / "lost"
    commands = [
        ["train", "--out", str(cured), *settings(*TINY_RUN, *ABSURD, "recovery.rate_factor=1e-41")],
        ["train", "--out", str(lost), *settings(*TINY_RUN, *ABSURD, "recovery.attempts=1")],
    ]
    script = tmp_path / "both.py"
    script.write_text(
        "import sys\nfrom ctfgan.cli.main import main\n"
        f"for arguments in {commands!r}:\n    sys.argv = ['ctfgan', *arguments]\n    main()\n"
    )
    port = free_port()
    workers = [start([sys.executable, str(script)], environment(rank, 2, port)) for rank in range(2)]
    told = [worker.communicate(timeout=4 * PATIENCE) for worker in workers]
    assert [worker.returncode for worker in workers] == [2, 2], told
    assert told[1] == ("", ""), "the main process alone speaks"
    assert told[0][0].count("(rollback 1 of at most 3)") == 1
    assert "it was rolled back once and failed again" in told[0][1]
    assert (cured / "bundle").is_dir()
    assert len(RunFolder(cured).journal().read("rollback")) == 1
    assert len(RunFolder(lost).journal().read("rollback")) == 1
    assert len(RunFolder(lost).journal().read("diagnosis")) == 1
    (only,) = RunFolder(lost).checkpoints()
    RunFolder(lost).load(only)

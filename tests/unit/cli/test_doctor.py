"""What the doctor finds: on a healthy machine, and on broken ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ctfgan.cli import doctor as command
from ctfgan.cli.doctor import Diagnosis, examine
from tests.conftest import snapshot


@pytest.fixture
def here(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: its home, cache, data and working folder are below ``tmp_path``."""
    for variable, name in {"HOME": ".", "CTFGAN_CACHE": "cache", "CTFGAN_DATA": "data", "TORCH_HOME": "torch"}.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(name: str) -> Diagnosis:
    (found,) = [finding for _, finding in examine(with_self_test=False) if finding.name == name]
    return found


def test_a_healthy_machine_is_fit_and_nothing_is_left_on_it(here: Path, run_cli: Callable) -> None:
    shown = run_cli("doctor", "--no-self-test", "--json")
    assert shown.code == 0, shown
    findings = json.loads(shown.out)["findings"]
    assert not [finding for finding in findings if finding["status"] == "fail"]
    assert {finding["section"] for finding in findings} == {
        "system", "libraries", "devices", "disk"
    }  # fmt: skip
    assert str(here) not in shown.out, "the home folder is nobody's business"
    assert snapshot(here) == {}


@pytest.mark.slow
def test_the_self_test_trains_resumes_and_samples(here: Path, run_cli: Callable) -> None:
    shown = run_cli("doctor", "--device", "cpu")
    assert shown.code == 0, shown
    for words in ("steps/s in stage 2", "resumes: to the same bits", "samples: from its bundle", "fit for ctfgan"):
        assert words in shown.out
    assert snapshot(here) == {}


def test_without_torch_all_else_is_still_examined(here: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['ctfgan', 'doctor']; " \
           "from ctfgan.cli.main import main; main()"  # fmt: skip
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 2
    assert "fail  torch: cannot be imported (ModuleNotFoundError" in shown.stdout
    assert "ok    cache: ~/cache (will be made)" in shown.stdout
    assert "fail  self-test: could not be examined" in shown.stdout
    assert shown.stderr.startswith("ctfgan: this machine is not fit for ctfgan yet (torch, ")
    assert len(shown.stderr.splitlines()) == 1


def test_a_torchvision_of_another_torch_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    versions = {"torchvision": "0.20.0"}
    monkeypatch.setattr(command, "_version", versions.get)
    monkeypatch.setattr("importlib.import_module", broken)
    found = command._torchmetrics()
    assert (found.status, found.detail) == ("fail", "RuntimeError: operator torchvision::nms does not exist")
    assert "torchvision 0.20.0 may be of another torch" in found.remedy


@pytest.mark.parametrize(
    ("version", "status", "detail"),
    [("2.13.0+cpu", "ok", "2.13.0+cpu (needs <3,>=2.11)"), ("1.13.1", "fail", "is 1.13.1 (needs <3,>=2.11)"),
     (None, "fail", "is not installed (needs <3,>=2.11)")],
)  # fmt: skip
def test_a_library_is_held_against_what_the_project_asks_for(
    version: str | None, status: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_version", lambda name: version)
    (torch,) = [finding for finding in command._libraries() if finding.name == "torch"]
    assert (torch.status, torch.detail) == (status, detail)
    assert ("pip install 'torch<3,>=2.11'" in torch.remedy) == (status == "fail")


def test_a_folder_that_cannot_be_written_fails_with_a_way_out(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "file").write_text("")
    monkeypatch.setenv("CTFGAN_CACHE", str(here / "file/cache"))
    found = named("cache")
    assert found.status == "fail"
    assert found.detail.startswith("~/file/cache cannot be written (NotADirectoryError")
    assert found.remedy == "set CTFGAN_CACHE to a folder of yours"


@pytest.mark.parametrize(("free", "status"), [(6 << 30, "ok"), (1 << 30, "warn"), (1 << 20, "fail")])
def test_little_room_on_a_disk_is_seen(free: int, status: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": free}))
    assert [finding.status for finding in command._disk()] == [status] * 3


def test_a_check_that_breaks_is_a_finding_itself() -> None:
    def breaks() -> list[Diagnosis]:
        raise ValueError(f"two\nlines in {Path.home()}")

    (found,) = command._checked("devices", breaks)
    assert (found.status, found.detail) == ("fail", "could not be examined (ValueError: two lines in ~)")

"""``ctfgan serve`` as a user starts and ends it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen, str, str]]:
    """The command in a process of its own: the process, the address, and all that it printed until then."""
    command = [sys.executable, "-u", "-m", "ctfgan", "serve", *map(str, arguments)]
    # As in a terminal: whoever runs the tests in the background may have had SIGINT ignored.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    printed = ""
    try:
        assert process.stdout is not None
        while not (found := re.search(r"http://\S+/", printed)):
            line = process.stdout.readline()
            assert line, process.communicate()
            printed += line
        yield process, found[0], printed
    finally:
        process.kill()
        process.communicate()


def fetched(address: str) -> dict:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_it_says_where_it_is_and_ends_on_ctrl_c(finished_run: Path) -> None:
    with serving(finished_run, "--port", 0) as (process, address, printed):
        assert printed == f"{address}   Ctrl-C ends it.\n"
        assert address.startswith("http://127.0.0.1:")
        assert fetched(f"{address}api/model")["classes"] == 4
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out, error.strip()) == (130, "", "ctfgan: stopped")


@pytest.mark.slow
def test_who_lets_others_in_is_warned(finished_run: Path) -> None:
    with serving(finished_run, "--port", 0, "--host", "0.0.0.0") as (process, address, printed):
        assert "it has no password" in printed
        assert fetched(f"{address}api/model")["enhances"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in (-signal.SIGTERM, 143)


def test_a_port_that_is_taken_is_told_before_anything_else(refused: Callable[..., str], finished_run: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused("serve", finished_run, "--port", port)
        assert f"port {port} of 127.0.0.1 cannot be used (Address already in use); choose another --port" in said


def test_what_cannot_be_served_is_told_before_a_server_starts(
    refused: Callable[..., str], finished_run: Path, tmp_path: Path
) -> None:
    assert "nowhere does not exist; give a run folder or a bundle folder" in refused("serve", "nowhere", "--port", 0)
    bundle = shutil.copytree(finished_run / "bundle", tmp_path / "bundle")
    with (bundle / "model.safetensors").open("ab") as file:
        file.write(b"x")
    assert "has another hash" in refused("serve", bundle, "--port", 0)
    assert "is no address of this machine" in refused("serve", bundle, "--host", "no.such.host.invalid")
    assert "--max-images" in refused("serve", bundle, "--max-images", 1)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_lines_of_the_documentation_work(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    Image.new("L", (9, 12), 80).save(tmp_path / "own.png")
    texts = [(ROOT / name).read_text() for name in ("docs/howto/sharing.md", "README.md")]
    command = [sys.executable, "-m", "ctfgan", "serve", "--help"]
    texts.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.replace("\\\n", " "))
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip().startswith("curl ")]
    assert len(lines) == 6
    with serving(finished_run, "--port", 0) as (_, address, _printed):
        for line in lines:
            words = shlex.split(line.replace("http://127.0.0.1:8000/", address).replace('"cat"', '"B"'))
            answer = subprocess.run([*words, "--fail", "--silent"], cwd=tmp_path, capture_output=True, check=False)
            assert answer.returncode == 0, (line, answer)
            if "-o" not in words:
                assert json.loads(answer.stdout) == {"classes": ["A"], "more": False}
                continue
            file = tmp_path / words[words.index("-o") + 1]
            content = file.read_bytes()
            file.unlink()
            kind = b"PK\x03\x04" if file.suffix == ".zip" else b"\x89PNG"
            assert content.startswith(kind), line

"""Downloads from a server on this machine that behaves well or badly."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import lock_descriptor

from ctfgan.core.errors import DataError
from ctfgan.data.published import PublishedFile, PublishedSet, fetch
from tests.conftest import snapshot


class Server(ThreadingHTTPServer):
    """Serves bytes by path; notes where each request wanted to begin."""

    daemon_threads = True
    contents: dict[str, bytes]
    asked: list[str | None]
    stop_after: int | None = None
    """Break off every transfer after so many bytes."""
    resumes = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.contents.get(self.path)
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if content is None:
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.resumes else 0  # type: ignore[index]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.stop_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server(("127.0.0.1", 0), Handler) as running:
        running.contents, running.asked = {}, []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def tar_of(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def described(content: bytes, name: str, url: str) -> PublishedFile:
    return PublishedFile(name, len(content), hashlib.sha256(content).hexdigest(), url)


def toy(server: Server, content: bytes, name: str = "toy.tar.gz") -> PublishedSet:
    """A published set of one archive with a file ``toy/a.bin``."""
    server.contents[f"/{name}"] = content
    file = described(content, name, f"{server.url}/{name}")
    return PublishedSet("toy", "A toy", "http://toy.example", (file,), ("toy/a.bin",), "toy")


ARCHIVE = tar_of({"toy/a.bin": bytes(range(256)) * 9_000, "toy/readme.txt": b"hello"})


def test_a_set_is_downloaded_verified_and_unpacked(server: Server, root: Path) -> None:
    place = fetch(toy(server, ARCHIVE), root)
    assert place == root / "toy" / "toy"
    assert (place / "a.bin").read_bytes() == bytes(range(256)) * 9_000
    assert set(snapshot(root)) == {
        f"{root}/{name}" for name in ("toy", "toy/toy", "toy/toy/a.bin", "toy/toy/readme.txt")
    }


def test_a_set_that_is_there_is_not_fetched_again(server: Server, root: Path) -> None:
    published = toy(server, ARCHIVE)
    before = (fetch(published, root), len(server.asked))
    assert (fetch(published, root), len(server.asked)) == before


def test_zips_and_plain_files_and_several_of_them(server: Server, root: Path) -> None:
    parts = {"one.zip": zip_of({"one/x/1.png": b"1"}), "two.zip": zip_of({"two/x/2.png": b"2"}), "plain.gz": b"plain"}
    server.contents = {f"/{name}": content for name, content in parts.items()}
    files = tuple(described(content, name, f"{server.url}/{name}") for name, content in parts.items())
    place = fetch(PublishedSet("toy", "", "", files, ("one/*/*.png", "two/*/*.png", "plain.gz")), root)
    assert place == root / "toy"
    assert [(place / name).read_bytes() for name in ("one/x/1.png", "two/x/2.png", "plain.gz")] == [
        b"1",
        b"2",
        b"plain",
    ]


def test_a_file_url_will_do(tmp_path: Path, root: Path) -> None:
    (tmp_path / "toy.tar.gz").write_bytes(ARCHIVE)
    file = described(ARCHIVE, "toy.tar.gz", (tmp_path / "toy.tar.gz").as_uri())
    assert fetch(PublishedSet("toy", "", "", (file,), ("toy/a.bin",), "toy"), root).is_dir()


def test_a_wrong_checksum_is_refused_and_what_came_is_deleted(server: Server, root: Path) -> None:
    published = toy(server, ARCHIVE)
    server.contents["/toy.tar.gz"] = ARCHIVE[:-1] + b"!"
    with pytest.raises(DataError, match=r"has SHA-256 [0-9a-f]{64} instead of [0-9a-f]{64} and was deleted; try again"):
        fetch(published, root)
    assert [path for path in root.rglob("*") if path.is_file()] == []
    assert not (root / "toy").exists()


@pytest.mark.parametrize("resumes", [True, False])
def test_a_transfer_that_is_cut_short_goes_on_or_begins_anew(server: Server, root: Path, resumes: bool) -> None:
    published = toy(server, ARCHIVE)
    server.stop_after, server.resumes = 5_000, resumes
    with pytest.raises(DataError, match=rf"ended after 5,000 of {len(ARCHIVE):,} bytes; run this again, it goes on"):
        fetch(published, root)
    assert not (root / "toy").exists()
    server.stop_after = None
    assert fetch(published, root).is_dir()
    assert server.asked == [None, "bytes=5000-"]


def test_an_interrupted_program_goes_on_where_it_stopped(
    server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = toy(server, ARCHIVE)
    monkeypatch.setattr("ctfgan.data.published.CHUNK", 1_000)

    def stop_in_the_middle(items: range, total: int, what: str) -> Iterator[int]:
        for item in items:
            if item == 3:
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        fetch(published, root, stop_in_the_middle)  # type: ignore[arg-type]
    assert fetch(published, root).is_dir()
    assert server.asked == [None, "bytes=3000-"]


def test_a_complete_partial_file_is_not_asked_for_again(server: Server, root: Path) -> None:
    (root / "downloads").mkdir(parents=True)
    (root / "downloads" / "toy.tar.gz.part").write_bytes(ARCHIVE)
    assert fetch(toy(server, ARCHIVE), root).is_dir()
    assert server.asked == []


def test_without_a_connection_it_says_what_to_put_where(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    file = described(ARCHIVE, "toy.tar.gz", "http://127.0.0.1:9/toy.tar.gz")  # the discard port: nobody listens
    published = PublishedSet("toy", "", "", (file,), ("toy/a.bin",), "toy")
    with pytest.raises(DataError) as told:
        fetch(published, root)
    said = str(told.value)
    assert re.match(r"http://127\.0\.0\.1:9/toy\.tar\.gz cannot be reached \(.+\); try again later, or get", said)
    assert f"get toy.tar.gz elsewhere, put it into {root}/downloads and run this again" in said
    assert "\n" not in said
    assert not root.exists()
    (root / "downloads").mkdir(parents=True)
    (root / "downloads" / "toy.tar.gz").write_bytes(ARCHIVE)
    assert fetch(published, root).is_dir(), "as it said"


def test_a_file_that_is_gone_from_its_server_is_named(server: Server, root: Path) -> None:
    published = toy(server, ARCHIVE)
    server.contents.clear()
    with pytest.raises(DataError, match=r"toy\.tar\.gz cannot be reached \(HTTP Error 404: Not Found\)"):
        fetch(published, root)


def test_a_damaged_file_that_a_person_put_there_is_named(server: Server, root: Path) -> None:
    (root / "downloads").mkdir(parents=True)
    (root / "downloads" / "toy.tar.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"downloads/toy\.tar\.gz is damaged"):
        fetch(toy(server, ARCHIVE), root)
    assert (root / "downloads" / "toy.tar.gz").read_bytes() == b"damaged"


@pytest.mark.parametrize("name", ["../evil", "/evil", "toy/../../evil"])
@pytest.mark.parametrize("kind", ["evil.tar.gz", "evil.zip"])
def test_an_archive_that_reaches_out_of_its_folder_writes_nothing_outside(
    server: Server, root: Path, name: str, kind: str
) -> None:
    files = {"toy/a.bin": b"a", name: b"evil"}
    published = toy(server, (zip_of if kind.endswith("zip") else tar_of)(files), kind)
    with suppress(DataError):  # tarfile takes the slash away from an absolute path, all others are refused
        fetch(published, root)
    assert (root / "toy").exists() == (kind == "evil.tar.gz" and name == "/evil")
    assert not list(root.parent.glob("evil"))
    assert not (root / "evil").exists()
    assert not Path("/evil").exists()


def test_an_archive_that_is_none_is_refused(server: Server, root: Path) -> None:
    for name in ("no.tar.gz", "no.zip"):
        with pytest.raises(DataError, match="cannot be unpacked"):
            fetch(toy(server, b"no archive", name), root)
    assert not (root / "toy").exists()


def test_a_folder_with_something_else_is_left_alone(server: Server, root: Path) -> None:
    (root / "toy").mkdir(parents=True)
    (root / "toy" / "mine").write_text("mine")
    before = snapshot(root)
    with pytest.raises(DataError, match="exists and does not hold all of toy; move it away"):
        fetch(toy(server, ARCHIVE), root)
    assert snapshot(root) == before
    (root / "toy" / "mine").unlink()
    assert fetch(toy(server, ARCHIVE), root).is_dir()


def test_what_needs_a_registration_says_so(server: Server, root: Path) -> None:
    published = replace(toy(server, ARCHIVE), by_hand="register and put it into {downloads}")
    with pytest.raises(DataError, match=rf"toy cannot be downloaded: register and put it into {root}/downloads"):
        fetch(replace(published, files=()), root)
    assert server.asked == []
    assert not root.exists()


def test_a_set_that_another_process_fetches_is_left_to_it(server: Server, root: Path) -> None:
    published = toy(server, ARCHIVE)
    (root / "downloads").mkdir(parents=True)
    program = (
        "import sys; from ctfgan.core.files import lock; file = open(sys.argv[1], 'w'); lock(file); "
        "print(1, flush=True); input()"
    )
    command = [sys.executable, "-c", program, str(root / "downloads" / f".{published.name}.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(DataError, match=f"another process is fetching {published.name} into .*; wait for it"):
            fetch(published, root)
        assert server.asked == []
        other.kill()  # and its lock is gone, however it ends
    assert (fetch(published, root) / "a.bin").is_file()


def test_a_lock_that_another_process_has_just_given_back_is_not_taken(
    server: Server, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a third process would make the file anew and fetch at the same time."""

    def lock_late(descriptor: int, *, blocking: bool) -> bool:
        (root / "downloads/.toy.lock").unlink()
        return lock_descriptor(descriptor, blocking=blocking)

    with monkeypatch.context() as patch:
        patch.setattr("ctfgan.core.files.lock_descriptor", lock_late)
        with pytest.raises(DataError, match=r"another process is fetching toy into .*; wait for it"):
            fetch(toy(server, ARCHIVE), root)
    assert server.asked == []
    assert fetch(toy(server, ARCHIVE), root).is_dir()


def test_a_lock_file_that_somebody_deletes_does_not_spoil_the_fetching(server: Server, root: Path) -> None:
    def tidy_up(items: range, total: int, what: str) -> Iterator[int]:
        (root / "downloads/.toy.lock").unlink(missing_ok=True)
        yield from items

    assert fetch(toy(server, ARCHIVE), root, tidy_up).is_dir()  # type: ignore[arg-type]


def test_a_data_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"/file/downloads cannot be written .*; set CTFGAN_DATA to a folder of yours"):
        fetch(toy(server, ARCHIVE), tmp_path / "file")

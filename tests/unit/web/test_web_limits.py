from __future__ import annotations

import asyncio
import re
import struct
import tempfile
import threading
import time
import zlib
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from ctfgan.data.sources.encoded import FORMATS, SUFFIXES
from ctfgan.web import guard
from ctfgan.web.guard import bounded
from ctfgan.web.image_service import ImageService
from ctfgan.web.messages import Limits, Refusal
from ctfgan.web.worker import Worker
from tests.contract.test_changed_classes import random_bundle
from tests.unit.web.test_web_api import error_in, image_file

FORM = {"class": "a", "n": "1"}
ASKED = {"classes": ["a"], "n": 1}


def png_of(width: int, height: int, rows: bytes) -> bytes:
    """A grey PNG with these compressed rows, whatever it promises."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    framed = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in
              chunks.items())  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def gif_with_a_frame_beyond_its_canvas() -> bytes:
    content = BytesIO()
    Image.new("L", (8, 8)).save(content, format="GIF")
    gif = bytearray(content.getvalue())
    place = gif.index(b",", 13 + 3 * 2)  # the descriptor of the first frame behind header and colours
    gif[place + 5 : place + 9] = struct.pack("<HH", 65_535, 65_535)
    return bytes(gif)


def packed_tiff(width: int, height: int) -> bytes:
    content = BytesIO()
    Image.new("L", (width, height)).save(content, format="TIFF", compression="tiff_deflate")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 415, "this is no PNG, JPEG, WEBP, BMP, GIF, TIFF, "),
        (b"Dear diary,\n", 415, "this is no PNG"),
        (b"%PDF-1.7", 415, "this is no PNG"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "this is no PNG"),
        (packed_tiff(5_000, 5_000), 413, "5000x5000 pixels"),
        (image_file((600, 600))[:4_000], 422, "the image cannot be read: damaged"),
        (image_file((3, 3)), 422, "3x3 pixels; each side must have at least 4"),
        (png_of(20_000, 20_000, b""), 413, "the image has more pixels than the 16,000,000 that are decoded; shrink"),
        (png_of(5_000, 5_000, bytes(5_001) * 5_000), 413, "5000x5000 pixels"),  # 25 kB that unpack to 25 MB
        (gif_with_a_frame_beyond_its_canvas(), 413, "more pixels than the 16,000,000"),
    ],
)
def test_what_cannot_be_decoded_safely_is_refused(
    client: TestClient, content: bytes, status: int, message: str
) -> None:
    answer = client.post("/api/enhance", data=FORM, files={"image": ("own.png", content)})
    assert message in error_in(answer, status)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "TGA"])
def test_an_own_image_may_have_any_format_that_training_reads(client: TestClient, kind: str) -> None:
    assert kind in FORMATS
    assert client.get("/api/model").json()["upload_formats"] == [name for name in FORMATS if name in Image.OPEN]
    size = client.get("/api/model").json()["low_quality_size"]
    grey = client.get("/api/model").json()["channels"] == 1
    image = Image.new("L" if grey else "RGB", (size, size), 200 if grey else (200, 100, 50))
    content = BytesIO()
    image.save(content, format=kind)
    answer = client.post("/api/enhance", data=FORM, files={"image": ("own", content.getvalue())})
    assert answer.status_code == 200, answer.text
    (shown, *_) = answer.json()["images"]
    pixels = np.asarray(Image.open(BytesIO(b64decode(shown["png"]))), dtype=int)
    assert abs(pixels - np.asarray(image.resize(pixels.shape[1::-1]), dtype=int)).max() <= 8, (
        "what a lossy format may lose"
    )


def test_the_page_offers_files_of_every_suffix_that_training_reads(client: TestClient) -> None:
    (accepted,) = re.findall('accept="([^"]*)"', client.get("/").text)
    assert set(accepted.split(",")) == set(SUFFIXES)


def test_what_is_too_large_is_refused_before_a_pixel_is_decoded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(image: Image.Image) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr(Image.Image, "load", decode)
    content = png_of(4_001, 4_000, bytes(4_002) * 4_000)
    error_in(client.post("/api/enhance", data=FORM, files={"image": content}), 413)


@pytest.mark.parametrize(
    ("form", "files", "status", "message"),
    [
        ({"class": "q"}, {"image": b"x"}, 404, "Unknown class 'q'"),
        ({}, {"image": b"x"}, 422, "class is missing"),
        ({"class": "a"}, {}, 415, "multipart/form-data"),
        ({"class": "a"}, {"picture": b"x"}, 422, "image is missing"),
        ({"class": "a", "n": "many"}, {"image": b"x"}, 422, "n is 'many', but input should be a valid integer"),
        ({"class": "a", "n": "127"}, {"image": b"x"}, 422, "129 images in one answer"),
        ({"class": "a", "path": "/etc/passwd"}, {"image": b"x"}, 422, "path is no field of this request"),
        ({"class": "a" * 5_000}, {"image": b"x"}, 400, "maximum size of 4KB"),
        ({"class": "a"}, [("image", b"x"), ("image", b"x")], 400, "Too many files"),
        ({str(number): "x" for number in range(9)}, {"image": b"x"}, 400, "Too many fields"),
    ],
)
def test_a_form_that_is_not_meant_is_refused(
    client: TestClient, form: dict, files: dict, status: int, message: str
) -> None:
    assert message in error_in(client.post("/api/enhance", data=form, files=files), status)


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary="]
)
@pytest.mark.parametrize(
    "body", [b"", b"nothing", b"--x\r\n\r\n", b'--x\r\nContent-Disposition: form-data; name="image"']
)
def test_a_form_in_pieces_is_refused(client: TestClient, kind: str, body: bytes) -> None:
    answer = client.post("/api/enhance", content=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 422)
    error_in(answer, answer.status_code)


def test_what_is_sent_never_touches_a_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def rollover(file: object) -> None:
        pytest.fail("written to a temporary file")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    noise = np.random.default_rng(0).integers(0, 256, (1_500, 1_500, 3), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(noise).save(content, format="BMP")
    assert len(content.getvalue()) > 6_000_000
    assert client.post("/api/enhance", data=FORM, files={"image": content.getvalue()}).status_code == 200


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is thrown away for a moment only."""
    monkeypatch.setattr(guard, "DRAIN_SECONDS", 0.1)


@pytest.mark.usefixtures("impatient")
def test_more_bytes_than_allowed_are_refused_whether_announced_or_not(visit: Callable[..., TestClient]) -> None:
    client = visit(random_bundle("ctf-folders"), upload_bytes=20_000, json_bytes=1_000)
    assert "larger than 20 KiB" in error_in(client.post("/api/enhance", data=FORM, files={"image": bytes(20_000)}), 413)
    headers = {"Content-Type": "application/json"}
    assert "larger than 1000 bytes" in error_in(client.post("/api/sample", content=bytes(1_001), headers=headers), 413)
    pieces = (b"x" for _ in range(2_000))
    error_in(client.post("/api/sample", content=pieces, headers=headers), 413)
    assert client.post("/api/sample", json=ASKED).status_code == 200


def read_body(parts: AsyncIterator[dict], seconds: float = 60.0) -> bytes:
    async def receive() -> dict:
        return await anext(parts)

    async def read() -> bytes:
        receive_bounded, body = bounded(receive, 100, seconds), b""  # type: ignore[arg-type]
        while True:
            message = await receive_bounded()
            body += message["body"]
            if not message["more_body"]:
                return body

    return asyncio.run(read())


@pytest.mark.usefixtures("impatient")
def test_reading_stops_soon_behind_the_limit() -> None:
    read = 0

    async def endless() -> AsyncIterator[dict]:
        nonlocal read
        while True:
            read += 1
            if read > 100:
                await asyncio.sleep(0.01)
            yield {"type": "http.request", "body": b"xx", "more_body": True}

    started = time.monotonic()
    with pytest.raises(Refusal, match="larger than 100 bytes"):
        read_body(endless())
    assert time.monotonic() - started < 3


def test_a_body_of_just_the_limit_arrives_and_the_end_of_the_connection_behind_it_is_waited_for() -> None:
    async def scene() -> None:
        messages = [{"type": "http.request", "body": bytes(50), "more_body": more} for more in (True, False)]

        async def receive() -> dict:
            if messages:
                return messages.pop(0)
            await asyncio.sleep(0.2)
            return {"type": "http.disconnect"}

        receive_bounded = bounded(receive, 100, 0.1)  # type: ignore[arg-type]
        assert sum([len((await receive_bounded())["body"]) for _ in range(2)]) == 100
        assert (await receive_bounded())["type"] == "http.disconnect"

    asyncio.run(scene())


def test_a_sender_that_dawdles_is_cut_off() -> None:
    async def slow() -> AsyncIterator[dict]:
        while True:
            await asyncio.sleep(0.02)
            yield {"type": "http.request", "body": b"", "more_body": True}

    with pytest.raises(Refusal, match=r"took longer than 0\.2 s") as caught:
        read_body(slow(), seconds=0.2)
    assert caught.value.status_code == 408


def test_a_sender_that_goes_away_is_no_failure() -> None:
    async def gone() -> AsyncIterator[dict]:
        yield {"type": "http.disconnect"}

    with pytest.raises(Refusal, match="ended before it was complete"):
        read_body(gone())


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:8000", 200), ("LOCALHOST", 200), ("localhost.", 200),
     ("evil.example", 400), ("localhost.evil.example", 400), ("evil.example:8000", 400), ("192.168.1.5", 200),
     ("", 400), ("[::1", 400), ("localhost@evil.example", 400), ("\xff", 400)],
)  # fmt: skip
def test_only_known_names_of_the_server_are_answered(client: TestClient, host: str, status: int) -> None:
    answer = client.get("/api/model", headers={"Host": host.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == status
    if status == 400:
        assert "names another host" in error_in(answer, 400)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:8000"}, 200),
        ({"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:9000"}, 403),
        ({"Origin": "http://localhost:8000.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_ask(client: TestClient, headers: dict[str, str], status: int) -> None:
    for answer in (client.post("/api/sample", json=ASKED, headers=headers), client.get("/api/model", headers=headers)):
        assert answer.status_code == status
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link from elsewhere


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/static/page.js", "/api/model", "/nothing"])
def test_every_answer_tells_the_browser_to_be_strict(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


async def never() -> None:
    await asyncio.Event().wait()


def test_a_full_line_is_told_and_work_nobody_waits_for_is_left_out() -> None:
    async def scene() -> None:
        worker, begun, go, done = Worker(3), threading.Event(), threading.Event(), []

        def block() -> str:
            begun.set()
            assert go.wait(10)
            return "first"

        first = asyncio.create_task(worker.do(block, never))
        await asyncio.to_thread(begun.wait, 10)
        leave = asyncio.Event()
        left = asyncio.create_task(worker.do(lambda: done.append("left"), leave.wait))
        stays = asyncio.create_task(worker.do(lambda: done.append("stays"), never))
        await asyncio.sleep(0)
        assert worker.waiting == 3
        with pytest.raises(Refusal, match="3 requests are in line already") as caught:
            await worker.do(lambda: None, never)
        assert (caught.value.status_code, caught.value.headers) == (503, {"Retry-After": "3"})
        leave.set()
        with pytest.raises(Refusal, match="the client is gone"):
            await left
        await asyncio.sleep(0.05)
        assert worker.waiting == 2  # room again, although the first is still under way
        go.set()
        assert await first == "first"
        await stays
        assert done == ["stays"]
        assert worker.waiting == 0
        worker.close()

    asyncio.run(scene())


def test_too_little_memory_is_no_failure_of_the_server() -> None:
    def greedy() -> None:
        raise MemoryError

    async def scene() -> None:
        worker = Worker(1)
        with pytest.raises(Refusal, match="not enough memory for this now"):
            await worker.do(greedy, never)
        assert worker.waiting == 0
        worker.close()

    asyncio.run(scene())


def test_twenty_at_once_all_get_an_answer_or_a_clear_refusal(visit: Callable[..., TestClient]) -> None:
    client = visit(random_bundle("ctf-folders"), waiting=5)
    with ThreadPoolExecutor(20) as users:
        answers = list(users.map(lambda seed: client.post("/api/sample", json={**ASKED, "seed": seed}), range(20)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert sum(answer.status_code == 200 for answer in answers) >= 5
    for answer in answers:
        if answer.status_code == 503:
            assert "in line already; try again soon" in error_in(answer, 503)
            assert answer.headers["retry-after"] == "3"
    assert client.get("/api/queue").json() == {"waiting": 0, "room": 5}


def test_a_failure_of_the_server_says_nothing_of_its_inside(
    visit: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, request: object) -> None:
        raise RuntimeError(str(Path.cwd()))

    monkeypatch.setattr(ImageService, "sample", fail)
    client = visit(random_bundle("ctf-folders"))
    client = TestClient(client.app, "http://localhost:8000", raise_server_exceptions=False)
    said = error_in(client.post("/api/sample", json=ASKED), 500)
    assert str(Path.cwd()) not in said


def test_answers_have_a_bound_in_pixels_too() -> None:
    assert Limits(images=10_000).images_of(32) == 10_000
    assert Limits(images=10_000).images_of(128) == 976
    assert Limits(images=5).images_of(128) == 5

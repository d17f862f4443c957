"""How the page bears many visitors: ``python benchmarks/bench_serve.py BUNDLE``.

Starts ``ctfgan serve`` and asks it as programs do: 20 visitors at once; then 1,000 requests of all kinds one after
the other, with the server's memory before and after; then the largest own images that it takes. The bundle must be one
that enhances.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection
from io import BytesIO
from itertools import cycle

import numpy as np
import psutil
from PIL import Image

VISITORS = 20
ROUNDS = 5
REQUESTS = 1_000
WARM = 100
MIB = 1 << 20


class Visitor:
    """One connection to the server, and the seconds that its answers took."""

    def __init__(self, port: int, name: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=600)
        self._name = name
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()

    def post(self, path: str, body: bytes, kind: str = "application/json") -> None:
        started = time.perf_counter()
        self._connection.request("POST", f"/api/{path}", body, {"Content-Type": kind})
        answer = self._connection.getresponse()
        answer.read()
        self.seconds.append(time.perf_counter() - started)
        self.statuses[answer.status] += 1

    def sample(self, seed: int, form: str = "json") -> None:
        self.post(f"sample?as={form}", json.dumps({"classes": [self._name], "n": 8, "seed": seed}).encode())

    def slide(self, seed: int) -> None:
        ends = {side: {"class": self._name, "seed": seed + n} for n, side in enumerate(("from", "to"))}
        self.post("slide", json.dumps({**ends, "steps": 9}).encode())

    def enhance(self, image: bytes) -> None:
        start = b"--x\r\nContent-Disposition: form-data; name="
        body = start + b'"class"\r\n\r\n' + self._name.encode() + b"\r\n"
        body += start + b'"image"; filename="own.png"\r\n\r\n' + image + b"\r\n"
        self.post("enhance", body + b"--x--\r\n", "multipart/form-data; boundary=x")


def main() -> None:
    command = [sys.executable, "-u", "-m", "ctfgan", "serve", sys.argv[1], "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    found = re.search(r":(\d+)/", server.stdout.readline())
    assert found is not None, "the server did not start"
    port, process = int(found[1]), psutil.Process(server.pid)
    try:
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/api/classes?limit=1")
        name = json.load(connection.getresponse())["classes"][0]
        Visitor(port, name).sample(0)
        many_at_once(port, name)
        one_after_the_other(port, name, process)
        large_images(port, name, process)
    finally:
        server.terminate()
        server.wait()


def many_at_once(port: int, name: str) -> None:
    visitors = [Visitor(port, name) for _ in range(VISITORS)]

    def ask(visitor: Visitor) -> None:
        for seed in range(ROUNDS):
            visitor.sample(seed)

    threads = [threading.Thread(target=ask, args=(visitor,)) for visitor in visitors]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    statuses = sum((visitor.statuses for visitor in visitors), Counter())
    taken = [second for visitor in visitors for second in visitor.seconds]
    report(f"{VISITORS} visitors at once, {ROUNDS} requests each, 8 images a request", taken, statuses)
    print(f"  {len(taken) / seconds:.1f} requests/s")


def one_after_the_other(port: int, name: str, process: psutil.Process) -> None:
    visitor = Visitor(port, name)
    kinds = cycle((visitor.sample, lambda seed: visitor.sample(seed, "zip"), visitor.slide,
                   lambda seed: visitor.enhance(own_image(64, seed))))  # fmt: skip
    for seed in range(WARM):
        next(kinds)(seed)
    before = process.memory_info().rss
    visitor.seconds.clear()
    visitor.statuses.clear()
    for seed in range(REQUESTS):
        next(kinds)(seed)
    after = process.memory_info().rss
    report(f"{REQUESTS:,} requests of four kinds one after the other", visitor.seconds, visitor.statuses)
    print(f"  memory {before / MIB:.0f} MiB after {WARM} requests, {after / MIB:.0f} MiB after {REQUESTS:,} more")


def large_images(port: int, name: str, process: psutil.Process) -> None:
    content = BytesIO()
    Image.new("RGBA", (4_000, 4_000), (200, 100, 50, 128)).save(content, format="PNG")
    visitors = [Visitor(port, name) for _ in range(4)]
    peak, done = process.memory_info().rss, threading.Event()
    before = peak

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, process.memory_info().rss)

    threads = [threading.Thread(target=visitor.enhance, args=(content.getvalue(),)) for visitor in visitors]
    watching = threading.Thread(target=watch)
    for thread in (watching, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watching.join()
    statuses = sum((visitor.statuses for visitor in visitors), Counter())
    taken = [second for visitor in visitors for second in visitor.seconds]
    report("4 own images of 16 million pixels at once", taken, statuses)
    print(f"  memory {before / MIB:.0f} MiB before, at most {peak / MIB:.0f} MiB")


def own_image(side: int, seed: int) -> bytes:
    content = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def report(what: str, seconds: list[float], statuses: Counter[int]) -> None:
    half, most = np.percentile(seconds, [50, 95])
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    print(f"{what}: {told}; p50 {half:.2f} s, p95 {most:.2f} s")


if __name__ == "__main__":
    main()

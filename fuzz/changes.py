"""Random changes to bytes and to JSON values."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 31, 32, 63, 64, 100, 127, 128, 255, 256, 512, 1023, 1024, 4095, 4096,
           32_767, 32_768, 65_535, 65_536, 1_000_000, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**60,
           2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
"""Where formats have their edges."""
TEXTS = (
    "",
    "\0",
    "\n",
    "a\nb",
    "\x1b[2J",
    "\u202egnp",
    "\ud800",
    "../../x",
    "/etc/passwd",
    "-1",
    "1e999",
    "NaN",
    "a" * 3000,
)


def changed_bytes(content: bytes, rng: Random) -> bytes:
    """One to eight changes at random places."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8))):
        rng.choice(_CHANGES)(data, rng)
    return bytes(data)


def number(rng: Random) -> int:
    """An integer at or beside an edge, or its negative."""
    found = rng.choice(NUMBERS) + rng.choice((-1, 0, 0, 0, 1))
    return -found if rng.random() < 0.2 else found


def changed_json(value: Any, rng: Random) -> Any:
    """One or two values, names or entries of a JSON value replaced, deleted or added, in a copy."""
    root = [json.loads(json.dumps(value))]
    for _ in range(rng.choice((1, 1, 2))):
        places = [(root, 0), *_places(root[0])]
        holder, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.15 and holder is not root:
            del holder[key]
        elif kind < 0.25 and isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = _value(rng)
        elif kind < 0.35 and isinstance(holder, list) and holder is not root:
            holder.append(rng.choice(holder))
        else:
            holder[key] = _value(rng)
    return root[0]


def dumped(value: Any, rng: Random) -> bytes:
    """JSON text of a value; now and then with a detail that JSON or Python's reader of it has trouble with."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
    match rng.randrange(24):
        case 0:
            text = text.replace(b"1", b"1" * 5000, 1)  # more digits than Python converts
        case 1:
            text = text.replace(b"[", b"[" * 100_000, 1)  # deeper than Python follows
        case 2:
            text = b"\xff\xfe" + text
        case 3:
            text = text.replace(b"1", b"1e400", 1)
        case 4:
            text = changed_bytes(text, rng)
    return text


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        found += [(value, key), *_places(value[key])]
    return found


def _value(rng: Random) -> Any:
    deep: Any = 1
    for _ in range(50):
        deep = [deep]
    plain = (None, True, False, 0.5, -0.5, 1e308, float("nan"), float("inf"), [], {}, [1], {"a": 1}, deep)
    return rng.choice(
        (number(rng), float(number(rng)), rng.choice(TEXTS), rng.choice(plain), 10 ** rng.randrange(4000))
    )


def _flip(data: bytearray, rng: Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 9, 10, 13, 32, 45, 47, 48, 57, 91, 123, 127, 128, 254, 255))


def _number(data: bytearray, rng: Random) -> None:
    size, code = rng.choice(((2, "H"), (4, "I"), (8, "Q")))
    if len(data) >= size:
        at = rng.randrange(len(data) - size + 1)
        data[at : at + size] = struct.pack(rng.choice("<>") + code, number(rng) % 256**size)


def _digits(data: bytearray, rng: Random) -> None:
    places = [at for at, byte in enumerate(data[:4096]) if 48 <= byte <= 57]
    if places:
        at = rng.choice(places)
        data[at : at + 1] = str(number(rng)).encode()


def _delete(data: bytearray, rng: Random) -> None:
    start, end = _range(data, rng)
    del data[start:end]


def _double(data: bytearray, rng: Random) -> None:
    start, end = _range(data, rng)
    data[start:start] = data[start:end]


def _insert(data: bytearray, rng: Random) -> None:
    start, _ = _range(data, rng)
    data[start:start] = rng.randbytes(rng.choice((1, 2, 4, 8, 64)))


def _blank(data: bytearray, rng: Random) -> None:
    start, end = _range(data, rng)
    data[start:end] = bytes([rng.choice((0, 255, 32))]) * (end - start)


def _cut(data: bytearray, rng: Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _range(data: bytearray, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 16, 64, 256)))


_CHANGES: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip, _flip, _set, _set, _number, _number, _digits, _delete, _double, _insert, _blank, _cut,
)  # fmt: skip

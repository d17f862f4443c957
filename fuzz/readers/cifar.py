"""CIFAR in its binary and its Python version, whose batches are pickles."""

from __future__ import annotations

import pickle
from random import Random

import numpy as np

from ctfgan.data.sources.registry import open_source
from fuzz.changes import changed_bytes, number
from fuzz.judging import Reader, check
from fuzz.places import joined, look_at, parted, put_files

FILES = {
    b"b": ("data_batch_1.bin", "batches.meta.txt"),
    b"p": ("data_batch_1", "batches.meta"),
    b"c": ("train", "meta"),
}
OPCODES = (
    b"r\xff\xff\xff\x7f",
    b"j\xff\xff\xff\x7f",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8e" + bytes(5) + b"\x01\0\0",
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"cnumpy\nload\n",
    b"cnumpy\nndarray\n",
    b"R",
    b"b",
    b"0",
    b"2",
    b"(",
    b"t",
    b"\x95\xff\xff\xff\xff\0\0\0\0",
    b"I" + b"9" * 5000 + b"\n",
    b"]" + b"2a" * 30,
    b"\x8a\x08" + b"\xff" * 8,
    b"N",
)
"""Pieces of pickles that ask for much or for code."""


def seeds() -> list[bytes]:
    """The kind, one batch of three images, the names."""
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
    records = b"".join(bytes([label]) + row.tobytes() for label, row in zip((0, 2, 1), planes, strict=True))
    found = [joined([b"b", records, b"plane\ncar\nbird\n"]), joined([b"b", records, b""])]
    for kind, label_key, name_key in ((b"p", "labels", "label_names"), (b"c", "fine_labels", "fine_label_names")):
        for protocol in (0, 2, 4, 5):
            batch = pickle.dumps({label_key: [0, 2, 1], "data": planes, "batch_label": "x"}, protocol)
            found.append(joined([kind, batch, pickle.dumps({name_key: ["plane", "car", "bird"]}, protocol)]))
    arrays = pickle.dumps({"labels": np.array([0, 1, 1]), "data": planes}, 2)
    return [*found, joined([b"p", arrays, b""])]


def change(content: bytes, rng: Random) -> bytes:
    """Bytes changed, most often outside the pixels; in pickles pieces put in; batches of other types."""
    kind, batch, names = parted(content, 3)
    match rng.randrange(6):
        case 0:
            names = changed_bytes(names, rng)
        case 1:
            batch = changed_bytes(batch[:300], rng) + batch[300:]
        case 2:
            batch = batch[:-300] + changed_bytes(batch[-300:], rng)
        case 3 if kind != b"b":
            at = rng.randrange(min(len(batch), 200) + 1)
            batch = batch[:at] + rng.choice(OPCODES) + batch[at:]
        case 4 if kind != b"b":
            odd = (
                0.5,
                float("nan"),
                "1",
                None,
                [1],
                10**30,
                number(rng),
                True,
                {"a": 1},
                b"1",
                -1,
                np.int64(1),
                np.float32(1),
            )
            values = [rng.choice(odd), *rng.choice(([0, 1], [0], [[1], [2]]))]
            wide = rng.choice(
                (
                    np.zeros((3, 3072), np.uint8),
                    np.zeros((1, 9216)),
                    np.zeros((3, 3072), ">u2"),
                    np.zeros((3, 3)),
                    5,
                    None,
                )
            )
            batch = pickle.dumps({"labels": values, "fine_labels": values, "data": wide}, rng.choice((0, 2, 4)))
        case 5 if kind != b"b":
            odd = (
                ["a", "b"],
                ["a", 1, None],
                "abc",
                {"a": 1, "b": 2, "c": 3},
                [["a"]] * 3,
                ["a", "a", "b"],
                ["", "\n", "\ud800"],
                7,
            )
            names = pickle.dumps({"label_names": rng.choice(odd), "fine_label_names": rng.choice(odd)}, 2)
        case _:
            batch = changed_bytes(batch, rng)
    return joined([kind, batch, names])


def one_input(content: bytes) -> None:
    """Compare with the records, or look for the pixels in the pickle."""
    kind, batch, names = parted(content, 3)
    kind = kind if kind in FILES else b"p"
    source = open_source(str(put_files("cifar-" + kind.decode(), FILES[kind], joined([batch, names]))))
    count = len(source.labels)
    check(count > 0, "no images")
    image = np.asarray(source.read(count - 1))
    check(image.shape == (32, 32, 3) and image.dtype == np.uint8, "no image of CIFAR")
    planes = image.transpose(2, 0, 1).tobytes()
    if kind == b"b":
        check(count * 3073 == len(batch), "another number of images")
        check(source.labels.tolist() == list(batch[::3073]) and planes == batch[-3072:], "other content")
    elif b"latin1" not in batch:  # protocols before 3 write bytes as text
        check(planes in batch, "pixels from nowhere")
    if source.labels.max() > 0 and kind != b"b" and batch[1:2] < b"\x03":
        check(source.labels.max() < 2**31, "labels from nowhere")
    look_at(source)


READER = Reader("cifar", seeds, change, one_input)

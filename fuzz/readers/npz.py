"""NumPy's .npz archives as sets of images."""

from __future__ import annotations

import ast
import io
import zipfile
from contextlib import suppress
from random import Random

import numpy as np

from ctfgan.data.sources.registry import open_source
from fuzz.changes import TEXTS, changed_bytes, number
from fuzz.judging import Reader, check
from fuzz.places import look_at, put

PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DTYPES = (
    "|u1",
    "|i1",
    "<i8",
    ">i8",
    "<u8",
    "<f8",
    "|b1",
    "|O",
    "<U3",
    "<U1000000000",
    "|S3",
    "|V5",
    "<M8[s]",
    "<m8[s]",
    "<c16",
    "<f2",
    "|u0",
    "<U0",
    "<i9",
    "",
    "[('a','|u1')]",
    "('|u1',(1000,1000,1000))",
)


def seeds() -> list[bytes]:
    """Grey and colour, with and without names and labels, one with a test part; in every packing."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (6, 5, 6), dtype=np.uint8)
    colour = rng.integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
    labels = np.array([0, 1, 2, 0, 1, 2])
    sets = [
        {"images": grey, "labels": labels, "classes": np.array(["a", "一", "ccc"])},
        {"x_train": grey, "y_train": labels.astype(np.uint8), "x_test": grey[:2], "y_test": labels[:2]},
        {"x": colour},
        {"images": grey, "labels": labels[:, None], "char": np.array([b"a", b"b", b"c"])},
        {f"{part}_{what}": values[:count] for part, count in (("train", 4), ("val", 2), ("test", 3))
         for what, values in (("images", grey), ("labels", labels[:, None]))},  # as MedMNIST has it
        {"images": grey, "labels": np.eye(3)[labels]},
        {"images": grey, "labels": labels.astype(np.float32)},
        {"images": grey, "y": np.array(["a", "一", "ccc", "a", "一", ""])},
    ]  # fmt: skip
    files = []
    for number_, arrays in enumerate(sets):
        file = io.BytesIO()
        (np.savez_compressed if number_ % 2 else np.savez)(file, **arrays)
        files.append(file.getvalue())
    return files + [_packed(_members(file), packing) for file in files[:2] for packing in PACKINGS[2:]]


def change(content: bytes, rng: Random) -> bytes:
    """Bytes of the archive, or a member's header or content, packed again."""
    if rng.random() < 0.3:
        return changed_bytes(content, rng)
    members = _members(content)
    if not members:
        return changed_bytes(content, rng)
    name = rng.choice(list(members))
    match rng.randrange(8):
        case 0:
            members[name] = changed_bytes(members[name], rng)
        case 1:
            members[rng.choice((*TEXTS[1:7], "images", "labels.npy", "classes.npy", "x.npy", "more"))] = members.pop(
                name
            )
        case 2:
            members[name] = members[rng.choice(list(members))]
        case 3 if rng.random() < 0.05:
            members[name] = members[name][:128] + bytes(30_000_000)
        case _:
            members[name] = _other_header(members[name], rng)
    return _packed(members, rng.choice(PACKINGS))


def one_input(content: bytes) -> None:
    """Compare with the members taken apart by hand."""
    source = open_source(str(put("x.npz", content)))
    source.load()  # as whoever decodes images does first
    arrays = {
        name.removesuffix(".npy"): _array(data) for name, data in _members(content).items() if name.endswith(".npy")
    }
    look_at(source)
    arrays = {name.lower(): array for name, array in arrays.items()} | arrays
    parts = [("images", "x", "images_train", "x_train", "train_images", "train_x"), *(
        tuple(f"{word}_{split}" for word in ("images", "x") for split in splits)
        + tuple(f"{split}_{word}" for word in ("images", "x") for split in splits)
        for splits in (("val", "valid", "validation"), ("test",))
    )]  # fmt: skip
    pixels = [array for keys in parts if (array := next((arrays[key] for key in keys if arrays.get(key)), None))]
    check(all(dtype.lstrip("|<>=") in ("u1", "B", "b1")[:2] for dtype, _, _ in pixels), "images that are no bytes")
    check(
        all(len(data) == np.prod(shape, dtype=object) for _, shape, data in pixels), "a size that is not the header's"
    )
    check(len(source.labels) <= sum(shape[0] for _, shape, _ in pixels), "more images than there are")
    for key in ("labels", "label", "y", "y_train"):
        if arrays.get(key):
            check(arrays[key][0].lstrip("|<>=")[:1] in "iufbUS", f"labels of type {arrays[key][0]}")
            break
    has_labels = any(arrays.get(key) for key in arrays if {*key.split("_")} & {"labels", "label", "y", "targets"})
    for key in ("classes", "class_names", "class_name", "char"):
        if arrays.get(key) and has_labels:  # else it may be the labels itself
            check(arrays[key][0].lstrip("|<>=")[:1] in "iuUS", f"class names of type {arrays[key][0]}")
            break


def _packed(members: dict[str, bytes], packing: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for member, data in members.items():
            packed.writestr(zipfile.ZipInfo(member.encode(errors="replace").decode() or "x"), data, packing)
    return file.getvalue()


def _members(content: bytes) -> dict[str, bytes]:
    members = {}
    with suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as packed:
        for info in packed.infolist():
            with suppress(Exception):  # of damaged members we know nothing
                members[info.filename] = packed.read(info) if info.file_size < 1 << 27 else b""
    return members


def _array(data: bytes) -> tuple[str, tuple[int, ...], bytes] | None:
    """Type, shape and content of an .npy file, without numpy."""
    try:
        long = data[6] >= 2
        size = int.from_bytes(data[8 : 12 if long else 10], "little")
        start = (12 if long else 10) + size
        header = ast.literal_eval(data[start - size : start].decode("latin1").strip())
        return str(header["descr"]), header["shape"], data[start:]
    except Exception:
        return None


def _other_header(data: bytes, rng: Random) -> bytes:
    found = _array(data)
    if found is None:
        return changed_bytes(data, rng)
    dtype, shape, content = found
    kind = rng.randrange(5)
    if kind == 0:
        dtype = rng.choice(DTYPES)
    elif kind == 1:
        shape = tuple(number(rng) if rng.random() < 0.5 else side for side in shape)
    elif kind == 2:
        shape = (*shape, *(rng.choice((1, 3, 0, 4)) for _ in range(rng.randrange(40))))
    descr = dtype if dtype[:1] in "[(" else repr(dtype)
    text = f"{{'descr': {descr}, 'fortran_order': {rng.choice((True, False))}, 'shape': {shape!r}, }}".encode()
    if kind == 3:
        text = rng.choice(
            (changed_bytes(text, rng), b"(" * 3000, b"{'descr': " + b"[" * 90 + b"}", b"1" * 9000, b"-" * 5000)
        )
    version = rng.choice((1, 1, 1, 2, 3))
    text = text[:60_000] + b" " * rng.randrange(3) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text + content


READER = Reader("npz", seeds, change, one_input)

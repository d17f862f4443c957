from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from ctfgan.core.errors import DataError
from ctfgan.data.sources.base import ImageSource, PublishedSplit
from ctfgan.data.sources.registry import open_source

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 8, 10), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
PARTS: tuple[PublishedSplit, ...] = ("all", "train", "test")


def pixels(source: ImageSource) -> NDArray[np.uint8]:
    return np.stack([np.asarray(source.read(index)) for index in range(len(source.labels))])


def opened(path: Path, **arrays: Any) -> ImageSource:
    np.savez(path, **arrays)
    return open_source(str(path))


# npz


@pytest.mark.parametrize("images", ["images", "x", "x_train"])
@pytest.mark.parametrize("labels", ["labels", "label", "y", "y_train"])
def test_npz_keys_may_be_spelt_in_several_ways(tmp_path: Path, images: str, labels: str) -> None:
    source = opened(tmp_path / "x.npz", **{images: GREY, labels: LABELS, "comment": np.zeros(3)})
    assert np.array_equal(pixels(source), GREY)
    assert source.labels.tolist() == LABELS.tolist()
    assert source.classes == ("0", "1", "2")
    assert source.header(0) == ("L", (10, 8))


@pytest.mark.parametrize("keys", [("x_train", "y_train", "x_test", "y_test"),
                                  ("images", "labels", "images_test", "labels_test")])  # fmt: skip
def test_npz_may_publish_a_test_part(tmp_path: Path, keys: tuple[str, ...]) -> None:
    content = dict(zip(keys, (GREY[:4], LABELS[:4], GREY[4:], LABELS[4:]), strict=True))
    np.savez(tmp_path / "x.npz", **content, classes=np.array(["a", "b", "c"]))
    whole, train, test = (open_source(str(tmp_path / "x.npz"), part) for part in PARTS)
    assert np.array_equal(pixels(whole), GREY)
    assert np.array_equal(pixels(train), GREY[:4])
    assert np.array_equal(pixels(test), GREY[4:])
    assert (whole.labels.tolist(), test.labels.tolist()) == (LABELS.tolist(), LABELS[4:].tolist())
    assert whole.classes == test.classes == ("a", "b", "c")
    assert len({source.identity() for source in (whole, train, test)}) == 3
    assert len({whole.name(index) for index in range(6)}) == 6


def test_npz_test_images_without_labels_are_no_test_part_and_are_left_out(tmp_path: Path) -> None:
    source = opened(tmp_path / "x.npz", x_train=GREY[:4], y_train=LABELS[:4], x_test=GREY[4:])
    assert len(source.labels) == 4
    with pytest.raises(DataError, match=r"the published test part of .* has no labels; name other images"):
        open_source(str(tmp_path / "x.npz"), "test")


@pytest.mark.parametrize("part", ["train", "test"])
def test_what_publishes_no_parts_says_how_to_name_a_reference(tmp_path: Path, part: PublishedSplit) -> None:
    np.savez(tmp_path / "x.npz", images=GREY, labels=LABELS)
    with pytest.raises(DataError, match=r"no published training and test parts; .* data\.reference=PATH"):
        open_source(str(tmp_path / "x.npz"), part)


@pytest.mark.parametrize("key", ["classes", "class_names", "class_name", "char"])
def test_npz_classes_may_have_names(tmp_path: Path, key: str) -> None:
    source = opened(tmp_path / "x.npz", images=COLOUR, labels=LABELS, **{key: np.array(["一", "乙", "丁"])})
    assert source.classes == ("一", "乙", "丁")
    assert source.header(0) == ("RGB", (32, 32))


def test_npz_takes_one_channel_with_its_axis_and_labels_as_a_column(tmp_path: Path) -> None:
    source = opened(tmp_path / "x.npz", images=GREY[..., None], labels=LABELS[:, None].astype(np.uint8))
    assert np.array_equal(pixels(source), GREY)
    assert source.labels.dtype == np.int64
    assert source.labels.tolist() == LABELS.tolist()


def test_npz_without_labels_is_unlabelled(tmp_path: Path) -> None:
    source = opened(tmp_path / "x.npz", images=GREY)
    assert source.classes == ()
    assert source.labels.tolist() == [-1] * 6


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": GREY}, "holds pictures; it needs an array named images or x or x_train"),
        ({"images": GREY.astype(np.float32)}, "type float32 .* must be uint8"),
        ({"images": GREY[0]}, r"shape \(8, 10\); they must be"),
        ({"images": np.zeros((2, 8, 8, 4), np.uint8)}, r"shape \(2, 8, 8, 4\)"),
        (
            {"images": GREY, "labels": LABELS + 0.5},
            "labels have type float64; they must be integers or whole .* 0 is 0.5",
        ),
        ({"images": GREY, "labels": LABELS[:5]}, "6 images but 5 labels"),
        ({"images": GREY, "labels": LABELS - 2}, "label -2 of image 0 is outside 0 ... 0"),
        ({"images": GREY, "labels": LABELS, "classes": np.array(["a", "b"])}, "label 2 of image 2 is outside 0 ... 1"),
        (
            {"images": GREY, "labels": np.array([2**64 - 1] * 6, dtype=np.uint64)},
            f"label {2**64 - 1} of 6 images leaves",
        ),
        (
            {"images": GREY, "labels": np.array([2**64 - 1] * 6, dtype=np.uint64), "classes": np.array(["a"])},
            rf"label {2**64 - 1} of image 0 is outside 0 \.\.\. 0",
        ),
        ({"images": GREY, "labels": LABELS, "classes": np.array(["a", "b", "a"])}, "'a' is given more than once"),
        ({"images": GREY, "labels": LABELS, "classes": np.array("abc")}, "label 1 of image 1 is outside 0 ... 0"),
        ({"images": GREY[:0], "labels": LABELS[:0]}, "holds no images"),
        ({"images": np.array([object()] * 6)}, "no readable .npz of plain arrays .*allow_pickle"),
        ({"images": GREY, "labels": LABELS, "classes": np.array(["a", "b", None])}, "no readable .npz of plain arrays"),
    ],
)
def test_npz_of_the_wrong_content_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "x.npz", **arrays)


def test_npz_images_too_small_are_unreadable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1x1 pixels"):
        opened(tmp_path / "x.npz", images=np.zeros((4, 1, 1), np.uint8)).header(0)


def test_npz_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=GREY, labels=LABELS)
    whole = path.read_bytes()
    np.save(tmp_path / "single.npy", GREY)
    damaged = whole[:70] + b"\xff" * 20 + whole[90:]
    for content in (b"", b"text", whole[:200], damaged, (tmp_path / "single.npy").read_bytes(), pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.npz is no (readable )?\.npz"):
            open_source(str(path))


# idx


def idx(array: NDArray[np.uint8]) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, part: slice, kind: str, end: str, dot: str = "-") -> None:
    for what, content in ((f"images{dot}idx3", GREY[part]), (f"labels{dot}idx1", LABELS[part].astype(np.uint8))):
        data = idx(content)
        (folder / f"{kind}-{what}-ubyte{end}").write_bytes(gzip.compress(data) if end else data)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_idx_folders_are_read_whole(tmp_path: Path, end: str, dot: str) -> None:
    write_idx(tmp_path, slice(4, 6), "t10k", end, dot)
    write_idx(tmp_path, slice(0, 4), "train", end, dot)
    source = open_source(str(tmp_path))
    assert np.array_equal(pixels(source), GREY)
    assert source.labels.tolist() == LABELS.tolist()


def test_the_parts_of_an_idx_folder_are_in_its_file_names(tmp_path: Path) -> None:
    write_idx(tmp_path, slice(0, 2), "t10k", "")
    write_idx(tmp_path, slice(2, 6), "train", "")
    whole, train, test = (open_source(str(tmp_path), part) for part in PARTS)
    assert len(whole.labels) == 6
    assert np.array_equal(pixels(train), GREY[2:])
    assert np.array_equal(pixels(test), GREY[:2])
    assert test.labels.tolist() == LABELS[:2].tolist()


def test_one_idx_file_is_read_with_the_labels_beside_it(tmp_path: Path) -> None:
    write_idx(tmp_path, slice(0, 2), "t10k", "")
    write_idx(tmp_path, slice(2, 6), "train", "")
    source = open_source(str(tmp_path / "train-images-idx3-ubyte"))
    assert source.labels.tolist() == LABELS[2:].tolist()


def test_a_file_that_is_there_packed_and_unpacked_counts_once(tmp_path: Path) -> None:
    write_idx(tmp_path, slice(0, 6), "train", "")
    write_idx(tmp_path, slice(0, 6), "train", ".gz")
    assert np.array_equal(pixels(open_source(str(tmp_path))), GREY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no idx file"),
        (b"\0\0\x0d\x03" + bytes(100), "is no idx file of unsigned bytes; it must begin with 00 00 08"),
        (b"hello, world", "is no idx file"),
        (idx(GREY)[:9], "ends after 9 bytes, inside its header of 16"),
        (idx(GREY)[:-1], "promises 480 bytes of data and holds 479"),
        (idx(GREY) + b"\0", "promises 480 bytes of data and holds 481"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "promises 79,228,162,458,924,105,385,300,197,375 bytes"),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path))


def test_damaged_gz_files_are_refused(tmp_path: Path) -> None:
    packed = gzip.compress(idx(GREY))
    for content in (packed[:-20], b"no gzip", packed[:20] + b"\xff" * 10 + packed[30:]):
        (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"cannot be read|promises [\d,]+ bytes of data and holds less"):
            open_source(str(tmp_path))


def test_idx_files_without_some_of_their_labels_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, slice(0, 2), "t10k", "")
    write_idx(tmp_path, slice(2, 6), "train", "")
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="2 idx3 files but 1 idx1 files"):
        open_source(str(tmp_path))


# CIFAR


class Python2Pickler(pickle._Pickler):
    """Writes bytes and ASCII text as Python 2 wrote its ``str``, as in the published batches."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_python2(self, content: bytes | str) -> None:
        data = content if isinstance(content, bytes) else content.encode("ascii")
        self.write(b"T" + struct.pack("<i", len(data)) + data)

    dispatch[bytes] = dispatch[str] = save_python2


def python_batch(path: Path, content: object, protocol: int | str) -> None:
    with path.open("wb") as file:
        if protocol == "python 2":
            Python2Pickler(file, protocol=2).dump(content)
        else:
            file.write(pickle.dumps(content, protocol=int(protocol)))


PLANES = COLOUR.transpose(0, 3, 1, 2).reshape(6, 3072)


@pytest.mark.parametrize("named", [True, False])
def test_cifar_10_binary(tmp_path: Path, named: bool) -> None:
    for part in (1, 2):
        rows = slice(3 * part - 3, 3 * part)
        records = np.concatenate([LABELS[rows, None].astype(np.uint8), PLANES[rows]], axis=1)
        (tmp_path / f"data_batch_{part}.bin").write_bytes(records.tobytes())
    (tmp_path / "test_batch.bin").write_bytes(bytes([2]) + PLANES[0].tobytes())
    if named:
        (tmp_path / "batches.meta.txt").write_text("airplane\nautomobile\nbird\n\n")
    source = open_source(str(tmp_path), "train")
    assert np.array_equal(pixels(source), COLOUR)
    whole, test = open_source(str(tmp_path)), open_source(str(tmp_path), "test")
    assert np.array_equal(pixels(whole), np.concatenate([COLOUR, COLOUR[:1]]))
    assert test.labels.tolist() == [2]
    assert "data_batch_3.bin, data_batch_4.bin, data_batch_5.bin" in source.notes[0]
    assert source.labels.tolist() == LABELS.tolist()
    assert source.classes == (("airplane", "automobile", "bird") if named else ("0", "1", "2"))


def test_cifar_100_binary_takes_the_fine_labels(tmp_path: Path) -> None:
    coarse = np.full((6, 1), 19, dtype=np.uint8)
    records = np.concatenate([coarse, LABELS[:, None].astype(np.uint8), PLANES], axis=1)
    (tmp_path / "train.bin").write_bytes(records[:4].tobytes())
    (tmp_path / "test.bin").write_bytes(records[4:].tobytes())
    (tmp_path / "fine_label_names.txt").write_text("apple\naquarium_fish\nbaby\n")
    source = open_source(str(tmp_path))
    assert np.array_equal(pixels(source), COLOUR)
    assert source.labels.tolist() == LABELS.tolist()
    assert source.classes == ("apple", "aquarium_fish", "baby")


def test_truncated_cifar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(bytes(2 * 3073 - 5))
    with pytest.raises(DataError, match="6,141 bytes, no multiple of 3073"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("protocol", ["python 2", 2, 4, 5])
def test_cifar_10_python(tmp_path: Path, protocol: int | str) -> None:
    for part in (1, 2):
        rows = slice(3 * part - 3, 3 * part)
        batch = {"batch_label": f"batch {part}", "labels": LABELS[rows].tolist(), "data": PLANES[rows]}
        python_batch(tmp_path / f"data_batch_{part}", batch, protocol)
    python_batch(tmp_path / "batches.meta", {"label_names": ["airplane", "automobile", "bird"]}, protocol)
    source = open_source(str(tmp_path))
    assert np.array_equal(pixels(source), COLOUR)
    assert source.labels.tolist() == LABELS.tolist()
    assert source.classes == ("airplane", "automobile", "bird")


@pytest.mark.parametrize("protocol", ["python 2", 2, 5])
def test_cifar_100_python_takes_the_fine_labels(tmp_path: Path, protocol: int | str) -> None:
    batch = {"coarse_labels": [19] * 6, "fine_labels": LABELS.tolist(), "data": PLANES}
    python_batch(tmp_path / "train", batch, protocol)
    python_batch(tmp_path / "test", {"fine_labels": [1], "data": PLANES[:1]}, protocol)
    python_batch(
        tmp_path / "meta", {"fine_label_names": ["apple", "bear", "cup"], "coarse_label_names": ["x"]}, protocol
    )
    assert open_source(str(tmp_path), "test").labels.tolist() == [1]
    assert len(open_source(str(tmp_path)).labels) == 7
    source = open_source(str(tmp_path), "train")
    assert np.array_equal(pixels(source), COLOUR)
    assert source.labels.tolist() == LABELS.tolist()
    assert source.classes == ("apple", "bear", "cup")


class Attack:
    """Unpickled by ``pickle.load``, it runs a call."""

    def __init__(self, *call: Any) -> None:
        self._call = call

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._call[0], self._call[1:]


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("call", [os.system, exec, eval, os.mkdir, getattr, np.load, np.fromfile, print])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, call: Any, protocol: int) -> None:
    victim = tmp_path / "victim"
    argument = {os.system: f"touch {victim}", os.mkdir: str(victim)}.get(call, f"open({str(victim)!r}, 'w')")
    data = pickle.dumps({"data": PLANES, "labels": LABELS.tolist(), "more": Attack(call, argument)}, protocol=protocol)
    (tmp_path / "data_batch_1").write_bytes(data)
    with pytest.raises(DataError, match="is not allowed in a data file"):
        open_source(str(tmp_path))
    assert not victim.exists()


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {},
        {"data": PLANES},
        {"data": PLANES[:, :100], "labels": LABELS.tolist()},
        {"data": 5, "labels": [0]},
        {"data": PLANES, "labels": ["a"] * 6},
        {"data": PLANES.astype(float), "labels": LABELS.tolist()},
        {"data": PLANES, "labels": [0]},
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    python_batch(tmp_path / "data_batch_1", content, 2)
    with pytest.raises(DataError):
        open_source(str(tmp_path))


def test_a_damaged_pickle_is_refused_wherever_it_breaks(tmp_path: Path) -> None:
    whole = pickle.dumps({"data": PLANES[:2], "labels": [0, 1]}, protocol=2)
    rng = np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(whole)
        content[rng.integers(0, 130)] = rng.integers(0, 256)
        (tmp_path / "data_batch_1").write_bytes(content[: rng.integers(0, len(content))])
        with pytest.raises(DataError):
            open_source(str(tmp_path))


# What is what


def test_a_path_that_is_not_there_or_of_no_known_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist; give a folder"):
        open_source(str(tmp_path / "nowhere"))
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match=r"x\.rar has no known format"):
        open_source(str(tmp_path / "x.rar"))


def test_texts_that_are_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    source = opened(tmp_path / "x.npz", images=GREY, labels=np.array(["10", "9", "", "10", "100", "9"]))
    assert source.classes == ("9", "10", "100")
    source = opened(tmp_path / "y.npz", images=GREY[:3], labels=np.array(["10", "007", "9"]))
    assert source.classes == ("007", "10", "9")  # names, as they are written


def test_a_label_of_minus_one_is_none(tmp_path: Path) -> None:
    labels = np.array([-1, 0, 1, 0, -1, 1])
    np.savez(tmp_path / "partly.npz", images=GREY, labels=labels)
    assert open_source(str(tmp_path / "partly.npz"), keep_unlabelled=True).labels.tolist() == labels.tolist()
    labelled = open_source(str(tmp_path / "partly.npz"))
    assert labelled.labels.tolist() == [0, 1, 0, 1]
    assert labelled.notes == ("2 images without a label are unused",)
    np.savez(tmp_path / "none.npz", images=GREY, labels=np.full(6, -1))
    assert open_source(str(tmp_path / "none.npz")).classes == ()

"""What folders and archives mean that people bring: tables beside images, levels of folders, system folders."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import types
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.data.settings import DataSettings
from ctfgan.data.sources import archives, encoded
from ctfgan.data.sources.base import ImageSource
from ctfgan.data.sources.columns import Columns
from ctfgan.data.sources.registry import open_source

WriteClasses = Callable[..., Path]


def png(grey: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (8, 8), grey).save(content, "PNG")
    return content.getvalue()


def as_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def as_zip(root: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def as_tar(root: Path, files: dict[str, bytes], end: str = ".tar") -> Path:
    path = root.with_name(root.name + end)
    mode = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2"}[end]
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


FORMS = [as_folder, as_zip, as_tar]
Form = Callable[[Path, dict[str, bytes]], Path]


def labels(source: ImageSource) -> dict[int, str | None]:
    """Class name of each image by its grey, which says which one it is."""
    return {
        int(np.asarray(source.read(index))[0, 0]): None if label < 0 else source.classes[label]
        for index, label in enumerate(source.labels)
    }


# Class folders, on disk and in archives


@pytest.mark.parametrize("end", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2"])
@pytest.mark.parametrize("wrapper", ["", "./", "photos/", "a/b/"])
def test_an_archive_of_class_folders_is_read_like_the_folder(tmp_path: Path, end: str, wrapper: str) -> None:
    files = {"cat/1.v2.png": png(1), "cat/2.PNG": png(2), "dog/deep/3.png": png(3), "dog/deep/4.png": png(4)}
    inside = {wrapper + name: content for name, content in files.items()}
    path = as_zip(tmp_path / "x", inside) if end == ".zip" else as_tar(tmp_path / "x", inside, end)
    source, folder = open_source(str(path)), open_source(str(as_folder(tmp_path / "x", files)))
    assert labels(source) == labels(folder) == {1: "cat", 2: "cat", 3: "dog/deep", 4: "dog/deep"}
    assert source.header(0) == ("L", (8, 8))
    assert source.name(0) == f"{path}:{wrapper.removeprefix('./')}cat/1.v2.png"
    assert source.notes == ()


@pytest.mark.parametrize("form", FORMS)
def test_split_folders_are_parts_in_folders_and_archives(tmp_path: Path, form: Form) -> None:
    files = {f"{part}/{name}/{grey}.png": png(grey) for grey, (part, name) in enumerate(
        (("Training", "cat"), ("Training", "dog"), ("Testing", "dog"), ("Testing", "cat")))}  # fmt: skip
    location = str(form(tmp_path / "x", files))
    assert labels(open_source(location, "train")) == {0: "cat", 1: "dog"}
    assert labels(open_source(location, "test")) == {2: "dog", 3: "cat"}
    assert labels(open_source(location)) == {0: "cat", 1: "dog", 2: "dog", 3: "cat"}
    assert open_source(location, "train").identity() != open_source(location, "test").identity()


@pytest.mark.parametrize("form", FORMS)
def test_an_image_beside_published_parts_is_of_none_of_them_and_is_told_of(tmp_path: Path, form: Form) -> None:
    files = {f"{part}/{name}/{grey}.png": png(grey) for grey, (part, name) in enumerate(
        (("train", "x"), ("train", "y"), ("test", "x"), ("test", "y")))}  # fmt: skip
    location = str(form(tmp_path / "x", files | {"sample.png": png(9)}))
    assert labels(open_source(location, "test")) == {2: "x", 3: "y"}
    source = open_source(location)
    assert labels(source) == {0: "x", 1: "y", 2: "x", 3: "y"}
    assert source.notes == ("1 image beside the parts of the set is in none of them, and unused (first: sample.png)",)


def test_a_folder_of_images_beside_likely_parts_is_told_of(tmp_path: Path) -> None:
    files = {"train/x/1.png": png(1), "train/y/2.png": png(2), "test/x/3.png": png(3), "montage/4.png": png(4)}
    source = open_source(str(as_folder(tmp_path / "x", files)))
    assert source.classes == ("montage", "test/x", "train/x", "train/y")
    assert source.notes == (
        "'train' and 'test' look like parts of a set; if they are, take 'montage' away, or give 'train' alone, and "
        "'test' as data.reference",
    )


def test_tar_files_called_after_parts_hold_class_folders(tmp_path: Path) -> None:
    as_tar(tmp_path / "train", {"x/cat/1.png": png(1), "x/dog/2.png": png(2)})
    as_tar(tmp_path / "val", {"x/cat/3.png": png(3), "x/dog/4.png": png(4)})
    assert labels(open_source(str(tmp_path), "train")) == {1: "cat", 2: "dog"}
    assert labels(open_source(str(tmp_path), "test")) == {3: "cat", 4: "dog"}


@pytest.mark.parametrize("form", [as_zip, as_tar])
def test_images_in_one_folder_of_an_archive_or_in_none_have_no_labels(tmp_path: Path, form: Form) -> None:
    for number, folder in enumerate(("", "thumbnails/")):
        source = open_source(str(form(tmp_path / str(number), {f"{folder}{grey}.png": png(grey) for grey in (1, 2)})))
        assert (labels(source), source.classes) == ({1: None, 2: None}, ())


def test_labels_in_a_shard_go_before_its_folders(tmp_path: Path) -> None:
    files = {"a/1.png": png(1), "a/1.cls": b"x", "b/2.png": png(2), "b/2.cls": b"y"}
    assert labels(open_source(str(as_tar(tmp_path / "x", files)))) == {1: "x", 2: "y"}


def test_labels_in_any_shard_go_before_the_folders_of_all(tmp_path: Path) -> None:
    as_tar(tmp_path / "0", {"a/1.png": png(1), "b/2.png": png(2)})
    as_tar(tmp_path / "1", {"a/3.png": png(3), "a/3.cls": b"x", "b/4.png": png(4), "b/4.cls": b"y"})
    assert labels(open_source(str(tmp_path))) == {3: "x", 4: "y"}


def test_shards_may_hold_one_class_folder_each(tmp_path: Path) -> None:
    as_tar(tmp_path / "0", {"a/1.png": png(1)})
    as_tar(tmp_path / "1", {"b/2.png": png(2)})
    assert labels(open_source(str(tmp_path))) == {1: "a", 2: "b"}


def test_a_path_that_leads_out_of_an_archive_is_passed_over(tmp_path: Path) -> None:
    files = {"../up/1.png": png(1), "/a/2.png": png(2), "b/3.png": png(3), "b/../../c/4.png": png(4)}
    for path in (as_zip(tmp_path / "x", files), as_tar(tmp_path / "x", files)):
        source = open_source(str(path))
        assert labels(source) == {2: "a", 3: "b"}
        assert source.notes[0] == "2 files whose paths lead out of the archive were passed over"


def test_a_zip_made_on_windows_or_without_the_mark_of_utf_8_keeps_its_names(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("a\\1.png"), png(1))
        archive.writestr(zipfile.ZipInfo("木/2.png"), png(2))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.rindex(mark)
        content[start + at : start + at + 2] = b"\0\0"
    (tmp_path / "x.zip").write_bytes(content)
    assert labels(open_source(str(tmp_path / "x.zip"))) == {1: "a", 2: "木"}
    content = content.replace("木".encode(), "中".encode("gbk") + b"x")
    (tmp_path / "x.zip").write_bytes(content)
    notes = open_source(str(tmp_path / "x.zip")).notes
    assert notes[0].startswith("the encoding of 1 name is not told (first: ")


def test_the_directory_of_a_zip_spells_its_names(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "x", {"a/1.png": png(1), "木/2.png": png(2)})
    content = path.read_bytes().replace(b"a/1.png", b"a\\1.png", 1)
    start = content.rindex(b"PK\3\4")
    path.write_bytes(content[: start + 6] + b"\0\0" + content[start + 8 :])  # no mark of UTF-8 before the content
    assert labels(open_source(str(path))) == {1: "a", 2: "木"}


def test_a_directory_of_a_zip_that_leads_to_another_member_is_noticed(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "x", {"a/1.png": png(1), "b/2.png": png(2)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"b/2.png") - 4 : content.rindex(b"b/2.png")] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged \(Bad CRC-32"):
        open_source(str(path)).read(1)


def test_an_image_of_a_zip_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    files = {"a/1.png": png(1), "a/2.png": png(2), "b/3.png": png(3)}
    path = as_zip(tmp_path / "x", files, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(png(2)) + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged \(Bad CRC-32"):
        open_source(str(path)).read(1)
    lzma = as_zip(tmp_path / "y", files, zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match="method 14, and only stored and deflate are read"):
        open_source(str(lzma)).read(0)


def test_a_zip_that_claims_little_and_unpacks_to_much_is_not_followed(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "x", {"a/1.png": bytes(50_000_000), "b/2.png": png(2)})
    content = path.read_bytes()
    for claim in (0, 100):
        path.write_bytes(content.replace((50_000_000).to_bytes(4, "little"), claim.to_bytes(4, "little")))
        with pytest.raises(DataError, match=r"zero bytes|damaged"):
            open_source(str(path)).read(0)


def test_a_compressed_tar_that_unpacks_to_thousands_of_times_its_size_is_refused(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "x", {"a/1.png": bytes(20_000_000)}, ".tar.gz")
    with pytest.raises(DataError, match=r"x\.tar\.gz unpacks to more than 200 times its size"):
        open_source(str(path))


def test_a_compressed_tar_is_unpacked_to_a_file_that_goes_with_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = as_tar(tmp_path / "x", {"a/1.png": png(1), "b/2.png": png(2)}, ".tgz")
    source = open_source(str(path))
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    assert labels(source) == {1: "a", 2: "b"}
    del source
    assert list((tmp_path / "tmp").iterdir()) == []
    monkeypatch.setattr(archives, "FREE_AFTERWARDS", 1 << 62)
    with pytest.raises(DataError, match=r"does not fit into .* when it is unpacked; set TMPDIR"):
        open_source(str(path))


def test_the_parts_of_a_compressed_tar_share_what_it_was_unpacked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    files = {"train/a/1.png": png(1), "train/b/2.png": png(2), "val/a/3.png": png(3), "val/b/4.png": png(4)}
    path = as_tar(tmp_path / "x", files, ".tar.gz")
    train = open_source(str(path), "train")
    test = open_source(str(path), "test")
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    del train
    assert labels(test) == {3: "a", 4: "b"}
    as_tar(tmp_path / "x", files | {"val/b/5.png": png(5)}, ".tar.gz")
    assert labels(open_source(str(path), "test")) == {3: "a", 4: "b", 5: "b"}
    del test
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_lies_before_the_damage_of_a_compressed_tar_is_used(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "x", {f"{name}/{grey}.png": png(grey) + os.urandom(9_000) for grey, name in
                                   enumerate("abab")}, ".tar.gz")  # fmt: skip
    path.write_bytes(path.read_bytes()[:25_000])
    source = open_source(str(path))
    assert labels(source) == {0: "a", 1: "b"}
    assert source.notes[0].startswith(f"{path} is damaged or cut off")


# Levels


@pytest.mark.parametrize("form", FORMS)
def test_class_level_takes_a_folder_on_the_way(tmp_path: Path, form: Form) -> None:
    files = {"cat/2020/1.png": png(1), "cat/2021/2.png": png(2), "dog/2020/a/3.png": png(3), "dog/4.png": png(4)}
    location = str(form(tmp_path / "x", files))
    plain = open_source(location)
    assert labels(plain) == {1: "cat/2020", 2: "cat/2021", 3: "dog/2020/a", 4: "dog"}
    assert labels(open_source(location, columns=Columns(class_level=1))) == {1: "cat", 2: "cat", 3: "dog", 4: "dog"}
    second = open_source(location, columns=Columns(class_level=2))
    assert labels(second) == {1: "2020", 2: "2021", 3: "2020"}  # the fourth has no label and is left out
    assert "1 image has no folder of level 2, and no label (first: dog/4.png)" in second.notes
    with pytest.raises(DataError, match=r"data\.class_level is 4, but the images in .* lie at most 3 folders deep; "):
        open_source(location, columns=Columns(class_level=4))
    one = open_source(location, columns=Columns(class_level=1))
    assert one.identity() != plain.identity()


def test_the_level_of_a_part_begins_below_it(tmp_path: Path) -> None:
    files = {"train/cat/a/1.png": png(1), "train/dog/b/2.png": png(2), "test/cat/a/3.png": png(3)}
    location = str(as_folder(tmp_path / "x", files))
    assert labels(open_source(location, "test", Columns(class_level=1))) == {3: "cat"}
    assert labels(open_source(location, "train", Columns(class_level=1))) == {1: "cat", 2: "dog"}


def test_a_level_counts_from_one() -> None:
    for name in ("class_level", "low_quality_class_level"):
        with pytest.raises(ValueError, match="greater than or equal to 1"):
            DataSettings.model_validate({name: 0})


# Tables beside images


def csv(rows: dict[str, object], header: str = "file_name,label", mark: str = ",") -> bytes:
    lines = [header.replace(",", mark), *(f"{name}{mark}{label}" for name, label in rows.items())]
    return "\n".join(lines).encode() + b"\n"


def jsonl(rows: dict[str, object]) -> bytes:
    return b"".join(json.dumps({"file_name": name, "label": label}).encode() + b"\n" for name, label in rows.items())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("written", [csv, jsonl])
def test_imagefolder_takes_labels_from_metadata_in_each_part(
    tmp_path: Path, form: Form, written: Callable[[dict[str, object]], bytes]
) -> None:
    end = "csv" if written is csv else "jsonl"
    files = {"train/1.png": png(1), "train/sub/2.png": png(2), "test/3.png": png(3), "test/4.png": png(4),
             f"train/metadata.{end}": written({"1.png": "cat", "sub/2.png": "dog"}),
             f"test/metadata.{end}": written({"3.png": "dog", "4.png": "cat"})}  # fmt: skip
    location = str(form(tmp_path / "x", files))
    assert labels(open_source(location, "train")) == {1: "cat", 2: "dog"}
    assert labels(open_source(location, "test")) == {3: "dog", 4: "cat"}
    assert labels(open_source(location)) == {1: "cat", 2: "dog", 3: "dog", 4: "cat"}


@pytest.mark.parametrize("form", FORMS)
def test_one_table_at_the_root_may_speak_of_all_parts(tmp_path: Path, form: Form) -> None:
    rows = {"train/1.png": 10, "train/2.png": 9, "test/3.png": 9, "test/4.png": 10}
    files = {name: png(grey) for grey, name in enumerate(rows, start=1)} | {"metadata.csv": csv(dict(rows))}
    source = open_source(str(form(tmp_path / "x", files)), "test")
    assert labels(source) == {3: "9", 4: "10"}
    assert source.classes == ("9", "10")  # by number, not by text


def test_a_flat_imagefolder_says_which_column_it_takes_and_what_is_missing(tmp_path: Path) -> None:
    rows: dict[str, object] = {"1.png": "1.0", "images\\2.png": "0.0", "3.png": "", "nowhere.png": "1.0"}
    files = {"1.png": png(1), "images/2.png": png(2), "3.png": png(3), "4.png": png(4),
             "metadata.csv": b"\xef\xbb\xbf" + csv(rows, mark=";")}  # fmt: skip
    root = as_folder(tmp_path / "x", files)
    source = open_source(str(root))
    assert labels(source) == {1: "1", 2: "0"}
    table = root / "metadata.csv"
    assert source.notes[0] == (f"{table}: labels are read from its column 'label'; 1 file that it names is not there")
    assert source.notes[-1] == "2 images without a label are unused"


def test_the_label_column_of_a_table_can_be_named_and_must_be_where_it_cannot_be_told(tmp_path: Path) -> None:
    table = b"file_name,target,class,note\n1.png,0,cat,x\n2.png,1,dog,y\n"
    root = as_folder(tmp_path / "x", {"1.png": png(1), "2.png": png(2), "metadata.csv": table})
    with pytest.raises(
        DataError, match=r"2 columns that may be the label; name one with data\.label_column \(data\.low"
    ):
        open_source(str(root))
    assert labels(open_source(str(root), columns=Columns(label="class"))) == {1: "cat", 2: "dog"}
    assert labels(open_source(str(root), columns=Columns(label="note"))) == {1: "x", 2: "y"}
    (root / "metadata.csv").write_bytes(table.replace(b"target,class", b"a,b"))
    source = open_source(str(root))
    assert source.classes == ()
    assert "no column is known as the label (columns: a, b, note); data.label_column" in source.notes[0]


def test_a_column_of_json_may_begin_in_any_row(tmp_path: Path) -> None:
    rows = [{"file_name": "1.png"}, {"file_name": "2.png", "label": None}, {"file_name": "3.png", "label": True},
            {"label": False, "file_name": "4.png"}]  # fmt: skip
    files = {f"{grey}.png": png(grey) for grey in (1, 2, 3, 4)}
    table = "\n".join(map(json.dumps, rows)).encode()
    root = as_folder(tmp_path / "x", files | {"metadata.jsonl": table})
    assert labels(open_source(str(root))) == {3: "1", 4: "0"}
    assert labels(open_source(str(root), columns=Columns(label="label"))) == {3: "1", 4: "0"}


def test_a_table_of_captions_leaves_class_folders_alone(tmp_path: Path) -> None:
    files = {"cat/1.png": png(1), "dog/2.png": png(2), "metadata.csv": b"file_name,text\ncat/1.png,meow\n"}
    source = open_source(str(as_folder(tmp_path / "x", files)))
    assert labels(source) == {1: "cat", 2: "dog"}
    assert "columns: text" in source.notes[0]


def test_a_table_goes_before_class_folders_if_it_names_most_of_the_images(tmp_path: Path) -> None:
    images = {f"{name}/{grey}.png": png(grey) for grey, name in enumerate("xxxyyy")}
    few, most = (dict.fromkeys([*images][:count], "z") for count in (2, 4))
    root = as_folder(tmp_path / "x", images | {"metadata.csv": csv({**few})})
    source = open_source(str(root))
    assert labels(source) == dict(enumerate("xxxyyy"))
    assert source.notes[0].startswith(f"{root / 'metadata.csv'}: labels for 2 of 6 images, so the folders are the cl")
    assert len(source.notes) == 1
    assert open_source(str(root), columns=Columns(label="label")).classes == ("z",)
    (root / "metadata.csv").write_bytes(csv({**most}))
    assert open_source(str(root)).classes == ("z",)


@pytest.mark.parametrize("form", FORMS)
def test_stylegans_dataset_json_labels_images_in_shard_folders(tmp_path: Path, form: Form) -> None:
    names = ("00000/img00000000.png", "00000/img00000001.png", "00001/img00000002.png")
    images = {name: png(grey) for grey, name in enumerate(names)}
    pairs = [[name, label] for name, label in zip(names, (7, 3, 7), strict=True)]
    told = form(tmp_path / "told", images | {"dataset.json": json.dumps({"labels": pairs}).encode()})
    assert labels(open_source(str(told))) == {0: "7", 1: "3", 2: "7"}
    null = open_source(str(form(tmp_path / "null", images | {"dataset.json": b'{"labels": null}'})))
    assert (null.classes, null.labels.tolist()) == ((), [-1, -1, -1])
    assert "it has no labels" in null.notes[0]
    hot = [[name, [0.0, 1.0] if at else [1.0, 0.0]] for at, name in enumerate(names)]
    told = form(tmp_path / "hot", images | {"dataset.json": json.dumps({"labels": hot}).encode()})
    assert labels(open_source(str(told))) == {0: "0", 1: "1", 2: "1"}
    other = form(tmp_path / "other", images | {"dataset.json": b'{"images": []}'})
    assert labels(open_source(str(other))) == {0: "00000", 1: "00000", 2: "00001"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("metadata.csv", b"file_name,label\n1.png,\xff\n", "is no readable table"),
        ("metadata.csv", b"file_name,label\n" + b'"a\n",' * 400_000 + b"\n", "a row of more than 1,048,576 letters"),
        ("metadata.csv", b"file_name,label\n" + b"x" * 200_000, "is no readable table"),
        ("metadata.jsonl", b'{"file_name": "1.png", "label": 1}\n[1]\n', "line 2 is no JSON object"),
        ("metadata.jsonl", b'{"file_name": "1.png", "label": 0.5}\n', "0.5 is no whole number"),
        ("dataset.json", b'{"labels": [["1.png", 1]', "is no readable table"),
        ("dataset.json", b'{"labels": [["1.png", [1, 1]]]}', "not one 1 among zeros"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    root = as_folder(tmp_path / "x", {"1.png": png(1), name: content})
    with pytest.raises(DataError, match=reason):
        open_source(str(root))


def test_a_damaged_table_beside_class_folders_is_named_and_the_folders_are_the_classes(tmp_path: Path) -> None:
    folders = {f"{name}/{number}.png": png(number) for name in ("cat", "dog") for number in (1, 2)}
    root = as_folder(tmp_path / "x", folders | {"metadata.csv": b"file_name,label\ncat/1.png,\xff\n"})
    source = open_source(str(root))
    assert source.classes == ("cat", "dog")
    assert "metadata.csv is no readable table" in source.notes[0]
    with pytest.raises(DataError, match="no readable table"):  # what was named must be read
        open_source(str(root), columns=Columns(label="label"))
    shards = {f"0000{name}/{number}.png": png(number) for name in (0, 1) for number in (1, 2)}
    with pytest.raises(DataError, match="no readable table"):  # these folders are no classes
        open_source(str(as_folder(tmp_path / "y", shards | {"dataset.json": b'{"labels": [['})))


def test_a_table_never_leads_out_of_its_set(tmp_path: Path) -> None:
    outside = as_folder(tmp_path / "out", {"secret.png": png(9)}) / "secret.png"
    rows: dict[str, object] = {"../out/secret.png": "a", str(outside): "a", "1.png": "b", "./sub/../2.png": "c"}
    root = as_folder(tmp_path / "x", {"1.png": png(1), "2.png": png(2), "metadata.csv": csv(rows)})
    source = open_source(str(root))
    assert labels(source) == {1: "b", 2: "c"}
    assert "2 files that it names are not there" in source.notes[0]


def test_a_table_of_another_name_is_told_of(tmp_path: Path) -> None:
    source = open_source(str(as_folder(tmp_path / "x", {"1.png": png(1), "labels.csv": b"1.png,cat\n"})))
    assert source.classes == ()
    assert "labels.csv is not read; a table of labels must be called metadata.csv" in source.notes[-1]


@pytest.mark.parametrize("mark", [",", ";"])
def test_case_does_not_matter_in_the_columns_of_a_table(tmp_path: Path, mark: str) -> None:
    table = csv({"1.png": "cat", "2.png": "dog"}, "File_Name,Label", mark)
    root = as_folder(tmp_path / "x", {"1.png": png(1), "2.png": png(2), "metadata.csv": table})
    assert labels(open_source(str(root))) == {1: "cat", 2: "dog"}
    (root / "metadata.csv").write_bytes(table.replace(b"File_Name", b"image"))
    assert open_source(str(root)).notes[-1] == (
        "the images have no labels, and metadata.csv is not read; it needs the columns file_name and label, and no row "
        "has a file_name"
    )


def test_two_classes_called_like_parts_are_told_of(tmp_path: Path) -> None:
    source = open_source(str(as_folder(tmp_path / "x", {"train/1.png": png(1), "test/2.png": png(2)})))
    assert source.classes == ("test", "train")
    assert source.notes[0].startswith("the classes are called 'test' and 'train'; if these are parts of a set")


# What is nobody's data, and classes that vanish


@pytest.mark.parametrize("form", FORMS)
def test_system_folders_and_droppings_are_no_classes(tmp_path: Path, form: Form) -> None:
    strays = ("@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "cat/@eaDir/1.png/SYNO.jpg", "__MACOSX/cat/1.png", "#recycle/1.png",
              "$RECYCLE.BIN/1.png", "System Volume Information/1.png", "lost+found/1.png", ".thumbnails/1.png",
              "cat/.ipynb_checkpoints/1-checkpoint.png", "@Recycle/1.png", "@Recently-Snapshot/1.png",
              "cat/@__thumb/1.png", "RECYCLER/1.png", "~snapshot/1.png", "LOST.DIR/1.png")  # fmt: skip
    droppings = ("cat/Thumbs.db", "desktop.ini", ".DS_Store", "cat/._1.png", "dog/._2.png", "__MACOSX/cat/._1.png",
                 "dog/2.png:Zone.Identifier")  # fmt: skip
    files = {"cat/1.png": png(1), "dog/2.png": png(2), **dict.fromkeys(strays, png(9)),
             **dict.fromkeys(droppings, b"x")}  # fmt: skip
    source = open_source(str(form(tmp_path / "x", files)))
    assert labels(source) == {1: "cat", 2: "dog"}
    assert len(source.notes) == 1
    assert source.notes[0].startswith(f"{len(strays)} images that are hidden or in system folders were passed over (")
    assert "@eaDir: 2" in source.notes[0]


@pytest.mark.parametrize("form", FORMS)
def test_every_folder_that_yields_no_class_is_named(tmp_path: Path, form: Form) -> None:
    files = {"cat/1.png": png(1), "dog/2.png": png(2), "phone/a.heic": b"x", "phone/b.HEIC": b"x",
             "raw/deep/c.cr2": b"x", "cat/notes/d.txt": b"x"}  # fmt: skip
    location = form(tmp_path / "x", files)
    more = ["raw (1 .cr2)"]
    if form is as_folder:
        (location / "empty").mkdir()
        (location / "link").symlink_to("/nowhere/at/all")
        more = ["empty (empty)", "link (a broken link)", *more]
    notes = open_source(str(location)).notes
    assert notes[0].startswith(f"{2 + len(more)} folders without images are no classes: cat/notes (1 .txt), ")
    assert all(part in notes[0] for part in (*more, "phone (2 .heic)"))
    assert "2 HEIC images are not read (first: phone/a.heic); what reads HEIC" in notes[1]
    assert notes[1].endswith("pip install pillow-heif")


def test_empty_folders_in_archives_are_named(tmp_path: Path) -> None:
    files = {"cat/1.png": png(1), "dog/2.png": png(2), "bird/": b""}
    assert open_source(str(as_zip(tmp_path / "x", files))).notes == (
        "1 folder without images is no class: bird (empty)",
    )


def test_a_folder_beside_published_parts_is_named(tmp_path: Path) -> None:
    files = {"train/cat/1.png": png(1), "train/dog/2.png": png(2), "val/cat/3.png": png(3), "annotations/x.xml": b""}
    notes = open_source(str(as_folder(tmp_path / "x", files))).notes
    assert "1 folder without images is no class: annotations (1 .xml)" in notes


def test_heic_is_read_where_its_plug_in_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = str(as_zip(tmp_path / "y", {"cat/1.png": png(1), "dog/2.png": png(2), "dog/3.heic": png(3)}))
    before = open_source(archive).identity()
    calls: Counter[str] = Counter()
    plugin = types.SimpleNamespace(register_heif_opener=lambda: calls.update(["registered"]))
    monkeypatch.setitem(sys.modules, encoded.HEIF_PLUGIN, plugin)
    encoded.reads_heif.cache_clear()
    try:
        root = as_folder(tmp_path / "x", {"cat/1.heic": png(1), "dog/2.HEIF": png(2)})
        assert labels(open_source(str(root))) == {1: "cat", 2: "dog"}
        assert calls["registered"] == 1
        assert open_source(archive).identity() != before
    finally:
        encoded.reads_heif.cache_clear()


def test_a_folder_of_what_is_not_read_says_what_it_is(tmp_path: Path) -> None:
    for name, reason in (("a.heic", "but 1 HEIC file: pip install pillow-heif"), ("x.7z", "but the archive x.7z")):
        with pytest.raises(DataError, match=f"holds no images \\({reason}"):
            open_source(str(as_folder(tmp_path / name, {name: b"x"})))


def test_a_class_of_unread_files_beside_the_only_one_that_is_read_is_named_in_archives_too(tmp_path: Path) -> None:
    files = {"photos/cat/1.png": png(1), "photos/dog/2.heic": b"x"}
    for form in (as_zip, as_tar):
        notes = open_source(str(form(tmp_path / "x", files))).notes
        assert notes[0] == "1 folder without images is no class: photos/dog (1 .heic)"


def test_a_folder_of_unread_kinds_alone_says_which(tmp_path: Path) -> None:
    root = as_folder(tmp_path / "x", {"cat/1.jpg_large": png(1), "dog/2.jpg_large": png(2), "dog/3": png(3)})
    with pytest.raises(DataError, match=r"\(but files of kinds that are not read: 2 \.jpg_large, 1 no suffix\); put"):
        open_source(str(root))


def test_runs_of_ctfgan_in_the_folder_that_they_were_trained_on_are_nobodys_images(tmp_path: Path) -> None:
    run = {"recipe.json": b"{}", "journal.jsonl": b"", "sheets/1.png": png(9), "bundle/a.txt": b""}
    files = {"cat/1.png": png(1), "dog/2.png": png(2)}
    before = open_source(str(as_folder(tmp_path, files)))
    source = open_source(str(as_folder(tmp_path, {f"runs/{n}/{name}": run[name] for n in "ab" for name in run})))
    assert labels(source) == labels(before) == {1: "cat", 2: "dog"}
    assert source.identity() == before.identity()
    assert source.notes[0].endswith("passed over (a run of ctfgan: 2)")


def test_links_in_a_tar_are_the_files_that_they_lead_to(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "x", {"cat/1.png": png(1), "cat/2.png": png(2)})
    links = {
        "dog/3.png": ("../cat/1.png", tarfile.SYMTYPE), "eel/4.png": ("../dog/3.png", tarfile.SYMTYPE),
        "fox/5.png": ("cat/2.png", tarfile.LNKTYPE), "gnu": ("/elsewhere/gnu", tarfile.SYMTYPE),
        "hen/1.png": ("2.png", tarfile.SYMTYPE), "hen/2.png": ("1.png", tarfile.SYMTYPE),
    }  # fmt: skip
    with tarfile.open(path, "a") as archive:
        for name, (target, kind) in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    source = open_source(str(path))
    assert sorted(source.classes[label] for label in source.labels) == ["cat", "cat", "dog", "eel", "fox"]
    assert np.asarray(source.read(source.labels.tolist().index(2)))[0, 0] == 1, "eel is dog is the first cat"
    assert source.notes == (f"3 links lead to no file in {path} (first: gnu)",)


@pytest.mark.parametrize(
    ("train", "test"), [("training_set", "test_set"), ("trainset", "testset"), ("train", "validate")]
)
def test_parts_may_be_called_sets(tmp_path: Path, train: str, test: str) -> None:
    files = {f"{part}/{name}/{grey}.png": png(grey) for grey, (part, name) in enumerate(
        ((train, "cat"), (train, "dog"), (test, "cat"), (test, "dog")))}  # fmt: skip
    location = str(as_folder(tmp_path / "x", files))
    assert labels(open_source(location, "train")) == {0: "cat", 1: "dog"}
    assert labels(open_source(location, "test")) == {2: "cat", 3: "dog"}


def test_folders_that_stylegan_numbered_are_told_of_where_their_table_is_missing(tmp_path: Path) -> None:
    files = {f"0000{grey // 2}/img0000{grey:04}.png": png(grey) for grey in range(4)}
    source = open_source(str(as_folder(tmp_path / "x", files)))
    assert source.classes == ("00000", "00001")
    assert "as StyleGAN's tools number folders of a thousand images each; if they are that, put" in source.notes[0]
    named = as_folder(tmp_path / "y", {"00000/a.png": png(1), "00001/b.png": png(2)})  # as traffic signs come
    assert open_source(str(named)).notes == ()


@pytest.mark.parametrize(
    "table",
    [
        csv({"1.png": "cat", "2.png": "dog"}).replace(b",", b", "), csv({"1.png": "cat", "2.png": "dog"}, mark="|"),
        csv({"1.png": "cat ", "2.png": "dog"}).replace(b"\n", b"\r"),
        csv({"1.png": "cat", "2.png": "dog"}).decode().encode("utf-16"),
        csv({"1.PNG": "cat", "./2.Png": "dog"}),
    ],
)  # fmt: skip
def test_a_table_may_come_from_other_programs_and_systems(tmp_path: Path, table: bytes) -> None:
    root = as_folder(tmp_path / "x", {"1.png": png(1), "2.png": png(2), "metadata.csv": table})
    assert labels(open_source(str(root))) == {1: "cat", 2: "dog"}


def test_a_name_in_another_case_means_an_image_only_if_it_is_the_only_one(tmp_path: Path) -> None:
    files = {"1.png": png(1), "1.PNG": png(2), "\u00e9.png": png(3), "4.png": png(4)}
    table = csv({"1.Png": "cat", "e\u0301.png": "dog", "4.png": "cat"})
    root = as_folder(tmp_path / "x", files | {"metadata.csv": table})
    assert labels(open_source(str(root), keep_unlabelled=True)) == {1: None, 2: None, 3: "dog", 4: "cat"}


def test_an_image_with_several_labels_in_a_table_is_told_of(tmp_path: Path) -> None:
    table = csv({"1.png": "cat", "2.png": "dog"}) + b"1.png,dog\n2.png,dog\n"
    root = as_folder(tmp_path / "x", {"1.png": png(1), "2.png": png(2), "metadata.csv": table})
    source = open_source(str(root))
    assert labels(source) == {1: "dog", 2: "dog"}
    assert source.notes[0].endswith("; 1 image has several labels in it, of which the last counts (first: 1.png)")


def test_files_of_another_part_are_not_missed_in_a_table(tmp_path: Path) -> None:
    rows = {f"{part}/{grey}.png": name for part in ("train", "test") for grey, name in ((1, "cat"), (2, "dog"))}
    root = as_folder(tmp_path / "x", {name: png(1) for name in rows} | {"metadata.csv": csv({**rows})})
    assert not any("not there" in note for note in open_source(str(root)).notes)

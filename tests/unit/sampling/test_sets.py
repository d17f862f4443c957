"""Sets of samples: what is in them does not depend on how they came about."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from ctfgan.bundle.bundle import load_bundle, save_bundle
from ctfgan.bundle.class_editing import rename
from ctfgan.core.errors import ConfigError, CtfganError, DataError, Interrupted
from ctfgan.data.sources.registry import open_source
from ctfgan.data.sources.sample_set import SetManifest
from ctfgan.sampling import layouts, sets
from ctfgan.sampling.model import ImageId, Model, load
from ctfgan.sampling.plan import plan, plan_balanced
from ctfgan.sampling.sets import layout_for, write_set
from tests.conftest import snapshot

FORMS = tuple(layouts.LAYOUTS)


@pytest.fixture(scope="module")
def model(finished_run: Path) -> Model:
    return load(finished_run, "cpu")


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "SHARD_IMAGES", 9)


def make(
    model: Model, out: Path, form: str = "folders", n: int = 10, classes: list[str] | None = None, seed: int = 0
) -> sets.MadeSet:
    return write_set(model, layout_for(model, plan(model, classes, n), form, seed), out)


def pixels(file: Path | io.BytesIO) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def relative(folder: Path) -> dict[str, str]:
    return {str(Path(path).relative_to(folder)): content for path, content in snapshot(folder).items()}


def test_an_image_does_not_depend_on_what_is_made_with_it(model: Model, tmp_path: Path) -> None:
    make(model, tmp_path / "all", n=70)  # more than one forward, and not a multiple of one
    make(model, tmp_path / "few", n=3, classes=["D", "B"])
    make(model, tmp_path / "other", n=3, classes=["B"], seed=1)
    for name in ("B", "D"):
        for number in range(3):
            file = f"{name}/{number:05d}.png"
            assert (tmp_path / "all" / file).read_bytes() == (tmp_path / "few" / file).read_bytes()
    first, second, elsewhere = (pixels(tmp_path / place) for place in ("few/B/00000.png", "few/B/00001.png",
                                                                       "other/B/00000.png"))  # fmt: skip
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, elsewhere)
    assert np.array_equal(model.images([ImageId("D", 2), ImageId("B", 0)])[1, ..., 0], first)


def test_own_low_quality_images_are_used_in_turn(model: Model) -> None:
    size = model.bundle.data_spec.low_quality_size
    own = np.random.default_rng(0).integers(0, 256, (2, size, size, 1), dtype=np.uint8)
    ids = [ImageId("A", number) for number in range(3)]
    both = model.images(ids, low_quality=own)
    assert np.array_equal(both[1], model.images(ids[1:2], low_quality=own[[1, 1]])[0])
    assert not np.array_equal(both, model.images(ids))


def test_a_sheet_and_a_set_of_one_seed_show_the_same_images(model: Model, tmp_path: Path) -> None:
    samples = model.sample(["D", "B"], 3, seed=4)
    make(model, tmp_path / "set", n=20, seed=4)
    in_set = [pixels(tmp_path / f"set/{name}/{number:05d}.png") for name in "DB" for number in range(3)]
    assert np.array_equal(samples.images[..., 0], in_set)
    assert samples.labels.tolist() == [3, 3, 3, 1, 1, 1]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("_small_shards")
def test_a_set_that_was_interrupted_ends_byte_for_byte_as_one_that_was_not(
    model: Model, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(model, tmp_path / "one-go", form, n=25)
    assert (made.images, made.made) == (100, 100)
    write, calls = layouts.write_file, 0

    def failing(path: Path, content: bytes, *, durable: bool = True) -> None:
        nonlocal calls
        calls += 1
        if calls % (37 if form == "folders" else 7) == 0:
            path.with_name(f".{path.name}.partial-12345678").write_bytes(content[:10])  # as a killed process leaves it
            raise CtfganError("killed")
        write(path, content, durable=durable)

    monkeypatch.setattr(layouts, "write_file", failing)
    stopped = 0
    while True:
        try:
            again = make(model, tmp_path / "parts", form, n=25)
            break
        except CtfganError:
            stopped += 1
            with pytest.raises(DataError, match="not finished; run its 'ctfgan sample' command again first"):
                open_source(str(tmp_path / "parts"))
    assert stopped >= 1
    assert 0 < again.made < 100
    assert relative(tmp_path / "parts") == relative(tmp_path / "one-go")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("_small_shards")
def test_what_is_missing_of_a_complete_set_is_made_again(model: Model, form: str, tmp_path: Path) -> None:
    out = tmp_path / "set"
    make(model, out, form)
    whole = snapshot(out)
    assert make(model, out, form).made == 0
    assert snapshot(out) == whole
    victims = [path for path in sorted(out.rglob("*")) if path.suffix in (".png", ".parquet", ".tar")]
    victims[0].write_bytes(b"")  # as a computer that lost power leaves it
    victims[-1].unlink()
    assert 0 < make(model, out, form).made < 40
    assert snapshot(out) == whole


def test_the_manifest_comes_first_and_says_in_the_end_that_all_is_there(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        assert json.loads((tmp_path / "set/manifest.json").read_text())["complete"] is False
        raise KeyboardInterrupt

    make(model, tmp_path / "one-go", n=2)
    with monkeypatch.context() as patch:
        patch.setattr(sets, "flush_all", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make(model, tmp_path / "set", n=2)
    with pytest.raises(DataError, match="not finished; run its 'ctfgan sample' command again first"):
        open_source(str(tmp_path / "set"))
    assert make(model, tmp_path / "set", n=2).made == 0
    assert relative(tmp_path / "set") == relative(tmp_path / "one-go")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 5}, "was begun with --seed 0, not 5; repeat the command"),
        ({"form": "parquet"}, "was begun with --format folders, not parquet"),
        ({"n": 3}, "was begun with 2 images of class 'A', not 3"),
        ({"classes": ["A"]}, "was begun for 4 classes, not 1 class"),
        ({"classes": ["D", "C", "B", "A"]}, "was begun for other classes"),
    ],
)
def test_a_set_that_was_begun_otherwise_is_refused_and_left_alone(
    model: Model, change: dict[str, object], difference: str, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    make(model, out, n=2)
    before = snapshot(out)
    with pytest.raises(ConfigError, match=difference):
        make(model, out, **({"n": 2} | change))  # type: ignore[arg-type]
    assert snapshot(out) == before


def test_another_model_other_images_and_another_process_are_refused(model: Model, tmp_path: Path) -> None:
    out = tmp_path / "set"
    make(model, out, n=2)
    save_bundle(rename(model.bundle, {"A": "a"}), tmp_path / "renamed")
    with pytest.raises(ConfigError, match="was begun with another model \\(recipe ctf-glyphs\\)"):
        make(Model(load_bundle(tmp_path / "renamed"), "cpu"), out, n=2)
    own = np.zeros((3, 8, 8, 1), dtype=np.uint8)
    layout = layout_for(model, plan(model, None, 2), "folders", 0)
    with pytest.raises(ConfigError, match="with the bundle's low-quality images, not 3 own low-quality images"):
        write_set(model, layout, out, low_quality=own)
    manifest = sets._manifest(model, layout, None)
    with ExitStack() as held:
        assert sets._begin(tmp_path / "new", layout, manifest, held) == {}
        with pytest.raises(ConfigError, match="another process is making"):
            make(model, tmp_path / "new", n=2)
    assert make(model, tmp_path / "new", n=2).made == 8


def test_a_second_command_that_mends_a_set_is_refused_and_deletes_nothing(model: Model, tmp_path: Path) -> None:
    out = tmp_path / "set"
    make(model, out, n=2)
    (out / "A/00000.png").unlink()
    layout = layout_for(model, plan(model, None, 2), "folders", 0)
    with ExitStack() as held:
        assert len(sets._begin(out, layout, sets._manifest(model, layout, None), held)) == 7
        unwritten = out / "A/.00000.png.partial-12345678"  # of the first command
        unwritten.touch()
        with pytest.raises(ConfigError, match="another process is making"):
            make(model, out, n=2)
        assert unwritten.exists()


@pytest.mark.parametrize("moment", [1, 2])
def test_of_two_commands_that_begin_a_set_at_the_same_time_one_is_refused(
    model: Model, moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins when the first has looked for a manifest so many times."""
    out, winners = tmp_path / "set", []
    read = sets.set_manifest

    def begin(seed: int) -> None:
        layout = layout_for(model, plan(model, None, 2), "folders", seed)
        with suppress(ConfigError):
            sets._begin(out, layout, sets._manifest(model, layout, None), held)
            winners.append(seed)

    def reading(root: Path) -> SetManifest | None:
        nonlocal moment
        manifest = read(root)
        moment -= 1
        if moment == 0:
            begin(seed=1)
        return manifest

    monkeypatch.setattr(sets, "set_manifest", reading)
    with ExitStack() as held:
        begin(seed=0)
        assert [json.loads((out / "manifest.json").read_text())["seed"]] == winners


def test_a_set_is_made_and_read_where_nothing_can_be_locked(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("ctfgan.core.files.lock_descriptor", no_locks)
    out = tmp_path / "set"
    assert make(model, out, n=2).made == 8
    (out / "A/00000.png").unlink()
    unwritten = out / "A/.00000.png.partial-12345678"  # perhaps of another command that is at work
    unwritten.touch()
    assert make(model, out, n=2).made == 1
    assert unwritten.exists()


def test_what_a_killed_command_leaves_is_no_part_of_a_set_and_goes_away(model: Model, tmp_path: Path) -> None:
    out = tmp_path / "set"
    out.mkdir()
    for name in (".lock", ".manifest.json.partial-12345678"):
        (out / name).touch()
    assert make(model, out, n=2).made == 8, "it was killed before the manifest was there"
    assert not list(out.glob(".*"))
    (out / ".lock").touch()
    source = open_source(str(out))
    assert (tuple(source.classes), len(source.labels), source.notes) == (tuple("ABCD"), 8, ())
    assert make(model, out, n=2).made == 0
    assert not list(out.glob(".*"))


def test_every_class_is_filled_up_to_the_largest_or_to_a_number(
    model: Model, write_classes: Callable, tmp_path: Path
) -> None:
    real = open_source(str(write_classes(tmp_path / "real", {"A": 3, "B": 7, "E": 9, "F": 1})))
    balanced = plan_balanced(model, None, real, None)
    assert balanced.counts.tolist() == [4, 0, 7, 7]
    assert balanced.balance is not None
    assert balanced.balance.target == 7, "class E is unknown to the model"
    assert balanced.balance.notes == (
        f"2 classes of {real.location} unknown to the model, left alone: 'E', 'F'",
        "2 classes without a real image, made of generated ones alone: 'C', 'D'",
    )
    assert plan_balanced(model, ["B", "A"], real, 5).counts.tolist() == [0, 2]
    made = write_set(model, layout_for(model, balanced, "folders", 0), tmp_path / "out")
    assert made.images == 18
    found = {name: len(list((tmp_path / "out" / name).glob("*.png"))) for name in "ACD"}
    assert found == {"A": 4, "C": 7, "D": 7}
    assert not (tmp_path / "out/B").exists()
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [entry["images"] for entry in manifest["classes"]] == [4, 0, 7, 7]
    assert manifest["balanced_with"] == {"source": real.location, "target": 7}
    strange = open_source(str(write_classes(tmp_path / "strange", {"x": 2, "y": 1})))
    with pytest.raises(ConfigError, match="none of the model's classes \\(it has 'x', 'y', the model has 'A', 'B'"):
        plan_balanced(model, None, strange, None)


@pytest.mark.usefixtures("_small_shards")
def test_shards_are_read_by_others_and_by_ourselves_and_hold_the_images_of_the_folders(
    model: Model, tmp_path: Path
) -> None:
    for form in FORMS:
        make(model, tmp_path / form, form)
    expected = {
        (name, number): pixels(tmp_path / f"folders/{name}/{number:05d}.png") for name in "ABCD" for number in range(10)
    }
    shards = sorted((tmp_path / "parquet").glob("*.parquet"))
    assert [file.name for file in shards] == [f"train-{number:05d}-of-00005.parquet" for number in range(5)]
    rows = [row for file in shards for row in pyarrow.parquet.read_table(file).to_pylist()]
    metadata = json.loads(pyarrow.parquet.read_schema(shards[0]).metadata[b"huggingface"])
    names = metadata["info"]["features"]["label"]["names"]
    found = {}
    for row in rows:
        name, file = row["image"]["path"].split("/")
        assert names[row["label"]] == name
        found[name, int(file.removesuffix(".png"))] = pixels(io.BytesIO(row["image"]["bytes"]))
    assert_same(found, expected)
    assert len({row["label"] for row in rows[:8]}) > 1, "classes are mixed"

    found = {}
    for shard in sorted((tmp_path / "webdataset").glob("*.tar")):
        with tarfile.open(shard) as tar:
            members = tar.getmembers()
            assert {(member.mtime, member.uid, member.uname) for member in members} == {(0, 0, "")}
            content = {member.name: tar.extractfile(member).read() for member in members}  # type: ignore[union-attr]
        for key in {name.split(".")[0] for name in content}:
            told = json.loads(content[f"{key}.json"])
            assert "ABCD"[int(content[f"{key}.cls"])] == told["label"]
            found[told["label"], told["number"]] = pixels(io.BytesIO(content[f"{key}.png"]))
    assert_same(found, expected)

    for form in FORMS:
        source = open_source(str(tmp_path / form))
        assert tuple(source.classes) == tuple("ABCD")
        assert source.notes == ()
        for name in "ABCD":
            rows_of = np.flatnonzero(source.labels == "ABCD".index(name))
            read = sorted(np.asarray(source.read(int(row))).tobytes() for row in rows_of)
            assert read == sorted(expected[name, number].tobytes() for number in range(10))


def assert_same(found: dict[tuple[str, int], np.ndarray], expected: dict[tuple[str, int], np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_the_manifest_says_what_was_made_of_what(model: Model, tmp_path: Path) -> None:
    make(model, tmp_path / "set", "webdataset")
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    assert (manifest["images"], manifest["complete"], manifest["seed"]) == (40, True, 0)
    assert manifest["model"] == {"recipe": "ctf-glyphs", "sha256": model.bundle.provenance["sha256"]}
    assert manifest["classes"][1] == {"name": "B", "label": 1, "images": 10}
    assert not list((tmp_path / "set").glob(".*"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "names",
    [
        ("..", "a/b", "b%", "..."),
        ("A", "a", "A.1", "007"),
        ("宪" * 150, "x" * 300, "CON", "7"),
        ("007", "1_000", "08", "９"),
    ],
)
def test_whatever_a_class_is_called_stays_in_the_folder_and_is_read_back(
    model: Model, names: tuple[str, ...], form: str, tmp_path: Path
) -> None:
    save_bundle(rename(model.bundle, dict(zip("ABCD", names, strict=True))), tmp_path / "bundle")
    renamed = load(tmp_path / "bundle", "cpu")
    out = tmp_path / "deep/set"
    out.parent.mkdir()
    make(renamed, out, form, n=2)
    assert [path.name for path in out.parent.iterdir()] == ["set"]
    source = open_source(str(out))
    assert set(source.classes) == set(names)
    assert np.bincount(source.labels).tolist() == [2, 2, 2, 2]
    label = source.classes.index(names[1])
    read = {np.asarray(source.read(int(row))).tobytes() for row in np.flatnonzero(source.labels == label)}
    assert read == {image.tobytes() for image in renamed.images([ImageId(names[1], 0), ImageId(names[1], 1)])}


def test_a_signal_keeps_whole_files_and_says_how_to_go_on(model: Model, tmp_path: Path) -> None:
    def after_one_round(items: Iterable[int], total: int, what: str) -> Iterator[int]:
        for item in items:
            yield item
            if "making" in what:
                os.kill(os.getpid(), signal.SIGINT)

    layout = layout_for(model, plan(model, None, 20), "folders", 0)
    with pytest.raises(
        Interrupted, match=r"stopped after 64 of 80 images, which stay in .*; run the same command"
    ) as end:
        write_set(model, layout, tmp_path / "set", progress=after_one_round)
    assert end.value.exit_code == 130
    assert write_set(model, layout, tmp_path / "set").made == 16


@pytest.mark.parametrize("damage", [
    lambda told: told.pop("model"), lambda told: told.update(classes=3), lambda told: told["model"].pop("sha256"),
    lambda told: told["classes"][0].pop("name"), lambda told: told.update(low_quality="x"),
])  # fmt: skip
def test_a_damaged_manifest_is_named_and_not_stumbled_over(
    model: Model, tmp_path: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    out = tmp_path / "set"
    make(model, out, n=2)
    told = json.loads((out / "manifest.json").read_text())
    damage(told)
    (out / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match=r"manifest\.json is damaged .*; delete the folder"):
        make(model, out, n=2)
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        open_source(str(out))


def test_a_set_of_an_earlier_version_is_named_as_such(model: Model, tmp_path: Path) -> None:
    out = tmp_path / "set"
    make(model, out, n=2)
    content = json.loads((out / "manifest.json").read_text())
    del content["complete"]  # which version 1 did not say
    (out / "manifest.json").write_text(json.dumps(content | {"format_version": 1}))
    before = snapshot(out)
    for use in (lambda: make(model, out, n=2), lambda: open_source(str(out))):
        with pytest.raises(DataError, match=r"manifest\.json was written by another version of ctfgan; make the set"):
            use()
    assert snapshot(out) == before

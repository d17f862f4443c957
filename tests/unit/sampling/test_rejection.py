"""Samples that are read as their class: what is kept, what it does not depend on, and sets of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from ctfgan.core.errors import ConfigError, CtfganError
from ctfgan.data.images import Bytes
from ctfgan.data.sources.registry import open_source
from ctfgan.distributed.processes import Processes
from ctfgan.distributed.random_streams import PerImageRng
from ctfgan.metrics.eval_classifier import TrainedEvalClassifier
from ctfgan.sampling import layouts, rejection
from ctfgan.sampling.model import ImageId, Model, load
from ctfgan.sampling.plan import plan, readable_classes
from ctfgan.sampling.rejection import Rejections, RejectionSampler
from ctfgan.sampling.sets import MadeSet, layout_for, write_set
from tests.conftest import snapshot

FORMS = tuple(layouts.LAYOUTS)
TRIES = 3


@pytest.fixture(scope="module")
def model(finished_run: Path) -> Model:
    return load(finished_run, "cpu")


def reading(image: Bytes) -> int:
    """The class that the recogniser of these tests sees in an image: any of four, and never the last one."""
    return int(image.astype(np.int64).sum()) % 4 % 3


class Reader:
    """Ranks the class of :func:`reading` first, the one after it second."""

    card = SimpleNamespace(name="reader-1")

    def read(self, images: Bytes) -> tuple[Tensor, Tensor]:
        assert len(images) == 16, "batches of one size, so that a reading does not hang on the others"
        first = torch.tensor([reading(image) for image in images])
        places = torch.arange(len(images))
        probabilities = torch.zeros(len(images), 4)
        probabilities[places, first], probabilities[places, (first + 1) % 4] = 0.6, 0.3
        return torch.zeros(len(images), 1), probabilities


def sampler(top_k: int = 1, tries: int = TRIES) -> RejectionSampler:
    return RejectionSampler(cast(TrainedEvalClassifier, Reader()), np.arange(4), top_k, tries, Processes())


def expected(model: Model, ids: list[ImageId], seed: int = 0, passing: int = 1) -> list[tuple[int, Bytes | None]]:
    """The same as the sampler keeps, one image and one try after the other."""
    found: list[tuple[int, Bytes | None]] = []
    for image in ids:
        label = "ABCD".index(image.class_name or "")
        for attempt in range(TRIES):
            made = model.images([image._replace(attempt=attempt)], seed=seed)[0]
            if (label - reading(made)) % 4 < passing:
                found.append((attempt + 1, made))
                break
        else:
            found.append((0, None))
    return found


@pytest.mark.parametrize("top_k", [1, 2])
def test_what_is_kept_is_the_first_try_that_is_read_as_its_class(model: Model, top_k: int) -> None:
    ids = [ImageId(name, number) for name in "DABC" for number in range(16)]
    kept = model.kept_images(ids, sampler(top_k), seed=3)
    wanted = expected(model, ids, seed=3, passing=top_k)
    assert kept.tries.tolist() == [attempt for attempt, _ in wanted]
    assert len(set(kept.tries.tolist())) == TRIES + 1, "some pass at once, some later, some never"
    for image, (attempt, made) in zip(kept.images, wanted, strict=True):
        assert np.array_equal(image, np.full_like(image, 255) if made is None else made), attempt


def test_a_kept_image_does_not_depend_on_what_is_made_with_it(model: Model) -> None:
    many = [ImageId(name, number) for name in "ABC" for number in range(30)]
    together = model.kept_images(many, sampler())
    for place in (0, 17, 44, 89):
        alone = model.kept_images([many[place]], sampler())
        assert alone.tries[0] == together.tries[place]
        assert np.array_equal(alone.images[0], together.images[place])


def test_an_image_that_passes_at_once_is_the_one_that_is_made_without(model: Model) -> None:
    with_, without = model.kept_images(model.first_images(["A", "B"], 20), sampler()), model.sample(["A", "B"], 20)
    first = with_.tries == 1
    assert 0 < first.sum() < 40
    assert np.array_equal(with_.images[first], without.images[first])
    readable = model.sample(["A", "B", "D"], 20, sampler=sampler())
    assert [reading(image) for image in readable.images] == readable.labels.tolist()
    assert len(readable.images) == (with_.tries > 0).sum(), "of D none"


def test_own_low_quality_images_stay_those_of_their_number(model: Model) -> None:
    size = model.bundle.data_spec.low_quality_size
    own = np.random.default_rng(0).integers(0, 256, (2, size, size, 1), dtype=np.uint8)
    kept = model.kept_images([ImageId("A", number) for number in range(40)], sampler(), low_quality=own)
    later = int(np.flatnonzero(kept.tries > 1)[0])
    image = ImageId("A", later, int(kept.tries[later]) - 1)
    assert np.array_equal(kept.images[later], model.images([image], low_quality=own[[later % 2] * 2])[0])


def test_tries_have_streams_of_their_own_and_the_first_is_the_image() -> None:
    first, again, second = (PerImageRng(5, ["a"] * 2, [7, 8], tries) for tries in (None, [0, 0], [1, 0]))
    drawn = [rng.normal(2, 1_000) for rng in (first, again, second)]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0][1], drawn[2][1])
    assert not set(drawn[0].flatten().tolist()) & set(drawn[2][0].tolist())


def make(model: Model, out: Path, form: str = "folders", **options: Any) -> MadeSet:
    layout = layout_for(model, plan(model, None, 12), form, 0)
    return write_set(model, layout, out, sampler=sampler(**options))


@pytest.mark.parametrize("form", FORMS)
def test_a_set_leaves_out_what_never_passes_and_says_so(
    model: Model, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "SHARD_IMAGES", 9)
    ids = model.first_images(None, 12)
    wanted = expected(model, ids)
    made = make(model, tmp_path / "set", form)
    images = {image.tobytes() for _, image in wanted if image is not None}
    assert (made.images, made.made) == (len(images), len(images))

    source = open_source(str(tmp_path / "set"))
    assert {np.asarray(source.read(row))[..., None].tobytes() for row in range(len(source.labels))} == images
    assert source.notes == ()
    of_class = [[attempt for attempt, _ in wanted[start : start + 12]] for start in range(0, 48, 12)]
    kept = [sum(attempt > 0 for attempt in tries) for tries in of_class]
    drawn = [sum(attempt or TRIES for attempt in tries) for tries in of_class]
    assert made.rejections == Rejections(tuple("ABCD"), (12,) * 4, tuple(drawn), tuple(kept))
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    assert manifest["readable"] == {
        "top_k": 1, "tries": TRIES, "recogniser": "reader-1", "drawn": sum(drawn), "kept": sum(kept),
    }  # fmt: skip
    assert [entry["kept"] for entry in manifest["classes"]] == kept
    assert [entry["drawn"] for entry in manifest["classes"]] == drawn
    assert {entry["images"] for entry in manifest["classes"]} == {12}


@pytest.mark.parametrize("form", FORMS)
def test_a_set_that_was_interrupted_draws_nothing_twice_and_ends_byte_for_byte_the_same(
    model: Model, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "SHARD_IMAGES", 9)
    monkeypatch.setattr("ctfgan.sampling.sets.ROUND", 8)
    make(model, tmp_path / "one-go", form)
    write, calls = layouts.write_file, 0

    def failing(path: Path, content: bytes, *, durable: bool = True) -> None:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise CtfganError("killed")
        write(path, content, durable=durable)

    monkeypatch.setattr(layouts, "write_file", failing)
    before = 0
    for _ in range(50):
        try:
            last = make(model, tmp_path / "parts", form)
            break
        except CtfganError:
            noted = (tmp_path / "parts/.tries").read_bytes()
            assert len(noted) - noted.count(0) > before, "it goes on where it was"
            before = len(noted) - noted.count(0)
    assert before
    assert 0 < last.made < last.images
    assert relative(tmp_path / "parts") == relative(tmp_path / "one-go")
    monkeypatch.setattr(layouts, "write_file", write)

    def no_more(labels: object, make: object) -> None:
        raise AssertionError("nothing is drawn for a complete set")

    with monkeypatch.context() as patch:
        patch.setattr(RejectionSampler, "draw", no_more)
        again = make(model, tmp_path / "parts", form)
    assert (again.made, again.images, again.rejections) == (0, last.images, last.rejections)
    files = [path for path in sorted((tmp_path / "parts").rglob("*")) if path.suffix in (".png", ".parquet", ".tar")]
    files[-1].unlink()
    (tmp_path / "parts/.tries").unlink()
    assert make(model, tmp_path / "parts", form).rejections == last.rejections
    assert relative(tmp_path / "parts") == relative(tmp_path / "one-go")


def relative(folder: Path) -> dict[str, str]:
    return {str(Path(path).relative_to(folder)): content for path, content in snapshot(folder).items()}


def test_a_set_that_was_begun_with_another_choice_is_refused(model: Model, tmp_path: Path) -> None:
    make(model, tmp_path / "set")
    with pytest.raises(ConfigError, match="with --keep-readable, --top-k 1, --tries 3 and reader-1, not with --keep-"):
        make(model, tmp_path / "set", top_k=2)
    with pytest.raises(ConfigError, match="and reader-1, not without --keep-readable; repeat the command"):
        write_set(model, layout_for(model, plan(model, None, 12), "folders", 0), tmp_path / "set")


def test_the_sentence_names_classes_that_never_pass_and_the_hardest_others() -> None:
    told = Rejections(("a", "b", "c", "d", "e"), (10, 10, 10, 10, 0), (10, 200, 60, 13, 0), (10, 0, 9, 10, 0))
    assert told.sentence() == (
        "drew 283 images to keep 29 of 40 (9.76 for each); never read as their class: 'b'; hardest of the others: "
        "'c' 9 of 60, 'd' 10 of 13"
    )
    assert Rejections(("a",), (2,), (2,), (2,)).sentence() == "drew 2 images to keep 2 of 2 (1.00 for each)"


def test_the_runs_own_recogniser_judges(model: Model, finished_run: Path, tmp_path: Path) -> None:
    own = model.rejection_sampler(finished_run, top_k=3, tries=2)
    ids = model.first_images(None, 4)
    kept = model.kept_images(ids, own)
    for attempt in (1, 2):
        made = model.images([image._replace(attempt=attempt - 1) for image in ids])
        ranking = own.recogniser.read(made)[1].argsort(dim=1, descending=True)[:, :3]
        passes = (ranking == model.labels(ids)[:, None]).any(dim=1).numpy()
        assert passes[kept.tries == attempt].all()
        assert not passes[(kept.tries == 0) | (kept.tries > attempt)].any()
    with pytest.raises(
        ConfigError, match="bundle is no run folder, and a bundle has no recogniser; give the folder of"
    ):
        model.rejection_sampler(finished_run / "bundle")
    with pytest.raises(ConfigError, match="top-k is 4 and the recogniser knows 4 classes; it must be"):
        model.rejection_sampler(finished_run, top_k=4)
    with pytest.raises(ConfigError, match="tries is 255; it must be 1 to 254"):
        model.rejection_sampler(finished_run, tries=255)
    shutil.copytree(finished_run, tmp_path / "run")
    data = json.loads((tmp_path / "run/data.json").read_text())
    (tmp_path / "run/data.json").write_text(json.dumps(data | {"extractor": "ctfgan-recogniser-0"}))
    with pytest.raises(CtfganError, match=r"is not the run's own recogniser; 'ctfgan evaluate .*' makes it again"):
        model.rejection_sampler(tmp_path / "run")


def test_where_it_knows_some_of_very_many_classes_the_data_say_which(
    model: Model, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recogniser, _ = rejection.open_recogniser(finished_run, model.bundle, model.engine)
    dataset = SimpleNamespace(evaluated_classes=SimpleNamespace(labels=np.array([1, 3])))
    monkeypatch.setattr(rejection, "MOST_MEASURED_CLASSES", 3)
    monkeypatch.setattr(rejection, "reopen", lambda *_: (SimpleNamespace(dataset=dataset), recogniser))
    probes = model.rejection_sampler(finished_run)
    assert probes.knows(np.arange(4)).tolist() == [False, True, False, True]
    assert readable_classes(model, None, probes) == (
        ["B", "D"], "2 classes unknown to the recogniser, left out: 'A', 'C'",
    )  # fmt: skip
    assert readable_classes(model, ["D"], probes) == (["D"], None)
    with pytest.raises(ConfigError, match="knows none of the classes 'C'; choose others, such as 'B', 'D'"):
        readable_classes(model, ["C"], probes)
    with pytest.raises(ConfigError, match="does not know class 'C' and cannot read images of it; leave it out"):
        model.sample(["B", "C"], 1, sampler=probes)


@pytest.mark.parametrize("form", ["sheet.png", "set"])
def test_the_command_says_what_was_drawn(
    run_cli: Callable[..., Any], finished_run: Path, tmp_path: Path, form: str
) -> None:
    out = tmp_path / form
    arguments = ("sample", finished_run, "-n", 4, "--device", "cpu", "--out", out)
    done = run_cli(*arguments, "--keep-readable", "--top-k", 3, "--tries", 2)
    assert done.code == 0, done
    assert "images to keep " in done.out
    assert out.exists()
    refused = run_cli("sample", finished_run, "--tries", 2, "--out", tmp_path / "other.png")
    assert (refused.code, "--tries says how --keep-readable chooses; add that" in refused.err) == (2, True)
    bundle = run_cli("sample", finished_run / "bundle", "--keep-readable", "--out", tmp_path / "other.png")
    assert (bundle.code, "give the folder of the run" in bundle.err) == (2, True)

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ctfgan.bundle.bundle import Bundle
from ctfgan.core.errors import ConfigError
from ctfgan.distributed.random_streams import PerImageRng
from ctfgan.models.interfaces import Condition, Noise
from ctfgan.models.synthesis import draw_inputs
from ctfgan.nn.class_tables import LOW_QUALITY_LABELS, CodeTable, table_spaces
from ctfgan.sampling.model import ImageId, Model
from ctfgan.sampling.slides import arc
from tests.contract.test_changed_classes import FORMS, random_bundle

METHODS = [("ctf-folders", True), ("ctf-folders", False), ("projection-folders", True), ("ac-gan-folders", True),
           ("prog-gan-folders", True), ("sn-gan-folders", True)]  # fmt: skip


def some_ids(bundle: Bundle) -> list[ImageId]:
    names = "baeeb" if bundle.recipe.method.is_conditional else [None] * 5
    return [ImageId(name, number) for name, number in zip(names, [3, 3, 8, 2**48 - 1, 0], strict=True)]


def assert_alike(one: np.ndarray, other: np.ndarray) -> None:
    """The same images, but for the rounding of products that batches of another size sum in another order."""
    np.testing.assert_allclose(one.astype(int), other.astype(int), atol=1)


@pytest.mark.parametrize(("name", "matched"), METHODS)
def test_an_image_does_not_depend_on_what_is_made_with_it(name: str, matched: bool) -> None:
    model = Model(random_bundle(name, matched=matched), "cpu")
    ids = some_ids(model.bundle)
    assert np.array_equal(model.images(ids), np.concatenate([model.images([one]) for one in ids]))


def test_an_own_low_quality_image_serves_all_images() -> None:
    model = Model(random_bundle("ctf-folders"), "cpu")
    own = np.random.default_rng(5).integers(0, 256, (1, 8, 8, 1), dtype=np.uint8)
    ids = some_ids(model.bundle)
    alone = [model.images([one], low_quality=own) for one in ids]
    assert np.array_equal(model.images(ids, low_quality=own), np.concatenate(alone))


@pytest.mark.parametrize("settings", FORMS)
@pytest.mark.parametrize(("name", "matched"), METHODS)
def test_a_slide_begins_and_ends_with_the_images_of_its_ends(
    name: str, matched: bool, settings: tuple[str, ...]
) -> None:
    model = Model(random_bundle(name, *settings, matched=matched), "cpu")
    start, _, end, *_ = some_ids(model.bundle)
    way = model.slide(start, end, 5)
    assert way.shape == (5, *model.images([start]).shape[1:])
    assert_alike(way[[0, -1]], model.images([start, end]))
    assert all((one != other).any() for one, other in itertools.pairwise(way))


def test_a_slide_leaves_the_model_as_it_was() -> None:
    model = Model(random_bundle("ctf-folders"), "cpu")
    before = model.sample(n=2).images
    model.slide(ImageId("a", 0), ImageId("c", 1))
    assert np.array_equal(model.sample(n=2).images, before)


@pytest.mark.parametrize("settings", FORMS)
@pytest.mark.parametrize("matched", [True, False])
@pytest.mark.parametrize("name", ["ctf-folders", "projection-folders"])
def test_the_middle_between_two_classes_is_made_of_the_mean_of_their_rows_or_codes(
    name: str, matched: bool, settings: tuple[str, ...]
) -> None:
    """The mean, put by hand into a copy of the bundle in the place of class c and of the label that d has."""
    bundle, by_hand = (random_bundle(name, *settings, matched=matched) for _ in range(2))
    middle = Model(bundle, "cpu").slide(ImageId("d", 6), ImageId("b", 6), 3)[1]
    spaces = table_spaces(by_hand.generator)
    low, own = None, torch.tensor([1])
    ends, noise = draw_inputs(bundle.generator, torch.tensor([3, 1]), bundle.bank, PerImageRng(0, "db", [6, 6]))
    if bundle.bank is not None:
        drawn, own = ends.required_low_quality()
        low = drawn.mean(dim=0, keepdim=True)
    for path, module in by_hand.generator.named_modules():
        rows = module.codes if isinstance(module, CodeTable) else module.weight if path in spaces else None
        if rows is None:
            continue
        is_label = spaces.get(path) == LOW_QUALITY_LABELS or len(rows) == 6
        ends = own if is_label else torch.tensor([3, 1])
        rows[ends[0] if is_label else 2] = rows[ends].float().mean(dim=0)
    condition = Condition(torch.tensor([2]), low, None if low is None else own[:1])
    with torch.no_grad():
        expected = (
            ((by_hand.generator(condition, arc(noise, torch.tensor([0.5])))[0] + 1) * 127.5).permute(1, 2, 0).numpy()
        )
    np.testing.assert_allclose(middle.astype(float), expected, atol=1)


def test_an_arc_keeps_to_the_sphere_and_moves_at_a_constant_angle() -> None:
    flat = torch.nn.functional.normalize(torch.randn(2, 20, dtype=torch.float64), dim=1).float()
    way = arc(Noise(flat[:, :8], flat[:, 8:].unflatten(1, (3, 4))), torch.linspace(0, 1, 7))
    assert way.blocks.shape == (7, 3, 4)
    whole = torch.cat([way.latent, way.blocks.flatten(1)], dim=1).double()
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(7, dtype=torch.float64))
    angles = (whole[1:] * whole[:-1]).sum(dim=1).arccos()
    torch.testing.assert_close(angles, angles.mean().expand(6), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole[[0, -1]].float(), flat)


def test_between_equal_noises_nothing_moves() -> None:
    noise = torch.randn(1, 9).repeat(2, 1)
    way = arc(Noise(noise, torch.zeros(2, 0, 0)), torch.linspace(0, 1, 4))
    torch.testing.assert_close(way.latent, noise[:1].repeat(4, 1))


@pytest.mark.parametrize(
    ("name", "points", "message"),
    [
        ("ctf-folders", [("a", 0), ("z", 0)], "Unknown class 'z'"),
        ("ctf-folders", [("a", 0), (None, 0)], "needs; name one"),
        ("sn-gan-folders", [("a", 0), ("b", 0)], "a sn-gan model makes images of no chosen class"),
    ],
)
def test_ends_that_the_model_does_not_have_are_refused(
    name: str, points: list[tuple[str | None, int]], message: str
) -> None:
    model = Model(random_bundle(name), "cpu")
    with pytest.raises(ConfigError, match=message):
        model.slide(*(ImageId(*point) for point in points))


def test_a_way_has_two_ends() -> None:
    with pytest.raises(ConfigError, match="steps is 1; a way has at least two"):
        Model(random_bundle("ctf-folders"), "cpu").slide(ImageId("a", 0), ImageId("b", 0), 1)

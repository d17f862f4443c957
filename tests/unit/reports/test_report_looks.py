"""What the report measures of samples, against the same things computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ctfgan.core.progress import silent
from ctfgan.data.images import Bytes
from ctfgan.distributed.engine import alone
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.ctf_gan import TransferFeature, difference_maps
from ctfgan.models.interfaces import Condition, Noise, normal_noise
from ctfgan.reports import class_table, ctf_maps
from ctfgan.reports.class_table import measure_classes, samples_of
from ctfgan.reports.ctf_maps import block_parts, sample_maps, variance_shares, without_block
from ctfgan.reports.loaded_run import RunGenerator, load_run
from ctfgan.reports.run_summary import read_summary
from ctfgan.runs.context import Callbacks


@pytest.fixture(scope="module")
def generator(kept_run: Path) -> RunGenerator:
    run = read_summary(kept_run, "run")
    loaded = load_run(run.folder, run.recipe, "cpu", Callbacks())
    assert loaded.generator is not None
    return loaded.generator


def test_accuracy_diversity_and_the_nearest_image_are_those_of_a_plain_computation(generator: RunGenerator) -> None:
    found = measure_classes(generator, 80, silent)
    assert (found.per_class, found.of, len(found.rows)) == (20, 4, 4)
    assert generator.dataset is not None
    assert generator.eval_classifier is not None
    pixels = samples_of(generator, np.arange(4), 20)
    for number, name in enumerate(generator.names):
        row = next(row for row in found.rows if row.name == name)
        own = pixels[20 * number : 20 * number + 20]
        read_as = [int(generator.eval_classifier.read(image[None])[1].argmax()) for image in own]
        assert row.accuracy == pytest.approx(sum(label == number for label in read_as) / 20)
        wrong = [generator.names[label] for label in read_as if label != number]
        assert row.taken_for == (None if not wrong else (row.taken_for[0], wrong.count(row.taken_for[0])))
        assert all(row.taken_for[1] >= wrong.count(other) for other in wrong)

        data = generator.dataset
        real = [data.high_quality.images[r] for r in data.training if data.high_quality.labels[r] == number]
        rms = [[np.sqrt(((a.astype(float) - b.astype(float)) ** 2).mean()) for b in real] for a in own]  # 16x16 already
        assert row.nearest is not None
        assert row.nearest.distance == pytest.approx(np.min(rms), rel=1e-4)
        assert np.array_equal(row.nearest.sample, own[np.argmin(np.min(rms, axis=1))])
        assert any(np.array_equal(row.nearest.real, image) for image in real)
        others = [
            min(np.sqrt(((a.astype(float) - b.astype(float)) ** 2).mean()) for b in real if b is not a) for a in real
        ]
        assert row.real_distance == pytest.approx(np.sort(others)[(len(others) - 1) // 2], rel=1e-4)


def spread(generator: RunGenerator, images: Bytes) -> float:
    """Mean distance of two images on the recogniser's features, pair by pair."""
    assert generator.eval_classifier is not None
    features = generator.eval_classifier.read(images)[0].double().numpy()
    return float(np.mean([np.linalg.norm(a - b) for n, a in enumerate(features) for b in features[:n]]))


def test_diversity_is_the_variety_that_alarms_see_by_a_plain_computation(generator: RunGenerator) -> None:
    found = measure_classes(generator, 80, silent)
    assert generator.dataset is not None
    pixels = samples_of(generator, np.arange(4), 20)
    real = [class_table._RealImages(generator.dataset).of_class(number)[:40] for number in range(4)]
    of_real = [spread(generator, images) for images in real]
    for number, name in enumerate(generator.names):
        row = next(row for row in found.rows if row.name == name)
        count = len(real[number])
        expected = (count * of_real[number] + 4 * np.mean(of_real)) / (count + 4)
        own = spread(generator, pixels[20 * number : 20 * number + 20])
        assert row.diversity == pytest.approx(own / expected, rel=1e-4)
        assert row.is_collapsed == (row.diversity < found.collapsed_below)
    assert 0 < found.collapsed_below <= class_table.COLLAPSED


def test_the_worst_class_comes_first_and_a_collapsed_one_is_marked(
    generator: RunGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = samples_of(generator, np.arange(4), 20)
    same[20:40] = same[20]  # class 1 makes one image over and over
    monkeypatch.setattr(class_table, "samples_of", lambda *_: same)
    found = measure_classes(generator, 80, silent)
    accuracies = [row.accuracy for row in found.rows]
    assert accuracies == sorted(accuracies)
    assert {row.name for row in found.rows if row.is_collapsed} >= {generator.names[1]}
    assert next(row for row in found.rows if row.name == generator.names[1]).diversity == 0


def test_few_images_are_spent_on_few_classes_and_the_same_ones_each_time(generator: RunGenerator) -> None:
    seen: list[int] = []

    def progress(items: Iterator[int], total: int, what: str) -> Iterator[int]:
        seen.append(total)
        yield from items

    first, second = (measure_classes(generator, 33, progress) for _ in range(2))
    assert (len(first.rows), first.per_class, first.of) == (2, 16, 4)
    assert {row.name for row in first.rows} == {generator.names[0], generator.names[3]}
    assert [row.accuracy for row in first.rows] == [row.accuracy for row in second.rows]
    assert seen == [1, 1]


def test_h_m_is_what_equations_3_and_4_say(generator: RunGenerator) -> None:
    maps = sample_maps(generator, *ctf_maps._draw(generator, torch.tensor([0, 1]), 3))
    before = maps.trace.grey
    for now, ctf in zip(maps.trace.maps, maps.features, strict=True):
        torch.testing.assert_close(ctf.difference, difference_maps(now, before))
        before = now
    assert maps.image is not None
    assert len(maps.without) == len(maps.features)


def test_a_block_is_taken_out_and_nothing_else(generator: RunGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle takes it out where the features are made, and lets the generator do all the rest."""
    numbers = torch.arange(8) % 4
    top_1, parts = block_parts(generator, numbers, silent)
    condition, noise = ctf_maps._draw(generator, numbers, ctf_maps.SEED + 1)
    network = generator.whole
    with torch.no_grad():
        whole = network(condition, noise)
    features = network.features  # type: ignore[attr-defined]
    made = features.forward
    assert generator.eval_classifier is not None
    for block, part in enumerate(parts):

        def lacking(trace: object, labels: object, block: int = block) -> list[TransferFeature]:
            found = made(trace, labels)
            found[block] = TransferFeature(found[block][0] * 0, found[block][1] * 0)
            return found

        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(features, "forward", lacking)
            image = network(condition, noise)
        change = (127.5 * (whole - image)).square().mean().sqrt().item()
        assert part.change == pytest.approx(change, abs=0.6)  # rounded to grey levels
        levels = (image.permute(0, 2, 3, 1) * 127.5 + 127.5).round().clamp(0, 255).byte().numpy()
        read_as = generator.eval_classifier.read(levels)[1].argmax(dim=1)
        assert part.top_1 == pytest.approx((read_as == numbers).double().mean().item())
    assert top_1 is not None


def test_the_other_ctfs_are_the_same_tensors() -> None:
    features = [TransferFeature(torch.ones(1, 2, 4, 4), torch.ones(1, 3)) for _ in range(3)]
    changed = without_block(features, 1)
    assert changed[0] is features[0]
    assert changed[2] is features[2]
    assert not changed[1].difference.any()
    assert not changed[1].embedding.any()


def test_an_unfinished_stage_1_is_looked_at_through_g_lh_with_its_average(stopped: object) -> None:
    path = stopped("transfer", 2)  # type: ignore[operator]
    run = read_summary(path, "run")
    loaded = load_run(run.folder, run.recipe, "cpu", Callbacks())
    assert loaded.generator is not None
    model = loaded.generator
    assert model.sampler is model.whole.generator_lh  # type: ignore[attr-defined]
    assert "stage transfer, step 2, moving average" in model.weights
    stored = run.folder.load_tensors(run.folder.checkpoints()[-1])
    assert torch.equal(model.sampler.state_dict()["to_image.weight"], stored["average.to_image.weight"])
    maps = sample_maps(loaded.generator, *ctf_maps._draw(loaded.generator, torch.tensor([0, 1]), 3))
    assert maps.image is None
    assert maps.without == []


WEIGHTS = {"z_A": 0.1, "z_m": 0.05, "I_L": 0.2, "class": 0.0}


class Sum(nn.Module):
    """An image of one pixel: a weighted sum of its inputs, each with variance 1 (classes are 0 and 2)."""

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        return normal_noise(count, 1, 1, 1, batch_rng)

    def forward(self, condition: Condition, noise: Noise) -> Tensor:
        low_quality, _ = condition.required_low_quality()
        inputs = {"z_A": noise.latent[:, 0], "z_m": noise.blocks[:, 0, 0], "I_L": low_quality[:, 0, 0, 0],
                  "class": condition.labels - 1.0}  # fmt: skip
        return sum(weight * inputs[name] for name, weight in WEIGHTS.items())[:, None, None, None]  # type: ignore[index, return-value]


def test_the_variance_of_a_sum_is_explained_by_the_squares_of_its_weights() -> None:
    network, rng = Sum(), torch.Generator().manual_seed(0)

    def drawn() -> tuple[Condition, Noise]:
        images = torch.randn(4_000, 1, 1, 1, generator=rng)
        labels = 2 * torch.randint(2, (4_000,), generator=rng)
        return Condition(labels, images, labels), network.draw_noise(4_000, BatchRng(rng))

    found = variance_shares(network, *drawn(), drawn()[0], drawn(), alone(torch.device("cpu")))
    total = sum(weight**2 for weight in WEIGHTS.values())
    for name, weight in WEIGHTS.items():
        assert found[name] == pytest.approx(weight**2 / total, abs=0.03)
    assert found["class"] == 0
    assert found["class and I_L"] == pytest.approx(found["I_L"], abs=0.03)

"""Eqs. 1 to 4 against the paper's words, written out with scipy and loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ctfgan.data.images import to_float
from ctfgan.models.ctf_gan import TransferFeatures, TransferTrace, difference_maps, to_grey
from ctfgan.models.settings import TransferSettings
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.dct import dct2, high_pass, idct2, soft_threshold
from ctfgan.nn.embed import ConditionEmbedding
from ctfgan.nn.norm import BATCH_NORM_EPSILON, ConditionalNorm2d, Statistics

Array = NDArray[np.float64]


def literal_difference_maps(current: Tensor, previous: Tensor) -> Array:
    """Eq. 4 as printed: for every t and s the DCT of both maps, their difference, the mean over s, the inverse."""
    upscaled = F.interpolate(previous, size=current.shape[-2:], mode="bilinear", align_corners=False).numpy()
    maps = current.numpy()
    result = np.empty_like(maps)
    for n in range(maps.shape[0]):
        for t in range(maps.shape[1]):
            spectrum = scipy.fft.dctn(maps[n, t], norm="ortho")
            pairs = [spectrum - scipy.fft.dctn(upscaled[n, s], norm="ortho") for s in range(upscaled.shape[1])]
            result[n, t] = scipy.fft.idctn(np.mean(pairs, axis=0), norm="ortho")
    return result


@pytest.mark.parametrize(("channels", "size", "previous_channels"), [(5, 8, 3), (4, 12, 1), (3, 16, 7)])
def test_the_production_path_equals_the_literal_dct_over_all_pairs(
    channels: int, size: int, previous_channels: int
) -> None:
    rng = torch.Generator().manual_seed(size)
    current = torch.randn(2, channels, size, size, generator=rng, dtype=torch.float64)
    previous = torch.randn(2, previous_channels, size // 2, size // 2, generator=rng, dtype=torch.float64)
    np.testing.assert_allclose(
        difference_maps(current, previous).numpy(), literal_difference_maps(current, previous), atol=1e-9, rtol=0
    )


def test_grey_is_what_pillow_calls_grey() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in pixels])[:, None]
    grey = to_grey(to_float(pixels))
    assert np.abs((grey.numpy() + 1) * 127.5 - expected).max() <= 1
    assert torch.equal(to_grey(grey), grey)


def test_the_first_block_is_compared_with_the_grey_image_and_shrinks_it_with_antialiasing() -> None:
    rng = torch.Generator().manual_seed(0)
    current = torch.randn(1, 2, 8, 8, generator=rng, dtype=torch.float64)
    grey = torch.ones(1, 1, 28, 28, dtype=torch.float64)
    grey[..., ::2] = -1  # one-pixel stripes: without anti-aliasing they would leave a strong false pattern
    pattern = current - difference_maps(current, grey)
    assert pattern.abs().max() < 0.1


def test_dct_equals_scipy_and_its_inverse_undoes_it() -> None:
    maps = torch.randn(2, 3, 6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(dct2(maps).numpy(), scipy.fft.dctn(maps.numpy(), axes=(2, 3), norm="ortho"), atol=1e-12)
    torch.testing.assert_close(idct2(dct2(maps)), maps)


def test_a_filter_works_on_the_coefficients_of_the_literal_form() -> None:
    rng = torch.Generator().manual_seed(2)
    current = torch.randn(1, 2, 8, 8, generator=rng, dtype=torch.float64)
    previous = torch.randn(1, 3, 4, 4, generator=rng, dtype=torch.float64)
    spectrum = scipy.fft.dctn(literal_difference_maps(current, previous), axes=(2, 3), norm="ortho")
    shrunk = np.where(np.abs(spectrum) <= 0.5, 0, spectrum - 0.5 * np.sign(spectrum))
    np.testing.assert_allclose(
        difference_maps(current, previous, lambda c: soft_threshold(c, 0.5)).numpy(),
        scipy.fft.idctn(shrunk, axes=(2, 3), norm="ortho"),
        atol=1e-9,
    )
    vertical, horizontal = np.mgrid[:8, :8] / 8
    cut = np.where((vertical + horizontal) / 2 < 0.4, 0, spectrum)
    np.testing.assert_allclose(
        difference_maps(current, previous, lambda c: high_pass(c, 0.4)).numpy(),
        scipy.fft.idctn(cut, axes=(2, 3), norm="ortho"),
        atol=1e-9,
    )


def test_batches_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="current has 2 images, previous has 3"):
        difference_maps(torch.zeros(2, 1, 4, 4), torch.zeros(3, 1, 2, 2))


@pytest.mark.parametrize("statistics", ["batch", "instance"])
def test_equation_1_normalises_each_channel_and_scales_with_the_rows_of_the_class(statistics: Statistics) -> None:
    rng = torch.Generator().manual_seed(3)
    norm = ConditionalNorm2d(3, ClassSpace(4), statistics).double()
    torch.nn.init.normal_(norm.gamma.weight, generator=rng)
    torch.nn.init.normal_(norm.beta.weight, generator=rng)
    maps = torch.randn(5, 3, 6, 6, generator=rng, dtype=torch.float64)
    labels = torch.tensor([3, 0, 2, 2, 1])
    result = norm(maps, labels)
    for n, label in enumerate(labels.tolist()):
        for t in range(3):
            over = maps[:, t].numpy() if statistics == "batch" else maps[n, t].numpy()
            normal = (maps[n, t].numpy() - over.mean()) / np.sqrt(over.var() + BATCH_NORM_EPSILON)
            expected = norm.gamma.weight[label, t].item() * normal + norm.beta.weight[label, t].item()
            np.testing.assert_allclose(result[n, t].detach().numpy(), expected, atol=1e-12)


def test_equation_2_in_table_form_equals_a_linear_map_of_the_concatenation_with_one_hot_labels() -> None:
    rng = torch.Generator().manual_seed(4)
    embed = ConditionEmbedding(channels=3, labels=ClassSpace(6), width=7).double()
    gamma, beta = torch.randn(2, 4, 3, generator=rng, dtype=torch.float64)
    labels = torch.tensor([0, 4, 2, 5])
    one_hot = F.one_hot(labels, 6).double()
    weight = torch.cat([embed.map.weight, embed.table.weight.T], dim=1)  # (7, 3 + 3 + 6)
    expected = torch.cat([gamma, beta, one_hot], dim=1) @ weight.T + embed.map.bias
    torch.testing.assert_close(embed(gamma, beta, labels), expected)


def test_an_unlabelled_image_is_embedded_like_the_mean_of_all_labels() -> None:
    features = TransferFeatures((2, 3), ClassSpace(4), TransferSettings(embedding=4))
    features.average_unlabelled()
    rng = torch.Generator().manual_seed(5)
    maps = [torch.randn(1, 2, 4, 4, generator=rng), torch.randn(1, 3, 8, 8, generator=rng)]
    rows = [torch.randn(1, 2, generator=rng), torch.randn(1, 3, generator=rng)]
    trace = TransferTrace(torch.randn(1, 1, 4, 4, generator=rng), torch.tensor([0]), maps, rows, rows)
    unlabelled = features(trace, torch.tensor([-1]))
    labelled = [features(trace, torch.tensor([label])) for label in range(3)]
    for block in range(2):
        mean = torch.stack([ctf[block].embedding for ctf in labelled]).mean(dim=0)
        torch.testing.assert_close(unlabelled[block].embedding, mean)
        assert torch.equal(unlabelled[block].difference, labelled[0][block].difference)

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ctfgan.core.errors import CtfganError
from ctfgan.metrics import inception
from ctfgan.metrics.inception import (
    Inception,
    InceptionNetwork,
    fold_batch_norms,
    load_inception,
    resize_like_tensorflow_1,
)
from ctfgan.metrics.plugin import load_plugin

CPU = torch.device("cpu")
EXAMPLE = Path(__file__).parents[3] / "examples/extractors/inception_768.py"


def random_weights() -> dict[str, torch.Tensor]:
    """Tensors as the published file holds them, random."""
    with torch.device("meta"):
        convolutions = InceptionNetwork().convolutions()
    rng = torch.Generator().manual_seed(0)
    tensors = {"fc.weight": torch.randn(1_008, 2_048, generator=rng), "fc.bias": torch.randn(1_008, generator=rng)}
    for name, layer in convolutions.items():
        fan_in = layer.weight[0].numel()
        tensors[f"{name}.conv.weight"] = torch.randn(layer.weight.shape, generator=rng) * (2 / fan_in) ** 0.5
        for part, low, high in (("weight", 0.8, 1.2), ("bias", -0.1, 0.1), ("running_mean", -0.1, 0.1),
                                ("running_var", 0.5, 1.5)):  # fmt: skip
            tensors[f"{name}.bn.{part}"] = torch.rand(layer.out_channels, generator=rng) * (high - low) + low
    return tensors


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inception_768", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_folded_batch_norm_gives_what_convolution_and_batch_norm_give() -> None:
    tensors = random_weights()
    name = "Mixed_5b.branch5x5_2"
    layer = fold_batch_norms(tensors).convolutions()[name]
    norm = nn.BatchNorm2d(64, eps=1e-3).eval()
    norm.load_state_dict({part: tensors[f"{name}.bn.{part}"] for part in ("weight", "bias", "running_mean",
                          "running_var")} | {"num_batches_tracked": torch.tensor(0)})  # fmt: skip
    maps = torch.randn(2, 48, 9, 9, generator=torch.Generator().manual_seed(1))
    expected = norm(F.conv2d(maps, tensors[f"{name}.conv.weight"], padding=2)).relu()
    torch.testing.assert_close(layer(maps), expected)


def test_maps_have_the_sizes_of_the_published_network() -> None:
    with torch.device("meta"):
        network = InceptionNetwork()
        maps = torch.empty(1, 3, 299, 299)
        sizes = {}
        for name, part in network.body.named_children():
            maps = part(maps)
            sizes[name] = tuple(maps.shape[1:])
    assert sizes["Conv2d_2b_3x3"] == (64, 147, 147)
    assert sizes["Conv2d_4a_3x3"] == (192, 71, 71)
    assert sizes["Mixed_5b"] == (256, 35, 35)
    assert sizes["Mixed_5d"] == (288, 35, 35)
    assert sizes["Mixed_6a"] == sizes["Mixed_6e"] == (768, 17, 17)
    assert sizes["Mixed_7a"] == (1_280, 8, 8)
    assert sizes["Mixed_7c"] == (2_048, 8, 8)
    assert len(network.convolutions()) == 94


def test_the_resize_looks_where_tensorflow_1_looked() -> None:
    images = torch.randint(0, 256, (1, 1, 5, 7), generator=torch.Generator().manual_seed(0)).float()
    found = resize_like_tensorflow_1(images, 12)[0, 0]
    pixels = images[0, 0].numpy()
    for row, column in np.ndindex(12, 12):
        y, x = row * 5 / 12, column * 7 / 12
        top, left = int(y), int(x)
        below, right = min(top + 1, 4), min(left + 1, 6)
        upper = pixels[top, left] * (1 - (x - left)) + pixels[top, right] * (x - left)
        lower = pixels[below, left] * (1 - (x - left)) + pixels[below, right] * (x - left)
        assert float(found[row, column]) == pytest.approx(upper * (1 - (y - top)) + lower * (y - top), abs=1e-3)


def test_a_weights_file_gives_2048_features_and_1008_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weights.pth"
    torch.save({name: tensor.half() for name, tensor in random_weights().items()}, file)
    monkeypatch.setattr(inception, "SHA256_PREFIX", inception.sha256(file)[:8])
    extractor = load_inception(file, CPU)
    assert (extractor.card.distance, extractor.card.kernel, extractor.card.score) == ("FID", "KID", "Inception score")
    features, probabilities = extractor.read(np.full((2, 16, 16, 1), 200, dtype=np.uint8))
    assert features.shape == (2, 2_048)
    assert probabilities.shape == (2, 1_008)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))


def test_other_weights_are_not_called_inception(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(1)}, file)
    with pytest.raises(CtfganError, match=r"other.pth is not the published Inception .* not 6726825d"):
        load_inception(file, CPU)
    with pytest.raises(CtfganError, match=r"none.pth does not exist; give the file weights-inception-2015-12-05"):
        load_inception(tmp_path / "none.pth", CPU)


def test_weights_that_are_nowhere_are_named_with_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(CtfganError, match=r"not at .*hub/checkpoints/weights-inception-2015.* cannot be downloaded"):
        load_inception(None, CPU)


def test_the_example_names_every_convolution_as_the_graph_does() -> None:
    with torch.device("meta"):
        network = InceptionNetwork("Mixed_6e")
    module = example()
    names = {name: module.graph_name(name) for name in network.convolutions()}
    assert len(set(names.values())) == len(names)
    assert names["Conv2d_1a_3x3"] == "conv"
    assert names["Mixed_5b.branch1x1"] == "mixed_conv"
    assert names["Mixed_5c.branch3x3dbl_3"] == "mixed_1_tower_1_conv_2"
    assert names["Mixed_6a.branch3x3"] == "mixed_3_conv"
    assert names["Mixed_6a.branch3x3dbl_2"] == "mixed_3_tower_conv_1"
    assert names["Mixed_6e.branch_pool"] == "mixed_7_tower_2_conv"


def test_the_example_gives_the_768_features_of_the_whole_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = fold_batch_norms(random_weights())
    module = example()
    arrays = {}
    for name, layer in network.convolutions().items():
        if name.startswith("Mixed_7"):
            continue
        arrays[f"{module.graph_name(name)}/w"] = layer.weight.detach().numpy()
        arrays[f"{module.graph_name(name)}/b"] = layer.bias.detach().numpy()
    np.savez(tmp_path / "weights.npz", **arrays)
    monkeypatch.setenv("CTFGAN_INCEPTION_768", str(tmp_path / "weights.npz"))
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    features, probabilities = load_plugin(EXAMPLE, CPU).read(images)
    assert probabilities is None
    maps = (resize_like_tensorflow_1(torch.from_numpy(images).permute(0, 3, 1, 2).float(), 299) - 128) / 128
    for name, part in network.body.named_children():
        maps = part(maps)
        if name == "Mixed_6e":
            break
    torch.testing.assert_close(features, maps.mean(dim=(2, 3)).detach())


def test_the_network_equals_torch_fidelitys() -> None:
    """Runs where torch-fidelity, and the torchvision that it imports, are installed."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", exc_type=ImportError)
    tensors = random_weights()
    theirs = torch_fidelity_network(module, tensors, ["768", "2048", "logits_unbiased"])
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    features, probabilities = Inception(fold_batch_norms(tensors), CPU).read(images)
    _, wide, logits = theirs(torch.from_numpy(images).permute(0, 3, 1, 2))
    torch.testing.assert_close(features, wide, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(probabilities, logits.softmax(dim=1), rtol=1e-3, atol=1e-6)


@pytest.mark.skipif("CTFGAN_INCEPTION_768" not in os.environ, reason="needs the weights that the example names")
def test_the_example_equals_torch_fidelitys_768_features_with_the_same_weights() -> None:
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", exc_type=ImportError)
    with np.load(os.environ["CTFGAN_INCEPTION_768"], allow_pickle=False) as archive:
        network = example().network_of(archive)
    tensors = random_weights()
    for name, layer in network.convolutions().items():
        tensors[f"{name}.conv.weight"] = layer.weight.detach()
        identity = {"weight": (1 + 1e-3) ** 0.5, "bias": layer.bias.detach(), "running_mean": 0.0, "running_var": 1.0}
        for part, value in identity.items():
            tensors[f"{name}.bn.{part}"] = torch.zeros(layer.out_channels) + value
    theirs = torch_fidelity_network(module, tensors, ["768"])
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images)[0], theirs(images)[0], rtol=1e-4, atol=1e-5)


def torch_fidelity_network(module: ModuleType, tensors: dict[str, torch.Tensor], features: list[str]) -> nn.Module:
    tracked = {name.replace("running_var", "num_batches_tracked"): torch.tensor(0) for name in tensors
               if name.endswith("running_var")}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: tensors | tracked)
        return module.FeatureExtractorInceptionV3("any", features)

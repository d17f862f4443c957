from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ctfgan.core.errors import CtfganError
from ctfgan.metrics.plugin import load_plugin

CPU = torch.device("cpu")
WORKING = """
import torch
NAME = "mean"
class Mean(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((3,), 2.0))
    def forward(self, images):
        assert images.dtype == torch.uint8 and images.shape[1] == 3
        features = images.float().mean(dim=(2, 3)) * self.scale
        return features, features[:, :2]
def load(device):
    return Mean().to(device)
"""


def plugin(folder: Path, source: str) -> Path:
    file = folder / "own.py"
    file.write_text(source)
    return file


def test_its_figures_bear_its_name(tmp_path: Path) -> None:
    card = load_plugin(plugin(tmp_path, WORKING), CPU).card
    assert (card.key, card.distance, card.kernel, card.score) == ("mean", "FID-mean", "KID-mean", "score-mean")
    assert (card.width, card.resize, card.knows_classes) == (3, "by the plug-in", False)
    other = load_plugin(plugin(tmp_path, WORKING.replace("2.0", "3.0")), CPU).card
    assert other.name != card.name  # other weights, another hash
    assert "own.py" in card.name


@pytest.mark.parametrize("channels", [1, 3])
def test_it_reads_grey_and_colour_in_any_number(tmp_path: Path, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (120, 8, 8, channels), dtype=np.uint8)
    features, probabilities = load_plugin(plugin(tmp_path, WORKING), CPU).read(images)
    np.testing.assert_allclose(features.numpy()[:, 0], 2 * images[..., 0].mean(axis=(1, 2)), rtol=1e-6)
    assert probabilities is not None
    torch.testing.assert_close(probabilities, features[:, :2].softmax(dim=1))


def test_features_alone_will_do(tmp_path: Path) -> None:
    source = WORKING.replace("return features, features[:, :2]", "return features")
    assert load_plugin(plugin(tmp_path, source), CPU).read(np.zeros((5, 8, 8, 1), dtype=np.uint8))[1] is None


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('NAME = "mean"', "", "NAME is None; define it as"),
        ('NAME = "mean"', "NAME = 768", "NAME is 768; define it as"),
        ('NAME = "mean"', 'NAME = "a b"', "NAME is 'a b'"),
        ('NAME = "mean"', 'NAME = "Inception"', "belongs to an extractor of the program"),
        ('NAME = "mean"', 'NAME = "2048"', "belongs to an extractor of the program"),
        ("def load", "def lode", "defines no function load"),
        ("import torch", "import torch\nimport no_such_module", "cannot be run .ModuleNotFoundError"),
        ("return Mean()", "return Mean(1)", "load.device. failed .TypeError"),
        ("return Mean().to(device)", "return len", "returned builtin_function_or_method; return an nn.Module"),
        ("return features, features[:, :2]", "return features.sum()", r"features of shape \(\) for 3 images"),
        ("return features, features[:, :2]", "return features[:2]", r"features of shape \(2, 3\) for 3 images"),
        ("return features, features[:, :2]", "return images, None", "features that are no float tensor"),
        ("return features, features[:, :2]", "return features / 0", "features that are not finite"),
        ("return features, features[:, :2]", "return features, features[0]", "logits of shape"),
        ("return features, features[:, :2]", "return features, 3", "logits that are no float tensor"),
        ("return features, features[:, :2]", "return {}", "returned dict; return features"),
        ("return features, features[:, :2]", "raise ValueError('a\\nb')", r"failed on uint8 .* \(ValueError: a\)"),
    ],
)  # fmt: skip
def test_a_broken_contract_is_told_in_one_sentence_when_it_is_loaded(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in WORKING
    file = plugin(tmp_path, WORKING.replace(before, after))
    with pytest.raises(CtfganError, match=message) as error:
        load_plugin(file, CPU)
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CtfganError, match=r"none.py does not exist; give a Python file"):
        load_plugin(tmp_path / "none.py", CPU)


def test_the_shipped_example_says_which_variable_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CTFGAN_INCEPTION_768", raising=False)
    example = Path(__file__).parents[3] / "examples/extractors/inception_768.py"
    with pytest.raises(CtfganError, match="CTFGAN_INCEPTION_768 is not set"):
        load_plugin(example, CPU)

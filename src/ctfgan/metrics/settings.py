"""Settings of the recogniser and of evaluation."""

from __future__ import annotations

from pydantic import Field

from ctfgan.core.settings import Seed, Settings

USUAL_TRIES, MOST_TRIES = 20, 254
"""At a sample that is to be read as its class; a set of samples notes the try that was kept in a byte."""


class EvalClassifierSettings(Settings):
    """Size and training of the recogniser."""

    width: int = Field(default=24, ge=4)
    """Channels of its first layer; doubled at each of two halvings."""
    features: int = Field(default=64, ge=4)
    """Length of the feature vector that distances are measured on."""
    images: int = Field(default=150_000, ge=1)
    """Images seen in training, repeats included."""
    batch_size: int = Field(default=128, ge=2)
    learning_rate: float = Field(default=3e-3, gt=0)
    seed: Seed = 0

    @property
    def steps(self) -> int:
        """Of its training."""
        return max(1, self.images // self.batch_size)


class EvaluationSettings(Settings):
    """What ``ctfgan evaluate`` measures."""

    images: int = Field(default=5_000, ge=100)
    """Generated images per low-quality bank, every class as often as in the reference; where that is seldom, up to as
    many again are made for top-1 alone (decision 30)."""
    seed: Seed = 1
    """Seed of noise and low-quality images; another one than the checks use."""
    without_average: bool = False
    """Also report the weights as trained, besides their moving average (the paper has none)."""
    neighbours: int = Field(default=5, ge=1)
    """Which nearest neighbour bounds the balls of precision, recall, density and coverage."""
    per_class: int = Field(default=0, ge=0)
    """Number of classes, spread over all, whose Frechet distance is measured by itself; 0 for none."""
    per_class_images: int = Field(default=500, ge=50)
    """Images generated of each of these classes."""
    classification_score: bool = False
    """Train classifiers on the high-quality training images, with the usual augmentation, low-quality images and as
    many generated ones as ``images`` says, apart and together; test them on the reference."""
    classification_seeds: int = Field(default=3, ge=1)
    """Classifiers of each mix of images, for the uncertainty of what the generated images add."""
    keep_readable: bool = False
    """Also measure samples that are drawn anew until the recogniser reads them as their class, and all with a second
    recogniser, which did not choose."""
    top_k: int = Field(default=1, ge=1)
    """It is enough for these if the class is among so many that are ranked first."""
    tries: int = Field(default=USUAL_TRIES, ge=1, le=MOST_TRIES)
    """Each of them is drawn so often at most."""

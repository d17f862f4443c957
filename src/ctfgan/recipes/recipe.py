"""A recipe: every decision of a run in one frozen object, from and to JSON."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from ctfgan.data.settings import DataSettings
from ctfgan.errors import ConfigError
from ctfgan.metrics.settings import EvaluationSettings, RecogniserSettings
from ctfgan.models.settings import NetworkSettings, TransferSettings
from ctfgan.settings import Seed, Settings
from ctfgan.training.settings import SelfSupervisionSettings, StageSettings, TrainingSettings, TransferStageSettings


class CtfGan(Settings):
    """The paper's method: stage 1 trains G_LH, stage 2 trains G_A on its features."""

    uses_low_quality: ClassVar[bool] = True

    kind: Literal["ctf-gan"] = "ctf-gan"
    networks: NetworkSettings = NetworkSettings()
    features: TransferSettings = TransferSettings()
    self_supervision: SelfSupervisionSettings = SelfSupervisionSettings()
    """Task 3, in both stages."""
    transfer: TransferStageSettings
    """Stage 1: Tasks 2 and 3."""
    generate: TransferStageSettings
    """Stage 2: Tasks 1 and 3."""
    train_generator_lh: bool = False
    """Ablation: let stage 2 go on training G_LH."""


class SnGanProjection(Settings):
    """The baseline: SN-GAN with a projection discriminator (Miyato and Koyama 2018)."""

    uses_low_quality: ClassVar[bool] = False

    kind: Literal["sn-gan-projection"] = "sn-gan-projection"
    networks: NetworkSettings = NetworkSettings()
    adversarial: StageSettings


MethodSettings = Annotated[CtfGan | SnGanProjection, Field(discriminator="kind")]


class Recipe(Settings):
    """Everything that a run needs to know; ``recipe.json`` in a run folder is one of these."""

    name: str
    seed: Seed = 0
    """Seed of weights, batches and noise; ``data.seed`` is apart, so that runs of several seeds share their data."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    data: DataSettings = DataSettings()
    method: MethodSettings
    training: TrainingSettings = TrainingSettings()
    recogniser: RecogniserSettings = RecogniserSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def to_json(self) -> str:
        """For ``recipe.json``."""
        return self.model_dump_json(indent=1)


def parse_recipe(content: dict[str, Any], origin: str) -> Recipe:
    """A recipe from plain values.

    Raises:
        ConfigError: all mistakes at once, each with its place, rule and value.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        mistakes = "; ".join(_sentence(mistake) for mistake in error.errors())
        raise ConfigError(f"{origin}: {mistakes}") from error


def _sentence(mistake: Any) -> str:
    kinds = {"ctf-gan", "sn-gan-projection"}  # pydantic puts the chosen method into the path
    place = ".".join(str(part) for part in mistake["loc"] if part not in kinds)
    message = mistake["msg"][0].lower() + mistake["msg"][1:]
    return f"{place} is {mistake['input']!r}, but {message}"

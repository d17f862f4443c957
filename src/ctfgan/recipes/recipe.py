"""A recipe: every decision of a run in one frozen object, from and to JSON."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError
from pydantic_core import PydanticSerializationError

from ctfgan.core.errors import ConfigError
from ctfgan.core.settings import Seed, Settings, flatten, mistakes
from ctfgan.core.text import excerpt
from ctfgan.data.settings import PLACES, DataSettings, name_of
from ctfgan.metrics.settings import EvalClassifierSettings, EvaluationSettings
from ctfgan.models.settings import Conditioning, NetworkSettings, TransferSettings
from ctfgan.training.settings import (
    CriticPenaltySettings,
    SelfSupervisionSettings,
    SkippableStageSettings,
    StageSettings,
    TrainingSettings,
    TransferStageSettings,
)

MISTAKES_TOLD = 5

ClassCandidates = Literal["auto", "all"] | Annotated[int, Field(ge=1)]
"""All classes, or a number of them drawn anew for every batch; ``auto`` is all up to 10,000 classes, then 1,024."""


class ResnetMethod(Settings):
    """What the methods with SN-GAN's residual networks share."""

    networks: NetworkSettings = NetworkSettings()
    loss: Literal["hinge", "relativistic"] = "hinge"
    """The adversarial loss: the paper's, or the relativistic pairing of R3GAN (Huang et al. 2024)."""
    spectral_norm: bool = True
    """Whether the discriminator is spectrally normalised; R3GAN relies on gradient penalties instead."""


class CtfGan(ResnetMethod):
    """The paper's method: stage 1 trains G_LH, stage 2 trains G_A on its features."""

    uses_low_quality: ClassVar[bool] = True
    is_conditional: ClassVar[bool] = True
    conditioning: ClassVar[Conditioning] = "projection"

    kind: Literal["ctf-gan"] = "ctf-gan"
    features: TransferSettings = TransferSettings()
    self_supervision: SelfSupervisionSettings = SelfSupervisionSettings()
    """Task 3, in both stages."""
    transfer: SkippableStageSettings
    """Stage 1: Tasks 2 and 3. No steps skip it, for a generator that was trained before (``start.path``)."""
    generate: TransferStageSettings
    """Stage 2: Tasks 1 and 3."""
    train_generator_lh: bool = False
    """Ablation: let stage 2 go on training G_LH."""


class SnGan(ResnetMethod):
    """SN-GAN (Miyato et al. 2018): unconditional, or with the class concatenated to the discriminator's maps, or as
    a projection (Miyato and Koyama 2018).
    """

    uses_low_quality: ClassVar[bool] = False

    kind: Literal["sn-gan", "sn-gan-concat", "sn-gan-projection"]
    adversarial: StageSettings

    @property
    def is_conditional(self) -> bool:
        """Whether images of a chosen class can be asked for."""
        return self.kind != "sn-gan"

    @property
    def conditioning(self) -> Conditioning:
        """How the class reaches the discriminator."""
        kinds: dict[str, Conditioning] = {
            "sn-gan": "none",
            "sn-gan-concat": "concat",
            "sn-gan-projection": "projection",
        }
        return kinds[self.kind]


class AcGan(ResnetMethod):
    """AC-GAN (Odena et al. 2017) on the same networks: an auxiliary classifier in the discriminator."""

    uses_low_quality: ClassVar[bool] = False
    is_conditional: ClassVar[bool] = True
    conditioning: ClassVar[Conditioning] = "classifier"

    kind: Literal["ac-gan"] = "ac-gan"
    adversarial: StageSettings
    class_weight: float = Field(default=1.0, gt=0)
    """Weight of the class's cross-entropy in both players' losses."""
    class_candidates: ClassCandidates = "auto"
    """Classes that the cross-entropy looks at in a step."""


class ProgGan(Settings):
    """PROG-GAN (Karras et al. 2018): both networks grow from the base size, each new block fading in.

    Class-conditional as in the authors' code: the class beside the latent vector, an auxiliary classifier beside the
    critic. Needs batches of a multiple of 4 for its minibatch statistics.
    """

    uses_low_quality: ClassVar[bool] = False
    is_conditional: ClassVar[bool] = True
    loss: ClassVar[Literal["wasserstein"]] = "wasserstein"

    kind: Literal["prog-gan"] = "prog-gan"
    networks: NetworkSettings = NetworkSettings(noise=512)
    grow: StageSettings
    """The last size, its fading in included; smaller sizes share all but the number of steps."""
    phase_steps: int = Field(ge=1)
    """Steps in which a size fades in, which the first does not, and as many in which a smaller size then trains."""
    penalty: CriticPenaltySettings = CriticPenaltySettings()
    class_weight: float = Field(default=1.0, gt=0)
    """Weight of the class's cross-entropy in both players' losses."""
    class_candidates: ClassCandidates = "auto"
    """Classes that the cross-entropy looks at in a step."""


MethodSettings = Annotated[CtfGan | SnGan | AcGan | ProgGan, Field(discriminator="kind")]


class StartSettings(Settings):
    """Trained weights to begin with; after a run's first checkpoint nobody looks at them again."""

    path: str | None = None
    """A bundle, or a finished run, whose discriminator is then used too; None begins with random weights."""
    sha256: str | None = None
    """Of the bundle's model file; filled in when training begins."""


class Recipe(Settings):
    """Everything that a run needs to know; ``recipe.json`` in a run folder is one of these."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^/\\\x00-\x1f\x7f]+$")
    """The beginning of a run folder's name, so no path."""
    seed: Seed = 0
    """Seed of weights, batches and noise; ``data.seed`` is apart, so that runs of several seeds share their data."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    data: DataSettings = DataSettings()
    start: StartSettings = StartSettings()
    method: MethodSettings
    training: TrainingSettings = TrainingSettings()
    recogniser: EvalClassifierSettings = EvalClassifierSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @property
    def stages(self) -> dict[str, StageSettings]:
        """By the name of the setting, in the order of training."""
        return {name: stage for name, stage in self.method if isinstance(stage, StageSettings)}

    def setting_of(self, stage: str) -> str | None:
        """Name of a stage's settings; the sizes that PROG-GAN grows through have none of their own but the last."""
        if not isinstance(self.method, ProgGan):
            return stage
        return "grow" if stage == f"grow-{self.data.resolution}" else None

    def to_json(self) -> str:
        """For ``recipe.json``."""
        return self.model_dump_json(indent=1)


def parse_recipe(content: dict[str, Any], origin: str) -> Recipe:
    """A recipe from plain values, which may come from anywhere; nothing that it names is looked for.

    Raises:
        ConfigError: the first mistakes at once, each with its place, rule and value.
    """
    try:
        recipe = Recipe.model_validate(content)
        recipe.to_json()
        return recipe
    except PydanticSerializationError as error:
        name, value = next((name, value) for name, value in flatten(recipe.model_dump()).items() if not _is_text(value))
        raise ConfigError(
            f"{origin}: {name} is {excerpt(repr(value))}, which is no text in UTF-8; correct it, or give the file or "
            "folder another name"
        ) from error
    except ValidationError as error:
        found = mistakes(error)
        more = len(found) - MISTAKES_TOLD
        told = found[:MISTAKES_TOLD] + ([f"and {more:,} more mistakes"] if more > 0 else [])
        raise ConfigError(f"{origin}: {'; '.join(told)}") from error


def _is_text(value: object) -> bool:
    """Whether the texts of a value can be written to a file; paths are bytes, which need not be letters."""
    try:
        return bool(json.dumps(value, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


def shareable(recipe: Recipe) -> Recipe:
    """The recipe with places of this machine cut down to what they are called; the run's own recipe has the whole.

    Nothing that a bundle is asked for depends on where its training images were.
    """
    data, start = recipe.data, recipe.start
    places = {name: getattr(data, name) for name in PLACES}
    named: dict[str, object] = {name: name_of(place) for name, place in places.items() if place is not None}
    named["glyphs"] = data.glyphs.model_copy(
        update={
            folders: tuple(name_of(folder) for folder in getattr(data.glyphs, folders))
            for folders in ("font_folders", "low_quality_font_folders")
        }
    )
    if start.path is not None:
        start = start.model_copy(update={"path": name_of(start.path)})
    return recipe.model_copy(update={"data": data.model_copy(update=named), "start": start})

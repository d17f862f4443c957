"""What an evaluation reports, and its form on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ctfgan.bundle.bundle import add_figures
from ctfgan.core.errors import ConfigError, CtfganError, RunError
from ctfgan.core.files import read_json, write_file
from ctfgan.core.text import excerpt, json_bytes, plural
from ctfgan.data.settings import name_of
from ctfgan.metrics.classification import ClassificationScore
from ctfgan.metrics.features import EVAL_CLASSIFIER, ExtractorCard
from ctfgan.metrics.memorization import MemorizationCheck
from ctfgan.metrics.protocol import Protocol, in_words
from ctfgan.metrics.scores import Scores
from ctfgan.metrics.settings import EvaluationSettings
from ctfgan.metrics.super_resolution import SuperResolution
from ctfgan.sampling.rejection import Rejections
from ctfgan.storage.run_folder import BUNDLE, FIGURES, RunFolder

SAMPLES, AS_TRAINED = "samples", "samples without moving average"
"""What names of sets of samples begin with: of the released weights, and of those that they are the average of."""

FLOOR = "floor: real against real"
"""Name of the set of real images that are measured like samples, against other real images."""

FORMAT = 4
"""Of ``figures.json``; raised whenever readers must know."""


def without_average(image_set: str) -> str:
    """Name of the set of samples that differs from another in having no moving average."""
    return AS_TRAINED + image_set.removeprefix(SAMPLES)


TRAINING_BANK, HELD_OUT_BANK = ", training LQ bank", ", held-out LQ bank"
"""What names of sets of samples end with, if their method uses low-quality images."""


def with_training_bank(image_set: str) -> str:
    """Name of the set of samples that differs from another in having the training bank."""
    return image_set.removesuffix(HELD_OUT_BANK).removesuffix(TRAINING_BANK) + TRAINING_BANK


VARIATIONS, ENHANCED, OTHER_REAL = "G_A behind G_LH", "G_LH alone", "other real images of the class"
"""Names of what is compared with low-quality images."""


def readable_set(image_set: str, settings: EvaluationSettings) -> str:
    """Name of the samples that differ from others in being drawn anew until they are read as their class."""
    chosen = f"{SAMPLES} read as their class (top-{settings.top_k}, up to {plural(settings.tries, 'try', 'tries')})"
    return chosen + image_set.removeprefix(SAMPLES)


def readable_notes(rejections: Mapping[str, Rejections], rows: Collection[str]) -> list[str]:
    """What must be said of samples that are read as their class, one sentence each."""
    few = [f"too few {name} to be measured: {told.sentence()}" for name, told in rejections.items() if name not in rows]
    if len(few) < len(rejections):
        few.append(
            "the recogniser itself chose the samples that are read as their class, so that its top-1 says nothing of "
            "them and its distance flatters them; the second recogniser did not choose"
        )
    return few


@dataclass(frozen=True)
class Evaluation:
    """What ``ctfgan evaluate`` reports."""

    protocol: Protocol
    rows: dict[str, dict[str, Scores]]
    """By image set (samples for each bank, and the floor), then by key of the extractor."""
    reported_set: str
    """The image set that stands for the run: with the held-out bank, or with the only bank there is."""
    classification: ClassificationScore | None
    """Of samples with the training bank, as ``ctfgan sample`` makes them; None unless it was asked for."""
    copies: MemorizationCheck
    notes: tuple[str, ...]
    """What the figures are not good for, one sentence each."""
    rejections: dict[str, Rejections] = field(default_factory=dict)
    """Of samples that are drawn anew until they are read as their class, by image set: how many that took. Empty unless
    they were asked for."""
    super_resolution: SuperResolution | None = None
    """Several results of the same low-quality images; None without G_LH or matched pairing."""

    @property
    def reported(self) -> Scores:
        """The recogniser's figures of the set that stands for the run."""
        return self.rows[self.reported_set][EVAL_CLASSIFIER]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ``rows`` by image set, inside them figures by extractor."""
        sentences = {"protocol_sentence": self.protocol.sentence()}
        if self.classification is not None:
            sentences["classification_sentence"] = self.classification.sentence()
        return {"format": FORMAT, **asdict(self), **sentences}

    def summary(self) -> dict[str, str]:
        """One line for each image set and extractor, for the classifiers and for all notes."""
        cards = self.protocol.extractors
        lines = {
            name if key == EVAL_CLASSIFIER else f"{name} ({key})": in_words(cards[key], scores)
            for name, row in self.rows.items()
            for key, scores in row.items()
        }
        if self.classification is not None:
            lines["classification accuracy score"] = self.classification.sentence()
        for name, rejections in self.rejections.items():
            lines[f"{name}, drawn"] = rejections.sentence()
        if self.super_resolution is not None:
            lines["enhance and vary"] = self.super_resolution.sentence()
        if self.notes:
            lines["note"] = "; ".join(self.notes)
        return lines


def read_figures(file: Path) -> dict[str, Any]:
    """The content of a file like ``figures.json``, of whatever version.

    Raises:
        ConfigError: it is something else.
    """
    reason = ""
    try:
        content = read_json(file)
        if are_figures(content):
            return content
    except (OSError, ValueError) as error:
        reason = f" ({excerpt(error)})"
    raise ConfigError(f"{file} exists already and holds no figures{reason}; choose another --out")


def store(folder: RunFolder, result: Evaluation, out: Path | None) -> None:
    """Write a result into the run and its bundle, or into another file; what other extractors measured stays there.

    Raises:
        RunError: it cannot be written.
    """
    try:
        if out is None:
            earlier = folder.read_json(FIGURES) if (folder.path / FIGURES).is_file() else {}
            folder.write_json(FIGURES, _with_earlier(result.as_dict(), earlier))
            # A bundle is made to be given away: it does not say in which folder of this machine the reference was.
            shared = replace(result, protocol=replace(result.protocol, reference=name_of(result.protocol.reference)))
            texts = {"protocol": shared.protocol.sentence(), "summary": shared.summary()}
            add_figures(folder.path / BUNDLE, shared.as_dict() | texts)
        else:
            content = _with_earlier(result.as_dict(), read_figures(out) if out.exists() else {})
            write_file(out, json_bytes(content))
    except CtfganError as error:
        raise RunError(f"the figures are not stored: {error}; --out FILE stores them elsewhere") from error


def are_figures(content: dict[str, Any]) -> bool:
    """Whether a JSON object has the form of figures, of whatever version."""
    protocol, rows = content.get("protocol"), content.get("rows")
    is_protocol = isinstance(protocol, dict) and isinstance(protocol.get("extractors"), dict)
    return is_protocol and isinstance(rows, dict) and all(isinstance(row, dict) for row in rows.values())


def _with_earlier(now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Figures as in ``figures.json``, with those of extractors that an earlier evaluation had and this one has not.

    Nothing is taken over unless both measured the same images: all of the protocol but the extractors is equal.
    """
    if (
        before.get("format") != FORMAT
        or not are_figures(before)
        or before["protocol"] | {"extractors": {}} != now["protocol"] | {"extractors": {}}
    ):
        return now
    extractors = before["protocol"]["extractors"] | now["protocol"]["extractors"]
    rows = {name: before["rows"].get(name, {}) | row for name, row in now["rows"].items()}
    protocol = now["protocol"] | {"extractors": extractors}
    cards = {key: ExtractorCard(**card) for key, card in extractors.items()}
    sentence = Protocol(**(protocol | {"extractors": cards})).sentence()
    return now | {"rows": rows, "protocol": protocol, "protocol_sentence": sentence}

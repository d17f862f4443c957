"""How scores were measured, in a form that can be compared, and what must be said about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ctfgan.core.text import times
from ctfgan.metrics.features import EVAL_CLASSIFIER, SCORE_SPLITS, ExtractorCard
from ctfgan.metrics.scores import KERNEL_SUBSET_SIZE, KERNEL_SUBSETS, PRDC_IMAGES, Scores

FEW_REFERENCES = 500


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How scores were measured; those of two runs compare if extractor, numbers and split are the same.

    The low-quality bank is in the name of each set of images, the numbers of images beside its scores.
    """

    real: int
    """Held-out real images."""
    fake: int
    """Generated images per set that distances are taken of, every class as often as in the reference."""
    per_class_at_least: int
    """Generated images of the class with fewest; top-1 and top-5 are means over the classes."""
    classes: int
    """That are measured."""
    of_classes: int
    """With high-quality images; more than are measured where there are very many."""
    reference: str
    """Where the real images come from."""
    extractors: dict[str, ExtractorCard]
    """By key: name with hash, resize, what their scores are called."""
    recogniser_images: int
    """Real images that the recogniser was trained on, none of the reference."""
    resolution: int
    """Side of real and generated images in pixels."""
    low_quality: str
    """The banks and the pairing."""
    weights: str
    score_splits: int = SCORE_SPLITS
    kernel_subsets: int = KERNEL_SUBSETS
    kernel_subset_size: int = KERNEL_SUBSET_SIZE
    """At most; fewer where there are fewer images."""
    neighbours: int
    """Which nearest neighbour bounds the balls of precision, recall, density and coverage."""
    neighbours_images: int = PRDC_IMAGES
    """Real and generated images that these four are measured on, at most."""
    per_class: int
    """Classes asked to be measured by themselves."""
    data_seed: int
    training_seed: int
    evaluation_seed: int
    device: str
    rollbacks: int
    """Times that training failed and went back, to go on with lower rates."""
    slowed: float
    """What the recipe's learning rates were multiplied by in the end."""
    lq_only: int
    """Measured classes that the GAN has seen low-quality images of only."""
    unmeasured: int
    """Classes without any high-quality image."""

    def sentence(self) -> str:
        """All of it in one line."""
        extractors = "; ".join(f"{card.name}, resize: {card.resize}" for card in self.extractors.values())
        return (
            f"n real {self.real:,} ({self.reference}, data seed {self.data_seed}), n fake {self.fake:,} (in the "
            f"reference's mix of {self._classes()}; top-1 and top-5: means over classes{self._apart()}, "
            f"{self.per_class_at_least:,} images of each or more; seed {self.evaluation_seed}), "
            f"{self.resolution}x{self.resolution}, extractors: "
            f"{extractors} (the recogniser was trained on {self.recogniser_images:,} real images, none of the "
            "reference); "
            f"score over {self.score_splits} splits, kernel distance over {self.kernel_subsets} subsets of up to "
            f"{self.kernel_subset_size:,}, precision, recall, density and coverage with k = {self.neighbours} on up to "
            f"{self.neighbours_images:,} images; {self.low_quality}, weights: {self.weights}, "
            f"training seed {self.training_seed}, {self.device}{self._rollbacks()}"
        )

    def _apart(self) -> str:
        return f" apart from {self.lq_only:,} with low-quality images only" if self.lq_only else ""

    def _rollbacks(self) -> str:
        if not self.rollbacks:
            return ""
        rates = f"{self.slowed:.3g} of the recipe's learning rates"
        return f"; training was rolled back {times(self.rollbacks)} and ended with {rates}"

    def _classes(self) -> str:
        if self.classes == self.of_classes:
            return f"{self.classes:,} classes"
        return f"{self.classes:,} probe classes of {self.of_classes:,}"

    def notes(self, reported: Mapping[str, Scores]) -> list[str]:
        """What scores of these numbers of images are not good for, one sentence each.

        Args:
            reported: the row that stands for the run, by extractor.
        """
        notes = []
        if self.real < FEW_REFERENCES:
            notes.append(f"with only {self.real:,} held-out real images the distances are unreliable")
        if self.unmeasured:
            notes.append(
                f"{self.unmeasured:,} of {self.of_classes + self.unmeasured:,} classes have low-quality images only "
                "and are not measured, since no real image says what they look like"
            )
        for key, scores in reported.items():
            card, fewest = self.extractors[key], min(scores.real, scores.fake)
            if fewest < card.width:
                notes.append(
                    f"{card.distance} is not comparable: {fewest:,} images are too few for {card.width:,} features"
                )
            if card.published_images is not None and scores.fake < card.published_images:
                notes.append(
                    f"published values of {card.score} and {card.distance} use {card.published_images:,} generated "
                    f"images, not {scores.fake:,}"
                )
            if scores.neighbours is None:
                notes.append(f"precision, recall, density and coverage need more than {self.neighbours} images")
            if self.per_class and scores.per_class is None:
                notes.append("no class has enough held-out real images for a distance of its own")
            if scores.per_class is not None and min(scores.per_class.real, scores.per_class.fake) < card.width:
                notes.append(
                    f"distances by class are not comparable: {scores.per_class.real:,} real and "
                    f"{scores.per_class.fake:,} generated images of a class are few for {card.width:,} features"
                )
            if scores.per_class is not None and scores.per_class.too_few:
                count = scores.per_class.too_few
                notes.append(f"{count:,} classes have too few held-out real images for a distance of their own")
        return list(dict.fromkeys(notes))


def in_words(card: ExtractorCard, scores: Scores) -> str:
    """One line with all scores of a set on one extractor."""
    parts = []
    if scores.top_1 is not None:
        parts.append(f"top-1 {scores.top_1:.1%}, top-5 {scores.top_5:.1%}")
    if scores.top_1_lq_only is not None:
        only = f"top-1 {scores.top_1_lq_only:.1%}, top-5 {scores.top_5_lq_only:.1%}"
        parts.append(f"of classes with low-quality images only {only}")
    if scores.score is not None:
        parts.append(f"{card.score} {scores.score:.2f} ± {scores.score_spread:.2f}")
    elif scores.too_few_for_score:
        parts.append(f"no {card.score} of so few images")
    at_floor = "" if scores.frechet_at_floor is None else f" ({scores.frechet_at_floor:.2f} at the floor's size)"
    parts.append(f"{card.distance} {scores.frechet:.2f}{at_floor}, {card.kernel} {scores.kernel:.4f}")
    if scores.neighbours is not None:
        near = scores.neighbours
        parts.append(f"precision {near.precision:.3f}, recall {near.recall:.3f}")
        parts.append(f"density {near.density:.3f}, coverage {near.coverage:.3f}")
    if scores.per_class is not None:
        each = scores.per_class
        parts.append(
            f"per class {each.mean:.2f} (mean of {len(each.distances):,} classes, {each.fake:,} images of each against "
            f"at least {each.real:,} real)"
        )
    extractor = "" if card.key == EVAL_CLASSIFIER else f" on {card.name}"
    return f"{', '.join(parts)} ({scores.fake:,} images against {scores.real:,} real{extractor})"

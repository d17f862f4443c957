"""Reported figures of a run: against held-out real images, for the training bank and a held-out one, with the floor."""

from ctfgan.evaluation.evaluating import evaluate, load_extractors
from ctfgan.evaluation.result import FLOOR, FORMAT, Evaluation, with_training_bank, without_average

__all__ = ["FLOOR", "FORMAT", "Evaluation", "evaluate", "load_extractors", "with_training_bank", "without_average"]

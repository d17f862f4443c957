"""Reported scores of a run, against held-out real images; and many runs that belong together: tables, sweeps."""

from ctfgan.evaluation.evaluator import evaluate
from ctfgan.evaluation.extractors import load_extractors
from ctfgan.evaluation.result import FLOOR, FORMAT, Evaluation, with_training_bank, without_average

__all__ = ["FLOOR", "FORMAT", "Evaluation", "evaluate", "load_extractors", "with_training_bank", "without_average"]

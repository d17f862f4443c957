"""Reported figures of a run: against held-out real images, for the training bank and a held-out one, with the floor."""

from ctfgan.evaluation.evaluating import evaluate
from ctfgan.evaluation.result import FORMAT, Evaluation

__all__ = ["FORMAT", "Evaluation", "evaluate"]

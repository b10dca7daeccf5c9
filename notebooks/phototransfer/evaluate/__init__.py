"""How good the head is, and whether something else would do better."""

from phototransfer.evaluate.comparison import RunComparison, compare_runs
from phototransfer.evaluate.cross_validation import CrossValidation, CrossValidator, cross_validate
from phototransfer.evaluate.folds import Folds, make_folds
from phototransfer.evaluate.heads import HeadComparison, compare_heads
from phototransfer.evaluate.learning_curve import LearningCurve, learning_curve
from phototransfer.evaluate.results import (
    TrainingHistory,
    add_predictions,
    confusion,
    example_predictions,
    measure_accuracy,
    measure_per_class,
    ranking,
    worst_mistakes,
)
from phototransfer.evaluate.tuning import HeadSearch, search_heads

__all__ = [
    "CrossValidation",
    "CrossValidator",
    "Folds",
    "HeadComparison",
    "HeadSearch",
    "LearningCurve",
    "RunComparison",
    "TrainingHistory",
    "add_predictions",
    "compare_heads",
    "compare_runs",
    "confusion",
    "cross_validate",
    "example_predictions",
    "learning_curve",
    "make_folds",
    "measure_accuracy",
    "measure_per_class",
    "ranking",
    "search_heads",
    "worst_mistakes",
]

"""Evaluation of the head, and comparisons with other heads, settings, training sizes and runs."""

from phototransfer.evaluate.calibration import calibrate, scale_temperature
from phototransfer.evaluate.comparison import compare_runs
from phototransfer.evaluate.cross_validation import CrossValidator, cross_validate
from phototransfer.evaluate.heads import compare_heads
from phototransfer.evaluate.learning_curve import learning_curve
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
from phototransfer.evaluate.trainings import start_trainings
from phototransfer.evaluate.tuning import search_heads

__all__ = [
    "CrossValidator",
    "TrainingHistory",
    "add_predictions",
    "calibrate",
    "compare_heads",
    "compare_runs",
    "confusion",
    "cross_validate",
    "example_predictions",
    "learning_curve",
    "measure_accuracy",
    "measure_per_class",
    "ranking",
    "scale_temperature",
    "search_heads",
    "start_trainings",
    "worst_mistakes",
]

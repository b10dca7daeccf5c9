"""How firm is the result? Intervals, cross-validation, simpler and deeper heads, fewer photos."""

from typing import Any

from helpers.firmness import cross_validation, folds, ladder, learning
from helpers.firmness.intervals import accuracies, in_words, wilson

__all__ = ["accuracies", "in_words", "metrics", "wilson"]


def metrics(
    dealt: folds.Folds | None,
    validated: cross_validation.CrossValidation | None,
    rungs: ladder.Ladder | None,
    curve: learning.LearningCurve | None,
) -> dict[str, Any]:
    """What metrics.json says of it, to be merged into it; None for what was off."""
    return {
        "cross_validation": cross_validation.metrics(validated, dealt),
        "ladder": rungs
        and {
            "best": rungs.best,
            "simplest": rungs.simplest,
            "rungs": rungs.table.to_dict("records"),
            "validation_photos_too": dict(zip(("gain", "low", "high"), rungs.watched_too, strict=True)),
        },
        "learning_curve": curve
        and {
            "verdict": curve.verdict,
            "gain": curve.gain,
            "gain_ci95": (curve.low, curve.high),
            "points": curve.table.to_dict("records"),
        },
    }

"""How firm is a figure that was measured on so many photos?"""

from typing import Any

import pandas as pd
from scipy.stats import binomtest

from helpers.summary import score


def wilson(right: int, of: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """The Wilson score interval of `right` out of `of`, as shares from 0 to 1; None where nothing was counted.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Unlike the
    normal approximation it never leaves 0–1 and holds for the few dozen photos of a small test set.
    """
    if of == 0:
        return None
    interval = binomtest(int(right), int(of)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def difference(right: int, of: int, other_right: int, other_of: int) -> tuple[float, float]:
    """The 95 % interval of right / of − other_right / other_of, from the Wilson intervals of the two.

    R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine
    17 (1998), method 10. Both counts have to be above 0.
    """
    share, other = right / of, other_right / other_of
    (low, high), (other_low, other_high) = wilson(right, of), wilson(other_right, other_of)
    down = ((share - low) ** 2 + (other_high - other) ** 2) ** 0.5
    up = ((high - share) ** 2 + (other - other_low) ** 2) ** 0.5
    return share - other - down, share - other + up


def accuracies(photos: pd.DataFrame) -> dict[str, Any]:
    """Share of right predictions by split, for the test photos also counted and with its Wilson interval.

    photos: columns label, split, correct. `majority` is the share of test photos in their largest class: what a model
    scores that always says the same.
    """
    share = photos.groupby("split")["correct"].mean()
    test = photos[photos["split"] == "test"]
    right = int(test["correct"].sum())
    return {
        **{name: float(share[name]) for name in ("train", "val", "test")},
        "test_right": right,
        "test_ci95": wilson(right, len(test)),
        "majority": float(test["label"].value_counts(normalize=True).max()),
    }


def in_words(right: int, of: int) -> str:
    """ "57 of 60 right: 0.95, 95 % interval 0.86 to 0.98"."""
    return score(right, of, wilson(right, of))

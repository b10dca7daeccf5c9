"""Confidence intervals and tests for counts of correct predictions."""

import numpy as np
from scipy.stats import binomtest, norm


def wilson(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the Wilson score interval of `correct` out of `total`, None if `total` is 0.

    Unlike the normal approximation it never leaves 0 to 1, and it holds for the few dozen photos of a small test set.

    Notes
    -----
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if total == 0:
        return None
    interval = binomtest(int(correct), int(total)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def newcombe(correct: int, total: int, other_correct: int, other_total: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two independent proportions, both totals above 0.

    Notes
    -----
    R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine
    17 (1998), method 10: it is made of the Wilson intervals of the two.
    """
    first, second = wilson(correct, total), wilson(other_correct, other_total)
    if first is None or second is None:
        raise ValueError(f"Both totals must be above 0, got {total} and {other_total}.")
    rate, other = correct / total, other_correct / other_total
    lower = float(np.hypot(rate - first[0], second[1] - other))
    upper = float(np.hypot(first[1] - rate, other - second[0]))
    return rate - other - lower, rate - other + upper


def mcnemar(correct: np.ndarray, other_correct: np.ndarray) -> float:
    """Return the two-sided p-value of McNemar's exact test for two classifiers on the same photos.

    Parameters
    ----------
    correct, other_correct : bool array of shape (n,)
        Whether each classifier is correct on each photo. Only photos on which they differ carry information.

    Notes
    -----
    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947).
    """
    only_first, only_second = int((correct & ~other_correct).sum()), int((other_correct & ~correct).sum())
    differing = only_first + only_second
    return float(binomtest(only_first, differing).pvalue) if differing else 1.0


def paired_gain(before: np.ndarray, after: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return how much higher the accuracy of `after` is than that of `before`: difference, lower and upper bound.

    Parameters
    ----------
    before, after : bool array of shape (n,)
        Whether each of two classifiers is correct on each photo.

    Notes
    -----
    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24 (2005): half a photo is added to each cell of the table.
    """
    wins, losses, total = int((after & ~before).sum()), int((before & ~after).sum()), len(before)
    middle = (wins - losses) / (total + 2)
    spread = np.sqrt((wins + losses + 1) / (total + 2) - middle**2) / np.sqrt(total + 2)
    half = float(norm.ppf(0.5 + confidence / 2)) * float(spread)
    return (wins - losses) / total, max(-1.0, middle - half), min(1.0, middle + half)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values corrected for the number of tests, float (m,) in the order given.

    Notes
    -----
    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def format_share(share: float) -> str:
    """Return a proportion with two decimals; with three where two would claim that all are correct (0.997)."""
    return f"{share:.3f}" if 0.995 <= share < 1 else f"{share:.2f}"


def format_score(correct: int, total: int, interval: tuple[float, float] | None = None) -> str:
    """Return "57 of 60 correct: 0.95 (95 % interval 0.86 to 0.98)"; the Wilson interval unless one is given."""
    interval = interval or wilson(correct, total)
    if interval is None:
        return "no photos, so there is no score"
    low, high = interval
    return f"{correct} of {total} correct: {format_share(correct / total)} (95 % interval {low:.2f} to {high:.2f})"

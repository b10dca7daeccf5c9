"""Confidence intervals and tests for counts of correct predictions."""

import numpy as np
import scipy  # loads scipy.stats where it is first used: half a second that most commands need not wait

_DRAWS = 9999  # of a test by random signs: p-values from 0.0001


def wilson(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the Wilson score interval of `correct` out of `total`, None if `total` is 0.

    Unlike the normal approximation it never leaves 0 to 1, and it holds for the few dozen photos of a small test set.

    Notes
    -----
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    if total == 0:
        return None
    interval = scipy.stats.binomtest(int(correct), int(total)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def newcombe(
    correct: int, total: int, other_correct: int, other_total: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the difference of two independent proportions, both totals above 0.

    Notes
    -----
    R. G. Newcombe, "Interval estimation for the difference between independent proportions", Statistics in Medicine
    17 (1998), method 10: it is made of the Wilson intervals of the two.
    """
    first, second = wilson(correct, total, confidence), wilson(other_correct, other_total, confidence)
    if first is None or second is None:
        raise ValueError(f"Both totals must be above 0, got {total} and {other_total}.")
    return difference_interval(correct / total, first, other_correct / other_total, second)


def difference_interval(
    score: float, interval: tuple[float, float], other: float, other_interval: tuple[float, float]
) -> tuple[float, float]:
    """Return the interval of the difference of two independent scores, made of the interval of each (MOVER).

    Notes
    -----
    G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: a general approach", Statistics
    in Medicine 27 (2008).
    """
    lower = float(np.hypot(score - interval[0], other_interval[1] - other))
    upper = float(np.hypot(interval[1] - score, other - other_interval[0]))
    return score - other - lower, score - other + upper


def balanced_interval(correct: np.ndarray, total: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the interval of the balanced accuracy, the mean recall of the classes; None if there are no photos.

    Parameters
    ----------
    correct, total : int arrays of shape (classes,)
        Photos of each class; classes without photos do not count. For one class it is the Wilson interval.

    Notes
    -----
    MOVER (see `difference_interval`) from the Wilson intervals of the classes. These are drawn towards 0.5, so that for
    many small classes the upper end is too low. It is therefore at least that of the Wilson interval of as many photos
    as would estimate a mean recall that precisely if all classes had the same one. In simulations of 2 to 117 classes
    with true recalls of 0.2 to 1, such intervals of 95 % cover 0.92 to 1 (one photo in a class of two: 0.90).
    """
    correct, total = correct[total > 0], total[total > 0]
    if not len(total):
        return None
    recall, z = correct / total, float(scipy.stats.norm.ppf(0.5 + confidence / 2))
    low, high = _wilson_limits(recall, total, z)
    score, effective_total = recall.mean(), len(total) ** 2 / (1 / total).sum()
    lower = score - np.sqrt(np.square(recall - low).sum()) / len(total)
    upper = score + np.sqrt(np.square(high - recall).sum()) / len(total)
    return max(0.0, float(lower)), min(1.0, float(max(upper, _wilson_limits(score, effective_total, z)[1])))


def _wilson_limits(share: np.ndarray, total: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of `wilson` for arrays, and for totals that are no integers."""
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


def mean_recall(correct: np.ndarray, classes: np.ndarray) -> float:
    """Return the balanced accuracy, the mean share of correct photos of the classes; bool (n,) and any (n,).

    Rounded to 12 decimals, so that equal scores compare as equal.
    """
    _, number = np.unique(classes, return_inverse=True)
    recall = np.bincount(number, correct) / np.bincount(number)
    return round(float(recall.mean()), 12)


def class_weights(classes: np.ndarray) -> np.ndarray:
    """Return the weight of each photo in the balanced accuracy, float (n,) with sum 1; classes: (n,)."""
    _, number, size = np.unique(classes, return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(size) * size[number]))


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
    return float(scipy.stats.binomtest(only_first, differing).pvalue) if differing else 1.0


def paired_test(correct: np.ndarray, other_correct: np.ndarray, classes: np.ndarray | None = None) -> float:
    """Return the two-sided p-value of the test that two classifiers have the same score on the same photos.

    Parameters
    ----------
    correct, other_correct : bool arrays of shape (n,)
        Whether each classifier is correct on each photo.
    classes : array of shape (n,), optional
        The class of each photo: the score is then the balanced accuracy, otherwise it is the accuracy.

    Notes
    -----
    If all photos weigh the same, it is McNemar's exact test. If not, it is the larger of two p-values: that of
    `sign_flip_test` with the weights, and that of the normal distribution on which `paired_gain` rests. The first alone
    forgets that the few photos of a rare class, had they been others, could outweigh the many of a large one.
    """
    weights = _weights(correct, classes)
    if np.allclose(weights, weights[:1]):
        return mcnemar(correct, other_correct)
    differences = correct.astype(float) - other_correct.astype(float)
    middle, error = _corrected_gain(differences, weights)
    return max(sign_flip_test(weights * differences), float(2 * scipy.stats.norm.sf(abs(middle) / error)))


def sign_flip_test(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the test that paired differences, float (n,), are as often above 0 as below.

    Exact for up to 13 differences, otherwise by 9,999 draws of random signs, the same in each call.

    Notes
    -----
    R. A. Fisher, "The Design of Experiments" (1935), section 21.
    """
    differences = differences[differences != 0]
    if len(differences) < 2:  # one has a p-value of 1
        return 1.0
    test = scipy.stats.permutation_test(
        (differences,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_DRAWS,
        batch=500,
        rng=0,
    )
    return float(test.pvalue)


def paired_gain(
    before: np.ndarray, after: np.ndarray, confidence: float = 0.95, *, classes: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Return how much higher the score of `after` is than that of `before`: difference, lower and upper bound.

    Parameters
    ----------
    before, after : bool arrays of shape (n,)
        Whether each of two classifiers is correct on each photo.
    classes : array of shape (n,), optional
        The class of each photo: the score is then the balanced accuracy, otherwise it is the accuracy.

    Notes
    -----
    A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24 (2005): half a photo is added to each cell of the table. With weights, such an added photo weighs as
    much as one of the n photos that would estimate the score as precisely without weights.
    """
    weights, differences = _weights(before, classes), after.astype(float) - before.astype(float)
    middle, error = _corrected_gain(differences, weights)
    half = float(scipy.stats.norm.ppf(0.5 + confidence / 2)) * error
    return float(weights @ differences), max(-1.0, middle - half), min(1.0, middle + half)


def _weights(photos: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    return np.full(len(photos), 1 / len(photos)) if classes is None else class_weights(classes)


def _corrected_gain(differences: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return middle and standard error of the interval of `paired_gain`; weights have the sum 1."""
    added = float(np.square(weights).sum())  # the weight of each of two added photos, one of them a difference
    total = 1 + 2 * added
    middle = float(weights @ differences) / total
    spread = np.square(weights) @ np.square(differences) + added**2 - middle**2 * (added + 2 * added**2)
    return middle, float(np.sqrt(spread)) / total


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

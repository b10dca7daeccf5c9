"""Two heads judged the same photos: is one of them better, and by how much?"""

import numpy as np
from scipy.stats import binomtest, norm


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """Two-sided p-value of McNemar's exact test. one, other: bool (n,), whether each photo was told right.

    Only photos that one of the two got right and the other did not say anything; were both equally good, each would
    fall to either side like a coin. Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12 (1947).
    """
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


def gain(less: np.ndarray, more: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """How much larger a share of the photos `more` got right than `less`: (gain, low, high). Both bool (n,).

    The interval is Agresti and Min's, half a photo added to each cell of the table: A. Agresti and Y. Min, "Simple
    improved confidence intervals for comparing matched proportions", Statistics in Medicine 24 (2005).
    """
    wins, losses, photos = int((more & ~less).sum()), int((less & ~more).sum()), len(less)
    middle = (wins - losses) / (photos + 2)
    spread = np.sqrt((wins + losses + 1) / (photos + 2) - middle**2) / np.sqrt(photos + 2)
    half = float(norm.ppf(0.5 + confidence / 2)) * float(spread)
    return (wins - losses) / photos, max(-1.0, middle - half), min(1.0, middle + half)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction for the number of tests: float (m,) → float (m,), in the order given.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected

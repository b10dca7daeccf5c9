"""Does something other than the subject give the class away, and did the network live on it?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from helpers.firmness import wilson
from helpers.trust.alone import ONE_THREAD, Cloud, Ranked, Units, orders, standardised, units, westfall_young
from helpers.trust.properties import BACKGROUND, FILE_PROPERTIES

ALPHA = 0.05
#: With thousands of photos differences are significant that carry no score. Flagged is only what tells at least a fifth
#: more photos right than guessing (0.60 for two classes: half a standard deviation) and at least three photos in a
#: hundred (a single class out of 30 that gives itself away).
TIMES, MORE = 1.2, 0.03
#: The network leans on what costs it at least this much accuracy where it misleads.
COST = 0.05
PERMUTATIONS = 999
PLANTED = 100  # shifts of one standard deviation, to see how many would be found
TOGETHER = "all simple properties together"


@dataclass(frozen=True)
class Shortcuts:
    """What each property alone tells of the class.

    `table`: one row a property, the strongest first: property, balanced_accuracy (out of fold), p_value, p_corrected,
    seen_by_network, flagged; NaN where the property is the same for all photos, so that there is nothing to test.
    `power`: share of planted shifts of one standard deviation that were found. `photos`: how many counted; `dropped`:
    classes too small to test → how many photos they have.
    """

    table: pd.DataFrame
    power: float
    chance: float
    photos: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class Price:
    """What the shortcuts are worth, beside what the network scores on the same photos and folds.

    Balanced accuracies: `properties` of all simple properties that the network can see together, `background` of the
    background alone (None without it), `network`. `accuracy`: the network's share of right photos.

    `misled`: one row a flagged property, and one for all simple ones together (property TOGETHER): property,
    seen_by_network; photos where it points to a wrong class, right: the network's right ones among them, their share
    accuracy with its 95 % Wilson interval low, high (NaN where there are none); cost: what the network scores on all
    photos less that share; leans: whether the cost is at least COST and more than chance (binomial test, corrected
    for the number of rows).
    """

    properties: float
    background: float | None
    network: float
    accuracy: float
    chance: float
    misled: pd.DataFrame


@ONE_THREAD
def test_properties(
    properties: pd.DataFrame,
    labels: Sequence[str],
    groups: Sequence[int],
    seed: int,
    background: np.ndarray | None = None,
    permutations: int = PERMUTATIONS,
) -> Shortcuts:
    """Try each property alone: are the classes told apart by it better than by chance?

    properties: one row a photo, numbers (NaN allowed) or text. labels, groups: class and near-duplicate group of each
    photo; of each group the first photo counts. background: float (n, d), features of the photos with their centre
    blanked, tried as one more property. The p-values ask how often exchanged labels do as well, measured by the mean
    probability given to the true class, which wastes less than counting hits; corrected for all properties tried.
    Raises ValueError if fewer than two classes have two different photos.
    """
    photos = units(labels, groups, seed)
    tried = {name: Ranked(properties[name].iloc[photos.rows], photos) for name in properties}
    if background is not None:
        tried[BACKGROUND] = Cloud(background[photos.rows], photos)
    table = pd.DataFrame(
        {"property": list(tried), "balanced_accuracy": np.nan, "p_value": np.nan, "p_corrected": np.nan}
    )
    table["seen_by_network"] = ~table["property"].isin(list(FILE_PROPERTIES))
    table["flagged"] = False
    varying = [name for name, test in tried.items() if not test.constant]
    power = 0.0
    if varying:
        exchanged = orders(len(photos.rows), permutations, seed)
        probability = np.stack([tried[name].statistics(exchanged) for name in varying])
        p_value, p_corrected = westfall_young(probability)
        rows = table["property"].isin(varying)
        table.loc[rows, "balanced_accuracy"] = [photos.balanced(tried[name].right()) for name in varying]
        table.loc[rows, "p_value"] = p_value
        table.loc[rows, "p_corrected"] = p_corrected
        enough = max(TIMES * photos.chance, photos.chance + MORE)
        table["flagged"] = (table["p_corrected"] < ALPHA) & (table["balanced_accuracy"] >= enough)
        power = _power(photos, probability, exchanged, seed)
    table = table.sort_values(["flagged", "balanced_accuracy"], ascending=False, kind="stable").reset_index(drop=True)
    return Shortcuts(table, power, photos.chance, len(photos.rows), photos.dropped)


def _power(photos: Units, probability: np.ndarray, exchanged: np.ndarray, seed: int) -> float:
    """Share of planted shifts found as one more property. probability: float (properties, 1 + permutations).

    Normal noise whose means are equally spaced by class, with a standard deviation of 1/2: two classes lie 1 apart.
    """
    chance = np.random.default_rng(seed)
    means = np.linspace(-1, 1, len(photos.classes))
    means /= 2 * means.std()
    noise = Ranked(pd.Series(chance.standard_normal(len(photos.rows))), photos).statistics(exchanged)
    highest = standardised(np.vstack([probability, noise]))[:, 1:].max(axis=0)
    needed = noise.mean() + noise.std() * np.quantile(highest, 1 - ALPHA)
    shifts = chance.standard_normal((PLANTED, len(photos.rows)))
    shifts += np.stack([chance.permutation(means)[photos.labels] for _ in range(PLANTED)])
    return float(np.mean([Ranked(pd.Series(s), photos).statistics(exchanged[:1])[0] > needed for s in shifts]))


@ONE_THREAD
def price(
    found: Shortcuts,
    properties: pd.DataFrame,
    features: np.ndarray,
    labels: Sequence[str],
    groups: Sequence[int],
    seed: int,
    background: np.ndarray | None = None,
) -> Price:
    """What the network would score without the subject, and what it scores where a shortcut misleads.

    features: float (n, d), what the head learns from; the other arguments as for `test_properties`, whose result
    `found` is. All on the same photos and folds, with ridge regression on top (as good as logistic regression on the
    reference sets, at a twentieth of the time); for the simple properties with their squares and products.
    """
    photos = units(labels, groups, seed)

    def out_of_fold(values: np.ndarray, *first: Any) -> np.ndarray:
        model = ridge(10.0 if first else 2.0 * len(values), *first)  # many features need more
        return cross_val_predict(model, values[photos.rows], photos.labels, cv=PredefinedSplit(photos.folds))

    simple = [name for name in properties if name not in FILE_PROPERTIES]
    values = properties[simple].to_numpy(dtype=float)
    together = out_of_fold(values, StandardScaler(), PolynomialFeatures(2, include_bias=False))
    network = out_of_fold(features)
    behind = None if background is None else out_of_fold(background)
    misleads = {TOGETHER: together != photos.labels}
    for name in found.table.loc[found.table["flagged"], "property"]:
        if name == BACKGROUND:
            misleads[name] = behind != photos.labels
        else:
            misleads[name] = Ranked(properties[name].iloc[photos.rows], photos).right() == 0
    right = network == photos.labels
    balanced = (
        None if guess is None else float(balanced_accuracy_score(photos.labels, guess))
        for guess in (together, behind, network)
    )
    return Price(*balanced, float(right.mean()), photos.chance, _misled(misleads, right))


def ridge(alpha: float, *first: Any) -> Pipeline:
    """Ridge regression of the classes on standardised values, a photo of a small class counting for more."""
    return make_pipeline(*first, StandardScaler(), RidgeClassifier(alpha, class_weight="balanced"))


def _misled(misleads: dict[str, np.ndarray], right: np.ndarray) -> pd.DataFrame:
    rows = []
    for name, where in misleads.items():
        of, hits = int(where.sum()), int(right[where].sum())
        low, high = wilson(hits, of) or (np.nan, np.nan)
        share = hits / of if of else np.nan
        cost = right.mean() - share
        worse = of and binomtest(hits, of, right.mean(), alternative="less").pvalue < ALPHA / len(misleads)
        rows.append((name, name not in FILE_PROPERTIES, of, hits, share, low, high, cost, bool(cost >= COST and worse)))
    columns = ["property", "seen_by_network", "photos", "right", "accuracy", "low", "high", "cost", "leans"]
    return pd.DataFrame(rows, columns=columns)


def metrics(found: Shortcuts) -> list[dict[str, Any]]:
    """The tested properties for metrics.json, the strongest first."""
    return found.table.dropna(subset="p_value").to_dict("records")

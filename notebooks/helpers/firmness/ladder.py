"""What is the simplest thing on top of these features that does as well as the best?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from helpers.firmness.cross_validation import CrossValidation
from helpers.firmness.folds import Folds
from helpers.firmness.intervals import wilson
from helpers.firmness.paired import gain, holm, mcnemar
from helpers.firmness.trainings import BuildHead, FitHead, Trainings, out_of_fold
from helpers.progress import progress

DENSE = ((256,), (256, 128), (256, 128, 64), (256, 128, 64, 32))
MAJORITY, NEAREST, LOGISTIC = "always the largest class", "nearest class mean", "logistic regression"
STRENGTHS = (1e-3, 1e-2, 1e-1)  # C of the logistic regression: on standardised features more or less never helps
INNER_FOLDS = 3
ALPHA = 0.05


@dataclass(frozen=True)
class Ladder:
    """The rungs from simple to complex, all judged on the same photos; near-duplicates count once.

    `table`: one row a rung: rung, photos, right, accuracy, its 95 % Wilson interval low, high; p_value (McNemar's
    exact test against the best rung), p_corrected (Holm, for all pairs of rungs: which is the best is only known
    afterwards), alike (p_corrected ≥ ALPHA: not distinguishable from the best), configured (the head of the
    notebook). `best`, `simplest`: names of rungs, simplest the first that is alike. `watched_too`: how much larger a
    share logistic regression tells right if it also learns from the photos that the heads only watch: gain, low, high.
    """

    table: pd.DataFrame
    best: str
    simplest: str
    watched_too: tuple[float, float, float]


def climb(
    dealt: Folds | None,
    features: np.ndarray,
    build_head: BuildHead,
    fit_head: FitHead,
    hidden: Sequence[int],
    configured: CrossValidation | None,
    seed: int,
) -> Ladder | None:
    """Judge every rung on the folds of the first repeat; None where cross-validation is off.

    features: float32 (N, d) or (views, N, d), as for `out_of_fold`; the simple methods learn from the first view alone.
    hidden: units of the notebook's own head, whose cross-validation `configured` is taken over. All rungs learn from
    the same photos. What setting aside others, to know when to stop, costs a head is told by logistic regression, which
    needs none: it is fitted once more on both.
    """
    if dealt is None or configured is None:
        return None
    simple = {MAJORITY: _majority, NEAREST: _nearest, LOGISTIC: _logistic}
    heads = rungs(hidden)
    others = [units for units in heads if units != tuple(hidden)]
    right = {}
    with progress("Simpler and deeper heads", (len(simple) + 1 + len(others)) * dealt.count, unit="training") as bar:
        for name, fit in simple.items():
            right[name] = _judge(dealt, features, fit, bar)
        watched_too = gain(right[LOGISTIC], _judge(dealt, features, _logistic, bar, watched=True))
        for units in heads:
            if units == tuple(hidden):
                right[named(units)] = configured.right[0]
                continue
            trainings = Trainings(build_head, fit_head, features.shape[-1], len(dealt.classes), list(units))
            predicted = out_of_fold(dealt, features, trainings, list(dealt.first()), seed, bar)[0]
            right[named(units)] = dealt.right(predicted)
    return compare(right, named(hidden), watched_too)


def rungs(hidden: Sequence[int]) -> list[tuple[int, ...]]:
    """The heads to compare, by depth: DENSE, with `hidden` in the place of the one that is as deep as it."""
    return sorted({len(units): tuple(units) for units in (*DENSE, hidden)}.values(), key=len)


def named(units: Sequence[int]) -> str:
    """What a head with these Dense layers is called."""
    if not units:
        return "head without Dense layers"
    return f"{len(units)} Dense layer{'s' * (len(units) > 1)}: {', '.join(map(str, units))}"


def compare(right: dict[str, np.ndarray], configured: str, watched_too: tuple[float, float, float]) -> Ladder:
    """The ladder of these rungs, from simple to complex: name → bool (n,), whether each photo was told right."""
    names = list(right)
    counts = {name: int(right[name].sum()) for name in names}
    best = max(names, key=counts.get)  # of several the first, which is the simplest
    pairs = list(combinations(names, 2))
    p_values = np.array([mcnemar(right[one], right[other]) for one, other in pairs])
    corrected = dict(zip(pairs, holm(p_values), strict=True))
    raw = dict(zip(pairs, p_values, strict=True))
    rows = []
    for name in names:
        pair = next((pair for pair in ((name, best), (best, name)) if pair in raw), None)
        of = len(right[name])
        p_value, p_corrected = (raw[pair], corrected[pair]) if pair else (1.0, 1.0)
        alike = bool(p_corrected >= ALPHA)
        rows.append((name, of, counts[name], counts[name] / of, *wilson(counts[name], of), p_value, p_corrected, alike))
    columns = ["rung", "photos", "right", "accuracy", "low", "high", "p_value", "p_corrected", "alike"]
    table = pd.DataFrame(rows, columns=columns)
    table["configured"] = table["rung"] == configured
    return Ladder(table, best, table.loc[table["alike"], "rung"].iloc[0], watched_too)


Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _judge(dealt: Folds, features: np.ndarray, fit: Fit, bar: Any, watched: bool = False) -> np.ndarray:
    """Out of fold with fit(x, y, groups, x to judge) → int (k,); returns bool (n,), the photos that count."""
    plain = features.reshape(-1, *features.shape[-2:])[0]
    x, predicted = plain[dealt.rows], np.full(len(dealt.rows), -1)
    with threadpool_limits(1, user_api="blas"):  # many small matrices: threads would wait for each other
        for part in dealt.first():
            side = np.sort(np.concatenate([part.train, part.watched])) if watched else part.train
            predicted[part.judged] = fit(x[side], dealt.labels[side], dealt.groups[side], x[part.judged])
            bar.update()
    return dealt.right(predicted)


def _majority(x: np.ndarray, y: np.ndarray, groups: np.ndarray, judged: np.ndarray) -> np.ndarray:
    return DummyClassifier(strategy="most_frequent").fit(x, y).predict(judged)


def _nearest(x: np.ndarray, y: np.ndarray, groups: np.ndarray, judged: np.ndarray) -> np.ndarray:
    return make_pipeline(StandardScaler(), NearestCentroid()).fit(x, y).predict(judged)


def _logistic(x: np.ndarray, y: np.ndarray, groups: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Logistic regression, classes balanced as for the heads, its strength chosen on the training side alone."""
    fewest = np.unique(y[~pd.Series(groups).duplicated()], return_counts=True)[1].min()
    inner = StratifiedGroupKFold(min(INNER_FOLDS, fewest), shuffle=True, random_state=0)
    losses = np.zeros(len(STRENGTHS))
    for train, watched in inner.split(x, y, groups):
        for place, model in enumerate(_regressions(x[train], y[train])):
            losses[place] += log_loss(y[watched], model.predict_proba(x[watched]), labels=model.classes_)
    [model] = _regressions(x, y, STRENGTHS[losses.argmin() : losses.argmin() + 1])
    return model.predict(judged)


def _regressions(x: np.ndarray, y: np.ndarray, strengths: Sequence[float] = STRENGTHS) -> Iterator[Pipeline]:
    """One fitted pipeline for each strength, rising; each begins where the one before it ended."""
    # With fewer photos than features only as many directions matter as there are photos. Rotating onto them changes
    # neither the L2 penalty nor, therefore, what is predicted, and it halves the time.
    prepare = make_pipeline(StandardScaler(), PCA(random_state=0))
    rotated = prepare.fit_transform(x)
    model = LogisticRegression(class_weight="balanced", warm_start=True, max_iter=1000)
    for strength in strengths:
        yield make_pipeline(prepare, model.set_params(C=strength).fit(rotated, y))


def in_words(found: Ladder | None) -> str:
    """The simplest rung that does as well as the best, as far as these photos tell, and where the notebook's stands."""
    if found is None:
        return ""
    table = found.table.set_index("rung")
    best, simplest = table.loc[found.best], table.loc[found.simplest]
    said = [f"The best of them is {found.best}: {best['accuracy']:.2f} of {best['photos']} photos told right."]
    if found.simplest == found.best:
        said.append("Everything simpler does worse, by more than chance.")
    else:
        said.append(
            f"The simplest whose score is not distinguishable from it is {found.simplest}: {simplest['accuracy']:.2f} "
            f"(p = {simplest['p_corrected']:.2f}, corrected for the number of comparisons)."
        )
    yours = table[table["configured"]].iloc[0]
    if not yours["alike"]:
        said.append(f"The configured head, {yours.name}, does worse than the best: {yours['accuracy']:.2f}.")
    more, low, high = found.watched_too
    logistic = table.loc[LOGISTIC, "accuracy"]
    said.append(
        "All learn from the same photos, the validation photos kept out: they tell a head when to stop. "
        f"Logistic regression needs none: learning from those too it tells {logistic + more:.2f} right ({more:+.3f}, "
        f"95 % interval {low:+.3f} to {high:+.3f})."
    )
    return " ".join(said)

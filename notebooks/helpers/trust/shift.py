"""Do the photos of validation and test come from the same world as those of training?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.extmath import randomized_svd

from helpers.trust.alone import ONE_THREAD

ALPHA = 0.05
FOUND, NOTHING, CANNOT_TELL = "found", "nothing found", "cannot tell"
PERMUTATIONS = 499
COMPONENTS = 128  # of the features: fewer miss a zoom or other brightness, more find no more
#: Called a shift from this AUC on: of two photos, one of each split, the right one is picked 6 times out of 10.
MATERIAL = 0.6
#: Where chance alone can reach this AUC, a shift of half a standard deviation could pass unseen.
UNSEEN = 0.65


@dataclass(frozen=True)
class Shift:
    """How well the training photos can be told from those of the other splits, within each class.

    `table`: one row a split: split; auc: of two photos of one class, one of each split, how often the right one is
    picked, 0.5 is the same world; low, high: where 95 % of the values lie if photos are dealt to the splits at
    random; p_value and p_corrected (for the number of splits); photos of the split and train photos compared;
    set_aside: photos of the split not compared, because they are copies of others or no other photo of their class is
    in train; state: "found", "nothing found" or "cannot tell". NaN where nothing could be compared.
    `scores`: one column a split, row for row with the photos: how sure the classifier that did not see the photo is
    that it belongs to that split rather than train; NaN where it was not compared.
    """

    table: pd.DataFrame
    scores: pd.DataFrame


@ONE_THREAD
def test_shift(
    features: np.ndarray,
    photos: pd.DataFrame,
    seed: int,
    leaked: np.ndarray | None = None,
    permutations: int = PERMUTATIONS,
) -> Shift:
    """Can a classifier on the features tell train from val, and train from test, within a class?

    features: float (n, d), row for row with photos (columns label, split, group). leaked: bool (n,), photos known to
    be copies of one in another split. They and whole groups of near-duplicates that lie on both sides are set aside:
    a copy in train makes its twin look like training, which hides a shift (AUC below 0.5). Of each other group the
    first photo counts.
    """
    known = np.zeros(len(photos), dtype=bool) if leaked is None else np.asarray(leaked, dtype=bool)
    chance = np.random.default_rng(seed)
    splits = [name for name in ("val", "test") if (photos["split"] == name).any()]
    table = pd.DataFrame(np.nan, index=pd.Index(splits, name="split"), columns=["auc", "low", "high", "p_value"])
    scores = pd.DataFrame(np.nan, index=photos.index, columns=splits)
    for split in splits:
        places = _comparable(photos, split, known)
        other = photos["split"].to_numpy()[places] == split
        counts = (other.sum(), (~other).sum(), (photos["split"] == split).sum() - other.sum())
        table.loc[split, ["photos", "train", "set_aside"]] = counts
        if len(places):
            labels = pd.factorize(photos["label"].iloc[places])[0]
            aucs, score = _told_apart(features[places], labels, other, permutations, chance)
            scores.iloc[places, splits.index(split)] = score
            low, high = np.quantile(aucs[1:], (0.025, 0.975))
            table.loc[split, ["auc", "low", "high", "p_value"]] = aucs[0], low, high, (aucs >= aucs[0] - 1e-9).mean()
    table["p_corrected"] = (table["p_value"] * len(splits)).clip(upper=1)  # Bonferroni
    table["state"] = [_state(row) for row in table.itertuples()]
    whole = {name: int for name in ("photos", "train", "set_aside") if name in table}
    return Shift(table.astype(whole).reset_index(), scores)


def extremes(found: Shift, photos: pd.DataFrame, split: str, count: int = 6) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The photos of `split` that look least like training, and the training photos that look least like `split`."""
    ranked = photos.assign(score=found.scores[split]).dropna(subset="score").sort_values("score", kind="stable")
    is_split = ranked["split"] == split
    return ranked[is_split].iloc[::-1].head(count), ranked[~is_split].head(count)


def metrics(found: Shift) -> dict[str, float | None]:
    """val_auc and test_auc for metrics.json; None where nothing could be compared."""
    known = found.table.set_index("split")["auc"].dropna()
    return {f"{split}_auc": float(known[split]) if split in known else None for split in ("val", "test")}


def _state(row: Any) -> str:
    if row.p_corrected < ALPHA and row.auc >= MATERIAL:
        return FOUND
    return NOTHING if row.high <= UNSEEN else CANNOT_TELL


def _comparable(photos: pd.DataFrame, split: str, leaked: np.ndarray) -> np.ndarray:
    """Places of the photos of train and `split` to compare, int (n,), ordered by class; empty if there are none."""
    pair = photos[["label", "split", "group"]].reset_index(drop=True)
    pair = pair[pair["split"].isin(["train", split]) & ~leaked]
    straddles = pair.groupby("group")["split"].transform("nunique") > 1
    pair = pair[~straddles]
    pair = pair[~pair["group"].duplicated()]
    both = pair.groupby("label")["split"].transform("nunique") > 1
    return pair[both].sort_values("label", kind="stable").index.to_numpy()


def _told_apart(
    features: np.ndarray, labels: np.ndarray, other: np.ndarray, permutations: int, chance: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """AUC as observed and with the splits exchanged within each class, (1 + permutations,), and the scores (n,).

    features: float (n, d); labels: int (n,), ascending from 0; other: bool (n,), whether the photo is of the split.
    """
    exchanged = np.tile(other[:, None], 1 + permutations)
    for block in np.split(exchanged[:, 1:], np.flatnonzero(np.diff(labels)) + 1):
        chance.permuted(block, axis=0, out=block)
    scores = _left_out(features, exchanged, labels)
    return _auc(scores, exchanged, labels), scores[:, 0]


def _left_out(features: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What ridge regression within classes, on all other photos, predicts for each photo: float (n, p) for p targets.

    Features less their class mean, an intercept for each class, and no fit for each photo left out or each target:
    the hat matrix H of the centred features depends on neither, and without photo i of a class of m the prediction
    is (H y − h y) / (1 − h), h = H[i, i] m / (m − 1) and y less its class mean (Hastie, Tibshirani and Friedman, "The
    Elements of Statistical Learning", 2nd edition, section 7.10; m / (m − 1) because the means move as well).
    """
    centred, y = _less_class_mean(features, labels), _less_class_mean(targets, labels)
    u, d, _ = randomized_svd(centred, min(COMPONENTS, *centred.shape), random_state=0)
    shrunk = u * (d**2 / (d**2 + (d**2).mean() + 1e-12))
    members = np.bincount(labels)[labels]
    leverage = ((shrunk * u).sum(axis=1) * members / (members - 1))[:, None]
    return (shrunk @ (u.T @ y) - leverage * y) / (1 - leverage)


def _less_class_mean(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    sums = np.add.reduceat(values, starts, axis=0, dtype=np.float32)
    return values.astype(np.float32) - (sums / np.bincount(labels)[:, None]).astype(np.float32)[labels]


def _auc(scores: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of all pairs of one class, one photo with and one without the target: the share ranked right, float (p,).

    The Mann–Whitney statistic of each class, added up. Ties do not occur among real features.
    """
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    order = np.lexsort((scores, np.broadcast_to(labels[:, None], scores.shape)), axis=0)
    hits = np.take_along_axis(targets, order, axis=0)
    rank = np.arange(len(labels)) - starts[labels] + 1  # within the class
    positives = np.add.reduceat(hits, starts, axis=0, dtype=np.int64)
    right = np.add.reduceat(hits * rank[:, None], starts, axis=0) - positives * (positives + 1) // 2
    return right.sum(axis=0) / (positives * (sizes[:, None] - positives)).sum(axis=0)

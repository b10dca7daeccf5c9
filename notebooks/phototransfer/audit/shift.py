"""Shift: differences between validation or test photos and training photos of the same class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import gammaln
from scipy.stats import rankdata
from sklearn.utils.extmath import randomized_svd

from phototransfer.audit.permutation import CANNOT_TELL, FOUND, NOTHING_FOUND, TOO_FEW, one_blas_thread
from phototransfer.console import short_name
from phototransfer.report import Result, Skipped
from phototransfer.style import BLUE, VERMILLION, photo_grid

if TYPE_CHECKING:
    from phototransfer.network.features import Features

_ALPHA = 0.05
_PERMUTATIONS = 499
_COMPONENTS = 128  # of the features: fewer miss a zoom or another brightness, more find no more
#: A difference is a shift from this AUC on: of two photos, one per split, the correct one is picked 6 of 10 times.
_MATERIAL_AUC = 0.6
#: If random splits reach this AUC, a shift of half a standard deviation could be missed.
_MISSED_AUC = 0.65
_TOO_SIMILAR = 0.995  # p-value above which a split is more similar to training than a random one
#: With fewer ways to split the photos at random, chance alone gives any p-value that would be reported.
_MIN_RANDOM_SPLITS = 2 / (1 - _TOO_SIMILAR)
_SPLITS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Shift(Result):
    """How well a classifier distinguishes the photos of a split from training photos of the same class.

    Attributes
    ----------
    table : DataFrame
        One row per split: split, auc, low and high (of 95 % of random splits), p_value, p_corrected (for the number of
        splits), photos (that were compared), set_aside (that were not), state (FOUND, NOTHING_FOUND or CANNOT_TELL),
        same_features (whether the network gives most photos the same features, so that no test is possible).
    scores : DataFrame
        One column per split: how strongly the classifier, not trained on a photo, assigns it to that split.
    """

    name = "shift"
    table: pd.DataFrame
    scores: pd.DataFrame
    photos: pd.DataFrame

    @property
    def state(self) -> str:
        """The most serious state of the splits."""
        return min(self.table["state"], key=[FOUND, CANNOT_TELL, NOTHING_FOUND].index, default=CANNOT_TELL)

    @property
    def _different(self) -> str:
        return " and ".join(self.table.loc[self.table["state"] == FOUND, "split"].map(_SPLITS))

    def verdict_line(self) -> str:
        """Return the result in a few words."""
        if self.state == FOUND:
            return f"found: {self._different} photos differ from training photos"
        if self.state == CANNOT_TELL and self.table["same_features"].any():
            return "cannot tell, the network gives most photos the same features"
        return TOO_FEW if self.state == CANNOT_TELL else self.state

    def summary(self) -> str:
        if self.table.empty:
            return "Cannot tell: there are only training photos."
        lines = []
        for row in self.table.itertuples():
            line = f"{_SPLITS[row.split].capitalize()} photos: "
            if row.state == NOTHING_FOUND:
                line += "no difference from training photos of the same class was found."
            if row.same_features:
                line += "cannot tell. The network gives most of them the same features as other photos."
            elif row.state == CANNOT_TELL:
                line += f"cannot tell. Only {row.photos} could be compared with training photos of the same class"
                line += f", {row.set_aside} not: near-duplicates, or no others to compare." if row.set_aside else "."
            if row.state == FOUND:
                line += (
                    f"different from training photos of the same class (a classifier has AUC {row.auc:.2f}). The score "
                )
                line += "describes photos like these; training on more of them would probably raise it."
            if row.p_value > _TOO_SIMILAR:
                line += " They resemble training photos more than in a random split: look for duplicates."
            lines.append(line)
        return "\n".join(lines)

    def advice(self) -> list[str]:
        if self.state != FOUND:
            return []
        return [
            f"The {self._different} photos differ from the training photos: if new photos can resemble both, "
            "put all photos into one folder per class and let TEST_SPLIT and VALIDATION_SPLIT split them."
        ]

    def plot(self) -> Figure | None:
        """Return the AUC of each split, over the range of 95 % of random splits."""
        table = self.table.dropna(subset="auc").iloc[::-1]
        if table.empty:
            return None
        figure, axis = plt.subplots(figsize=(7.5, 1.5 + 0.55 * len(table)))
        rows = range(len(table))
        axis.hlines(rows, table["low"], table["high"], "lightgrey", linewidth=9, label="95 % of random splits")
        axis.axvline(0.5, color="black", linestyle=":", linewidth=1.2, label="no difference")
        for place, row in enumerate(table.itertuples()):
            colour, marker = (VERMILLION, "D") if row.state == FOUND else (BLUE, "o")
            axis.plot(row.auc, place, marker, color=colour, markersize=8, clip_on=False)
            text = f"{row.auc:.2f}: {row.state}"
            axis.text(1.03, place, text, transform=axis.get_yaxis_transform(), va="center", fontsize=9)
        axis.set_yticks(rows, [f"{_SPLITS[row.split]} ({row.photos})" for row in table.itertuples()])
        axis.set(xlim=(0, 1), ylim=(-0.6, len(table) - 0.4), xlabel="AUC")
        axis.set_title("Distinguished from training photos of the same class")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return figure

    def to_dict(self) -> dict[str, Any]:
        table = self.table.set_index("split").reindex(list(_SPLITS)).astype(object)
        numbers: dict[str, Any] = {}
        for split, row in table.where(table.notna(), None).iterrows():
            numbers |= {f"{split}_auc": row["auc"], f"{split}_state": row["state"]}
        return numbers


@dataclass(frozen=True)
class ShiftExamples(Result):
    """The photos of a split that look least like training photos, and the training photos least like that split."""

    name = "shift_examples"
    split: str
    from_split: pd.DataFrame
    from_train: pd.DataFrame

    def summary(self) -> str:
        name = _SPLITS[self.split]
        return f"The {name} photos least like training photos; below, the training photos least like {name} photos."

    def plot(self) -> Figure:
        """Return the photos in two rows."""
        shown = pd.concat([self.from_split, self.from_train])
        titles = [f"{row.split}\n{short_name(row.label)}" for row in shown.itertuples()]
        return photo_grid(list(shown["path"]), titles, columns=len(self.from_split))

    def to_dict(self) -> dict[str, Any]:
        return {"split": list(self.from_split["original"]), "train": list(self.from_train["original"])}


def check_shift(photos: pd.DataFrame, features: "Features", settings: Mapping[str, Any]) -> Shift | Skipped:
    """Test whether a classifier on the features distinguishes training photos from those of the other splits.

    Within each class, against random splits. Photos with a duplicate on the training side and groups in both splits
    are set aside: they look like training photos, which hides a shift. Of each other group the first photo counts.
    """
    if not settings["CHECKS"]:
        return Skipped(Shift.name, "Not checked (CHECKS = False).")
    rng = np.random.default_rng(settings["SEED"])
    splits = [name for name in _SPLITS if name in set(photos["split"])]
    scores = pd.DataFrame(np.nan, index=photos.index, columns=splits)
    rows = []
    for column, split in enumerate(splits):
        places = _comparable(photos, split)
        in_split = photos["split"].to_numpy()[places] == split
        row = {"split": split, "photos": in_split.sum(), "same_features": _same_features(features.plain[places])}
        labels = pd.factorize(photos["label"].iloc[places])[0]
        if _log_random_splits(labels, in_split) >= np.log(_MIN_RANDOM_SPLITS) and not row["same_features"]:
            with one_blas_thread():
                aucs, scores.iloc[places, column] = _distinguish(features.plain[places], labels, in_split, rng)
            low, high = np.quantile(aucs[1:], (0.025, 0.975))
            row |= {"auc": aucs[0], "low": low, "high": high, "p_value": (aucs >= aucs[0] - 1e-9).mean()}
        rows.append(row)
    table = pd.DataFrame(rows, columns=["split", "auc", "low", "high", "p_value", "photos", "same_features"])
    table["p_corrected"] = (table["p_value"] * len(splits)).clip(upper=1)  # Bonferroni
    table["set_aside"] = table["split"].map(photos["split"].value_counts()) - table["photos"]
    is_shift = (table["p_corrected"] < _ALPHA) & (table["auc"] >= _MATERIAL_AUC)
    table["state"] = np.select([is_shift, table["high"] <= _MISSED_AUC], [FOUND, NOTHING_FOUND], CANNOT_TELL)
    return Shift(table, scores, photos)


def shift_examples(shift: Shift | Skipped, split: str = "test", count: int = 6) -> ShiftExamples | Skipped:
    """Return the most different photos of a split and of training, if a shift was found there."""
    if isinstance(shift, Skipped) or not shift.table.query("split == @split and state == @FOUND").size:
        return Skipped(ShiftExamples.name, "")
    ranked = shift.photos.assign(score=shift.scores[split]).dropna(subset="score").sort_values("score", kind="stable")
    in_split = ranked["split"] == split
    count = min(count, in_split.sum(), (~in_split).sum())
    return ShiftExamples(split, ranked[in_split].iloc[::-1].head(count), ranked[~in_split].head(count))


def _comparable(photos: pd.DataFrame, split: str) -> np.ndarray:
    """Return the places of the photos of train and `split` to compare, int (n,), ordered by class."""
    pair = photos[["label", "split", "group"]].reset_index(drop=True)
    pair = pair[pair["split"].isin(["train", split]) & (photos["duplicate_of"] == "").to_numpy()]
    pair = pair[pair.groupby("group")["split"].transform("nunique") == 1].drop_duplicates("group")
    in_both = pair.groupby("label")["split"].transform("nunique") == 2
    return pair[in_both].sort_values("label", kind="stable").index.to_numpy()


def _log_random_splits(labels: np.ndarray, in_split: np.ndarray) -> float:
    """Return in how many ways the photos of each class can be assigned to train and the split: a logarithm."""
    photos, chosen = np.bincount(labels), np.bincount(labels, in_split)
    return float((gammaln(photos + 1) - gammaln(chosen + 1) - gammaln(photos - chosen + 1)).sum())


def _same_features(features: np.ndarray) -> bool:
    """Return whether most photos have the features of another one; float (n, d)."""
    return len(features) > 2 * len(pd.DataFrame(features).drop_duplicates())


def _distinguish(
    features: np.ndarray, labels: np.ndarray, in_split: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUC as observed and for random splits within each class, (1 + permutations,), and the scores, (n,).

    features: float (n, d); labels: int (n,), ascending from 0; in_split: bool (n,).
    """
    targets = np.tile(in_split[:, None], 1 + _PERMUTATIONS)
    for block in np.split(targets[:, 1:], np.flatnonzero(np.diff(labels)) + 1):
        rng.permuted(block, axis=0, out=block)
    scores = _leave_one_out(features, targets, labels)
    return _auc(scores, targets, labels), scores[:, 0]


def _leave_one_out(features: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the predictions of ridge regression within classes for each photo left out: float (n, p) for p targets.

    One hat matrix H of the features less their class means is enough. Without photo i of a class of m photos the
    prediction is (H y − h y) / (1 − h), with h = H[i, i] m / (m − 1) and y less its class mean (T. Hastie,
    R. Tibshirani and J. Friedman, "The Elements of Statistical Learning", 2nd edition, section 7.10; m / (m − 1)
    because the class means move as well).
    """
    centred, y = _less_class_mean(features, labels), _less_class_mean(targets, labels)
    u, d, _ = randomized_svd(centred, min(_COMPONENTS, *centred.shape), random_state=0)
    shrunk = u * (d**2 / (d**2 + (d**2).mean() + 1e-12))
    members = np.bincount(labels)[labels]
    leverage = ((shrunk * u).sum(axis=1) * members / (members - 1))[:, None]
    return (shrunk @ (u.T @ y) - leverage * y) / (1 - leverage)


def _less_class_mean(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    table = pd.DataFrame(values.astype(np.float32))
    return (table - table.groupby(labels).transform("mean")).to_numpy()


def _auc(scores: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of pairs of one class that are ranked correctly, (p,): the Mann–Whitney statistic."""
    correct = pairs = np.zeros(targets.shape[1])
    for members in np.split(np.arange(len(labels)), np.flatnonzero(np.diff(labels)) + 1):
        positives = targets[members].sum(axis=0)
        rank_sums = (rankdata(scores[members], axis=0) * targets[members]).sum(axis=0)
        correct = correct + rank_sums - positives * (positives + 1) / 2
        pairs = pairs + positives * (len(members) - positives)
    return correct / pairs

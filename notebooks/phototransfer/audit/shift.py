"""Shift: do validation and test photos differ from training photos of the same class?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.utils.extmath import randomized_svd

from phototransfer.audit.permutation import CANNOT_TELL, FOUND, NOTHING_FOUND, TOO_FEW, one_blas_thread
from phototransfer.console import short_name
from phototransfer.report import Result, Skipped
from phototransfer.style import BLUE, GREY, VERMILLION, show_photo

if TYPE_CHECKING:
    from phototransfer.network.features import Features

_ALPHA = 0.05
_PERMUTATIONS = 499
_COMPONENTS = 128  # of the features: fewer miss a zoom or another brightness, more find no more
#: A difference is called a shift from this AUC on: of two photos, one per split, 6 of 10 times the right one is picked.
_MATERIAL_AUC = 0.6
#: If random splits reach this AUC, a shift of half a standard deviation could be missed.
_MISSED_AUC = 0.65
_TOO_SIMILAR = 0.995  # p-value above which a split is more similar to training than a random one
_SPLITS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Shift(Result):
    """How well a classifier distinguishes the photos of a split from training photos of the same class.

    Attributes
    ----------
    table : DataFrame
        One row per split: split; auc (of two photos of one class, one from each split, how often the right one is
        picked; 0.5 is no difference); low, high (where 95 % of the values are for random splits); p_value;
        p_corrected (for the number of splits); photos and train (photos compared); set_aside (photos of the split
        that are not compared, because they have duplicates elsewhere or no photo of their class is in training);
        state: "found", "nothing found" or "cannot tell". NaN where nothing could be compared.
    scores : DataFrame
        One column per split, row for row with the photos: how strongly the classifier assigns a photo to that split,
        when it was not trained on it; NaN where the photo was not compared.
    photos : DataFrame
        The table of photos.
    """

    name = "shift"
    table: pd.DataFrame
    scores: pd.DataFrame
    photos: pd.DataFrame

    @property
    def state(self) -> str:
        """Return "found" if any split differs, else "cannot tell" if any is too small, else "nothing found"."""
        states = set(self.table["state"])
        return next((state for state in (FOUND, CANNOT_TELL, NOTHING_FOUND) if state in states), CANNOT_TELL)

    def verdict_line(self) -> str:
        """Return the result in a few words."""
        if self.state == FOUND:
            return f"found: {self._names(FOUND)} photos differ from training photos"
        return TOO_FEW if self.state == CANNOT_TELL else self.state

    def summary(self) -> str:
        lines = [self._describe(state) for state in (FOUND, CANNOT_TELL, NOTHING_FOUND)]
        for row in self.table[self.table["p_value"] > _TOO_SIMILAR].itertuples():
            lines.append(
                f"{_SPLITS[row.split].capitalize()} photos are more similar to training photos than in a random split. "
                "That is fine if the splits were balanced on purpose; otherwise look for duplicates."
            )
        return "\n".join(line for line in lines if line) or "Cannot tell: there are only training photos."

    def _names(self, state: str) -> str:
        return " and ".join(_SPLITS[split] for split in self.table.loc[self.table["state"] == state, "split"])

    def _describe(self, state: str) -> str:
        rows = self.table[self.table["state"] == state]
        if rows.empty:
            return ""
        if state == NOTHING_FOUND:
            return f"Nothing found: {self._names(state)} photos look like training photos of the same class."
        if state == CANNOT_TELL:
            counts = " and ".join(f"{row.photos} {_SPLITS[row.split]}" for row in rows.itertuples())
            return f"Cannot tell, too few photos: only {counts} photos could be compared with training photos."
        picked = " and ".join(f"{auc:.0%}" for auc in rows["auc"])
        return (
            f"Found: {self._names(state)} photos look different from training photos of the same class. Of two photos, "
            f"one of each kind, a classifier picks the right one in {picked} of cases; guessing gives 50%. The score "
            "is valid for photos like the test photos, and training on more of those would probably raise it."
        )

    def advice(self) -> list[str]:
        if self.state != FOUND:
            return []
        return [
            f"The {self._names(FOUND)} photos differ from the training photos: if the model will see all these kinds, "
            "put all photos into one folder per class and let TEST_SPLIT and VALIDATION_SPLIT split them."
        ]

    def plot(self) -> Figure | None:
        """Return the AUC of each split, beside the range of 95 % of random splits."""
        table = self.table.dropna(subset="auc").iloc[::-1]
        if table.empty:
            return None
        figure, axis = plt.subplots(figsize=(7.5, 1.5 + 0.55 * len(table)))
        label: str | None = "95 % of random splits"
        for place, row in enumerate(table.itertuples()):
            axis.plot([row.low, row.high], [place, place], color=GREY, linewidth=9, alpha=0.35, label=label)
            found, label = row.state == FOUND, None
            axis.plot(row.auc, place, "D" if found else "o", color=VERMILLION if found else BLUE, markersize=8)
            text = f"{row.auc:.2f}: {row.state}"
            right = max(row.auc, row.high), place
            axis.annotate(text, right, (10, 0), textcoords="offset points", va="center", fontsize=9)
        axis.axvline(0.5, color="black", linestyle=":", linewidth=1.2, label="no difference")
        axis.set_yticks(range(len(table)), [f"{_SPLITS[row.split]} ({row.photos})" for row in table.itertuples()])
        axis.set(ylim=(-0.6, len(table) - 0.4), xlim=(0, 1.3), xticks=np.linspace(0, 1, 6))
        axis.set(title="Distinguished from training photos of the same class", xlabel="AUC")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return figure

    def to_dict(self) -> dict[str, Any]:
        table = self.table.set_index("split")
        numbers: dict[str, Any] = {}
        for split in ("val", "test"):
            known = split in table.index and not np.isnan(table.loc[split, "auc"])
            numbers[f"{split}_auc"] = float(table.loc[split, "auc"]) if known else None
            numbers[f"{split}_state"] = table.loc[split, "state"] if split in table.index else None
        return numbers


@dataclass(frozen=True)
class ShiftExamples(Result):
    """The photos of a split that look least like training photos, and the training photos least like that split."""

    name = "shift_examples"
    split: str
    from_split: pd.DataFrame
    from_train: pd.DataFrame

    def summary(self) -> str:
        return (
            f"First row: {_SPLITS[self.split]} photos that look least like training photos. Second row: training "
            f"photos that look least like {_SPLITS[self.split]} photos."
        )

    def plot(self) -> Figure:
        """Return the photos in two rows."""
        columns = max(len(self.from_split), len(self.from_train))
        figure, axes = plt.subplots(2, columns, figsize=(columns * 1.75, 4.6), squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for row, photos in zip(axes, (self.from_split, self.from_train), strict=True):
            for axis, photo in zip(row, photos.itertuples(), strict=False):
                show_photo(axis, photo.path, f"{photo.split}\n{short_name(photo.label)}")
        return figure

    def to_dict(self) -> dict[str, Any]:
        return {"split": list(self.from_split["original"]), "train": list(self.from_train["original"])}


def check_shift(photos: pd.DataFrame, features: "Features", settings: Mapping[str, Any]) -> Shift | Skipped:
    """Test whether a classifier on the features distinguishes training photos from those of the other splits.

    Within each class, against random splits. Photos with a duplicate on the training side, and groups of near-
    duplicates in both splits, are set aside: a duplicate in training makes its twin look like training, which hides a
    shift. Of each other group the first photo counts.
    """
    if not settings["CHECKS"]:
        return Skipped(Shift.name, "Not checked (CHECKS = False).")
    duplicated = (photos["duplicate_of"] != "").to_numpy()
    rng = np.random.default_rng(settings["SEED"])
    splits = [name for name in _SPLITS if (photos["split"] == name).any()]
    scores = pd.DataFrame(np.nan, index=photos.index, columns=splits)
    rows = []
    for split in splits:
        places = _comparable(photos, split, duplicated)
        in_split = photos["split"].to_numpy()[places] == split
        compared, total = int(in_split.sum()), int((photos["split"] == split).sum())
        row: dict[str, Any] = {"split": split, "photos": compared, "train": int((~in_split).sum())}
        row["set_aside"] = total - compared
        row |= dict.fromkeys(("auc", "low", "high", "p_value"), np.nan)
        if len(places):
            labels = pd.factorize(photos["label"].iloc[places])[0]
            with one_blas_thread():
                aucs, split_scores = _distinguish(features.plain[places], labels, in_split, rng)
            scores.iloc[places, splits.index(split)] = split_scores
            low, high = np.quantile(aucs[1:], (0.025, 0.975))
            row |= {"auc": aucs[0], "low": low, "high": high, "p_value": (aucs >= aucs[0] - 1e-9).mean()}
        row["p_corrected"] = min(1.0, row["p_value"] * len(splits))  # Bonferroni
        rows.append({**row, "state": _state(row)})
    columns = ["split", "auc", "low", "high", "p_value", "p_corrected", "photos", "train", "set_aside", "state"]
    return Shift(pd.DataFrame(rows, columns=columns), scores, photos)


def shift_examples(shift: Shift | Skipped, split: str = "test", count: int = 6) -> ShiftExamples | Skipped:
    """Return the most different photos of a split and of training; nothing unless a shift was found there."""
    if isinstance(shift, Skipped) or FOUND not in set(shift.table.loc[shift.table["split"] == split, "state"]):
        return Skipped(ShiftExamples.name, "")
    ranked = shift.photos.assign(score=shift.scores[split]).dropna(subset="score").sort_values("score", kind="stable")
    in_split = ranked["split"] == split
    return ShiftExamples(split, ranked[in_split].iloc[::-1].head(count), ranked[~in_split].head(count))


def _state(row: dict[str, Any]) -> str:
    if row["p_corrected"] < _ALPHA and row["auc"] >= _MATERIAL_AUC:
        return FOUND
    return NOTHING_FOUND if row["high"] <= _MISSED_AUC else CANNOT_TELL


def _comparable(photos: pd.DataFrame, split: str, duplicated: np.ndarray) -> np.ndarray:
    """Return the places of the photos of train and `split` to compare, int (n,), ordered by class."""
    pair = photos[["label", "split", "group"]].reset_index(drop=True)
    pair = pair[pair["split"].isin(["train", split]) & ~duplicated]
    pair = pair[pair.groupby("group")["split"].transform("nunique") == 1]
    pair = pair[~pair["group"].duplicated()]
    in_both = pair.groupby("label")["split"].transform("nunique") == 2
    return pair[in_both].sort_values("label", kind="stable").index.to_numpy()


def _distinguish(
    features: np.ndarray, labels: np.ndarray, in_split: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUC as observed and for random splits, (1 + permutations,), and the observed scores (n,).

    features: float (n, d); labels: int (n,), ascending from 0; in_split: bool (n,). Random splits exchange the photos
    of the two splits within each class.
    """
    targets = np.tile(in_split[:, None], 1 + _PERMUTATIONS)
    for block in np.split(targets[:, 1:], np.flatnonzero(np.diff(labels)) + 1):
        rng.permuted(block, axis=0, out=block)
    scores = _leave_one_out(features, targets, labels)
    return _auc(scores, targets, labels), scores[:, 0]


def _leave_one_out(features: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the predictions of ridge regression within classes for each photo left out: float (n, p) for p targets.

    Features less their class mean, an intercept per class, and no fit for each photo left out or each target: the hat
    matrix H of the centred features depends on neither. Without photo i of a class of m photos the prediction is
    (H y − h y) / (1 − h), with h = H[i, i] m / (m − 1) and y less its class mean (T. Hastie, R. Tibshirani and
    J. Friedman, "The Elements of Statistical Learning", 2nd edition, section 7.10; m / (m − 1) because the class means
    move as well).
    """
    centred, y = _less_class_mean(features, labels), _less_class_mean(targets, labels)
    u, d, _ = randomized_svd(centred, min(_COMPONENTS, *centred.shape), random_state=0)
    shrunk = u * (d**2 / (d**2 + (d**2).mean() + 1e-12))
    members = np.bincount(labels)[labels]
    leverage = ((shrunk * u).sum(axis=1) * members / (members - 1))[:, None]
    return (shrunk @ (u.T @ y) - leverage * y) / (1 - leverage)


def _less_class_mean(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    sums = np.add.reduceat(values, starts, axis=0, dtype=np.float32)
    return values.astype(np.float32) - (sums / np.bincount(labels)[:, None]).astype(np.float32)[labels]


def _auc(scores: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of pairs of one class, one with and one without the target, that are ranked correctly: (p,).

    The Mann–Whitney statistic of each class, added up. Ties do not occur among real features.
    """
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    order = np.lexsort((scores, np.broadcast_to(labels[:, None], scores.shape)), axis=0)
    ordered_targets = np.take_along_axis(targets, order, axis=0)
    rank = np.arange(len(labels)) - starts[labels] + 1  # within the class
    positives = np.add.reduceat(ordered_targets, starts, axis=0, dtype=np.int64)
    rank_sums = np.add.reduceat(ordered_targets * rank[:, None], starts, axis=0)
    correct = rank_sums - positives * (positives + 1) // 2
    return correct.sum(axis=0) / (positives * (sizes[:, None] - positives)).sum(axis=0)

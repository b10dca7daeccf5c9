"""Shift: differences between validation or test photos and training photos of the same class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import gammaln
from scipy.stats import rankdata
from sklearn.utils.extmath import randomized_svd

from phototransfer.audit.permutation import ALPHA, CLEAR_ALPHA, one_blas_thread
from phototransfer.console import short_name
from phototransfer.finding import BORDERLINE, CANNOT_TELL, DOUBT, FOUND, NOTE, NOTHING_FOUND, Finding
from phototransfer.photos.sampling import MOST_PHOTOS, describe_sample, sample_rows
from phototransfer.report import Result, Skipped
from phototransfer.style import BLUE, ORANGE, VERMILLION, photo_grid

if TYPE_CHECKING:
    from phototransfer.network.features import Features

_PERMUTATIONS = 999
_COMPONENTS = 128  # of the features: fewer miss a zoom or another brightness, more find no more
#: A difference is a shift from this AUC on: of two photos, one per split, the correct one is picked 6 of 10 times.
_MATERIAL_AUC = 0.6
_CLEAR_AUC = 0.62  # up to here it is borderline
#: If random splits reach this AUC, a shift of half a standard deviation could be missed.
_MISSED_AUC = 0.65
_TOO_SIMILAR = 0.995  # p-value above which a split is more similar to training than a random one
#: With fewer ways to split the photos at random, chance alone gives any p-value that would be reported.
_MIN_RANDOM_SPLITS = 2 / (1 - _TOO_SIMILAR)
_SPLITS = {"val": "validation", "test": "test"}
#: States, the most serious first, with the markers of the figure.
_MARKERS = {FOUND: (VERMILLION, "D"), BORDERLINE: (ORANGE, "s"), CANNOT_TELL: (BLUE, "o"), NOTHING_FOUND: (BLUE, "o")}


@dataclass(frozen=True)
class Shift(Result):
    """How well a classifier distinguishes the photos of a split from training photos of the same class.

    Attributes
    ----------
    table : DataFrame
        One row per split: split, auc, low and high (of 95 % of random splits), p_value, p_corrected (for the number of
        splits), photos (that were compared), set_aside (that were not), state (FOUND, BORDERLINE, NOTHING_FOUND or
        CANNOT_TELL), same_features (whether the network gives most photos the same features, so that no test is
        possible).
    scores : DataFrame
        One column per split: how strongly the classifier, not trained on a photo, assigns it to that split.
    """

    name = "shift"
    table: pd.DataFrame
    scores: pd.DataFrame
    photos: pd.DataFrame
    random_splits: Sequence[str] = ()  #: not tested, because they were cut at random: any difference is chance
    samples: Mapping[str, str] = field(default_factory=dict)  #: which sample of very many photos was compared, by split

    @property
    def state(self) -> str:
        """The most serious state of the splits."""
        default = NOTHING_FOUND if self.random_splits else CANNOT_TELL
        return min(self.table["state"], key=list(_MARKERS).index, default=default)

    def findings(self) -> dict[str, Finding]:
        state = self.state
        splits = " and ".join(self.table.loc[self.table["state"] == state, "split"].map(_SPLITS))
        if state in (FOUND, BORDERLINE):
            finding = Finding(
                state,
                f"{state}: {splits} photos {'differ' if state == FOUND else 'may differ'} from training photos",
                severity=DOUBT if state == FOUND else NOTE,
                obstacle=f"The {splits} photos are of another kind than the training photos, so the score describes "
                "a mixture of both kinds.",
                remedy="If new photos can resemble both kinds, put all photos into one folder per class and let "
                "TEST_SPLIT and VALIDATION_SPLIT split them at random.",
            )
        elif state == CANNOT_TELL and self.table["same_features"].any():
            finding = Finding(state, f"{state}, the network gives most photos the same features")
        elif state == CANNOT_TELL:
            reason = "too few photos" if len(self.table) else "there are only training photos"
            finding = Finding(state, f"{state}, {reason}")
        elif self.table.empty:
            finding = Finding(state, f"{state}: this notebook split the photos at random")
        else:
            finding = Finding(state, state)
        return {"shift": finding}

    def summary(self) -> str:
        lines = []
        if self.random_splits:
            names = " and ".join(_SPLITS[split] for split in self.random_splits)
            lines.append(f"The {names} photos were chosen at random by this notebook, so there is nothing to test.")
        for row in self.table.itertuples():
            line = f"{_SPLITS[row.split].capitalize()} photos: {row.state}"
            if row.same_features:
                line += ". The network gives most of them the same features as other photos"
            elif np.isfinite(row.auc):
                line += (
                    f". A classifier that is to distinguish them from training photos of the same class has AUC "
                    f"{row.auc:.2f} (no difference: 0.50; 95 % of random splits: {row.low:.2f} to {row.high:.2f})"
                )
            if row.state == CANNOT_TELL and not row.same_features:
                line += f". Only {row.photos} could be compared"
                line += f", {row.set_aside} not: near-duplicates, or no others of their class" if row.set_aside else ""
            if row.p_value > _TOO_SIMILAR:
                line += ". They resemble training photos more than in a random split: look for duplicates"
            lines.append(f"{line}. {self.samples.get(row.split, '')}".strip())
        return "\n".join(lines)

    def advice(self) -> list[str]:
        return [finding.remedy for finding in self.findings().values() if finding.state == FOUND]

    def alt(self) -> str:
        rows = [
            f"{_SPLITS[row.split]} {row.auc:.2f} (95 % of random splits: {row.low:.2f} to {row.high:.2f})"
            for row in self.table.dropna(subset="auc").itertuples()
        ]
        return f"AUC of a classifier that distinguishes a split from training photos: {', '.join(rows)}."

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
            colour, marker = _MARKERS[row.state]
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

    def plot(self, columns: int | None = None) -> Figure:
        """Return the photos in two rows, or in rows of `columns` photos."""
        shown = pd.concat([self.from_split, self.from_train])
        titles = [f"{row.split}\n{short_name(row.label)}" for row in shown.itertuples()]
        return photo_grid(list(shown["path"]), titles, columns=columns or len(self.from_split))

    def plot_narrow(self) -> Figure:
        return self.plot(columns=2)

    def to_dict(self) -> dict[str, Any]:
        return {"split": list(self.from_split["original"]), "train": list(self.from_train["original"])}


def check_shift(
    photos: pd.DataFrame, features: "Features", settings: Mapping[str, Any], *, random_splits: Sequence[str] = ()
) -> Shift | Skipped:
    """Test whether a classifier on the features distinguishes training photos from those of the other splits.

    Within each class, against random splits. Photos with a duplicate on the training side and groups in both splits
    are set aside: they look like training photos, which hides a shift. Of each other group the first photo counts.
    Each photo is predicted from all others. `random_splits` are those that the notebook has cut at random: one in
    twenty would be called different though nothing but chance can differ, so they are not tested.
    """
    if not settings["CHECKS"]:
        return Skipped(Shift.name, "Not checked (CHECKS = False).")
    rng = np.random.default_rng(settings["SEED"])
    in_table = [name for name in _SPLITS if name in set(photos["split"])]
    splits = [name for name in in_table if name not in random_splits]
    scores = pd.DataFrame(np.nan, index=photos.index, columns=splits)
    rows, samples = [], {}
    for column, split in enumerate(splits):
        comparable = _comparable(photos, split)
        places = _sample(photos, comparable, settings["SEED"])
        values = np.asarray(features.plain[places])
        in_split = photos["split"].to_numpy()[places] == split
        row = {"split": split, "photos": in_split.sum(), "same_features": _same_features(values)}
        samples[split] = describe_sample(len(places), len(comparable))
        row["set_aside"] = (photos["split"] == split).sum() - (photos["split"].iloc[comparable] == split).sum()
        labels = pd.factorize(photos["label"].iloc[places])[0]
        if _log_random_splits(labels, in_split) >= np.log(_MIN_RANDOM_SPLITS) and not row["same_features"]:
            with one_blas_thread():
                aucs, scores.iloc[places, column] = _distinguish(values, labels, in_split, rng)
            low, high = np.quantile(aucs[1:], (0.025, 0.975))
            row |= {"auc": aucs[0], "low": low, "high": high, "p_value": (aucs >= aucs[0] - 1e-9).mean()}
        rows.append(row)
    columns = ["split", "auc", "low", "high", "p_value", "photos", "same_features", "set_aside"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_corrected"] = (table["p_value"] * len(splits)).clip(upper=1)  # Bonferroni
    clear = (table["p_corrected"] < CLEAR_ALPHA) & (table["auc"] >= _CLEAR_AUC)
    is_shift = (table["p_corrected"] < ALPHA) & (table["auc"] >= _MATERIAL_AUC)
    conditions = [clear, is_shift, table["high"] <= _MISSED_AUC]
    table["state"] = np.select(conditions, [FOUND, BORDERLINE, NOTHING_FOUND], CANNOT_TELL)
    return Shift(table, scores, photos, [name for name in in_table if name in random_splits], samples)


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


def _sample(photos: pd.DataFrame, places: np.ndarray, seed: int) -> np.ndarray:
    """Return at most half of MOST_PHOTOS of each split, at random; classes stay in order and in both splits."""
    if len(places) <= MOST_PHOTOS:
        return places
    compared = photos[["label", "split"]].iloc[places].reset_index(drop=True)
    rows = sample_rows(compared["split"], most=0, fewest=MOST_PHOTOS // 2, seed=seed)
    in_both = compared.iloc[rows].groupby("label")["split"].transform("nunique") == 2
    return places[rows[in_both.to_numpy()]]


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

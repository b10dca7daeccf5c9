"""Folds of a cross-validation: every class in each, near-duplicates together."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from phototransfer.console import shorten_list
from phototransfer.photos.sampling import describe_sample
from phototransfer.photos.splits import assign_splits
from phototransfer.stats import balanced_interval, mean_recall, paired_gain, paired_test

ACCURACY, BALANCED_ACCURACY = "accuracy", "balanced accuracy"
_UNEVEN = 2  # classes are uneven if the largest has more than so many times the photos of the smallest


@dataclass(frozen=True)
class Fold:
    """One fold: positions in the arrays of `Folds`, int arrays. No group is in two of train, val and test."""

    number: int
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Folds:
    """The n photos of a cross-validation and its folds.

    Attributes
    ----------
    requested : int
        CV_FOLDS, which may be more than the photos allow.
    rows, labels, groups : int arrays of shape (n,)
        Positions in the table of photos and in `classes`; the same number of group for near-duplicates.
    representative : bool array of shape (n,)
        The first photo of each group, the only one that counts in a score: duplicates are not independent.
    left_out : dict
        Classes with too few photos, and how many different ones they have.
    measure : str
        The measure of every score on these folds: that of `choose_measure`.
    """

    n_folds: int
    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    representative: np.ndarray
    classes: list[str]
    folds: list[Fold]
    left_out: dict[str, int]
    requested: int
    measure: str = ACCURACY
    sample: str = ""  #: which sample of the photos is used, in a sentence; empty if it is all of them

    def notes(self) -> list[str]:
        """Return what differs from the photos, folds and classes that were asked for, in sentences."""
        lines = [self.sample] if self.sample else []
        if self.n_folds < self.requested:
            lines.append(f"{self.n_folds} folds instead of {self.requested}: too few different photos for more.")
        if self.left_out:
            names = shorten_list([f"{name} ({size})" for name, size in self.left_out.items()])
            lines.append(f"Left out, fewer than {min_photos_per_class(self.n_folds)} different photos: {names}.")
        return lines

    def first(self, count: int) -> "Folds":
        """Return the first `count` folds: only their test photos are representative."""
        tested = np.zeros(len(self.labels), dtype=bool)
        for fold in self.folds[:count]:
            tested[fold.test] = True
        return replace(self, folds=self.folds[:count], representative=self.representative & tested)

    def correct(self, probabilities: np.ndarray) -> np.ndarray:
        """Return which representative photos are predicted correctly, bool (k,); probabilities: float (n, classes)."""
        return (probabilities.argmax(axis=1) == self.labels)[self.representative]

    @property
    def strata(self) -> np.ndarray:
        """Return the class of each representative photo, int (k,), or 0 for all of them if the measure is accuracy.

        The score is the mean over the strata: with one stratum, all photos weigh the same.
        """
        labels = self.labels[self.representative]
        return labels if self.measure == BALANCED_ACCURACY else np.zeros_like(labels)

    def score(self, correct: np.ndarray) -> float:
        """Return accuracy or balanced accuracy; correct: bool (k,), by representative photo."""
        return mean_recall(correct, self.strata)

    def interval(self, correct: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
        """Return the interval of `score`, that of Wilson for accuracy."""
        strata = self.strata
        right, total = np.bincount(strata, correct), np.bincount(strata)
        return balanced_interval(right, total, confidence) or (0.0, 1.0)

    def gain(self, before: np.ndarray, after: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
        """Return how much higher the score of `after` is, and its interval, as `paired_gain`; bool arrays (k,)."""
        return paired_gain(before, after, confidence, classes=self.strata)

    def p_value(self, correct: np.ndarray, other: np.ndarray) -> float:
        """Return the p-value of `paired_test`: McNemar's exact test for accuracy; bool arrays (k,)."""
        return paired_test(correct, other, self.strata)


def choose_measure(photos: pd.DataFrame) -> str:
    """Return BALANCED_ACCURACY if the largest class has more than twice the photos of the smallest, else ACCURACY.

    All photos that are used count, near-duplicates once. A model that never predicts a rare class can have a high
    accuracy; its balanced accuracy, the mean recall of the classes, is low.
    """
    used = photos[photos["split"] != "dropped"]
    sizes = used.drop_duplicates("group")["label"].value_counts().reindex(used["label"].unique(), fill_value=0)
    return BALANCED_ACCURACY if len(sizes) > 1 and are_uneven(sizes.to_numpy()) else ACCURACY


def are_uneven(sizes: np.ndarray) -> bool:
    """Return whether the largest class has more than twice the photos of the smallest; sizes: int (classes,)."""
    return bool(sizes.max() > _UNEVEN * sizes.min())


def make_folds(
    photos: pd.DataFrame,
    n_folds: int,
    seed: int,
    *,
    without_test: bool = False,
    all_photos: pd.DataFrame | None = None,
) -> Folds | None:
    """Assign the photos to folds, and in each fold set aside validation photos for early stopping.

    Photos of one group are never on both sides of a fold. The share of validation photos is that of the table. Classes
    with fewer different photos than `min_photos_per_class` are left out; where fewer than two classes would remain,
    there are fewer folds. Returns None if `n_folds` is 0 or no number of folds has photos to train on, to validate with
    and to test. With `without_test` no test photo takes part: for everything that is chosen by its score. The measure
    is chosen by `all_photos`, the table that `photos` are a sample of.
    """
    all_photos = photos if all_photos is None else all_photos
    for number in range(n_folds, 1, -1):
        if folds := _make_exactly(photos, number, seed, without_test=without_test):
            return replace(
                folds,
                requested=n_folds,
                measure=choose_measure(all_photos[all_photos["label"].isin(folds.classes)]),
                sample=describe_sample(len(photos), len(all_photos)),
            )
    return None


def _make_exactly(photos: pd.DataFrame, n_folds: int, seed: int, *, without_test: bool) -> Folds | None:
    usable = photos["split"].isin(["train", "val"]) | (not without_test)
    different = photos[usable].drop_duplicates("group")["label"].value_counts()
    sizes = different.reindex(sorted(photos.loc[usable, "label"].unique()), fill_value=0)
    classes = list(sizes.index[sizes >= min_photos_per_class(n_folds)])
    if len(classes) < 2:
        return None
    rows = np.flatnonzero(usable & photos["label"].isin(classes))
    table = photos.iloc[rows].reset_index(drop=True)
    labels = table["label"].map(classes.index).to_numpy(dtype=np.int64)
    groups = pd.factorize(table["group"])[0]
    fold_of = assign_folds(labels, groups, n_folds, seed)
    n_val, n_train = ((table["split"] == name).sum() for name in ("val", "train"))
    val_share = max(n_val, 1) / max(n_val + n_train, 2)
    folds = []
    for number in range(n_folds):
        split = assign_splits(table[fold_of != number].assign(split=None), {"val": val_share}, seed + number)
        train, val = (split.index[split == name].to_numpy() for name in ("train", "val"))
        if not len(val) or len(np.unique(labels[train])) < len(classes):  # groups that span classes are not divided
            return None
        folds.append(Fold(number, train, val, np.flatnonzero(fold_of == number)))
    representative = ~pd.Series(groups).duplicated().to_numpy()
    left_out = {name: int(size) for name, size in sizes.items() if name not in classes}
    return Folds(
        n_folds,
        rows,
        labels,
        groups,
        representative,
        classes,
        folds,
        left_out,
        requested=n_folds,
    )


def min_photos_per_class(n_folds: int) -> int:
    """Return how many different photos a class needs: one to test in each fold, and two to train and validate."""
    return n_folds if n_folds > 2 else 4


def too_few_photos(n_folds: int) -> str:
    """Return why `make_folds` returned None."""
    needed = min_photos_per_class(min(n_folds, 3))
    return (
        f"Cannot tell, too few photos: two classes need {needed} different photos each, not counting those with a "
        "near-duplicate in another class."
    )


def assign_folds(labels: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each photo, int (n,): stratified by the first photo of each group, groups together."""
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    fold_of_group = np.empty(len(first), dtype=np.int64)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    for number, (_, test) in enumerate(folds.split(first, labels[first])):
        fold_of_group[test] = number
    return fold_of_group[group]

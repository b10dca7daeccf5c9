"""Folds of a cross-validation: every class in each, near-duplicates together."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from phototransfer.console import shorten_list
from phototransfer.photos.splits import assign_splits


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

    def notes(self) -> list[str]:
        """Return what differs from the folds and classes that were asked for, in sentences."""
        lines = []
        if self.n_folds < self.requested:
            lines.append(f"{self.n_folds} folds instead of {self.requested}: too few different photos for more.")
        if self.left_out:
            names = shorten_list([f"{name} ({size})" for name, size in self.left_out.items()])
            lines.append(f"Left out, fewer than {min_photos_per_class(self.n_folds)} different photos: {names}.")
        return lines

    def correct(self, predicted: np.ndarray) -> np.ndarray:
        """Return which representative photos are predicted correctly, bool (k,); predicted: int (n,)."""
        return (predicted == self.labels)[self.representative]


def make_folds(photos: pd.DataFrame, n_folds: int, seed: int, *, without_test: bool = False) -> Folds | None:
    """Assign the photos to folds, and in each fold set aside validation photos for early stopping.

    Photos of one group are never on both sides of a fold. The share of validation photos is that of the table. Classes
    with fewer different photos than `min_photos_per_class` are left out; where fewer than two classes would remain,
    there are fewer folds. Returns None if `n_folds` is 0 or no number of folds has photos to train on, to validate with
    and to test. With `without_test` no test photo takes part: for everything that is chosen by its score.
    """
    for number in range(n_folds, 1, -1):
        if folds := _make_exactly(photos, number, seed, without_test=without_test):
            return replace(folds, requested=n_folds)
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
    return Folds(n_folds, rows, labels, groups, representative, classes, folds, left_out, requested=n_folds)


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

"""Which photos are learnt from, watched and judged in each fold of a cross-validation?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.photos.splits import assign_splits, connected

_NOTHING = 1e-9  # share of a test split to cut where there is one already


@dataclass(frozen=True)
class Part:
    """One fold: places in the photos of the cross-validation, int arrays. `train` and `watched` never meet `judged`."""

    repeat: int
    fold: int
    train: np.ndarray
    watched: np.ndarray
    judged: np.ndarray


@dataclass(frozen=True)
class Folds:
    """The photos of a cross-validation and the fold that judges each.

    `rows`: int (n,), their places in the table of photos. `labels`: int (n,), places in `classes`. `groups`: int (n,),
    the same number for near-duplicates. `counts`: bool (n,), the first photo of each group, the only one that counts
    in a score: copies of one photo are one piece of evidence. `folds`: int (repeats, n), the fold that judges a photo.
    `parts`: one `Part` for each fold of each repeat. `left_out`: class → how many different photos it has, too few.
    """

    count: int
    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    counts: np.ndarray
    classes: list[str]
    folds: np.ndarray
    parts: list[Part]
    left_out: dict[str, int]

    def right(self, predicted: np.ndarray) -> np.ndarray:
        """Which photos that count were told right, bool (…, k). predicted: int (…, n), places in `classes`."""
        return (predicted == self.labels)[..., self.counts]

    def first(self) -> Iterator[Part]:
        """The folds of the first repeat: what different heads are compared on."""
        return (part for part in self.parts if part.repeat == 0)


def deal(photos: pd.DataFrame, pairs: pd.DataFrame, count: int, seed: int, repeats: int = 1) -> Folds | None:
    """Deal the photos to `count` folds: every class evenly, near-duplicates into one fold; None where that is off.

    photos: the table, columns label, split, group, digest. pairs: from `trust.leaks.find_leaks`, columns a and b:
    copies and bursts that the groups may have missed; their groups become one. count: 0 is off.

    All photos take part, those of the test split too. Of several copies all are learnt from, as in the notebook, but
    never judged by a head that saw one of them; in the score each group counts once, by its first photo. Inside a fold
    a part of the training side is set aside to watch training, cut by `assign_splits` in the share that validation has
    in the table. Each repeat deals anew. Classes with fewer different photos than `least(count)` are left out; None
    too where fewer than two classes remain (see `in_words`).
    """
    if not count:
        return None
    label, groups = photos["label"], united(photos["group"].to_numpy(), pairs)
    first = ~pd.Series(groups, index=photos.index).duplicated()
    sizes = label[first].value_counts().reindex(sorted(label.unique()), fill_value=0)
    classes = list(sizes.index[sizes >= least(count)])
    if len(classes) < 2:
        return None
    rows = np.flatnonzero(label.isin(classes))
    labels = label.iloc[rows].map(classes.index).to_numpy(dtype=np.int64)
    groups = pd.factorize(groups[rows])[0]
    split = photos["split"].iloc[rows]
    share = float((split[split != "test"] == "val").mean())
    counts = ~pd.Series(groups).duplicated().to_numpy()
    dealt = [_deal(labels[counts], count, seed + repeat)[groups] for repeat in range(repeats)]
    table = photos.iloc[rows].assign(group=groups, split=None).reset_index(drop=True)
    parts = [
        Part(repeat, fold, *_cut(table, dealt[repeat] == fold, share, seed + repeat * count + fold))
        for repeat in range(repeats)
        for fold in range(count)
    ]
    left_out = {name: int(size) for name, size in sizes.items() if name not in classes}
    return Folds(count, rows, labels, groups, counts, classes, np.stack(dealt), parts, left_out)


def least(count: int) -> int:
    """How many different photos a class needs for `count` folds: one to judge in each, and two left to learn from."""
    return count if count > 2 else 4


def united(groups: np.ndarray, pairs: pd.DataFrame) -> np.ndarray:
    """Groups, int (n,), with those that `pairs` (columns a and b: places) connect made one. Returns int (n,)."""
    codes = pd.factorize(groups)[0]
    ends = codes[pairs[["a", "b"]].to_numpy(dtype=np.int64).T]
    return connected(ends, codes.max(initial=-1) + 1)[codes]


def _deal(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each group, int (n,), each class evenly. labels: int (n,)."""
    mixed = np.random.default_rng(seed).permutation(len(labels))
    mixed = mixed[np.argsort(labels[mixed], kind="stable")]
    folds = np.empty(len(labels), dtype=np.int64)
    folds[mixed] = np.arange(len(labels)) % count
    return folds


def _cut(table: pd.DataFrame, judged: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the photos to learn from, to watch and to judge. judged: bool (n,)."""
    table.loc[:, "split"] = np.where(judged, "test", None)
    split = assign_splits(table, share, _NOTHING, seed).to_numpy()
    train, watched, test = (np.flatnonzero(split == name) for name in ("train", "val", "test"))
    return train, watched, test


def in_words(dealt: Folds | None, photos: pd.DataFrame, count: int) -> str:
    """What was dealt and what was left out, or why there is nothing. photos: column label; count: CV_FOLDS."""
    if not count:
        return "Cross-validation is off (CV_FOLDS = 0), and with it what is compared on its folds."
    if dealt is None:
        return (
            f"No cross-validation: fewer than two of the {photos['label'].nunique()} classes have {least(count)} "
            f"different photos, which CV_FOLDS = {count} needs. Add photos, or set CV_FOLDS lower."
        )
    different = int(dealt.counts.sum())
    said = [f"{different} different photos of {len(dealt.classes)} classes in {count} folds."]
    if copies := len(dealt.rows) - different:
        said.append(
            f"{copies} near-duplicates stay in the fold of the photo they repeat and do not count in the score."
        )
    if dealt.left_out:
        names = ", ".join(f"{name} ({size})" for name, size in list(dealt.left_out.items())[:5])
        more = ", …" * (len(dealt.left_out) > 5)
        said.append(f"Left out, fewer than {least(count)} different photos: {names}{more}.")
    return "\n".join(said)

"""Training, validation and test split: stratified, reproducible, near-duplicates kept together."""

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from phototransfer.console import plural

SPLIT_ORDER = ("train", "val", "test")


def connected(pairs: np.ndarray, count: int) -> np.ndarray:
    """Return the same number for positions that pairs connect, directly or through others.

    Parameters
    ----------
    pairs : int array of shape (2, k)
        Positions from 0 to `count` - 1.

    Returns
    -------
    int64 array of shape (count,)
        Numbered from 0 in order of first appearance.
    """
    graph = coo_array((np.ones(pairs.shape[1], dtype=bool), (pairs[0], pairs[1])), shape=(count, count))
    return pd.factorize(connected_components(graph, directed=False)[1])[0].astype(np.int64)


def assign_splits(photos: pd.DataFrame, shares: Mapping[str, float], seed: int) -> pd.Series:
    """Return the split of each photo: as the table has it, with a missing test and validation split cut from train.

    Shares hold per class, to within one photo where the groups allow it. Every class gets at least one photo in each
    split, and no group is divided. Groups are ordered by a seeded hash of their photos, so that one photo more or less
    moves one or two others and not all of them.

    Parameters
    ----------
    photos : DataFrame
        With the columns label, group, digest and split (None for photos that no split was given for).
    shares : dict
        The fraction of photos for "val", "test" or both. A split that is not named, or exists already, is not cut.

    Notes
    -----
    scikit-learn's StratifiedGroupKFold keeps groups together but does not guarantee a small class a photo per split.
    """
    if not (all(0 < share < 1 for share in shares.values()) and sum(shares.values()) < 1):
        values = f"{shares.get('val')} and {shares.get('test')}"
        raise ValueError(f"VALIDATION_SPLIT and TEST_SPLIT must be above 0 and their sum below 1, got {values}")
    missing = [name for name in ("test", "val") if name in shares and name not in set(photos["split"])]
    split = _given_or_train(photos)
    train = photos[split == "train"]
    order = train["digest"].map(lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).hexdigest())
    groups = (
        train.assign(order=order)
        .sort_values("order")  # "first" takes a tenth of the time of "min"
        .groupby("group")
        .agg(label=("label", "first"), labels=("label", "nunique"), size=("label", "size"), order=("order", "first"))
    )
    groups = groups[groups["labels"] == 1].sort_values("order")  # others stay in train
    n_photos = train["label"].value_counts()
    split_of: dict[int, str] = {}
    for label, sizes in groups.groupby("label")["size"]:
        for number, name in enumerate(missing):
            reserved = len(missing) - number  # one group for each split still to come, and one for train
            chosen = _choose_groups(sizes, max(1, round(shares[name] * n_photos[label])), reserved)
            split_of |= dict.fromkeys(chosen, name)
            sizes = sizes.drop(chosen).iloc[::-1]  # from the other end, or one more here would move one there
    split.update(train["group"].map(split_of))
    return split


def _given_or_train(photos: pd.DataFrame) -> pd.Series:
    return photos["split"].astype(object).where(photos["split"].notna(), "train")


def _choose_groups(groups: pd.Series, n_photos: int, reserved: int) -> list[int]:
    """Choose groups in order while they fit into `n_photos`, at least one if more than `reserved` exist."""
    chosen: list[int] = []
    for group, size in groups.items():
        if size <= n_photos and len(groups) - len(chosen) > reserved:
            chosen.append(group)
            n_photos -= size
    if not chosen and len(groups) > reserved:
        chosen = [groups.idxmin()]
    return chosen


def too_small(photos: pd.DataFrame) -> dict[str, str]:
    """Return the classes that cannot be in every split, each with how many photos it has and how many it needs.

    `photos` has the columns label, group and split (None for photos that no split was given for).
    """
    split = _given_or_train(photos)
    missing = [name for name in ("val", "test") if name not in set(split)]
    counts = photos.groupby(["label", split]).size().unstack(fill_value=0).reindex(columns=SPLIT_ORDER, fill_value=0)
    in_one_class = photos.groupby("group")["label"].transform("nunique") == 1
    different = photos[in_one_class & (split == "train")].groupby("label")["group"].nunique()
    different = different.reindex(counts.index, fill_value=0)
    needed = 1 + len(missing)
    reasons = {}
    for label, count in counts.iterrows():
        absent = [name for name in SPLIT_ORDER if not count[name] and name not in missing]
        if absent:
            reasons[label] = f"has no photo in {' or '.join(absent)}; it needs at least one in each"
        elif missing and different[label] < needed:
            has = plural(count["train"], "photo") + (" in train" if len(missing) == 1 else "")
            if different[label] != count["train"]:
                has += f", {different[label]} of them different"
            splits = "train, val and test" if len(missing) == 2 else f"train and {missing[0]}"
            reasons[label] = f"has {has}; it needs at least {needed} different ones to be in {splits}"
    return reasons

"""Which photo goes into which split? Stratified, seeded, near-duplicates kept together."""

import hashlib

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

#: Photos whose 64-bit perceptual hashes differ in at most this many bits stay together. Measured on three sets of
#: 348, 900 and 994 photos: copies differ by 0 to 2, frames of one burst by 6 to 12, one in a million unrelated pairs
#: by 10. Too many kept together costs nothing; a burst across two splits costs the score its worth.
NEAR_BITS = 10
SPLIT_ORDER = ("train", "val", "test")
_BLOCK = 1024


def group_near_duplicates(hashes: list[str], digests: list[str]) -> np.ndarray:
    """Give photos that are copies of each other, or nearly, the same number.

    hashes: n perceptual hashes of 16 hex digits, or "" for none; digests: n fingerprints of the files.
    Returns int64 (n,), numbered from 0 in order of first appearance. Compares all pairs in blocks: n²/2 XORs,
    memory of one block of rows.
    """
    edges = [_equal_pairs(digests)]
    known = np.flatnonzero([bool(h) for h in hashes])
    bits = np.array([int(hashes[i], 16) for i in known], dtype=np.uint64)
    for start in range(0, len(bits), _BLOCK):
        distance = np.bitwise_count(bits[start : start + _BLOCK, None] ^ bits[None, start:])
        left, right = np.nonzero(distance <= NEAR_BITS)
        edges.append(np.stack([known[left + start], known[right + start]]))
    return connected(np.concatenate(edges, axis=1), len(hashes))


def connected(pairs: np.ndarray, count: int) -> np.ndarray:
    """The same number for whatever pairs connect, directly or not.

    pairs: int (2, k), places from 0 to count − 1. Returns int64 (count,), numbered from 0 in order of first appearance.
    """
    graph = coo_array((np.ones(pairs.shape[1], dtype=bool), tuple(pairs)), shape=(count, count))
    return pd.factorize(connected_components(graph, directed=False)[1])[0].astype(np.int64)


def _equal_pairs(digests: list[str]) -> np.ndarray:
    first = pd.Series(range(len(digests))).groupby(digests, sort=False).transform("first").to_numpy(dtype=np.int64)
    return np.stack([first, np.arange(len(digests))])


def assign_splits(photos: pd.DataFrame, val_share: float, test_share: float, seed: int) -> pd.Series:
    """Complete the column `split` of `photos` (label, group, split, digest): cut a missing test, then a missing val.

    Where the owner made no split at all, both are cut from all photos; where train is there, what is missing is cut
    from train. Shares are of the photos cut from, kept by class to within one photo where the groups allow it; every
    class gets at least one photo in each split, and no group is divided. scikit-learn's StratifiedGroupKFold keeps
    groups but promises a small class nothing, hence not used. The order of a class's groups is that of a seeded hash
    of their photos, so that a photo more or less moves one or two others and not all of them. Raises ValueError for
    shares that leave no training.
    """
    if not (0 < val_share < 1 and 0 < test_share < 1 and val_share + test_share < 1):
        raise ValueError(
            f"VALIDATION_SPLIT = {val_share} and TEST_SPLIT = {test_share} must both lie above 0 and together stay "
            "below 1: what remains is for training."
        )
    split = photos["split"].astype(object).where(photos["split"].notna(), "train")
    present = set(photos["split"].dropna())
    wanted = {name: share for name, share in (("test", test_share), ("val", val_share)) if name not in present}
    pool = photos[split == "train"]
    order = pool["digest"].map(lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).hexdigest())
    first = order.groupby(pool["group"]).min()
    shared = set(pool.groupby("group")["label"].nunique().loc[lambda n: n > 1].index)
    for _, members in pool.groupby("label", sort=True):
        groups = members.loc[~members["group"].isin(shared)].groupby("group").size()
        groups = groups.loc[first[groups.index].sort_values().index]
        for place, (name, share) in enumerate(wanted.items()):
            keep = len(wanted) - place  # one group each for the splits still to come, train among them
            chosen = _fill(groups, max(1, round(share * len(members))), keep)
            split[members.index[members["group"].isin(chosen)]] = name
            groups = groups.drop(chosen).iloc[::-1]  # from the other end, or one more here would move one there
    return split


def _fill(groups: pd.Series, photos: int, keep: int) -> list[int]:
    """Take groups in their order while they fit into `photos`, leaving at least `keep` of them; at least one if any."""
    chosen: list[int] = []
    for group, size in groups.items():
        if photos and size <= photos and len(groups) - len(chosen) > keep:
            chosen.append(group)
            photos -= size
    if not chosen and len(groups) > keep:
        chosen = [groups.idxmin()]
    return chosen


def too_small(photos: pd.DataFrame) -> dict[str, str]:
    """The classes that cannot stand in every split, each with the reason: what it has and what it needs.

    `photos` has the columns label, group and split as the owner made it (None where the split is made here).
    """
    split = photos["split"].astype(object).where(photos["split"].notna(), "train")
    missing = [name for name in ("val", "test") if name not in set(photos["split"].dropna())]
    needed = 1 + len(missing)
    shared = photos.groupby("group")["label"].transform("nunique") > 1
    reasons = {}
    places = ["train", *missing]
    everywhere = f"{', '.join(places[:-1])} and {places[-1]}" if missing else ""
    for label, members in photos.groupby("label"):
        in_train = split[members.index] == "train"
        own = members["group"][in_train & ~shared[members.index]].nunique()
        absent = [name for name in SPLIT_ORDER if name not in missing and not (split[members.index] == name).any()]
        if absent:
            reasons[label] = f"has no photo in {' or '.join(absent)}; it needs at least one in each"
        elif missing and own < needed:
            count = int(in_train.sum())
            reasons[label] = (
                f"has {count} photo{'s' * (count != 1)}"
                + (" in train" if len(missing) == 1 else "")
                + (f", {own} of them different" if own != count else "")
                + f"; it needs at least {needed} different ones to stand in {everywhere}"
            )
    return reasons

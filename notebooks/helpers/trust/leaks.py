"""Which photos are in the data twice, and what is the score worth without them?"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from helpers.firmness import wilson
from helpers.photos.picture import perceptual_hash
from helpers.photos.splits import SPLIT_ORDER
from helpers.trust.alignment import VIEWS, turned
from helpers.trust.copies import compare, unit

#: Two photos laid over each other may show one scene from this correlation on. Of 2,242 photos in three sets, unrelated
#: ones reached 0.59 (drawn dogs on one painted beach 0.68), two exposures of one scene began at 0.71, copies at 0.92.
SCENE = 0.70
#: They are one picture if the poorest tenth of their parts agrees as well as this. On the same photos: two exposures
#: of one scene 0.87 at most; scaled, compressed, brightened, turned or mirrored copies and crops by 10 % 0.97 at least.
COPY = 0.93
_AROUND, _PARTS = 0.4, 36  # what two exposures share: that much of what is around, and structure in a quarter of it
#: A class of which fewer test photos than this are left can no longer be judged.
ENOUGH = 10
_BATCH = 32  # pictures handed to the network together
_COLUMNS = ["a", "b", "similarity", "bits", "how", "kind", "splits", "across", "same_label"]
_COLUMNS += ["agreement", "poorest"]

NO_PAIRS = pd.DataFrame(columns=_COLUMNS).astype({"across": bool, "same_label": bool})
Embed = Callable[[list[np.ndarray]], np.ndarray]


def find_leaks(
    photos: pd.DataFrame, features: np.ndarray, compared: pd.DataFrame | None = None, embed: Embed | None = None
) -> pd.DataFrame:
    """The pairs of photos that show the same picture or the same scene, whichever splits and classes they are in.

    photos: the table, columns path, split, label, phash, digest. features: float32 (n, d), row for row. compared:
    what `copies.compare` returned for them, if it is there already. embed: turns pictures, a list of k uint8 (height,
    width, 3), into features (k, d); with it the similarity of a turned copy is that of the picture turned back.

    Returns one row a pair: a < b (row numbers in the table), similarity (cosine of the features), bits (of the 64 of
    the perceptual hashes, how many differ; missing for plain surfaces), how (what turns b into a, one of VIEWS), kind
    ("copy", or "burst": the same scene, another exposure), splits ("train–test", or one name), across (whether these
    are two), same_label, agreement and poorest (see `copies.compare`). Pairs across splits first, copies first, the
    most alike first. Of many copies of one picture not every pair is listed, but each copy's nearest in every split
    is. Raises ValueError if features and table differ in length.
    """
    compared = compare(photos, features) if compared is None else compared
    copy = compared["poorest"] >= COPY
    burst = (compared["view"] == 0) & (compared["parts"] >= _PARTS) & (compared["around"] >= _AROUND)
    burst &= compared["poorest"].notna()
    pairs = compared[(compared["agreement"] >= SCENE) & (copy | burst)].reset_index(drop=True)
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    split, label = photos["split"].to_numpy(), photos["label"].to_numpy()
    similarity, bits = _likeness(photos, features, embed, pairs)
    pairs = pairs.assign(
        similarity=similarity,
        bits=bits,
        how=np.array(VIEWS)[pairs["view"]],
        kind=np.where(pairs["poorest"] >= COPY, "copy", "burst"),
        splits=[_between(one, other) for one, other in zip(split[a], split[b], strict=True)],
        same_label=label[a] == label[b],
        across=split[a] != split[b],
    )
    order = ["across", "kind", "similarity"]
    return pairs.sort_values(order, ascending=False, kind="stable")[_COLUMNS].reset_index(drop=True)


def _likeness(
    photos: pd.DataFrame, features: np.ndarray, embed: Embed | None, pairs: pd.DataFrame
) -> tuple[np.ndarray, pd.array]:
    """Similarity and bits of each pair, b turned as the pair says."""
    paths, hashes = photos["path"].to_numpy(), photos["phash"].to_numpy()
    similarity, others = pairs["cosine"].to_numpy(dtype=np.float64).copy(), list(hashes[pairs["b"]])
    again = np.flatnonzero(pairs["view"])
    for rows in (again[start : start + _BATCH] for start in range(0, len(again), _BATCH)):
        some = pairs.iloc[rows]
        pictures = [_read_turned(paths[b], view) for b, view in zip(some["b"], some["view"], strict=True)]
        for row, picture in zip(rows, pictures, strict=True):
            others[row] = perceptual_hash(Image.fromarray(picture))
        if embed is not None:
            similarity[rows] = np.einsum("kd,kd->k", unit(features[some["a"]]), unit(np.asarray(embed(pictures))))
    bits = [
        (int(one, 16) ^ int(other, 16)).bit_count() if one and other else pd.NA
        for one, other in zip(hashes[pairs["a"]], others, strict=True)
    ]
    return similarity, pd.array(bits, dtype="Int64")


def _read_turned(path: str, view: int) -> np.ndarray:
    with Image.open(path) as picture:
        channels = np.moveaxis(np.asarray(picture.convert("RGB")), 2, 0)
    return np.ascontiguousarray(np.moveaxis(turned(channels, view), 0, 2))


def _between(one: str, other: str) -> str:
    first, second = sorted((one, other), key=SPLIT_ORDER.index)
    return first if first == second else f"{first}–{second}"


def leak_of(photos: pd.DataFrame, pairs: pd.DataFrame, kinds: Collection[str] = ("copy",)) -> pd.Series:
    """For each photo the original name of the photo on its training side that it is a copy of, "" if none.

    What a photo must not have been seen in: for test photos train and val, for val photos train, for train nothing.
    Of several the one in train, then the most alike. pairs: from `find_leaks`; kinds: which of its kinds count.
    """
    leak = pd.Series("", index=photos.index, dtype=object, name="leak_of")
    rank = photos["split"].map(SPLIT_ORDER.index).to_numpy()
    original = photos["original"].to_numpy()
    counted = pairs[pairs["kind"].isin(list(kinds))]
    sides = [
        (rank[seen], -likeness, seen, later)
        for a, b, likeness in zip(counted["a"], counted["b"], counted["similarity"], strict=True)
        for seen, later in ((a, b), (b, a))
        if rank[seen] < rank[later]
    ]
    for _, _, seen, later in sorted(sides, reverse=True):
        leak.iloc[later] = original[seen]
    return leak


def to_drop(photos: pd.DataFrame, pairs: pd.DataFrame, kinds: Collection[str] = ("copy",)) -> pd.Series:
    """Which photos leave train and val (bool, as long as the table) so that `leak_of` finds nothing any more."""
    rank = photos["split"].map(SPLIT_ORDER.index).to_numpy()
    counted = pairs[pairs["kind"].isin(list(kinds))]
    a, b = counted["a"].to_numpy(dtype=np.int64), counted["b"].to_numpy(dtype=np.int64)
    drop = pd.Series(False, index=photos.index, name="to_drop")
    drop.iloc[np.concatenate([a[rank[a] < rank[b]], b[rank[b] < rank[a]]])] = True
    return drop


def not_dropped(pairs: pd.DataFrame, dropped: pd.Series) -> pd.DataFrame:
    """The pairs of which neither photo left training; dropped: bool, as long as the table, see `to_drop`."""
    gone = dropped.to_numpy()
    a, b = (pairs[side].to_numpy(dtype=np.int64) for side in ("a", "b"))
    return pairs[~(gone[a] | gone[b])]


def without(photos: pd.DataFrame, leak: pd.Series | None) -> dict[str, Any]:
    """What the test score is worth without the photos that were there in training.

    photos: columns original, split, label, correct. leak: from `leak_of`; None if nobody looked. Returns accuracy,
    right, of and ci95 (Wilson) of all test photos, the same four with the prefix `clean_` of those left (None where
    none is), leaked (how many are not), left (class → test photos left, for the classes that lost any), too_few (the
    classes among them with fewer than ENOUGH left) and sentence.
    """
    test = photos[photos["split"] == "test"]
    asked, leak = leak is not None, pd.Series("", photos.index) if leak is None else leak
    lost = leak[test.index] != ""
    clean = test[~lost]
    counts = clean["label"].value_counts()
    left = {label: int(counts.get(label, 0)) for label in sorted(test.loc[lost, "label"].unique())}
    found = {
        **_score(test, ""),
        **_score(clean, "clean_"),
        "leaked": int(lost.sum()),
        "left": left,
        "too_few": [label for label, count in left.items() if count < ENOUGH],
    }
    seen_in = set(photos.loc[photos["original"].isin(set(leak[test.index])), "split"]) - {"test"}
    return found | {"sentence": _sentence(found, seen_in, asked)}


def scenes_in_words(photos: pd.DataFrame, pairs: pd.DataFrame, leak: pd.Series) -> str:
    """What is left of the test score without other exposures of scenes in training, too; "" if there are none.

    photos, pairs and leak as for `without` and `leak_of`.
    """
    known = leak_of(photos, pairs, ("copy", "burst"))
    more = int(((known != "") & (leak == "") & (photos["split"] == "test")).sum())
    if not more:
        return ""
    found = without(photos, known.where(known != "", leak))
    if not found["clean_of"]:
        return "The others show scenes that training shows as well: this test set says nothing."
    low, high = found["clean_ci95"]
    left = f"{found['clean_right']} of {found['clean_of']}, {low:.2f} to {high:.2f}"
    return f"Without {more} more, of a scene that training shows as well: {found['clean_accuracy']:.2f} ({left})."


def _score(photos: pd.DataFrame, prefix: str) -> dict[str, Any]:
    right, of = int(photos["correct"].sum()), len(photos)
    score = {"accuracy": right / of if of else None, "right": right, "of": of, "ci95": wilson(right, of)}
    return {prefix + name: value for name, value in score.items()}


def _sentence(found: dict[str, Any], seen_in: set[str], asked: bool) -> str:
    if not found["of"]:
        return "There are no test photos: nothing can be said."
    told = f"{found['accuracy']:.2f} on the {found['of']} test photo{'s' * (found['of'] > 1)}"
    if not asked:
        return f"{told}; nobody looked whether they are in training as well."
    if not found["leaked"]:
        return f"{told}; none of them was found in training."
    where = " and ".join(name for split, name in (("train", "training"), ("val", "validation")) if split in seen_in)
    if not found["clean_of"]:
        return f"{told}, and every one of them is in {where} too: this test set says nothing."
    low, high = found["clean_ci95"]
    clean = f"{found['clean_right']} of {found['clean_of']}, {low:.2f} to {high:.2f}"
    told += f", {found['clean_accuracy']:.2f} without the {found['leaked']} it shares with {where} ({clean})."
    return " ".join([told, *_too_little(found["too_few"], found["left"])])


def _too_little(few: list[str], left: dict[str, int]) -> list[str]:
    if not few:
        return []
    if len(few) == 1:
        label, count = few[0], left[few[0]]
        number = {0: "No", 1: "One"}.get(count, str(count))
        remains = f"{number} {label} photo{'s' * (count > 1)} remain{'s' * (count < 2)}"
        verdict = f"this test set says {'nothing' if count < 2 else 'little'} about {label}"
    else:
        names = ", ".join(f"{label} ({left[label]})" for label in few[:3]) + ", …" * (len(few) > 3)
        remains = f"Of {len(few)} classes fewer than {ENOUGH} photos remain: {names}"
        verdict = "this test set says little about them"
    return [f"{remains}: {verdict}; see the cross-validation below."]

"""Near-duplicates among the photos of a folder, which must not be divided between splits."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from phototransfer.console import plural, progress, shorten_list
from phototransfer.photos import registration

#: Photos whose 64-bit perceptual hashes differ in at most this many bits may be near-duplicates. Measured on three sets
#: of 348, 900 and 994 photos: duplicates differ by 0 to 2 bits, photos of the same scene by 6 to 12, one in a million
#: unrelated pairs by 10.
NEAR_BITS = 10
#: Each photo is registered with at most so many others: a fixed camera makes all hashes similar.
_MOST_COMPARED = 3
_FEWEST_GROUPS = 3  # that a class needs to be in train, val and test
_COMPARISONS = 2**24  # of hashes at a time: 128 MB
_BATCH = 64
_MANY = 500  # photos that take more than about three seconds to compare


@dataclass(frozen=True)
class Groups:
    """The group of each photo, and what the owner should know about them."""

    numbers: np.ndarray  #: int64 (n,): the same for photos that stay together, from 0 in order of first appearance
    notes: list[str]


def group_near_duplicates(photos: pd.DataFrame) -> Groups:
    """Group photos that are duplicates or near-duplicates of each other.

    Similar perceptual hashes only propose pairs; registering the two photos confirms them. Files with equal bytes need
    no confirmation. A photo joins a group if it is confirmed with the representative of the group, so that a film does
    not become one group through its neighbouring frames.

    A fixed camera, one recording or pictures drawn alike may still leave a class with fewer than three groups, or with
    most photos in groups of several classes. The groups of such a class are divided as far as needed: by class, then
    into duplicates, then into files with equal bytes.

    Parameters
    ----------
    photos : DataFrame
        With the columns path (of the prepared photo), phash, digest, label and split (None if not given). The order of
        the rows does not matter.
    """
    if photos.empty:
        return Groups(np.empty(0, dtype=np.int64), [])
    labels = photos["label"].reset_index(drop=True)
    equal = photos["digest"].reset_index(drop=True)
    scenes = _around_representatives(photos, ["duplicate", "near-duplicate"])
    groups = scenes.copy()
    remaining = ~_usable(groups, labels)
    if remaining.any():
        groups[remaining] = "class " + labels[remaining] + scenes[remaining]
        remaining &= ~_usable(groups, labels)
    for_duplicates = remaining & (labels.map(equal.groupby(labels).nunique()) >= _FEWEST_GROUPS)
    if for_duplicates.any():
        copies = _around_representatives(photos[for_duplicates.to_numpy()], ["duplicate"])
        groups[for_duplicates] = "copies " + labels[for_duplicates] + copies.set_axis(labels.index[for_duplicates])
    remaining &= ~_usable(groups, labels)
    groups[remaining] = "equal " + labels[remaining] + equal[remaining]
    divided = groups.groupby(scenes).transform("nunique") > 1
    notes = _divided_note(divided, labels) + _given_splits_note(scenes, labels, photos["split"].reset_index(drop=True))
    return Groups(pd.factorize(groups)[0].astype(np.int64), notes)


def _given_splits_note(scenes: pd.Series, labels: pd.Series, split: pd.Series) -> list[str]:
    in_test = split == "test"
    training = pd.MultiIndex.from_arrays([scenes[~in_test], labels[~in_test]])
    repeated = int(pd.MultiIndex.from_arrays([scenes[in_test], labels[in_test]]).isin(training).sum())
    if not repeated:
        return []
    return [
        "Test photos with the picture or the scene of a training or validation photo, as frames of one recording "
        f"have: at least {repeated:,} of {int(in_test.sum()):,}. The splits are kept as they are, so the score may be "
        "too good for photos of other scenes."
    ]


def _divided_note(divided: pd.Series, labels: pd.Series) -> list[str]:
    if not divided.any():
        return []
    classes = shorten_list(sorted(labels[divided].unique()), 3)
    return [
        f"{plural(int(divided.sum()), 'photo')} of {classes} are much alike, as frames of one recording, photos of a "
        "fixed camera or radiographs are. All of them are used, and such photos may be in different splits: the "
        "score may be too good for photos of other scenes."
    ]


def _usable(groups: pd.Series, labels: pd.Series) -> pd.Series:
    """Return which photos are of classes with enough groups of their own, and most photos in them."""
    own = groups.groupby(groups).transform("size") == groups.groupby([groups, labels]).transform("size")
    number = groups[own].groupby(labels[own]).nunique()
    enough = labels.map(number).fillna(0) >= _FEWEST_GROUPS
    return enough & (own.groupby(labels).transform("mean") >= 0.5)


def _around_representatives(photos: pd.DataFrame, confirming: list[str]) -> pd.Series:
    """Return for each photo the digest of the photo that represents its group.

    Photos with many similar ones come first, because they are in the middle of a series; equal ones are in the order of
    their digests, so that the order of the files does not matter.
    """
    different = photos.drop_duplicates("digest").sort_values("digest")
    different = different[different["phash"] != ""]
    bits = np.array([int(text, 16) for text in different["phash"]], dtype=np.uint64)
    similar = _count_similar(bits)
    chosen = np.flatnonzero(similar)[np.argsort(-similar[similar > 0], kind="stable")]
    group = pd.Series(photos["digest"].to_numpy(), index=photos["digest"].to_numpy())
    if not len(chosen):
        return group.reset_index(drop=True)
    squares = registration.grey_squares(list(different["path"].iloc[chosen]), registration.SIDE)
    digests = different["digest"].to_numpy()[chosen]
    representatives = _choose_representatives(bits[chosen], squares, confirming)
    represented = dict(zip(digests, digests[representatives], strict=True))
    return group.map(represented).fillna(group).reset_index(drop=True)


def _count_similar(bits: np.ndarray) -> np.ndarray:
    """Return how many other photos have a similar hash, int (n,)."""
    size = max(1, _COMPARISONS // max(1, len(bits)))
    blocks = [bits[start : start + size] for start in range(0, len(bits), size)]
    counts = [(np.bitwise_count(block[:, None] ^ bits) <= NEAR_BITS).sum(axis=1) - 1 for block in blocks]
    return np.concatenate([np.empty(0, dtype=np.int64), *counts])


def _choose_representatives(bits: np.ndarray, squares: np.ndarray, confirming: list[str]) -> np.ndarray:
    """Return for each photo the position of its representative, an earlier photo or itself."""
    representative = np.arange(len(bits))
    with progress("Comparing similar photos", len(bits) if len(bits) > _MANY else 0) as bar:
        for start in range(0, len(bits), _BATCH):
            batch = range(start, min(start + _BATCH, len(bits)))
            # Registering many pairs at once takes a quarter of the time. Representatives found in this batch are not
            # among them yet.
            found = [_nearest(photo, representative[:start], bits) for photo in batch]
            proposed = [(others[0], photo) for photo, others in zip(batch, found, strict=True) if others]
            confirmed = dict(zip(proposed, _are_confirmed(squares, proposed, confirming), strict=True))
            for photo in batch:
                for other in _nearest(photo, representative[:photo], bits):
                    pair = (other, photo)
                    if pair not in confirmed:
                        confirmed[pair] = _are_confirmed(squares, [pair], confirming)[0]
                    if confirmed[pair]:
                        representative[photo] = other
                        break
            bar.update(len(batch))
    return representative


def _nearest(photo: int, representative: np.ndarray, bits: np.ndarray) -> list[int]:
    """Return the representatives with the most similar hashes, the nearest first."""
    candidates = np.flatnonzero(representative == np.arange(len(representative)))
    distance = np.bitwise_count(bits[candidates] ^ bits[photo])
    near = candidates[distance <= NEAR_BITS]
    nearest = np.argsort(distance[distance <= NEAR_BITS], kind="stable")[:_MOST_COMPARED]
    return [int(row) for row in near[nearest]]


def _are_confirmed(squares: np.ndarray, pairs: list[tuple[int, int]], confirming: list[str]) -> list[bool]:
    if not pairs:
        return []
    upright = np.zeros(len(pairs), dtype=np.int64)
    scores = registration.compare(squares, np.column_stack([np.array(pairs), upright]))
    return [kind in confirming for kind in registration.kinds(scores, upright)]

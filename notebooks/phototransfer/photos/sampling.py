"""A random sample of very many photos, for results that need many trainings or permutations."""

import numpy as np
import pandas as pd

#: With so many photos, the 95 % interval of an accuracy of 0.9 is 0.9 ± 0.006, and all trainings of a run take minutes.
MOST_PHOTOS = 10_000
_FEWEST = 20  # photos of a class, if it has so many


def sample_photos(photos: pd.DataFrame, seed: int) -> np.ndarray | None:
    """Return the positions of a random sample, ascending int (k,); None if there are at most MOST_PHOTOS photos.

    Each class has its share of the sample, and at least 20 photos.
    """
    if len(photos) <= MOST_PHOTOS:
        return None
    return sample_rows(photos["label"], MOST_PHOTOS, fewest=_FEWEST, seed=seed)


def sample_rows(strata: pd.Series, most: int, *, fewest: int, seed: int) -> np.ndarray:
    """Return positions of about `most` random rows, ascending int (k,): of each stratum its share, or `fewest` rows."""
    order = np.random.default_rng(seed).permutation(len(strata))
    shuffled = strata.iloc[order].reset_index(drop=True)
    place = shuffled.groupby(shuffled).cumcount()
    sizes = shuffled.map(shuffled.value_counts())
    wanted = np.maximum(np.round(sizes * most / len(strata)), fewest)
    return np.sort(order[place < wanted])


def describe_sample(count: int, total: int) -> str:
    """Return a sentence about the size of a sample, empty if these are all."""
    return f"On a random sample: {count:,} of {total:,} photos." if count < total else ""

"""How well does one property alone tell the classes apart, and could that be chance?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

FOLDS = 5
BINS = 32
COMPONENTS = 32
_TIE = 1e-5  # standard deviations: rounding errors
_AT_ONCE = 4_000_000  # numbers in one block of permutations: 32 MB

#: For functions of many small matrices: on a busy machine BLAS threads wait for each other, 12 s in place of 0.2 s.
ONE_THREAD = threadpool_limits.wrap(limits=1, user_api="blas")


@dataclass(frozen=True)
class Units:
    """Photos that count: one of each group of near-duplicates, in classes that have at least two such photos.

    `rows`: int (n,), their places in the table. `labels`, `folds`: int (n,). `dropped`: class → how many it has.
    """

    rows: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    classes: list[str]
    dropped: dict[str, int]

    @property
    def chance(self) -> float:
        """What guessing scores in balanced accuracy."""
        return 1 / len(self.classes)

    @cached_property
    def cells(self) -> np.ndarray:
        """int (n,): fold and class in one number, fold × classes + class."""
        return self.folds * len(self.classes) + self.labels

    @cached_property
    def sizes(self) -> np.ndarray:
        """Photos by fold and class, float (folds, classes)."""
        count = len(self.classes)
        return np.bincount(self.cells, minlength=FOLDS * count).reshape(FOLDS, count).astype(float)

    def balanced(self, right: np.ndarray) -> float:
        """Balanced accuracy from the credit for each photo: each class weighs the same."""
        return float((np.bincount(self.labels, right) / np.bincount(self.labels)).mean())

    @cached_property
    def trained_on(self) -> np.ndarray:
        """Photos by class in the other folds, float (folds, classes); never 0."""
        return self.sizes.sum(axis=0) - self.sizes


def units(labels: Sequence[str], groups: Sequence[int], seed: int) -> Units:
    """Choose the photos that count and deal them to FOLDS folds, each class evenly.

    Copies of one photo are one piece of evidence: the first of each group stands for it. Everything left is then
    independent, so folds need no groups and labels can be exchanged freely. Raises ValueError if fewer than two
    classes have two such photos.
    """
    table = pd.DataFrame({"label": np.asarray(labels, dtype=object), "group": np.asarray(groups)})
    first = table[~table["group"].duplicated()]
    counts = first["label"].value_counts()
    small = {label: int(counts.get(label, 0)) for label in sorted(set(table["label"])) if counts.get(label, 0) < 2}
    kept = first[~first["label"].isin(list(small))]
    codes, classes = pd.factorize(kept["label"], sort=True)
    if len(classes) < 2:
        raise ValueError(f"Two classes with two different photos each are needed; too small: {small}.")
    chance = np.random.default_rng(seed)
    mixed = chance.permutation(len(kept))
    mixed = mixed[np.argsort(codes[mixed], kind="stable")]
    folds = np.empty(len(kept), dtype=np.int64)
    folds[mixed] = np.arange(len(kept)) % FOLDS  # on from class to class, so that small ones don't all start in fold 0
    return Units(kept.index.to_numpy(), codes, folds, list(classes), small)


class Ranked:
    """One property, number or category, and how likely it makes each class: smoothed class frequencies by rank.

    Like a histogram of the ranks for each class, so what differs may be the middle, the spread or a single value as
    well; blurred with a Gaussian, because that finds a plain shift with nearly the power of a t-test where bare bins
    have two thirds of it. Missing values and categories are bins of their own, never blurred.
    """

    def __init__(self, column: pd.Series, photos: Units) -> None:
        """column: the property of the photos that count, n values in their order."""
        self.photos = photos
        per_class = len(photos.labels) / len(photos.classes)
        blur = float(np.clip(0.15 * (30 / per_class) ** 0.2, 0.05, 0.3))  # share of the ranks
        if pd.api.types.is_numeric_dtype(column):
            self.bins, self.kernel = _numeric_bins(column.to_numpy(dtype=float), blur)
        else:
            self.bins = _category_bins(column)
            self.kernel = np.eye(self.bins.max() + 1, dtype=np.float32)

    @property
    def constant(self) -> bool:
        """Is it the same for every photo?"""
        return len(self.kernel) < 2

    def statistics(self, orders: np.ndarray) -> np.ndarray:
        """Mean probability of the true class, out of fold and each class weighing the same, for each order (p, n)."""
        numbers = FOLDS * len(self.photos.classes) * len(self.kernel)
        return np.concatenate([self._mean(some) for some in _blocks(orders, max(orders.shape[1], numbers))])

    def right(self) -> np.ndarray:
        """Credit for each photo, float (n,): 1 where the property alone gives its class, shares where it is a draw."""
        _, likelihood = self._likelihood(np.arange(len(self.bins))[None])
        return _winners(likelihood[0, self.photos.folds, :, self.bins], self.photos.labels)

    def _mean(self, orders: np.ndarray) -> np.ndarray:
        tally, likelihood = self._likelihood(orders)
        likelihood += 1e-9  # all classes alike where nothing is known
        hits = np.einsum("pfcb,pfcb->pc", tally, likelihood / likelihood.sum(axis=2, keepdims=True))
        return (hits / self.photos.sizes.sum(axis=0)).mean(axis=1)

    def _likelihood(self, orders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Photos counted (p, folds, classes, bins), and the frequency of each bin in the other folds, same shape."""
        shape = (len(orders), FOLDS, len(self.photos.classes), len(self.kernel))
        cells = np.arange(len(orders))[:, None] * (shape[1] * shape[2]) + self.photos.cells
        flat = np.bincount((cells * shape[3] + self.bins[orders]).ravel(), minlength=int(np.prod(shape)))
        tally = flat.reshape(shape).astype(np.float32)
        others = tally.sum(axis=1, keepdims=True) - tally
        return tally, others @ self.kernel / self.photos.trained_on[:, :, None].astype(np.float32)


class Cloud:
    """One property of many numbers (the features of the background): the nearest class mean, all scaled alike.

    Linear discriminant analysis with the scatter of all photos in place of that within classes, so that what takes
    long does not depend on the labels; for two classes the boundary has the same direction. A mean of few photos
    lies farther off by chance alone: that is subtracted (Chan and Hall, "Scale adjustments for classifiers in
    high-dimensional, low sample size settings", Biometrika 96, 2009).
    """

    constant = False

    def __init__(self, features: np.ndarray, photos: Units) -> None:
        """features: float (n, d) of the photos that count, in their order."""
        self.photos = photos
        self.points = whiten(features, min(COMPONENTS, len(features) // 4))

    def statistics(self, orders: np.ndarray) -> np.ndarray:
        """As Ranked.statistics."""
        numbers = orders.shape[1] * max(self.points.shape[1], len(self.photos.classes))
        return np.concatenate([self._mean(some) for some in _blocks(orders, numbers)])

    def right(self) -> np.ndarray:
        """As Ranked.right."""
        return _winners(self._scores(np.arange(len(self.points))[None])[0], self.photos.labels)

    def _mean(self, orders: np.ndarray) -> np.ndarray:
        scores = self._scores(orders)
        of_true = scores[:, np.arange(len(self.photos.labels)), self.photos.labels]
        probability = 1 / np.exp(np.minimum(scores - of_true[:, :, None], 60)).sum(axis=2)
        return probability @ (1 / self.photos.sizes.sum(axis=0)[self.photos.labels]) / len(self.photos.classes)

    def _scores(self, orders: np.ndarray) -> np.ndarray:
        """log-likelihood of each class up to a constant, (p, n, classes), from the means of the other folds."""
        points = self.points[orders]
        scores = np.empty((*orders.shape, len(self.photos.classes)), dtype=np.float32)
        is_class = np.eye(len(self.photos.classes), dtype=np.float32)[self.photos.labels]
        for fold in range(FOLDS):
            here = self.photos.folds == fold
            sizes = self.photos.trained_on[fold].astype(np.float32)
            means = (is_class[~here] / sizes).T @ points[:, ~here]
            length = (means**2).sum(axis=2) - points.shape[2] / sizes
            scores[:, here] = points[:, here] @ means.transpose(0, 2, 1) - length[:, None] / 2
        return scores


def whiten(features: np.ndarray, components: int) -> np.ndarray:
    """The leading principal components, each scaled to variance 1: float32 (n, components)."""
    pca = PCA(max(1, min(components, *features.shape)), whiten=True, svd_solver="randomized", random_state=0)
    return pca.fit_transform(features.astype(np.float32))


def westfall_young(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p-values of several tests on the same data, one by one and corrected for how many there are.

    statistics: float (tests, 1 + permutations), the first column as observed, the others with the labels exchanged,
    the same exchange in a column. Returns float (tests,) twice. The corrected ones are step-down maxT, Algorithm 2.8
    in Westfall and Young, "Resampling-based multiple testing" (1993): the chance that any of the tests comes out this
    high. Holm's correction would count width, height and megapixels as three independent tries; this does not.
    """
    z = standardised(statistics)
    alone = (z >= z[:, :1] - _TIE).mean(axis=1)
    order = np.argsort(z[:, 0], kind="stable")  # the weakest first, so that each is compared with those no stronger
    highest = np.maximum.accumulate(z[order], axis=0)
    step = (highest >= z[order, :1] - _TIE).mean(axis=1)
    corrected = np.empty_like(step)
    corrected[order] = np.maximum.accumulate(step[::-1])[::-1]
    return alone, corrected


def standardised(statistics: np.ndarray) -> np.ndarray:
    """Each test's statistics, float (tests, values), in standard deviations from their mean."""
    deviation = statistics.std(axis=1, keepdims=True)
    return (statistics - statistics.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)


def orders(count: int, permutations: int, seed: int) -> np.ndarray:
    """The photos as they are, then in random orders: int (1 + permutations, count)."""
    chance = np.random.default_rng(seed)
    same = np.arange(count)
    return np.stack([same, *(chance.permutation(count) for _ in range(permutations))])


def _numeric_bins(values: np.ndarray, blur: float) -> tuple[np.ndarray, np.ndarray]:
    """Bins of equal count, the same for equal values, the last for missing ones; and how they blur into each other."""
    known = ~np.isnan(values)
    ranks = (rankdata(values[known]) - 0.5) / max(1, known.sum())
    bins = np.full(len(values), BINS)
    bins[known] = np.minimum((ranks * BINS).astype(int), BINS - 1)
    used, bins = np.unique(bins, return_inverse=True)
    place = np.where(used == BINS, 1e3, (used + 0.5) / BINS)  # missing: far from everything
    apart = (place[:, None] - place) / blur
    return bins, np.exp(-0.5 * apart**2).astype(np.float32)


def _category_bins(values: pd.Series) -> np.ndarray:
    """One bin for each category, missing among them; the rarest share one where there are more than BINS."""
    text = values.astype(object).where(values.notna(), None).map(lambda value: "" if value is None else str(value))
    common = text.value_counts().index[: BINS - 1]
    return pd.factorize(text.where(text.isin(common), "\0"))[0]


def _winners(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For scores (n, classes): 1 where the true class scores highest, its share where it is a draw, else 0."""
    highest = scores.max(axis=1, keepdims=True)
    top = scores >= highest - 1e-5 * np.abs(highest)
    return top[np.arange(len(labels)), labels] / top.sum(axis=1)


def _blocks(orders: np.ndarray, numbers: int) -> Iterator[np.ndarray]:
    """The orders in blocks whose tables, of so many numbers for each order, fit into memory."""
    step = max(1, _AT_ONCE // numbers)
    return (orders[start : start + step] for start in range(0, len(orders), step))

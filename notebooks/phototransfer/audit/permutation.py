"""Permutation tests of how well one property predicts the class of a photo."""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from phototransfer.stats import mean_recall

ALPHA = 0.05
#: Between this p-value and ALPHA a result is borderline: the random permutations of another seed could reverse it.
CLEAR_ALPHA = 0.02
_BINS = 32
_COMPONENTS = 32
_ROUNDING = 1e-5  # standard deviations
_BLOCK = 4_000_000  # numbers in one block of permutations: 32 MB
#: Context manager for many small matrices: threads that wait for each other take 60 times as long.
one_blas_thread = partial(threadpool_limits, limits=1, user_api="blas")


@dataclass(frozen=True)
class Sample:
    """The first photo of each group of near-duplicates: independent, so that their labels can be shuffled freely."""

    rows: np.ndarray  # positions in the table of photos
    labels: np.ndarray  # positions in `classes`
    classes: list[str]
    left_out: dict[str, int]  # classes with fewer than two different photos, and how many they have

    @property
    def chance_level(self) -> float:
        """Balanced accuracy of guessing."""
        return 1 / len(self.classes)

    @cached_property
    def counts(self) -> np.ndarray:
        """Photos by class, float (classes,); at least two each."""
        return np.bincount(self.labels).astype(float)

    def balanced_accuracy(self, credit: np.ndarray) -> float:
        """Return the mean over the classes of the mean credit (0 to 1) of their photos, float (n,)."""
        return mean_recall(credit, self.labels)


def make_sample(photos: pd.DataFrame) -> Sample | None:
    """Return the photos that count; None if fewer than two classes have two of them."""
    first = photos[["label", "group"]].reset_index(drop=True).drop_duplicates("group")
    sizes = first["label"].value_counts().reindex(sorted(photos["label"].unique()), fill_value=0)
    first = first[first["label"].isin(sizes.index[sizes >= 2])]
    labels, classes = pd.factorize(first["label"], sort=True)
    if len(classes) < 2:
        return None
    return Sample(first.index.to_numpy(), labels, list(classes), sizes[sizes < 2].to_dict())


class _Classifier:
    """Scores of the classes for each photo of a sample, fitted on all other photos (leave-one-out).

    Unlike folds, leaving out one photo at a time needs no random assignment: the result does not depend on a seed.
    """

    constant = False  # whether the property is the same for all photos

    def __init__(self, sample: Sample, numbers: int) -> None:
        self.sample = sample
        self._orders_per_block = max(1, _BLOCK // numbers)  # if each order of the photos needs so many numbers

    def statistics(self, orders: np.ndarray) -> np.ndarray:
        """Return the mean probability of the true class, float (p,), for p orders of the photos, int (p, n).

        Each class is weighted equally. This has more power than the accuracy.
        """
        starts = range(0, len(orders), self._orders_per_block)
        return np.concatenate([self._mean(orders[start : start + self._orders_per_block]) for start in starts])

    def credit(self) -> np.ndarray:
        """Return 1 for each photo whose class scores highest, a share of 1 if others do too, else 0: float (n,)."""
        photo, labels = np.arange(len(self.sample.rows)), self.sample.labels
        scores = self._scores(photo[None])[0]
        own = scores[photo, labels]
        with_photo = self._own_scores_with_photo(own)
        scores[photo, labels] = -np.inf
        highest = scores.max(axis=1)
        rivals = ((scores > own[:, None]) | np.isclose(scores, own[:, None], atol=0)).sum(axis=1)
        undecided = (with_photo >= highest) | np.isclose(with_photo, highest, atol=0)
        return np.where(rivals == 0, 1.0, undecided / (1 + rivals))

    def _mean(self, orders: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _scores(self, orders: np.ndarray) -> np.ndarray:
        """Return the score of each class for each photo in each order, without that photo, float (p, n, classes)."""
        raise NotImplementedError

    def _own_scores_with_photo(self, own: np.ndarray) -> np.ndarray:
        """Return the score of each photo's own class that decides whether it loses; by default that without it."""
        return own


class HistogramClassifier(_Classifier):
    """Classifier on one property, numbers or text: how often its value occurs in each class.

    Numbers become ranks in bins, so classes may differ in the middle, the spread or a single value. With histograms
    blurred by a Gaussian, a plain shift is detected with nearly the power of a t-test, without blur with two thirds of
    it. Categories and missing values are bins of their own.
    """

    def __init__(self, column: pd.Series, sample: Sample) -> None:
        if pd.api.types.is_numeric_dtype(column):
            blur = np.clip(0.15 * (30 * len(sample.classes) / len(column)) ** 0.2, 0.05, 0.3)  # share of the ranks
            self._bins, self._kernel = _numeric_bins(column.to_numpy(dtype=float), blur)
        else:
            self._bins = _category_bins(column)
            self._kernel = np.eye(self._bins.max() + 1, dtype=np.float32)
        self.constant = len(self._kernel) < 2
        super().__init__(sample, max(len(column), sample.counts.size * len(self._kernel)))

    def _mean(self, orders: np.ndarray) -> np.ndarray:
        tally, likelihood, of_true = self._likelihood(orders)
        others = likelihood.sum(axis=1, keepdims=True) - likelihood
        tiny = 1e-9  # the same for all classes if none has this value
        probability = (of_true + tiny) / (of_true + others + tiny * len(self.sample.classes))
        return ((tally * probability).sum(axis=2) / self.sample.counts).mean(axis=1)

    def _scores(self, orders: np.ndarray) -> np.ndarray:
        _, likelihood, of_true = self._likelihood(orders)
        order, bins, labels = np.arange(len(orders))[:, None], self._bins[orders], self.sample.labels
        scores = likelihood.transpose(0, 2, 1)[order, bins]
        scores[:, np.arange(len(labels)), labels] = of_true[order, labels, bins]
        return scores

    def _own_scores_with_photo(self, own: np.ndarray) -> np.ndarray:
        # Of a value that all classes have in equal shares, each class has one fewer without the photo. That alone must
        # not point to another class, so a class loses only if it loses with the photo too.
        _, likelihood, _ = self._likelihood(np.arange(len(own))[None])
        return likelihood[0, self.sample.labels, self._bins]

    def _likelihood(self, orders: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return arrays by (order, class, bin).

        The photos counted; how frequent the bin is in the class; the same without one photo of that class and bin.
        """
        shape = (len(orders), len(self.sample.classes), len(self._kernel))
        cells = np.ravel_multi_index((np.arange(len(orders))[:, None], self.sample.labels, self._bins[orders]), shape)
        tally = np.bincount(cells.ravel(), minlength=np.prod(shape)).reshape(shape).astype(np.float32)
        blurred, counts = tally @ self._kernel, self.sample.counts[:, None].astype(np.float32)
        without_one = np.maximum(blurred - self._kernel.diagonal(), 0) / (counts - 1)
        return tally, blurred / counts, without_one


class CentroidClassifier(_Classifier):
    """Classifier on features, float (n, d): the nearest class mean of their whitened principal components.

    That is linear discriminant analysis with the scatter of all photos instead of that within classes: it does not
    depend on the labels, and for two classes the direction is the same. The mean of few photos lies farther away by
    chance; that is subtracted (Chan and Hall, "Scale adjustments for classifiers in high-dimensional, low sample size
    settings", Biometrika 96, 2009).
    """

    def __init__(self, features: np.ndarray, sample: Sample) -> None:
        self.constant = bool(np.isclose(features, features[0]).all())
        if self.constant:
            return
        components = max(1, min(_COMPONENTS, len(features) // 4, features.shape[1]))
        pca = PCA(components, whiten=True, svd_solver="randomized", random_state=0)
        self._points = pca.fit_transform(features.astype(np.float32))
        super().__init__(sample, len(features) * max(components, len(sample.classes)))

    def _mean(self, orders: np.ndarray) -> np.ndarray:
        labels, scores = self.sample.labels, self._scores(orders)
        of_true = scores[:, np.arange(len(labels)), labels]
        probability = 1 / np.exp(np.minimum(scores - of_true[:, :, None], 60)).sum(axis=2)
        return probability @ (1 / self.sample.counts[labels]) / len(self.sample.classes)

    def _scores(self, orders: np.ndarray) -> np.ndarray:
        """Return log-likelihoods up to a constant."""
        points, labels, counts = self._points[orders], self.sample.labels, self.sample.counts
        dimensions = points.shape[2]
        is_class = np.eye(len(counts), dtype=np.float32)[labels]
        means = (is_class / counts.astype(np.float32)).T @ points
        products, squares = points @ means.transpose(0, 2, 1), (means**2).sum(axis=2)
        scores = products - ((squares - dimensions / counts)[:, None] / 2).astype(np.float32)
        # The mean of a photo's own class without the photo x is (n · mean − x) / (n − 1).
        photo, n = np.arange(len(labels)), counts[labels]
        product, square, own = products[:, photo, labels], squares[:, labels], (points**2).sum(axis=2)
        product_without = (n * product - own) / (n - 1)
        square_without = (n**2 * square - 2 * n * product + own) / (n - 1) ** 2
        scores[:, photo, labels] = product_without - (square_without - dimensions / (n - 1)) / 2
        return scores


def westfall_young(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return p-values of several tests on the same photos, single and corrected for their number, float (tests,) each.

    `statistics`, (tests, 1 + permutations), has the observed ones first; within a column the labels are the same.

    Notes
    -----
    Step-down maxT, algorithm 2.8 in Westfall and Young, "Resampling-based multiple testing" (1993). Holm's correction
    would count width, height and megapixels as three independent tests.
    """
    z = standardise(statistics)
    single = (z >= z[:, :1] - _ROUNDING).mean(axis=1)
    order = np.argsort(z[:, 0], kind="stable")  # weakest first, so that each is compared with those no stronger
    highest = np.maximum.accumulate(z[order], axis=0)
    step = (highest >= z[order, :1] - _ROUNDING).mean(axis=1)
    corrected = np.empty_like(step)
    corrected[order] = np.maximum.accumulate(step[::-1])[::-1]
    return single, corrected


def standardise(statistics: np.ndarray) -> np.ndarray:
    """Return each row in standard deviations from its mean."""
    deviation = statistics.std(axis=1, keepdims=True)
    return (statistics - statistics.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)


def shuffled_orders(count: int, permutations: int, seed: int) -> np.ndarray:
    """Return the photos in their order, then in random orders: int (1 + permutations, count)."""
    rng = np.random.default_rng(seed)
    return np.stack([np.arange(count), *(rng.permutation(count) for _ in range(permutations))])


def _numeric_bins(values: np.ndarray, blur: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a bin for each value, of equal count and the last for missing ones, and the kernel between the bins."""
    present = ~np.isnan(values)
    ranks = (rankdata(values[present]) - 0.5) / max(1, present.sum())
    bins = np.full(len(values), _BINS)
    bins[present] = np.minimum((ranks * _BINS).astype(int), _BINS - 1)
    used, bins = np.unique(bins, return_inverse=True)
    place = np.where(used == _BINS, 1e3, (used + 0.5) / _BINS)  # missing values: far from all others
    distance = (place[:, None] - place) / blur
    return bins, np.exp(-0.5 * distance**2).astype(np.float32)


def _category_bins(values: pd.Series) -> np.ndarray:
    """Return one bin per category, also for missing values; the rarest share one if there are too many."""
    text = values.astype(object).where(values.notna(), "").astype(str)
    common = text.value_counts().index[: _BINS - 1]
    return pd.factorize(text.where(text.isin(common), "\0"))[0]

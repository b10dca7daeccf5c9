"""Cross-validation of the configured head, and the trainings that other results on the same folds use."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from phototransfer.console import plural, progress, skip_steps
from phototransfer.evaluate.folds import ACCURACY, Fold, Folds, make_folds, too_few_photos
from phototransfer.evaluate.results import ClassCounts
from phototransfer.finding import BORDERLINE, CANNOT_TELL, DOUBT, FOUND, NOTE, NOTHING_FOUND, Finding
from phototransfer.photos.sampling import sample_photos
from phototransfer.processes import Queue, pack
from phototransfer.report import Result, Skipped
from phototransfer.stats import difference_interval, format_share, mean_recall, wilson
from phototransfer.stored import WITHOUT_EFFECT, is_stored, stored
from phototransfer.style import BLUE, GREY, ORANGE, accuracy_axis, plot_interval

if TYPE_CHECKING:  # importing them imports TensorFlow
    from phototransfer.network.features import Features
    from phototransfer.network.training import BuildHead, FitHead, HeadTrainer, Training

_SIMILAR = 0.02  # scores on very many photos agree if they differ by less
_LARGE = 0.10  # scores agree if a larger difference would have been noticed


@dataclass
class CrossValidator:
    """The photos, their features (row for row), and the notebook's functions that build and train a head.

    Of the augmented features the first AUGMENTATIONS are trained on. Of more than `sampling.MOST_PHOTOS` photos, a
    random sample is used: `photos` and `features` are those of the sample, `all_photos` is the whole table.
    """

    photos: pd.DataFrame
    features: "Features"
    _: KW_ONLY
    build_head: "BuildHead"
    fit_head: "FitHead"
    settings: Mapping[str, Any]
    _all_photos: pd.DataFrame | None = field(init=False, default=None, repr=False)
    _folds: dict[tuple[int, int, bool], Folds | None] = field(init=False, default_factory=dict, repr=False)
    _configured: dict[tuple[str, bytes], np.ndarray] = field(init=False, default_factory=dict, repr=False)
    _trainers: "dict[str, HeadTrainer]" = field(init=False, default_factory=dict, repr=False)
    _queue: Queue | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        rows = sample_photos(self.photos, self.settings["SEED"])
        if rows is not None:
            self._all_photos = self.photos
            self.photos, self.features = self.photos.iloc[rows].reset_index(drop=True), self.features.take(rows)

    @property
    def all_photos(self) -> pd.DataFrame:
        """The whole table: `photos`, or what they are a sample of."""
        return self.photos if self._all_photos is None else self._all_photos

    @property
    def folds(self) -> Folds | None:
        """Folds of all photos, for the score of the configured head; None: see `skipped`."""
        return self._make_folds(without_test=False)

    @property
    def folds_without_test(self) -> Folds | None:
        """Folds of the training and validation photos, for every choice between heads; None: see `skipped`."""
        return self._make_folds(without_test=True)

    def _make_folds(self, *, without_test: bool) -> Folds | None:
        """Return the folds for the current settings, made once."""
        n_folds, seed = self.settings["CV_FOLDS"], self.settings["SEED"]
        key = n_folds, seed, without_test
        if key not in self._folds:
            self._folds[key] = make_folds(
                self.photos, n_folds, seed, without_test=without_test, all_photos=self.all_photos
            )
        return self._folds[key]

    def skipped(self, name: str) -> Skipped:
        """Return a result that says why there are no folds."""
        n_folds = self.settings["CV_FOLDS"]
        if not n_folds:
            return Skipped(name, "This needs cross-validation, which is off (CV_FOLDS = 0): CV_FOLDS = 5 turns it on.")
        return Skipped(name, too_few_photos(n_folds))

    def predict_folds(
        self, folds: Folds, *, settings: Mapping[str, Any] | None = None, parts: Sequence[Fold] | None = None
    ) -> "Iterator[tuple[Fold, np.ndarray]]":
        """Train a head on each fold; yield the fold and the probabilities of its test photos, float32 (k, classes).

        `settings` are those of the head (default: the configured ones), `parts` the folds to use (default: all).
        """
        settings = dict(self.settings if settings is None else settings)
        trainer = self._trainer(len(folds.classes), settings)
        waiting = [(fold, training, _key(training)) for fold, training in self._trainings(folds, settings, parts)]
        while waiting:
            here = _next_here(self._queue, [key for *_, key in waiting])
            fold, training, key = waiting.pop(here or 0)
            probabilities = _answer(self._queue, key) if here is None and self._queue is not None else None
            yield fold, training.run(trainer) if probabilities is None else probabilities

    def start(
        self, folds: Folds | None, *, settings: Mapping[str, Any] | None = None, parts: Sequence[Fold] | None = None
    ) -> None:
        """Let other processes begin with the trainings that `out_of_fold` will need, if no earlier run has done them.

        Does nothing without folds, without processes, or if the functions of the notebook cannot be sent to them.
        """
        if folds is None:
            return
        if self._queue is None:
            self._queue = Queue()
        if not self._queue or self._pickled_functions is None:
            return
        settings = dict(self.settings if settings is None else settings)
        if is_stored(self.features.results, self._depends_on(folds, settings=settings, parts=parts)):
            return
        import keras

        from phototransfer.network.training import run_in_process

        numbers = keras.config.floatx(), keras.config.dtype_policy().name
        for _, training in self._trainings(folds, settings, parts):
            self._queue.add(_key(training), run_in_process, self._pickled_functions, numbers, training)

    @cached_property
    def _pickled_functions(self) -> bytes | None:
        """build_head and fit_head for other processes; None if they refer to what cannot be sent to one."""
        try:
            return pack((self.build_head, self.fit_head))
        except Exception as error:  # objects raise many types when they cannot be pickled
            print(f"Heads are trained in this process only: their functions cannot be sent to another one ({error}).")
            return None

    def _trainings(
        self, folds: Folds, settings: Mapping[str, Any], parts: Sequence[Fold] | None
    ) -> "list[tuple[Fold, Training]]":
        from phototransfer.network.training import Training

        # Rows of the table rather than of the folds: so all trainings share the arrays of features.
        labels = np.full(len(self.features.plain), -1, dtype=np.int64)
        labels[folds.rows] = folds.labels
        augmented = self.features.augmented[: settings["AUGMENTATIONS"]]
        data = {"plain": np.asarray(self.features.plain), "augmented": augmented, "labels": labels}
        trainings = []
        for fold in folds.folds if parts is None else parts:
            seed = (settings["SEED"] + fold.number) % 2**32
            rows = {name: folds.rows[getattr(fold, name)] for name in ("train", "val", "test")}
            trainings.append((fold, Training(settings, len(folds.classes), **data, **rows, seed=seed)))
        return trainings

    def _trainer(self, n_classes: int, settings: Mapping[str, Any]) -> "HeadTrainer":
        """Return the trainer of a head; the latest one is kept, because its first training has to be traced."""
        from phototransfer.network.training import HeadTrainer

        key = repr((n_classes, sorted(settings.items())))
        if key not in self._trainers:
            self._trainers.clear()
            self._trainers[key] = HeadTrainer(self.build_head, self.fit_head, self.features.size, n_classes, settings)
        return self._trainers[key]

    def out_of_fold(
        self,
        folds: Folds,
        *,
        bar: "tqdm[Any]",
        settings: Mapping[str, Any] | None = None,
        parts: Sequence[Fold] | None = None,
    ) -> np.ndarray:
        """Return the probabilities of each photo by the head of its fold, float32 (n, classes), as `predict_folds`.

        Those of an earlier run are used where nothing has changed that they depend on.
        """

        def train() -> np.ndarray:
            probabilities = np.zeros((len(folds.labels), len(folds.classes)), dtype=np.float32)
            for fold, of_test in self.predict_folds(folds, settings=settings, parts=parts):
                probabilities[fold.test] = of_test
                bar.update()
            return probabilities

        probabilities, known = self.stored(train, folds, settings=settings, parts=parts)
        if known:
            skip_steps(bar, len(parts or folds.folds))
        return probabilities

    def stored(
        self,
        compute: Callable[[], np.ndarray],
        folds: Folds,
        *,
        settings: Mapping[str, Any] | None = None,
        parts: Sequence[Fold] | None = None,
        model: str = "head",
    ) -> tuple[np.ndarray, bool]:
        """Return what `compute` returns for a model on these folds, or what it returned in an earlier run: `stored`.

        It may depend on the photos' features, labels and groups, on the folds, the settings, and the functions of the
        notebook.
        """
        depends_on = self._depends_on(folds, settings=settings, parts=parts, model=model)
        return stored(self.features.results, depends_on, compute)

    def _depends_on(
        self,
        folds: Folds,
        *,
        settings: Mapping[str, Any] | None,
        parts: Sequence[Fold] | None,
        model: str = "head",
    ) -> dict[str, Any]:
        import keras

        settings = self.settings if settings is None else settings
        used = {name: value for name, value in settings.items() if name not in WITHOUT_EFFECT}
        return {
            "model": model,
            "functions": [self.build_head, self.fit_head],
            "settings": used,
            "features": self.features.plain[folds.rows],
            "augmented": self.features.augmented[: used.get("AUGMENTATIONS", 0), folds.rows],
            "labels": [folds.labels, folds.groups],
            "folds": [[fold.number, fold.train, fold.val, fold.test] for fold in parts or folds.folds],
            "numbers": [keras.config.floatx(), keras.config.dtype_policy().name],
        }

    def configured_probabilities(self, folds: Folds) -> np.ndarray:
        """Return `out_of_fold` of the configured head, trained once for the same folds and current settings."""
        arrays = [folds.rows, folds.labels, *(fold.train for fold in folds.folds)]
        key = repr(sorted(self.settings.items())), np.concatenate(arrays).tobytes()
        if key not in self._configured:
            with progress("Configured head", folds.n_folds, unit="training") as bar:
                self._configured[key] = self.out_of_fold(folds, bar=bar)
        return self._configured[key]


def _key(training: "Training") -> bytes:
    rows = [training.labels, training.train, training.val, training.test]
    arrays = b" ".join(array.tobytes() for array in rows)
    return hashlib.blake2b(repr((sorted(training.settings.items()), training.seed)).encode() + arrays).digest()


def _answer(queue: Queue, key: bytes) -> np.ndarray | None:
    """Return the result of a training in another process; None if it failed there and has to be done here."""
    try:
        return np.asarray(queue.result(key))
    except BrokenExecutor:
        print("Another process that trained heads has ended, perhaps because the memory was full.")
    except Exception:  # of build_head or fit_head, which will raise it here too, where it can be read
        pass
    return None


def _next_here(queue: Queue | None, keys: Sequence[bytes]) -> int | None:
    """Return the position of a training to do in this process; None if other processes have begun with all of them.

    From the end, because the others begin at the start; in order, if they have nothing to do with these.
    """
    if queue is None or not any(key in queue for key in keys):
        return 0
    return next((number for number in reversed(range(len(keys))) if queue.withdraw(keys[number])), None)


@dataclass(frozen=True)
class CrossValidation(Result):
    """Scores of the configured head on photos that it was not trained on; near-duplicates count once.

    Attributes
    ----------
    table : DataFrame
        That of `fold_scores`.
    counts : ClassCounts
        Correct photos of each class, of all that were cross-validated.
    test : ClassCounts
        The same of the trained head on the test photos: see `comparable_test_score`.
    fine_tuned : bool
        Whether fine-tuning of the trained head was kept; the heads of the folds are not fine-tuned.

    Notes
    -----
    The interval treats the photos as independent. It does not cover that the heads of two folds share most of their
    training photos: no unbiased estimate of that variance exists (Y. Bengio and Y. Grandvalet, "No unbiased estimator
    of the variance of K-fold cross-validation", JMLR 5, 2004).
    """

    name = "cross_validation"
    folds: Folds
    table: pd.DataFrame
    counts: ClassCounts
    test: ClassCounts
    fine_tuned: bool

    @property
    def measure(self) -> str:
        """The measure of both scores: "accuracy" or "balanced accuracy"."""
        return self.folds.measure

    @property
    def score(self) -> float:
        """Accuracy or balanced accuracy of all photos."""
        return self.counts.score(self.measure) or 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `score`."""
        return self.counts.interval(self.measure) or (0.0, 1.0)

    def difference(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the interval of test score minus cross-validation; None without test photos.

        Balanced accuracies are those of the classes that have test photos. The test photos are cross-validated too, so
        the interval is rather wide.
        """
        compared = self.counts if self.measure == ACCURACY else self.counts.of(self.test.tested)
        test, test_interval = self.test.score(self.measure), self.test.interval(self.measure, confidence)
        score, interval = compared.score(self.measure), compared.interval(self.measure, confidence)
        if test is None or score is None or test_interval is None or interval is None:
            return None
        return difference_interval(test, test_interval, score, interval)

    def findings(self) -> dict[str, Finding]:
        return {"reliability": self._reliability()}

    def _reliability(self) -> Finding:
        surely, likely, test = self.difference(0.99), self.difference(), self.test.score(self.measure)
        if surely is None or likely is None or test is None:
            return Finding(CANNOT_TELL, f"{CANNOT_TELL}: there are no test photos to compare")
        if self.fine_tuned:
            return Finding(CANNOT_TELL, f"{CANNOT_TELL}: the heads of cross-validation are not fine-tuned")
        against = f"{format_share(test)} against {format_share(self.score)} in cross-validation"
        if self.folds.sample:  # of so many photos any difference is significant, and heads learn more from all of them
            if abs(test - self.score) < _SIMILAR:
                return Finding(NOTHING_FOUND, f"{NOTHING_FOUND}: {against}, which agrees")
            return Finding(CANNOT_TELL, f"{CANNOT_TELL}: {against}, whose heads are trained on a sample of the photos")
        if likely[0] <= 0 <= likely[1]:
            if max(-likely[0], likely[1]) < _LARGE:
                return Finding(NOTHING_FOUND, f"{NOTHING_FOUND}: {against}, which agrees")
            few = plural(self.test.n_photos, "test photo")
            return Finding(CANNOT_TELL, f"{CANNOT_TELL}: {against}, but only {few}, so that may be chance")
        better, (low, high) = likely[0] > 0, self.interval
        direction = "easier" if better else "harder"
        obstacle = f"The test photos are {direction} than the others: {self.measure} {against}."
        remedy = f"expect the cross-validated {self.measure}: {format_share(self.score)} ({low:.2f} to {high:.2f})."
        if better:
            remedy = f"For new photos like the others, {remedy}"
        else:
            remedy = f"If new photos will be like the test photos, train on more photos like them; otherwise {remedy}"
        if surely[0] <= 0 <= surely[1]:
            obstacle = f"The test photos may be {direction} than the others: {self.measure} {against}."
            return Finding(BORDERLINE, f"{BORDERLINE}: {against}", NOTE, obstacle, remedy)
        return Finding(FOUND, f"{FOUND}: the test photos are {direction}, {against}", DOUBT, obstacle, remedy)

    def summary(self) -> str:
        folds, scores, total = self.folds, self.table["score"], self.counts.n_photos
        lines = [
            f"{plural(total, 'different photo')} of {len(folds.classes)} classes in {folds.n_folds} folds; "
            f"{plural(len(folds.rows) - total, 'near-duplicate')} not counted. Test photos take part, because nothing "
            "is chosen by this score.",
            f"Cross-validation: {self.counts.describe(self.measure)}. The folds score {scores.min():.2f} to "
            f"{scores.max():.2f} (mean {scores.mean():.2f}, standard deviation {scores.std():.2f}).",
            f"Comparable test photos: {self.test.describe(self.measure)}.",
        ]
        if self.measure != ACCURACY:
            lines.insert(2, self.counts.describe_rarest())
        lines += folds.notes()
        if self.fine_tuned:
            lines.append("The heads of the folds are trained without fine-tuning.")
        return "\n".join(lines)

    def alt(self) -> str:
        lines = [f"Cross-validation: {self.counts.describe(self.measure)}."]
        lines.append(f"Comparable test photos: {self.test.describe(self.measure)}.")
        scores = ", ".join(f"{score:.2f}" for score in self.table["score"])
        return " ".join([*lines, f"Folds: {scores}."])

    def plot(self) -> Figure:
        scores, low = self.table["score"], 1.0
        figure, axis = plt.subplots(figsize=(7, 2.6))
        heights = 2 + np.linspace(-0.16, 0.16, len(scores))
        axis.plot(scores, heights, "o", color=GREY, markersize=6, markerfacecolor="white", clip_on=False)
        for row, counts, colour, marker in ((1, self.counts, BLUE, "o"), (0, self.test, ORANGE, "D")):
            score, interval = counts.score(self.measure), counts.interval(self.measure)
            if score is not None and interval is not None:
                plot_interval(axis, row, score, interval, colour=colour, marker=marker)
                low = min(low, interval[0])
        labels = [f"test photos ({self.test.n_photos})", f"all photos ({self.counts.n_photos})"]
        labels.append(f"the {len(scores)} folds")
        axis.set(yticks=[0, 1, 2], yticklabels=labels, ylim=(-0.6, 2.6))
        axis.set_title(f"{self.measure.capitalize()} on photos that the head was not trained on")
        accuracy_axis(axis, min(low, scores.min()), f"{self.measure}, with its 95 % interval")
        return figure

    def to_dict(self) -> dict[str, Any]:
        correct, total = self.counts.n_correct, self.counts.n_photos
        difference = self.difference()
        return {
            "folds": self.folds.n_folds,
            "mean": float(self.table["accuracy"].mean()),
            "std": float(self.table["accuracy"].std()),
            "accuracy": correct / total,
            "ci95": wilson(correct, total),
            "measure": self.measure,
            **self.counts.to_dict(),
            "photos": total,
            "left_out": self.folds.left_out,
            "fold_accuracies": self.table["accuracy"].tolist(),
            "reliability": {"state": self._reliability().state, "difference_ci95": difference},
        }


def cross_validate(
    validator: CrossValidator, photos: pd.DataFrame, *, fine_tuned: bool = False
) -> CrossValidation | Skipped:
    """Train the configured head once per fold of all photos, and test each on the photos of its fold.

    `photos` is the table with the column correct, of the trained head. `fine_tuned`: whether fine-tuning was kept.
    """
    folds = validator.folds
    if folds is None:
        return validator.skipped(CrossValidation.name)
    correct = folds.correct(validator.configured_probabilities(folds))
    table = fold_scores(folds, correct)
    labels = np.array(folds.classes, dtype=object)[folds.labels[folds.representative]]
    counts = ClassCounts.of_photos(labels, correct, folds.classes)
    test = comparable_test_score(folds, photos)
    return CrossValidation(folds, table, counts, test, fine_tuned=fine_tuned)


def fold_scores(folds: Folds, correct: np.ndarray) -> pd.DataFrame:
    """Return one row per fold: fold, photos, correct, accuracy, score (of the measure); correct: bool (k,)."""
    everywhere = np.zeros(len(folds.labels), dtype=bool)
    everywhere[folds.representative] = correct
    strata = np.zeros(len(folds.labels), dtype=np.int64)
    strata[folds.representative] = folds.strata
    rows = []
    for fold in folds.folds:
        photos = fold.test[folds.representative[fold.test]]
        right = everywhere[photos]
        score = mean_recall(right, strata[photos])
        rows.append((fold.number, len(photos), int(right.sum()), float(right.mean()), score))
    return pd.DataFrame(rows, columns=["fold", "photos", "correct", "accuracy", "score"])


def score_table(correct: Mapping[Any, np.ndarray], key: str, folds: Folds) -> pd.DataFrame:
    """Return one row per array of bool (k,), by representative photo.

    Its columns: its `key`, photos, correct, accuracy, score (accuracy or balanced accuracy, the measure of the folds),
    low and high (95 % interval of the score).
    """
    rows = []
    for name, values in correct.items():
        interval = folds.interval(values)
        rows.append((name, len(values), int(values.sum()), float(values.mean()), folds.score(values), *interval))
    return pd.DataFrame(rows, columns=[key, "photos", "correct", "accuracy", "score", "low", "high"])


def comparable_test_score(folds: Folds, photos: pd.DataFrame) -> ClassCounts:
    """Return the correct test photos of the cross-validated classes without a duplicate in training."""
    tested = (photos["split"] == "test") & (photos["duplicate_of"] == "") & photos["label"].isin(folds.classes)
    test = photos[tested]
    return ClassCounts.of_photos(test["label"].to_numpy(), test["correct"].to_numpy(dtype=bool), folds.classes)

"""Cross-validation of the configured head, and the trainings that other results on the same folds use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from phototransfer.console import plural, progress
from phototransfer.evaluate.folds import Fold, Folds, make_folds, too_few_photos
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_score, newcombe, wilson
from phototransfer.style import BLUE, GREY, ORANGE, accuracy_axis, plot_interval

if TYPE_CHECKING:  # importing them imports TensorFlow
    from phototransfer.network.features import Features
    from phototransfer.network.training import BuildHead, FitHead

_WIDE = 0.10  # a wider test interval cannot distinguish a good head from a better one


@dataclass
class CrossValidator:
    """The photos, their features (row for row), and the notebook's functions that build and train a head.

    Of the augmented features the first AUGMENTATIONS are trained on.
    """

    photos: pd.DataFrame
    features: "Features"
    _: KW_ONLY
    build_head: "BuildHead"
    fit_head: "FitHead"
    settings: Mapping[str, Any]
    _configured: dict[str, np.ndarray] = field(init=False, default_factory=dict, repr=False)

    @property
    def folds_without_test(self) -> Folds | None:
        """Folds of the training and validation photos, for every choice between heads; None: see `skipped`."""
        return make_folds(self.photos, self.settings["CV_FOLDS"], self.settings["SEED"], without_test=True)

    def skipped(self, name: str) -> Skipped:
        """Return a result that says why there are no folds."""
        n_folds = self.settings["CV_FOLDS"]
        if not n_folds:
            return Skipped(name, "Cross-validation and what needs its folds is off (CV_FOLDS = 0).")
        return Skipped(name, too_few_photos(n_folds))

    def predict_folds(
        self, folds: Folds, *, settings: Mapping[str, Any] | None = None, parts: Sequence[Fold] | None = None
    ) -> "Iterator[tuple[Fold, np.ndarray]]":
        """Train a head on each fold; yield the fold and the classes predicted for its test photos, int (k,).

        `settings` are those of the head (default: the configured ones), `parts` the folds to use (default: all).
        """
        from phototransfer.network.training import HeadTrainer

        settings = dict(self.settings if settings is None else settings)
        plain, augmented = self.features.plain[folds.rows], self.features.augmented[: settings["AUGMENTATIONS"]]
        features = replace(self.features, plain=plain, augmented=augmented[:, folds.rows])
        trainer = HeadTrainer(self.build_head, self.fit_head, features.size, len(folds.classes), settings)
        for fold in folds.folds if parts is None else parts:
            train, val = features.training(fold.train, folds.labels), (plain[fold.val], folds.labels[fold.val])
            seed = (settings["SEED"] + fold.number) % 2**32
            yield fold, trainer.predict(train=train, val=val, x=plain[fold.test], seed=seed)

    def out_of_fold(self, folds: Folds, *, bar: "tqdm[Any]", **options: Any) -> np.ndarray:
        """Return the class predicted for each photo by the head of its fold, int (n,); options of `predict_folds`."""
        predicted = np.full(len(folds.labels), -1)
        for fold, classes in self.predict_folds(folds, **options):
            predicted[fold.test] = classes
            bar.update()
        return predicted

    def configured_correct(self) -> np.ndarray:
        """Return `correct` of `folds_without_test` for the configured head, trained once for the current settings."""
        key, folds = repr(sorted(self.settings.items())), self.folds_without_test
        assert folds is not None
        if key not in self._configured:
            with progress("Configured head", folds.n_folds, unit="training") as bar:
                self._configured[key] = folds.correct(self.out_of_fold(folds, bar=bar))
        return self._configured[key]


@dataclass(frozen=True)
class CrossValidation(Result):
    """Scores of the configured head on photos that it was not trained on; near-duplicates count once.

    `table` is that of `score_table` by fold, `test_score` that of `comparable_test_score`.

    Notes
    -----
    The interval treats the photos as independent. It does not cover that the heads of two folds share most of their
    training photos: no unbiased estimate of that variance exists (Y. Bengio and Y. Grandvalet, "No unbiased estimator
    of the variance of K-fold cross-validation", JMLR 5, 2004).
    """

    name = "cross_validation"
    folds: Folds
    table: pd.DataFrame
    test_score: tuple[int, int]
    fine_tuned: bool

    @property
    def score(self) -> tuple[int, int]:
        """Correct and total photos."""
        return int(self.table["correct"].sum()), int(self.table["photos"].sum())

    @property
    def agreement(self) -> str:
        """How the test score compares. The test photos are cross-validated too, so the interval used is rather wide."""
        interval = wilson(*self.test_score)
        if interval is None:
            return "none"
        low, high = newcombe(*self.test_score, *self.score)
        if low > 0 or high < 0:
            return "better" if low > 0 else "worse"
        return "too few" if interval[1] - interval[0] > _WIDE else "agrees"

    def summary(self) -> str:
        folds, scores, total = self.folds, self.table["accuracy"], self.score[1]
        sentences = {
            "none": "There is nothing to compare.",
            "better": "That is significantly better: the test photos are easier than the others.",
            "worse": "That is significantly worse: the test photos are harder than the others.",
            "too few": "That does not contradict it, but on so few photos it is less reliable.",
            "agrees": "That agrees with it.",
        }
        lines = [
            f"{plural(total, 'different photo')} of {len(folds.classes)} classes in {folds.n_folds} folds; "
            f"{plural(len(folds.rows) - total, 'near-duplicate')} not counted. Test photos take part, because nothing "
            "is chosen by this score.",
            f"Cross-validation: {format_score(*self.score)}. The folds score {scores.min():.2f} to {scores.max():.2f} "
            f"(mean {scores.mean():.2f}, standard deviation {scores.std():.2f}).",
            f"Comparable test photos: {format_score(*self.test_score)}. {sentences[self.agreement]}",
        ]
        lines += folds.notes()
        if self.fine_tuned:
            lines.append("The heads of the folds are trained without fine-tuning.")
        return "\n".join(lines)

    def plot(self) -> Figure:
        scores, low = self.table["accuracy"], 1.0
        figure, axis = plt.subplots(figsize=(7, 2.6))
        heights = 2 + np.linspace(-0.16, 0.16, len(scores))
        axis.plot(scores, heights, "o", color=GREY, markersize=6, markerfacecolor="white", clip_on=False)
        for row, (correct, total), colour, marker in ((1, self.score, BLUE, "o"), (0, self.test_score, ORANGE, "D")):
            if interval := wilson(correct, total):
                plot_interval(axis, row, correct / total, interval, colour=colour, marker=marker)
                low = min(low, interval[0])
        labels = [f"test photos ({self.test_score[1]})", f"all photos ({self.score[1]})", f"the {len(scores)} folds"]
        axis.set(yticks=[0, 1, 2], yticklabels=labels, ylim=(-0.6, 2.6))
        axis.set_title("Accuracy on photos that the head was not trained on")
        accuracy_axis(axis, min(low, scores.min()))
        return figure

    def to_dict(self) -> dict[str, Any]:
        correct, total = self.score
        return {
            "folds": self.folds.n_folds,
            "mean": float(self.table["accuracy"].mean()),
            "std": float(self.table["accuracy"].std()),
            "accuracy": correct / total,
            "ci95": wilson(correct, total),
            "photos": total,
            "left_out": self.folds.left_out,
            "fold_accuracies": self.table["accuracy"].tolist(),
        }


def cross_validate(validator: CrossValidator) -> CrossValidation | Skipped:
    """Train the configured head once per fold of all photos, and test each on the photos of its fold."""
    folds = make_folds(validator.photos, validator.settings["CV_FOLDS"], validator.settings["SEED"])
    if folds is None:
        return validator.skipped(CrossValidation.name)
    with progress("Cross-validation", folds.n_folds, unit="training") as bar:
        predicted = validator.out_of_fold(folds, bar=bar)
    correct = predicted == folds.labels
    by_fold = {fold.number: correct[fold.test][folds.representative[fold.test]] for fold in folds.folds}
    test_score, fine_tuned = comparable_test_score(folds, validator.photos), validator.settings["FINE_TUNE_LAYERS"] > 0
    return CrossValidation(folds, score_table(by_fold, "fold"), test_score, fine_tuned=fine_tuned)


def score_table(correct: Mapping[Any, np.ndarray], key: str) -> pd.DataFrame:
    """Return one row per array of bool: its `key`, photos, correct, accuracy, low and high (95 % Wilson interval)."""
    rows = []
    for name, values in correct.items():
        low, high = wilson(values.sum(), len(values)) or (0.0, 1.0)
        rows.append((name, len(values), int(values.sum()), float(values.mean()), low, high))
    return pd.DataFrame(rows, columns=[key, "photos", "correct", "accuracy", "low", "high"])


def comparable_test_score(folds: Folds, photos: pd.DataFrame) -> tuple[int, int]:
    """Return the correct and all test photos of the cross-validated classes without a duplicate in training."""
    tested = (photos["split"] == "test") & (photos["duplicate_of"] == "") & photos["label"].isin(folds.classes)
    return int(photos.loc[tested, "correct"].sum()), int(tested.sum())

"""Results of one trained head: training curves, accuracy, confusions, ranking, example predictions and mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics

from phototransfer.console import plural, short_name
from phototransfer.report import Result
from phototransfer.stats import format_score, format_share, wilson
from phototransfer.style import BLUE, GREY, MAX_CLASSES, photo_grid, plot_epochs

if TYPE_CHECKING:
    import keras

_MAX_K = 10


@dataclass(frozen=True)
class TrainingHistory(Result):
    """Training of a head with `parameters` weights: loss, accuracy, val_loss and val_accuracy of each epoch."""

    name = "head"
    history: pd.DataFrame
    parameters: int

    @classmethod
    def of(cls, history: "keras.callbacks.History | dict[str, list[float]]", head: "keras.Model") -> "TrainingHistory":
        """Return the result of `head.fit`."""
        epochs = history if isinstance(history, dict) else history.history
        return cls(pd.DataFrame(epochs), int(head.count_params()))

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss, from 1; the head has its weights."""
        return int(np.nan_to_num(self.history["val_loss"], nan=np.inf).argmin()) + 1

    def summary(self) -> str:
        return (
            f"{self.parameters:,} weights, trained for {plural(len(self.history), 'epoch')}; the best is epoch "
            f"{self.best_epoch}.\nValidation can be better than training here: Dropout and class weights act in "
            "training only, and the training values are means over an epoch in which the head still improved."
        )

    def advice(self) -> list[str]:
        epochs = len(self.history)
        if self.history["val_loss"].isna().any():
            return ["The loss became infinite in training: lower LEARNING_RATE by a factor of 10."]
        if self.best_epoch == epochs:
            return [f"Validation still improved in the last epoch: set EPOCHS = {2 * epochs}."]
        return []

    def plot(self) -> Figure:
        """Return loss and accuracy by epoch, the best epoch marked."""
        return plot_epochs(self.history, self.best_epoch, f"best epoch: {self.best_epoch}")

    def tables(self) -> dict[str, pd.DataFrame]:
        return {"history": self.history}

    def to_dict(self) -> dict[str, Any]:
        return {"epochs": len(self.history), "best_epoch": self.best_epoch, "parameters": self.parameters}


def add_predictions(photos: pd.DataFrame, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return the table of photos with the columns predicted, probability and correct.

    Parameters
    ----------
    probabilities : float array of shape (n_photos, n_classes)
        Row for row with `photos`, columns in the order of `classes`.
    """
    predicted = np.asarray(classes, dtype=object)[probabilities.argmax(axis=1)]
    correct = predicted == photos["label"].to_numpy()
    return photos.assign(predicted=predicted, probability=probabilities.max(axis=1), correct=correct)


@dataclass(frozen=True)
class Accuracy(Result):
    """Accuracy on each split; `majority` is that of always predicting the largest class of the test photos."""

    name = "accuracy"
    train: float
    val: float
    test_correct: int
    test_total: int
    majority: float

    def summary(self) -> str:
        return (
            f"Test photos: {format_score(self.test_correct, self.test_total)}\n"
            f"Always predicting the largest class: {format_share(self.majority)}\n"
            f"Training photos: {format_share(self.train)}; validation photos: {format_share(self.val)} (without "
            "Dropout, weights of the best epoch)"
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "train": self.train,
            "val": self.val,
            "test": self.test_correct / self.test_total,
            "test_correct": self.test_correct,
            "test_ci95": wilson(self.test_correct, self.test_total),
            "majority": self.majority,
        }


def measure_accuracy(photos: pd.DataFrame) -> Accuracy:
    """Measure the accuracy of the predictions in the table of photos."""
    by_split, test = photos.groupby("split")["correct"].mean(), _test(photos)
    majority = test["label"].value_counts(normalize=True).max()
    return Accuracy(
        float(by_split["train"]),
        float(by_split["val"]),
        test_correct=int(test["correct"].sum()),
        test_total=len(test),
        majority=float(majority),
    )


@dataclass(frozen=True)
class PerClass(Result):
    """Precision, recall and F1 on the test photos: `table` has a row per class and their means."""

    name = "macro"
    table: pd.DataFrame

    def summary(self) -> str:
        precision, recall, f1 = (format_share(score) for score in self.to_dict().values())
        return f"Mean over the classes: precision {precision}, recall {recall}, F1 {f1}."

    def to_dict(self) -> dict[str, float]:
        columns = {"precision": "precision", "recall": "recall", "f1": "f1-score"}
        return {key: float(self.table.at["macro avg", column]) for key, column in columns.items()}


def measure_per_class(photos: pd.DataFrame) -> PerClass:
    """Measure precision, recall and F1 of each class on the test photos."""
    test = _test(photos)
    report = metrics.classification_report(test["label"], test["predicted"], output_dict=True, zero_division=0)
    return PerClass(pd.DataFrame(report).T.drop(index="accuracy"))


@dataclass(frozen=True)
class Confusion(Result):
    """Which class is predicted for which: `matrix` is int (true, predicted) in the order of `classes`."""

    name = "confusion"
    matrix: np.ndarray
    classes: list[str]

    @property
    def total(self) -> int:
        """Number of test photos."""
        return int(self.matrix.sum())

    @property
    def mistakes(self) -> pd.DataFrame:
        """One row per pair of classes: true, predicted, photos, of_class (all photos of the true class); most first."""
        of_class, names = self.matrix.sum(axis=1), np.array(self.classes, dtype=object)
        true, predicted = np.nonzero(self.matrix * (1 - np.eye(len(names), dtype=int)))
        photos = self.matrix[true, predicted]
        columns = {"true": names[true], "predicted": names[predicted], "photos": photos, "of_class": of_class[true]}
        return pd.DataFrame(columns).iloc[np.lexsort((of_class[true], -photos))]  # of equals those of small classes

    def summary(self) -> str:
        mistakes, photos = self.mistakes, plural(self.total, "test photo")
        if mistakes.empty:
            return f"No mistakes on {photos}."
        first = mistakes.iloc[0]
        return (
            f"{plural(mistakes['photos'].sum(), 'mistake')} on {photos}. Most frequent: {first['true']} predicted as "
            f"{first['predicted']}, {first['photos']} of {plural(first['of_class'], 'photo')}."
        )

    def plot(self) -> Figure | None:
        """Return the confusion matrix, or for many classes the most frequent mistakes if there are any."""
        if len(self.classes) > MAX_CLASSES:
            return self._plot_mistakes() if len(self.mistakes) else None
        names = [short_name(name) for name in self.classes]
        side, label = 1.8 + 0.36 * len(names), 0.09 * max(map(len, names))  # inches
        vertical = len(names) > 4 or label > 1
        figure, axis = plt.subplots(figsize=(side + label + 0.7, side + 0.6 + (label if vertical else 0)))
        metrics.ConfusionMatrixDisplay(self.matrix).plot(ax=axis, cmap="Blues", colorbar=False)
        axis.set_xticks(range(len(names)), names, rotation=90 if vertical else 0, parse_math=False)
        axis.set_yticks(range(len(names)), names, parse_math=False)
        axis.set(title=plural(self.total, "test photo"), xlabel="predicted class", ylabel="true class")
        return figure

    def _plot_mistakes(self) -> Figure:
        shown = self.mistakes.head(MAX_CLASSES)
        names = [f"{short_name(row.true)} → {short_name(row.predicted)}" for row in shown.itertuples()]
        figure, axis = plt.subplots(figsize=(8, 1.4 + 0.25 * len(shown)))
        bars = axis.barh(range(len(shown)), shown["photos"], color=BLUE)
        axis.set_yticks(range(len(shown)), names, parse_math=False)
        axis.bar_label(bars, [f"{row.photos} of {row.of_class}" for row in shown.itertuples()], padding=4, fontsize=9)
        axis.set(xlim=(0, 1.15 * shown["photos"].max()), xlabel="test photos")
        title = f"{plural(self.mistakes['photos'].sum(), 'mistake')} on {plural(self.total, 'test photo')}"
        pairs = f"{len(shown)} of {len(self.mistakes)} pairs of true class → predicted class"
        figure.suptitle(f"{title}: {pairs}", x=0.01, ha="left", size=11)  # the names leave little room above the axis
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.invert_yaxis()
        return figure

    def to_dict(self) -> dict[str, Any]:
        return {"mistakes": self.mistakes.head(MAX_CLASSES).to_dict("records")}


def confusion(photos: pd.DataFrame, classes: Sequence[str]) -> Confusion:
    """Count for the test photos which class is predicted for which."""
    test = _test(photos)
    return Confusion(metrics.confusion_matrix(test["label"], test["predicted"], labels=list(classes)), list(classes))


@dataclass(frozen=True)
class Ranking(Result):
    """How well the probabilities rank the classes of the `total` test photos.

    `roc` has the false and true positive rates if there are two classes, the first one being positive; `top_k` has the
    share of photos whose true class is among the k most probable, by k, if there are more.
    """

    name = "ranking"
    classes: list[str]
    total: int
    roc: tuple[np.ndarray, ...]
    top_k: dict[int, float]

    def summary(self) -> str:
        if self.roc:
            return f"Area under the ROC curve: {format_share(metrics.auc(*self.roc))} (chance level: 0.50)."
        shares = [f"{format_share(self.top_k[k])} (k = {k})" for k in (1, 3, 5) if k in self.top_k]
        return f"True class among the k most probable: {', '.join(shares)}."

    def plot(self) -> Figure:
        """Return the ROC curve for two classes, the top-k accuracy for more."""
        photos = plural(self.total, "test photo")
        if self.roc:
            figure, axis = plt.subplots(figsize=(4.6, 4.6))
            axis.plot([0, 1], [0, 1], color=GREY, linestyle=":")
            axis.annotate("chance level", (0.5, 0.46), color=GREY, fontsize=9, va="top")
            axis.plot(*self.roc, color=BLUE, linewidth=2, clip_on=False)
            axis.set(
                xlim=(0, 1), ylim=(0, 1), xlabel="false positive rate", ylabel="true positive rate", aspect="equal"
            )
            title = f"ROC curve, {photos}: AUC {format_share(metrics.auc(*self.roc))}"
            axis.set_title(f"{title}\npositive class: {short_name(self.classes[0])}", parse_math=False)
            return figure
        figure, axis = plt.subplots(figsize=(6, 3.2))
        bars = axis.bar(list(self.top_k), list(self.top_k.values()), color=BLUE)
        axis.bar_label(bars, [format_share(share) for share in self.top_k.values()], padding=2, fontsize=9)
        axis.set(xlabel="k", ylabel="share of test photos", ylim=(0, 1.1), xticks=list(self.top_k))
        axis.set_yticks(np.linspace(0, 1, 6))
        axis.set_title(f"True class among the k most probable, {photos}")
        return figure

    def to_dict(self) -> dict[str, Any]:
        if self.roc:
            return {"roc_auc": float(metrics.auc(*self.roc))}
        return {"top_k": {str(k): share for k, share in self.top_k.items()}}


def ranking(photos: pd.DataFrame, probabilities: np.ndarray, classes: Sequence[str]) -> Ranking:
    """Rank the classes of the test photos by probability; probabilities: float (n_photos, n_classes)."""
    tested, n_classes = (photos["split"] == "test").to_numpy(), len(classes)
    truth = photos.loc[tested, "label"].map(list(classes).index).to_numpy()
    probabilities = probabilities[tested]
    if n_classes == 2:
        false_positives, true_positives, _ = metrics.roc_curve(truth == 0, probabilities[:, 0])
        return Ranking(list(classes), len(truth), roc=(false_positives, true_positives), top_k={})
    top_k = {}
    for k in range(1, min(_MAX_K, n_classes - 1) + 1):
        top_k[k] = float(metrics.top_k_accuracy_score(truth, probabilities, k=k, labels=range(n_classes)))
    if n_classes <= _MAX_K:
        top_k[n_classes] = 1.0
    return Ranking(list(classes), len(truth), roc=(), top_k=top_k)


@dataclass(frozen=True)
class PhotoGrid:
    """Some test photos with their predictions: rows of the table of photos, and what they are."""

    name: str
    shown: pd.DataFrame
    text: str
    with_file_names: bool

    def summary(self) -> str:
        """Return which photos are shown."""
        return f"{self.text}."

    def plot(self) -> Figure | None:
        """Return the photos with their predicted and, if it is another, their true class; None if there are none."""
        if self.shown.empty:
            return None
        titles = []
        for row in self.shown.itertuples():
            lines = [short_name(Path(row.original).name)] if self.with_file_names else []
            lines.append(f"{'✓' if row.correct else '✗'} {short_name(row.predicted)} {row.probability:.2f}")
            if not row.correct:
                lines.append(f"true: {short_name(row.label)}")
            titles.append("\n".join(lines))
        figure = photo_grid(list(self.shown["path"]), titles, columns=5, correct=list(self.shown["correct"]))
        figure.suptitle(self.text, x=0.01, ha="left", size=11)
        return figure

    def to_dict(self) -> None:
        """Return None: all predictions are in predictions.csv."""


def example_predictions(photos: pd.DataFrame, seed: int, count: int = 25) -> PhotoGrid:
    """Draw test photos at random and show them with their predictions."""
    test = _test(photos)
    shown = test.sample(min(count, len(test)), random_state=seed).sort_index()
    which = "All" if len(shown) == len(test) else f"{len(shown)} randomly chosen of"
    text = f"{which} {plural(len(test), 'test photo')}, {shown['correct'].sum()} correct"
    return PhotoGrid("predictions", shown, text, with_file_names=False)


def worst_mistakes(photos: pd.DataFrame, count: int = 10) -> PhotoGrid:
    """Show the incorrect predictions with the highest probability."""
    test = _test(photos)
    wrong = test[~test["correct"]].sort_values("probability", ascending=False, kind="stable")
    text = f"{plural(len(wrong), 'mistake')} on {plural(len(test), 'test photo')}"
    if len(wrong) > count:
        text += f", the {count} with the highest probability"
    return PhotoGrid("mistakes", wrong.head(count), text, with_file_names=True)


def _test(photos: pd.DataFrame) -> pd.DataFrame:
    return photos[photos["split"] == "test"]

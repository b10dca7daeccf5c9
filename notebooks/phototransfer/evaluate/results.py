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

from phototransfer.console import plural, short_name, shorten_list
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_score, format_share, wilson
from phototransfer.style import BLUE, MAX_CLASSES, photo_grid, plot_epochs

if TYPE_CHECKING:
    import keras

_MAX_K = 10
_NO_TEST_PHOTOS = "Cannot tell: there are no test photos."


@dataclass(frozen=True)
class TrainingHistory(Result):
    """Training of a head with `parameters` weights: loss, accuracy, val_loss and val_accuracy of each epoch."""

    name = "head"
    history: pd.DataFrame
    parameters: int

    @classmethod
    def of(cls, history: "keras.callbacks.History", head: "keras.Model") -> "TrainingHistory":
        """Return the result of `head.fit`.

        Raises
        ------
        ValueError
            There were no validation photos: Keras then gives no validation loss, or 0.0, and no message.
        """
        values = [*history.history.get("val_loss", ()), *history.history.get("val_accuracy", ())]
        if not np.any(values):  # a loss of 0 with an accuracy of 0
            raise ValueError("The head was trained without validation photos: put some into val, or into train.")
        return cls(pd.DataFrame(history.history), int(head.count_params()))

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss, from 1; the head has its weights."""
        return int(np.nan_to_num(self.history["val_loss"], nan=np.inf).argmin()) + 1

    def summary(self) -> str:
        return (
            f"{self.parameters:,} weights, {plural(len(self.history), 'epoch')}, the best is epoch {self.best_epoch}.\n"
            "Validation can be better than training: only training has Dropout, and its values are means over an epoch."
        )

    def advice(self) -> list[str]:
        if self.history["val_loss"].isna().any():
            return ["The loss became infinite in training: lower LEARNING_RATE by a factor of 10."]
        if self.best_epoch == len(self.history):
            return [f"Validation still improved in the last epoch: set EPOCHS = {2 * self.best_epoch}."]
        return []

    def plot(self) -> Figure:
        return plot_epochs(self.history, self.best_epoch, f"best epoch: {self.best_epoch}")

    def tables(self) -> dict[str, pd.DataFrame]:
        return {"history": self.history}

    def to_dict(self) -> dict[str, Any]:
        return {"epochs": len(self.history), "best_epoch": self.best_epoch, "parameters": self.parameters}


def add_predictions(photos: pd.DataFrame, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return the table with the columns predicted, probability, correct; probabilities: float (n_photos, n_classes)."""
    predicted = np.asarray(classes, dtype=object)[probabilities.argmax(axis=1)]
    correct = predicted == photos["label"].to_numpy()
    return photos.assign(predicted=predicted, probability=probabilities.max(axis=1), correct=correct)


@dataclass(frozen=True)
class Accuracy(Result):
    """Accuracy on each split, None without photos.

    `majority` is that of always predicting the largest class of the test photos.
    """

    name = "accuracy"
    train: float | None
    val: float | None
    test_correct: int
    test_total: int
    majority: float | None

    def summary(self) -> str:
        train, val, majority = (
            "no photos" if share is None else format_share(share) for share in (self.train, self.val, self.majority)
        )
        return (
            f"Test photos: {format_score(self.test_correct, self.test_total)}\n"
            f"Always predicting the largest class: {majority}\n"
            f"Training photos: {train}; validation photos: {val}, without Dropout"
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "train": self.train,
            "val": self.val,
            "test": self.test_correct / self.test_total if self.test_total else None,
            "test_correct": self.test_correct,
            "test_ci95": wilson(self.test_correct, self.test_total),
            "majority": self.majority,
        }


def measure_accuracy(photos: pd.DataFrame) -> Accuracy:
    """Measure the accuracy of the predictions in the table of photos."""
    by_split = photos.groupby("split")["correct"].mean().to_dict()
    test = _test(photos)
    return Accuracy(
        train=by_split.get("train"),
        val=by_split.get("val"),
        test_correct=int(test["correct"].sum()),
        test_total=len(test),
        majority=float(test["label"].value_counts(normalize=True).max()) if len(test) else None,
    )


@dataclass(frozen=True)
class PerClass(Result):
    """Precision, recall and F1 on the test photos: `table` has a row per class and their means.

    Classes without a test photo, `untested`, have no recall and do not count in the means.
    """

    name = "macro"
    table: pd.DataFrame
    untested: list[str]

    def summary(self) -> str:
        precision, recall, f1 = map(format_share, self.to_dict().values())
        text = f"Mean over the classes: precision {precision}, recall {recall}, F1 {f1}."
        return f"{text}\nNot counted, no test photo: {shorten_list(self.untested)}." if self.untested else text

    def to_dict(self) -> dict[str, float]:
        return self.table.loc["macro avg"].rename({"f1-score": "f1"}).drop("support").to_dict()


def measure_per_class(photos: pd.DataFrame) -> PerClass | Skipped:
    """Measure precision, recall and F1 of each class on the test photos."""
    test = _test(photos)
    if test.empty:
        return Skipped(PerClass.name, _NO_TEST_PHOTOS)
    tested = sorted(test["label"].unique())
    options = {"labels": tested, "output_dict": True, "zero_division": 0}
    table = pd.DataFrame(metrics.classification_report(test["label"], test["predicted"], **options)).T
    untested = sorted(set(photos["label"]) - set(tested))
    return PerClass(table.drop(index=["accuracy", "micro avg"], errors="ignore"), untested)


@dataclass(frozen=True)
class Confusion(Result):
    """Which class is predicted for which: `matrix` is int (true, predicted) in the order of `classes`."""

    name = "confusion"
    matrix: np.ndarray
    classes: list[str]

    @property
    def mistakes(self) -> pd.DataFrame:
        """One row per pair of classes: true, predicted, photos, of_class (all photos of the true class); most first."""
        table = pd.DataFrame(self.matrix, self.classes, self.classes).rename_axis(index="true", columns="predicted")
        table = table.stack().reset_index(name="photos")
        table["of_class"] = table.groupby("true")["photos"].transform("sum")
        wrong = table[(table["true"] != table["predicted"]) & (table["photos"] > 0)]
        return wrong.sort_values(["photos", "of_class"], ascending=[False, True], ignore_index=True)

    def summary(self) -> str:
        mistakes, photos = self.mistakes, plural(self.matrix.sum(), "test photo")
        if mistakes.empty:
            return f"No mistakes on {photos}."
        most, total = mistakes.iloc[0], plural(mistakes["photos"].sum(), "mistake")
        often = f"most often {most['true']} predicted as {most['predicted']} ({most['photos']} of {most['of_class']})"
        return f"{total} on {photos}, {often}."

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
        axis.set(title=plural(self.matrix.sum(), "test photo"), xlabel="predicted class", ylabel="true class")
        return figure

    def _plot_mistakes(self) -> Figure:
        mistakes = self.mistakes
        shown = mistakes.head(MAX_CLASSES)
        figure, axis = plt.subplots(figsize=(8, 1.4 + 0.25 * len(shown)))
        bars = axis.barh(shown.index, shown["photos"], color=BLUE)
        names = shown["true"].map(short_name) + " → " + shown["predicted"].map(short_name)
        axis.set_yticks(shown.index, names, parse_math=False)
        axis.bar_label(bars, [f"{row.photos} of {row.of_class}" for row in shown.itertuples()], padding=4, fontsize=9)
        axis.set(xlim=(0, 1.15 * shown["photos"].max()), xlabel="test photos")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.invert_yaxis()
        title = (
            f"{plural(self.matrix.sum(), 'test photo')}: {len(shown)} of {len(mistakes)} pairs true → predicted class"
        )
        figure.suptitle(title, x=0.01, ha="left", size=11)  # the names leave little room above the axis
        return figure

    def to_dict(self) -> dict[str, Any]:
        return {"mistakes": self.mistakes.head(MAX_CLASSES).to_dict("records")}


def confusion(photos: pd.DataFrame, classes: Sequence[str]) -> Confusion | Skipped:
    """Count for the test photos which class is predicted for which."""
    test = _test(photos)
    if test.empty:
        return Skipped(Confusion.name, _NO_TEST_PHOTOS)
    return Confusion(metrics.confusion_matrix(test["label"], test["predicted"], labels=list(classes)), list(classes))


@dataclass(frozen=True)
class Ranking(Result):
    """How well the probabilities rank the classes of the `total` test photos.

    `roc` has the false and true positive rates if there are two classes, `positive` being the positive one; `top_k` has
    the share of photos whose true class is among the k most probable, by k.
    """

    name = "ranking"
    total: int
    positive: str
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
            display = metrics.RocCurveDisplay(fpr=self.roc[0], tpr=self.roc[1])
            display.plot(plot_chance_level=True, despine=True)
            title = f"ROC curve, {photos}: AUC {format_share(metrics.auc(*self.roc))}"
            display.ax_.set_title(f"{title}\npositive class: {short_name(self.positive)}", parse_math=False)
            return display.figure_
        figure, axis = plt.subplots(figsize=(6, 3.2))
        bars = axis.bar(list(self.top_k), list(self.top_k.values()), color=BLUE)
        axis.bar_label(bars, fmt=format_share, padding=2, fontsize=9)
        axis.set(xlabel="k", xticks=list(self.top_k), ylabel="share of test photos", yticks=np.linspace(0, 1, 6))
        axis.set(ylim=(0, 1.1), title=f"True class among the k most probable, {photos}")
        return figure

    def to_dict(self) -> dict[str, Any]:
        if self.roc:
            return {"roc_auc": float(metrics.auc(*self.roc))}
        return {"top_k": {str(k): share for k, share in self.top_k.items()}}


def ranking(photos: pd.DataFrame, probabilities: np.ndarray, classes: Sequence[str]) -> Ranking | Skipped:
    """Rank the classes of the test photos by probability; probabilities: float (n_photos, n_classes)."""
    tested = (photos["split"] == "test").to_numpy()
    if not tested.any():
        return Skipped(Ranking.name, _NO_TEST_PHOTOS)
    if len(classes) == 2 and photos.loc[tested, "label"].nunique() == 1:
        return Skipped(Ranking.name, "Cannot tell: a ROC curve needs test photos of both classes.")
    truth = photos.loc[tested, "label"].map(list(classes).index).to_numpy()
    probabilities = probabilities[tested]
    if len(classes) == 2:
        roc = metrics.roc_curve(truth == 0, probabilities[:, 0])[:2]
        return Ranking(len(truth), classes[0], roc=roc, top_k={})
    most_probable = probabilities.argsort(axis=1, kind="stable")[:, ::-1]
    shares = (most_probable == truth[:, None]).cumsum(axis=1).mean(axis=0)[:_MAX_K]
    return Ranking(len(truth), "", roc=(), top_k=dict(enumerate(shares.tolist(), start=1)))


@dataclass(frozen=True)
class PhotoGrid(Result):
    """Some test photos with their predictions: rows of the table of photos, and what they are."""

    name: str
    shown: pd.DataFrame
    text: str

    def summary(self) -> str:
        return f"{self.text}."

    def plot(self) -> Figure | None:
        if self.shown.empty:
            return None
        titles = []
        for row in self.shown.itertuples():
            prediction = f"{'✓' if row.correct else '✗'} {short_name(row.predicted)} {row.probability:.2f}"
            true = "" if row.correct else f"\ntrue: {short_name(row.label)}"
            titles.append(f"{short_name(Path(row.original).name)}\n{prediction}{true}")
        figure = photo_grid(list(self.shown["path"]), titles, columns=5, correct=list(self.shown["correct"]))
        figure.suptitle(self.text, x=0.01, ha="left", size=11)
        return figure


def example_predictions(photos: pd.DataFrame, seed: int, count: int = 25) -> PhotoGrid | Skipped:
    """Draw test photos at random and show them with their predictions."""
    test = _test(photos)
    if test.empty:
        return Skipped("predictions", _NO_TEST_PHOTOS)
    shown = test.sample(min(count, len(test)), random_state=seed).sort_index()
    which = "All" if len(shown) == len(test) else f"{len(shown)} randomly chosen of"
    text = f"{which} {plural(len(test), 'test photo')}, {shown['correct'].sum()} correct"
    return PhotoGrid("predictions", shown, text)


def worst_mistakes(photos: pd.DataFrame, count: int = 10) -> PhotoGrid | Skipped:
    """Show the incorrect predictions with the highest probability."""
    test = _test(photos)
    if test.empty:
        return Skipped("mistakes", _NO_TEST_PHOTOS)
    wrong = test[~test["correct"]].sort_values("probability", ascending=False, kind="stable")
    text = f"{plural(len(wrong), 'mistake')} on {plural(len(test), 'test photo')}"
    if len(wrong) > count:
        text += f", the {count} with the highest probability"
    return PhotoGrid("mistakes", wrong.head(count), text)


def _test(photos: pd.DataFrame) -> pd.DataFrame:
    return photos[photos["split"] == "test"]

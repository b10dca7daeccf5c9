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
from phototransfer.evaluate.folds import ACCURACY, BALANCED_ACCURACY, choose_measure
from phototransfer.report import Result, Skipped
from phototransfer.stats import balanced_interval, format_score, format_share, mcnemar, paired_gain, wilson
from phototransfer.style import BLUE, MAX_CLASSES, photo_grid, plot_epochs

if TYPE_CHECKING:
    import keras

_MAX_K = 10
_NO_TEST_PHOTOS = "Cannot tell: there are no test photos."
_FEW = 5  # with fewer test photos than these, the recall of a class says almost nothing
_ALT_CLASSES = 6  # more rows of a confusion matrix nobody listens to
_SAME = 0.02  # scores that differ by less say the same
#: Answers to whether the model is better than no model.
YES, NO, UNSURE = "yes", "no", "cannot tell"
_USEFUL = 0.05  # a model that is better by less than this is no better
_LAST = 6  # epochs from which the trend of the validation loss is read
_MATERIAL = 0.02  # a fall of the validation loss by a smaller share is no reason to train longer


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
        if self.still_improving:
            return [f"The validation loss still fell when training ended: set EPOCHS = {2 * self.best_epoch}."]
        return []

    @property
    def still_improving(self) -> bool:
        """Whether training ended before early stopping set in, and the last epochs lowered the validation loss.

        The fall must be a material share of the loss, and larger than the loss goes up and down between epochs.
        """
        if self.best_epoch < len(self.history):
            return False
        last = self.history["val_loss"].to_numpy()[-_LAST:]
        # Second differences do not see a straight line; those of noise have six times its variance.
        bends = np.diff(last, n=2)
        noise = float(np.sqrt(np.square(bends).mean() / 6)) if len(last) > 3 else 0.0
        return float(last[0] - last[-1]) > max(2 * np.sqrt(2) * noise, _MATERIAL * float(last[0]))

    def plot(self) -> Figure:
        return plot_epochs(self.history, self.best_epoch, f"best epoch: {self.best_epoch}")

    def alt(self) -> str:
        first, best = self.history.iloc[0], self.history.iloc[self.best_epoch - 1]
        return (
            f"Loss and accuracy by epoch. From the first to the best epoch ({self.best_epoch} of {len(self.history)}), "
            f"the validation loss goes from {first['val_loss']:.2f} to {best['val_loss']:.2f}, the validation accuracy "
            f"from {first['val_accuracy']:.2f} to {best['val_accuracy']:.2f}."
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        return {"history": self.history}

    def to_dict(self) -> dict[str, Any]:
        return {"epochs": len(self.history), "best_epoch": self.best_epoch, "parameters": self.parameters}


def add_predictions(photos: pd.DataFrame, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Return the table with the columns predicted, probability, correct; probabilities: float (n_photos, n_classes)."""
    predicted = np.asarray(classes, dtype=object)[probabilities.argmax(axis=1)]
    correct = predicted == photos["label"].to_numpy()
    return photos.assign(predicted=predicted, probability=probabilities.max(axis=1), correct=correct)


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """How many photos of each class there are, and how many of them are predicted correctly.

    Attributes
    ----------
    classes : list of str
    correct, total : int arrays of shape (classes,)
    sizes : int array of shape (classes,)
        Photos that each class has altogether: those with the fewest are the rarest.
    """

    classes: list[str]
    correct: np.ndarray
    total: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of_photos(
        cls, labels: np.ndarray, correct: np.ndarray, classes: Sequence[str], sizes: np.ndarray | None = None
    ) -> "ClassCounts":
        """Count photos by label; labels: str (n,), correct: bool (n,). `sizes` are the counts if not given."""
        table = pd.DataFrame({"label": labels, "correct": correct}).groupby("label")["correct"].agg(["sum", "size"])
        table = table.reindex(list(classes), fill_value=0).astype(int)
        total = table["size"].to_numpy()
        return cls(list(classes), table["sum"].to_numpy(), total, total if sizes is None else sizes)

    @property
    def n_correct(self) -> int:
        """Correct photos of all classes."""
        return int(self.correct.sum())

    @property
    def n_photos(self) -> int:
        """Photos of all classes."""
        return int(self.total.sum())

    @property
    def tested(self) -> list[str]:
        """The classes with photos."""
        return [name for name, total in zip(self.classes, self.total, strict=True) if total]

    @property
    def rarest(self) -> list[str]:
        """The classes that have the fewest photos altogether, all that have as few; none if all have as many."""
        if not len(self.sizes) or self.sizes.min() == self.sizes.max():
            return []
        return [name for name, size in zip(self.classes, self.sizes, strict=True) if size == self.sizes.min()]

    @property
    def rarest_score(self) -> tuple[int, int]:
        """Correct and total photos of the rarest classes."""
        counts = self.of(self.rarest)
        return counts.n_correct, counts.n_photos

    def of(self, classes: Sequence[str]) -> "ClassCounts":
        """Return the counts of some of the classes."""
        chosen = np.isin(self.classes, list(classes))
        names = [name for name, is_chosen in zip(self.classes, chosen, strict=True) if is_chosen]
        return ClassCounts(names, self.correct[chosen], self.total[chosen], self.sizes[chosen])

    def score(self, measure: str) -> float | None:
        """Return accuracy or balanced accuracy (the mean recall of the classes with photos), None without photos."""
        if not self.n_photos:
            return None
        if measure == ACCURACY:
            return self.n_correct / self.n_photos
        tested = self.total > 0
        return float((self.correct[tested] / self.total[tested]).mean())

    def interval(self, measure: str, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the interval of `score`, None without photos."""
        if measure == ACCURACY:
            return wilson(self.n_correct, self.n_photos, confidence)
        return balanced_interval(self.correct, self.total, confidence)

    def describe(self, measure: str) -> str:
        """Return the score with its interval; with the balanced accuracy, its name and the counts too."""
        score, interval = self.score(measure), self.interval(measure)
        if measure == ACCURACY or score is None or interval is None:
            return format_score(self.n_correct, self.n_photos)
        return (
            f"{self.n_correct} of {self.n_photos} correct, {measure} {format_share(score)} (95 % interval "
            f"{interval[0]:.2f} to {interval[1]:.2f})"
        )

    def describe_rarest(self) -> str:
        """Return the recall of the rarest classes in a sentence, empty if all classes have as many photos."""
        if not self.rarest:
            return ""
        names, size = shorten_list(self.rarest, 3), plural(int(self.sizes.min()), "photo")
        which = f"class, {names} ({size})" if len(self.rarest) == 1 else f"classes, {names} ({size} each)"
        return f"Recall of the rarest {which}: {format_score(*self.rarest_score)}."

    def to_dict(self) -> dict[str, Any]:
        """Return balanced accuracy and recall of the rarest classes, each with its interval."""
        correct, total = self.rarest_score
        rarest = {
            "classes": self.rarest,
            "correct": correct,
            "total": total,
            "recall": correct / total if total else None,
            "recall_ci95": wilson(correct, total),
        }
        return {
            "balanced_accuracy": self.score(BALANCED_ACCURACY),
            "balanced_accuracy_ci95": self.interval(BALANCED_ACCURACY),
            "rarest_class": rarest if self.rarest else None,
        }


@dataclass(frozen=True, eq=False)
class Accuracy(Result):
    """Accuracy on each split, None without photos; of the test photos also by class.

    `measure` is that of `choose_measure`, BALANCED_ACCURACY if the classes have uneven numbers of photos.
    """

    name = "accuracy"
    train: float | None
    val: float | None
    test: ClassCounts
    measure: str

    @property
    def test_correct(self) -> int:
        """Correct test photos."""
        return self.test.n_correct

    @property
    def test_total(self) -> int:
        """Test photos."""
        return self.test.n_photos

    @property
    def test_score(self) -> float | None:
        """Accuracy or, for uneven classes, balanced accuracy of the test photos; None if there are none."""
        return self.test.score(self.measure)

    @property
    def test_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `test_score`."""
        return self.test.interval(self.measure)

    @property
    def balanced(self) -> float | None:
        """Balanced accuracy: mean recall of the classes with test photos."""
        return self.test.score(BALANCED_ACCURACY)

    @property
    def majority(self) -> float | None:
        """Accuracy of always predicting the largest class of the test photos."""
        return float(self.test.total.max() / self.test_total) if self.test_total else None

    @property
    def guessing(self) -> float | None:
        """Balanced accuracy of predicting without looking: 1 by the number of classes with test photos."""
        return 1 / len(self.test.tested) if self.test_total else None

    @property
    def chance_level(self) -> float | None:
        """What a model that cannot tell the classes apart reaches of `test_score`: `majority` or `guessing`.

        None if fewer than two classes have test photos.
        """
        if len(self.test.tested) < 2:
            return None
        return self.majority if self.measure == ACCURACY else self.guessing

    @property
    def better_than_majority(self) -> str:
        """Whether the accuracy is higher than that of always predicting the largest class: YES, NO or UNSURE.

        YES: its interval lies above. NO: significantly lower (McNemar's exact test), or at best higher by less than
        0.05.
        """
        if len(self.test.tested) < 2:
            return UNSURE
        largest = int(self.test.total.argmax())
        won = self.test_correct - int(self.test.correct[largest])  # no photo of another class is correct without model
        lost = int(self.test.total[largest] - self.test.correct[largest])
        neither = self.test_total - won - lost
        model = np.repeat([True, False, False], [won, lost, neither])
        majority = np.repeat([False, True, False], [won, lost, neither])
        interval, level = self.test.interval(ACCURACY), self.majority
        if interval and level is not None and interval[0] > level:
            return YES
        worse = lost > won and mcnemar(model, majority) < 0.05
        return NO if worse or paired_gain(majority, model)[2] < _USEFUL else UNSURE

    @property
    def better_than_guessing(self) -> str:
        """Whether the balanced accuracy is higher than that of guessing: YES, NO or UNSURE.

        YES: its interval lies above. NO: its interval ends less than 0.05 above.
        """
        interval, guessing = self.test.interval(BALANCED_ACCURACY), self.guessing
        if interval is None or guessing is None or guessing == 1:
            return UNSURE
        return YES if interval[0] > guessing else NO if interval[1] < guessing + _USEFUL else UNSURE

    @property
    def better_than_chance(self) -> str:
        """The answer for the measure of the run: `better_than_majority` or `better_than_guessing`."""
        return self.better_than_majority if self.measure == ACCURACY else self.better_than_guessing

    @property
    def few_test_photos(self) -> dict[str, int]:
        """Classes with fewer than five test photos, and how many they have; empty without test photos."""
        if not self.test_total:
            return {}
        counts = zip(self.test.classes, self.test.total.tolist(), strict=True)
        return {name: total for name, total in counts if total < _FEW}

    def summary(self) -> str:
        train, val = ("no photos" if share is None else format_share(share) for share in (self.train, self.val))
        lines = [f"Test photos: {format_score(self.test_correct, self.test_total)}"]
        accuracy = self.test.score(ACCURACY)
        if accuracy is not None and self.balanced is not None:
            if self.measure != ACCURACY or abs(accuracy - self.balanced) >= _SAME:
                low, high = self.test.interval(BALANCED_ACCURACY) or (0.0, 1.0)
                lines.append(
                    f"Balanced accuracy, the mean recall of the classes: {format_share(self.balanced)} (95 % interval "
                    f"{low:.2f} to {high:.2f})"
                )
                lines += filter(None, [self.test.describe_rarest().rstrip(".")])
            lines.append(self._compare_with_chance())
        if self.few_test_photos:
            few = shorten_list([f"{name} ({count})" for name, count in self.few_test_photos.items()])
            lines.append(f"Fewer than {_FEW} test photos, too few to tell how well these classes are predicted: {few}")
        lines.append(f"Training photos: {train}; validation photos: {val}, without Dropout")
        return "\n".join(lines)

    def _compare_with_chance(self) -> str:
        score, level = self.test_score, self.chance_level
        if score is None or level is None:
            return "All test photos are of one class: whether the model can tell the classes apart is unknown"
        how = "Always predicting the largest class" if self.measure == ACCURACY else "Guessing"
        text = f"{how} reaches {format_share(level)}{'' if self.measure == ACCURACY else f' {self.measure}'}"
        if self.better_than_chance == YES:
            return f"{text}, which is significantly less"
        if self.better_than_chance == NO or score <= level:
            return f"{text}: the model is not better than that"
        return f"{text}: on so few photos, that the model is better may be luck"

    def to_dict(self) -> dict[str, Any]:
        return {
            "train": self.train,
            "val": self.val,
            "test": self.test.score(ACCURACY),
            "test_correct": self.test_correct,
            "test_ci95": wilson(self.test_correct, self.test_total),
            "majority": self.majority,
            "measure": self.measure,
            **self.test.to_dict(),
            "better_than_majority": self.better_than_majority,
            "better_than_guessing": self.better_than_guessing,
            "few_test_photos": self.few_test_photos,
        }


def measure_accuracy(photos: pd.DataFrame) -> Accuracy:
    """Measure the accuracy of the predictions in the table of photos."""
    by_split = photos.groupby("split")["correct"].mean().to_dict()
    used, test = photos[photos["split"] != "dropped"], _test(photos)
    classes = sorted(used["label"].unique())
    sizes = used.drop_duplicates("group")["label"].value_counts().reindex(classes, fill_value=0).to_numpy()
    return Accuracy(
        train=by_split.get("train"),
        val=by_split.get("val"),
        test=ClassCounts.of_photos(test["label"].to_numpy(), test["correct"].to_numpy(dtype=bool), classes, sizes),
        measure=choose_measure(photos),
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

    def alt(self) -> str:
        correct = f"{np.trace(self.matrix)} of {plural(self.matrix.sum(), 'test photo')} are classified correctly."
        if len(self.classes) > _ALT_CLASSES:
            return f"Confusion matrix of {len(self.classes)} classes: {correct}"
        rows = [
            f"Of {plural(row.sum(), 'photo')} of {name}: "
            + ", ".join(f"{count} as {other}" for count, other in zip(row, self.classes, strict=True) if count)
            for name, row in zip(self.classes, self.matrix, strict=True)
        ]
        return f"Confusion matrix: {correct} {'. '.join(rows)}."

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

    def plot(self, columns: int = 5) -> Figure | None:
        if self.shown.empty:
            return None
        titles = []
        for row in self.shown.itertuples():
            prediction = f"{'✓' if row.correct else '✗'} {short_name(row.predicted)} {row.probability:.2f}"
            true = "" if row.correct else f"\ntrue: {short_name(row.label)}"
            titles.append(f"{short_name(Path(row.original).name)}\n{prediction}{true}")
        figure = photo_grid(list(self.shown["path"]), titles, columns=columns, correct=list(self.shown["correct"]))
        figure.suptitle(self.text, x=0.01, ha="left", size=11, wrap=True)
        return figure

    def plot_narrow(self) -> Figure | None:
        return self.plot(columns=2)

    def alt(self) -> str:
        rows = [f"{row.label} predicted as {row.predicted} ({row.probability:.2f})" for row in self.shown.itertuples()]
        return f"{self.text}: {shorten_list(rows, 8)}."


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

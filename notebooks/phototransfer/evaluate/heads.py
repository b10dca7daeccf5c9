"""Comparison of heads: the simplest model on top of the features that is not significantly worse than the best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import pairwise_distances_argmin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from phototransfer.console import plural, progress_by_cost, skip_steps
from phototransfer.evaluate.cross_validation import CrossValidator, score_table
from phototransfer.evaluate.folds import Folds, assign_folds
from phototransfer.finding import BORDERLINE
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_share, holm
from phototransfer.style import BLUE, GREEN, GREY, accuracy_axis, plot_interval

MAJORITY, NEAREST, LOGISTIC = "majority class", "nearest class mean", "logistic regression"
DENSE = ((256,), (256, 128), (256, 128, 64), (256, 128, 64, 32))
_STRENGTHS = (1e-3, 1e-2, 1e-1)  # C of logistic regression: on standardized features more or less never helps
_INNER_FOLDS = 3
_MOST_SECONDS = 300.0  # on two cores; more would be a long wait for a comparison
_ALPHA = 0.05
_BORDERLINE = (0.02, 0.10)  # from here to there another seed could decide whether a model is significantly worse
#: States of a model, by its corrected p-value against the best.
NOT_WORSE, WORSE = "not significantly worse", "significantly worse"


@dataclass(frozen=True)
class HeadComparison(Result):
    """Models from simple to complex on the same training and validation photos; near-duplicates count once.

    Attributes
    ----------
    table : DataFrame
        That of `score_table` by model, with p_value (`paired_test` against the best model), p_corrected (Holm, for all
        pairs, because the best is known only afterwards), state (NOT_WORSE: p_corrected >= 0.1, WORSE: < 0.02, else
        BORDERLINE), not_worse (state is NOT_WORSE) and configured.
    with_validation : tuple of float
        Gain, with its 95 % interval, of logistic regression that is trained on the validation photos too.
    measure : str
        What the scores are: "accuracy" or "balanced accuracy".
    can_tell : bool
        Whether a model without mistakes would be significantly better than the simplest one on these photos.
    """

    name = "comparison_of_heads"
    table: pd.DataFrame
    with_validation: tuple[float, float, float]
    head: list[int]
    measure: str
    can_tell: bool
    notes: Sequence[str] = ()  #: what differs from the folds and classes that were asked for

    @property
    def best(self) -> str:
        """The model with the highest score; ties: the simplest."""
        return str(self.table.loc[self.table["score"].idxmax(), "model"])

    @property
    def simplest(self) -> str:
        """The simplest model that is not significantly worse than the best."""
        return str(self.table.loc[self.table["not_worse"].idxmax(), "model"])

    def summary(self) -> str:
        table = self.table.set_index("model")
        score, own = table["score"].map(format_share), _model_name(self.head)
        gain, low, high = self.with_validation
        comparison = (
            f"Simplest that is not significantly worse: {self.simplest}, {score[self.simplest]} "
            f"(p = {table.at[self.simplest, 'p_corrected']:.2f}, corrected for the number of comparisons)."
        )
        between = list(table.index[table["state"] == BORDERLINE])
        if between:
            comparison += f" Borderline, so neither significantly worse nor as good: {'; '.join(between)}."
        if not self.can_tell:
            comparison = (
                f"Cannot tell which differ, too few photos: on {table['photos'].iloc[0]}, not even a model without "
                f"mistakes is significantly better than the {table.index[0]}."
            )
        lines = [
            f"Best: {self.best}, {self.measure} {score[self.best]}. {comparison} Configured: {own}, {score[own]}. "
            "No test photo is used.",
            "Heads need the validation photos for early stopping. Logistic regression trained on these too reaches "
            f"{table.at[LOGISTIC, 'score'] + gain:.2f} ({gain:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}).",
        ]
        return "\n".join([*lines, *self.notes])

    def advice(self) -> list[str]:
        own = self.table[self.table["configured"]].iloc[0]
        if not self.can_tell or own["state"] == BORDERLINE:
            return []
        if self.simplest == MAJORITY:
            return ["No head is significantly better than the majority class: add photos or set another BACKBONE."]
        head = {_model_name(units): units for units in _heads(self.head)}.get(self.simplest, [])
        if head == self.head:
            return []
        scores = self.table.set_index("model")["score"].map(format_share)
        kind = f"HEAD = {head}" if head else f"HEAD = [], which has no Dense layer, as {self.simplest} has none"
        best = "the best" if self.simplest == self.best else f"not significantly worse than the best, {self.best}"
        simplest = f"{self.simplest} ({self.measure} {scores[self.simplest]}) is {best} ({scores[self.best]})"
        if own["state"] == WORSE:
            mine = f"HEAD = {self.head} ({scores[own['model']]}) is significantly worse than the best model"
            return [f"{mine}; {simplest}: set {kind}."]
        return [
            f"A simpler model is enough: {simplest}. For a smaller model that trains faster, not for a better score, "
            f"set {kind}."
        ]

    def alt(self) -> str:
        scores = ", ".join(f"{row.model} {format_share(row.score)}" for row in self.table.itertuples())
        return f"{self.measure.capitalize()} of {plural(len(self.table), 'model')} in cross-validation: {scores}."

    def plot(self) -> Figure:
        table = self.table
        figure, axis = plt.subplots(figsize=(8, 2.1 + 0.36 * len(table)))
        for row in table.itertuples():
            colour = GREEN if self.can_tell and row.model == self.simplest else BLUE
            if row.state == BORDERLINE:
                colour = GREY
            interval = (row.low, row.high)
            plot_interval(axis, row.Index, row.score, interval, colour=colour, filled=row.state != WORSE)
        labels = [f"{row.model} – configured" if row.configured else row.model for row in table.itertuples()]
        axis.set(yticks=table.index, yticklabels=labels, ylim=(len(table) - 0.4, -0.6))
        axis.set_title(f"From simple to complex, on {table['photos'].iloc[0]} training and validation photos")
        accuracy_axis(axis, table["low"].min(), f"{self.measure}, with its 95 % interval")
        axis.set_xlim(left=axis.get_xlim()[0] - 0.03)  # room for the value above a marker near 0
        if self.can_tell:
            label = "simplest that is not significantly worse than the best"
            axis.plot([], [], "o", color=GREEN, markersize=8, label=label)
            axis.plot([], [], "o", color=BLUE, markersize=8, label=NOT_WORSE)
            axis.plot([], [], "o", color=GREY, markersize=8, label=BORDERLINE)
            axis.plot([], [], "o", color=BLUE, markersize=8, markerfacecolor="white", label=WORSE)
        else:
            axis.plot([], [], "o", color=BLUE, markersize=8, label="too few photos to tell which differ")
        figure.legend(ncols=2, frameon=False, fontsize=9, loc="outside lower center")
        return figure

    def to_dict(self) -> dict[str, Any]:
        gain, low, high = self.with_validation
        return {
            "best": self.best,
            "measure": self.measure,
            "simplest": self.simplest if self.can_tell else None,
            "models": self.table.to_dict("records"),
            "with_validation_photos": {"gain": gain, "low": low, "high": high},
        }


def compare_heads(validator: CrossValidator) -> HeadComparison | Skipped:
    """Cross-validate simple models and heads of one to four Dense layers on the training and validation photos.

    HEAD replaces the one of the same depth. All models are trained on the same photos. What a head loses by
    setting validation photos aside is measured with logistic regression, which is fitted once more on both.
    """
    all_folds = validator.folds_without_test
    if all_folds is None:
        return validator.skipped(HeadComparison.name)
    folds, note = _affordable(validator, all_folds)
    own = list(validator.settings["HEAD"])
    configured = folds.correct(validator.configured_probabilities(all_folds))
    correct: dict[str, np.ndarray] = {}
    costs = _expected_seconds(folds, validator.features.size, _other_heads(validator))
    with progress_by_cost("Simpler and deeper heads", costs, unit="training") as bar:
        for model in _SIMPLE:
            correct[model] = _cross_validate(validator, folds, model, bar=bar)
        on_both = _cross_validate(validator, folds, LOGISTIC, bar=bar, with_validation=True)
        for head in _heads(own):
            name = _model_name(head)
            if head == own:
                correct[name] = configured
            else:
                correct[name] = folds.correct(
                    validator.out_of_fold(folds, settings=_settings(validator, head), bar=bar)
                )
    gain = folds.gain(correct[LOGISTIC], on_both)
    return replace(_compare(correct, own, with_validation=gain, folds=folds), notes=[*note, *folds.notes()])


def start_comparison(validator: CrossValidator) -> None:
    """Let other processes begin with the trainings of `compare_heads`."""
    all_folds = validator.folds_without_test
    if all_folds is not None:
        folds, _ = _affordable(validator, all_folds)
        for head in _other_heads(validator):
            validator.start(folds, settings=_settings(validator, head))


def _other_heads(validator: CrossValidator) -> list[list[int]]:
    own = list(validator.settings["HEAD"])
    return [head for head in _heads(own) if head != own]


def _affordable(validator: CrossValidator, folds: Folds) -> tuple[Folds, list[str]]:
    """Return as many folds as can be expected to take _MOST_SECONDS, at least one, and a note if these are not all.

    Logistic regression takes long for many photos of many classes. With fewer folds all models are still trained on as
    many photos; they are tested on fewer.
    """
    expected = sum(_expected_seconds(folds, validator.features.size, _other_heads(validator)))
    count = max(1, min(len(folds.folds), int(_MOST_SECONDS * len(folds.folds) / expected)))
    if count == len(folds.folds):
        return folds, []
    return folds.first(count), [
        f"Compared on the photos of {count} of the {len(folds.folds)} folds, a random sample: all of them would take "
        f"{expected / 60:.0f} minutes on two processors."
    ]


def _settings(validator: CrossValidator, head: list[int]) -> dict[str, Any]:
    return {**validator.settings, "HEAD": head}


def _expected_seconds(folds: Folds, n_features: int, heads: Sequence[Sequence[int]]) -> list[float]:
    """Return the expected seconds of each training of `compare_heads`, in order.

    The numbers were fitted to trainings on two cores with 213 to 6,400 photos of 2 to 200 classes.
    """
    rows, n_classes = float(np.mean([len(fold.train) for fold in folds.folds])), len(folds.classes)
    logistic = 0.1 + 1.15e-8 * (86 + n_classes) * rows * min(rows, n_features)
    simple = {MAJORITY: 0.0, NEAREST: 0.05, LOGISTIC: logistic}
    seconds = [*(simple[model] for model in _SIMPLE), logistic]
    for head in heads:
        parameters = sum(inputs * units for inputs, units in pairwise([n_features, *head, n_classes]))
        seconds.append(0.25 + 0.0005 * rows * (1 + 0.5 * len(head) + 1e-6 * parameters))
    return [each for each in seconds for _ in folds.folds]


def _heads(configured: Sequence[int]) -> list[list[int]]:
    """Return the heads to compare by depth: those of DENSE, and the configured one for the one as deep as it."""
    by_depth = {len(units): list(units) for units in (*DENSE, configured)}
    return sorted(by_depth.values(), key=len)


def _model_name(head: Sequence[int]) -> str:
    return f"{plural(len(head), 'Dense layer')} ({', '.join(map(str, head))})" if head else "no Dense layer"


def _compare(
    correct: dict[str, np.ndarray], head: list[int], *, with_validation: tuple[float, float, float], folds: Folds
) -> HeadComparison:
    """Compare models, from simple to complex, by whether each representative photo is correct: bool (k,) per model."""
    pairs = list(combinations(correct, 2))
    p_values = np.array([folds.p_value(correct[first], correct[second]) for first, second in pairs])
    table = score_table(correct, "model", folds).set_index("model").assign(p_value=1.0, p_corrected=1.0)
    simplest, best = table.index[0], table["score"].idxmax()  # ties: the first, which is the simplest
    for (first, second), p_value, p_corrected in zip(pairs, p_values, holm(p_values), strict=True):
        if best in (first, second):
            other = second if first == best else first
            table.loc[other, ["p_value", "p_corrected"]] = p_value, p_corrected
    can_tell = len(pairs) * folds.p_value(correct[simplest], np.ones_like(correct[simplest])) < _ALPHA
    states = [
        NOT_WORSE if p >= _BORDERLINE[1] else WORSE if p < _BORDERLINE[0] else BORDERLINE for p in table["p_corrected"]
    ]
    table["state"] = states if can_tell else NOT_WORSE
    table["not_worse"] = table["state"] == NOT_WORSE
    table["configured"] = table.index == _model_name(head)
    return HeadComparison(table.reset_index(), with_validation, head, folds.measure, can_tell)


def _cross_validate(
    validator: CrossValidator, folds: Folds, name: str, *, bar: "tqdm[Any]", with_validation: bool = False
) -> np.ndarray:
    """Fit a model of _SIMPLE once per fold; return for each representative photo whether it is predicted correctly."""
    x = validator.features.plain[folds.rows]

    def fit() -> np.ndarray:
        probabilities = np.zeros((len(x), len(folds.classes)))
        with threadpool_limits(1, user_api="blas"):  # many small matrices: threads would wait for each other
            for fold in folds.folds:
                train = np.sort(np.concatenate([fold.train, fold.val])) if with_validation else fold.train
                model = _SIMPLE[name](folds.labels[train], folds.groups[train])
                predicted = model.fit(x[train], folds.labels[train]).predict(x[fold.test])
                probabilities[fold.test, predicted] = 1
                bar.update()
        return probabilities

    probabilities, known = validator.stored(fit, folds, model=f"{name}, {with_validation}", settings={})
    if known:
        skip_steps(bar, folds.n_folds)
    return folds.correct(probabilities)


class _NearestMean(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the class with the nearest mean; unlike NearestCentroid also from features that are all the same."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> "_NearestMean":
        self.classes_ = np.unique(y)
        self._means = np.stack([x[y == label].mean(axis=0) for label in self.classes_])
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.classes_[pairwise_distances_argmin(x, self._means)]


def _logistic_regression(y: np.ndarray, groups: np.ndarray) -> Any:
    """Return logistic regression, classes balanced as for the heads, its strength to be chosen by inner folds."""
    options = {"class_weight": "balanced", "max_iter": 1000}
    different = pd.Series(y)[~pd.Series(groups).duplicated()].value_counts()
    fewest = different.reindex(np.unique(y), fill_value=0).min()
    if fewest < 2:  # too few for inner folds
        model = LogisticRegression(C=_STRENGTHS[1], **options)
    else:
        fold_of = assign_folds(y, groups, min(_INNER_FOLDS, fewest), seed=0)
        inner = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in np.unique(fold_of)]
        options |= {"l1_ratios": (0,), "scoring": "neg_log_loss", "use_legacy_attributes": False}
        model = LogisticRegressionCV(Cs=_STRENGTHS, cv=inner, **options)
    # The rotation onto as many directions as there are photos changes no prediction and halves the time.
    return make_pipeline(StandardScaler(), PCA(random_state=0), model)


#: build(y, groups) → a classifier, for each model that is simpler than a head.
_SIMPLE: dict[str, Callable[..., Any]] = {
    MAJORITY: lambda y, groups: DummyClassifier(strategy="most_frequent"),
    NEAREST: lambda y, groups: make_pipeline(StandardScaler(), _NearestMean()),
    LOGISTIC: _logistic_regression,
}

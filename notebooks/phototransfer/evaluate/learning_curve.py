"""Learning curve: the accuracy of the configured head by the number of training photos."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from phototransfer.console import progress
from phototransfer.evaluate.cross_validation import CrossValidator, score_table
from phototransfer.evaluate.folds import Fold, Folds
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_share, paired_gain
from phototransfer.style import BLUE

_SHARES = (0.25, 0.5, 0.75)
_USEFUL = 0.02  # a smaller gain in accuracy is no reason to collect photos


@dataclass(frozen=True)
class LearningCurve(Result):
    """The configured head with fewer training photos, always tested on the same ones.

    `table` is that of `score_table` by share, with train: the mean number of training photos. `gain` is the gain in
    accuracy from half of the training photos to all of them, with its 95 % interval.
    """

    name = "learning_curve"
    table: pd.DataFrame
    gain: tuple[float, float, float]
    notes: Sequence[str] = ()  #: what differs from the folds and classes that were asked for

    @property
    def verdict(self) -> str:
        """Would more photos help?"""
        _, low, high = self.gain
        return "yes" if low > 0 else "hardly" if high < _USEFUL else "cannot tell"

    def summary(self) -> str:
        half, full = (self.table[self.table["share"] == share].iloc[0] for share in (0.5, 1.0))
        gain, low, high = self.gain
        meaning = {
            "yes": "Yes, the accuracy still rises",
            "hardly": "Hardly, for this backbone and head there are enough photos of this kind",
            "cannot tell": "Cannot tell, the gain in accuracy may be zero or large enough to matter",
        }
        text = (
            f"Would more photos help? {meaning[self.verdict]}: {format_share(half['accuracy'])} with "
            f"{half['train']:.0f} training photos, {format_share(full['accuracy'])} with {full['train']:.0f} (change "
            f"{gain:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}). No test photo is used."
        )
        return "\n".join([text, *self.notes])

    def plot(self) -> Figure:
        table = self.table
        figure, axis = plt.subplots(figsize=(6, 3.2))
        errors = [table["accuracy"] - table["low"], table["high"] - table["accuracy"]]
        axis.errorbar(table["train"], table["accuracy"], errors, color=BLUE, marker="o", capsize=3, clip_on=False)
        axis.set(xlabel="training photos", ylabel="accuracy, with its 95 % interval")
        axis.set_title(f"The same head with fewer training photos, tested on {table['photos'].iloc[0]} photos")
        axis.set_xticks(table["train"], [f"{row.train:.0f}\n{row.share:.0%}" for row in table.itertuples()])
        axis.set_xlim(0, table["train"].max() * 1.06)
        return figure

    def to_dict(self) -> dict[str, Any]:
        gain, low, high = self.gain
        points = self.table.to_dict("records")
        return {"verdict": self.verdict, "gain": gain, "gain_ci95": (low, high), "points": points}


def learning_curve(validator: CrossValidator) -> LearningCurve | Skipped:
    """Cross-validate with 25, 50 and 75 % of each fold's training photos, without the test photos.

    A smaller share is part of every larger one, each class in proportion; the validation photos stay the same.
    """
    folds = validator.folds_without_test
    if folds is None:
        return validator.skipped(LearningCurve.name)
    correct, n_train = {}, {}
    with progress("Fewer photos", len(_SHARES) * folds.n_folds, unit="training") as bar:
        for share in _SHARES:
            parts = [_subsample(folds, fold, share, validator.settings["SEED"]) for fold in folds.folds]
            correct[share] = folds.correct(validator.out_of_fold(folds, parts=parts, bar=bar))
            n_train[share] = np.mean([len(part.train) for part in parts])
    correct[1.0] = validator.configured_correct()
    n_train[1.0] = np.mean([len(fold.train) for fold in folds.folds])
    return replace(_curve(correct, n_train), notes=folds.notes())


def _curve(correct: dict[float, np.ndarray], n_train: dict[float, Any]) -> LearningCurve:
    table = score_table(correct, "share").assign(train=list(n_train.values()))
    return LearningCurve(table, paired_gain(correct[0.5], correct[1.0]))


def _subsample(folds: Folds, fold: Fold, share: float, seed: int) -> Fold:
    """Return the fold with `share` of its training photos: whole groups, at least one photo of each class."""
    shuffled = np.random.default_rng(seed).permutation(folds.groups.max() + 1)[folds.groups[fold.train]]
    chosen = np.zeros(len(fold.train), dtype=bool)
    for label in np.unique(folds.labels[fold.train]):
        own = folds.labels[fold.train] == label
        ranks = np.sort(shuffled[own])
        chosen[own] = shuffled[own] <= ranks[max(0, round(share * len(ranks)) - 1)]
    return replace(fold, train=fold.train[chosen])

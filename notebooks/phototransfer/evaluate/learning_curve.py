"""Learning curve: the score of the configured head by the number of training photos."""

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
from phototransfer.finding import BORDERLINE, CANNOT_TELL
from phototransfer.report import Result, Skipped
from phototransfer.stats import format_share
from phototransfer.style import BLUE

_SHARES = (0.25, 0.5, 0.75)
_CERTAIN = 0.997
_USEFUL = 0.02  # a smaller gain is no reason to collect photos


@dataclass(frozen=True)
class LearningCurve(Result):
    """The configured head with fewer training photos, always tested on the same ones.

    Attributes
    ----------
    table : DataFrame
        That of `score_table` by share, with train: the mean number of training photos.
    gain : tuple of float
        Gain from half of the training photos to all of them, with its 95 % interval.
    certain : tuple of float
        Its 99.7 % interval (three standard errors). Another seed gives other halves, other folds and other heads, which
        changes the gain by a standard deviation of 1.2 standard errors (10 seeds of 316 photos, +0.032 to −0.013).
    measure : str
        What the scores are: "accuracy" or "balanced accuracy".
    """

    name = "learning_curve"
    table: pd.DataFrame
    gain: tuple[float, float, float]
    certain: tuple[float, float]
    measure: str
    notes: Sequence[str] = ()  #: what differs from the folds and classes that were asked for

    @property
    def verdict(self) -> str:
        """Would more photos help? "yes", "hardly", BORDERLINE or CANNOT_TELL.

        "Yes" and "hardly" need an interval of three standard errors, so that another seed does not turn one into the
        other.
        """
        gain, low, high = self.gain
        if self.certain[0] > 0 and gain >= _USEFUL:
            return "yes"
        if self.certain[1] < _USEFUL:
            return "hardly"
        return BORDERLINE if low > 0 or high < _USEFUL else CANNOT_TELL

    def summary(self) -> str:
        half, full = (self.table[self.table["share"] == share].iloc[0] for share in (0.5, 1.0))
        gain, low, high = self.gain
        meaning = {
            "yes": f"Yes, the {self.measure} still rises",
            "hardly": "Hardly, for this backbone and head there are enough photos of this kind",
            BORDERLINE: f"Borderline, the {self.measure} may still rise, but another seed could show no gain",
            CANNOT_TELL: f"Cannot tell, the gain in {self.measure} may be zero or large enough to matter",
        }
        text = (
            f"Would more photos help? {meaning[self.verdict]}: {format_share(half['score'])} with "
            f"{half['train']:.0f} training photos, {format_share(full['score'])} with {full['train']:.0f} (change "
            f"{gain:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}). No test photo is used."
        )
        return "\n".join([text, *self.notes])

    def plot(self) -> Figure:
        table = self.table
        figure, axis = plt.subplots(figsize=(6, 3.2))
        errors = [table["score"] - table["low"], table["high"] - table["score"]]
        axis.errorbar(table["train"], table["score"], errors, color=BLUE, marker="o", capsize=3, clip_on=False)
        axis.set(xlabel="training photos", ylabel=f"{self.measure}, with its 95 % interval")
        axis.set_title(f"The same head with fewer training photos, tested on {table['photos'].iloc[0]} photos")
        axis.set_xticks(table["train"], [f"{row.train:.0f}\n{row.share:.0%}" for row in table.itertuples()])
        axis.set_xlim(0, table["train"].max() * 1.06)
        return figure

    def to_dict(self) -> dict[str, Any]:
        gain, low, high = self.gain
        points = self.table.to_dict("records")
        return {
            "verdict": self.verdict,
            "measure": self.measure,
            "gain": gain,
            "gain_ci95": (low, high),
            "points": points,
        }


def learning_curve(validator: CrossValidator) -> LearningCurve | Skipped:
    """Cross-validate with 25, 50 and 75 % of each fold's training photos, without the test photos.

    A smaller share is part of every larger one, each class in proportion; the validation photos stay the same.
    """
    folds = validator.folds_without_test
    if folds is None:
        return validator.skipped(LearningCurve.name)
    correct, n_train = {}, {}
    with progress("Fewer photos", len(_SHARES) * folds.n_folds, unit="training") as bar:
        for share, parts in _parts(validator, folds).items():
            correct[share] = folds.correct(validator.out_of_fold(folds, parts=parts, bar=bar))
            n_train[share] = np.mean([len(part.train) for part in parts])
    correct[1.0] = folds.correct(validator.configured_probabilities(folds))
    n_train[1.0] = np.mean([len(fold.train) for fold in folds.folds])
    return replace(_curve(correct, n_train, folds), notes=folds.notes())


def start_curve(validator: CrossValidator) -> None:
    """Let other processes begin with the trainings of `learning_curve`."""
    folds = validator.folds_without_test
    if folds is not None:
        for parts in _parts(validator, folds).values():
            validator.start(folds, parts=parts)


def _parts(validator: CrossValidator, folds: Folds) -> dict[float, list[Fold]]:
    """Return the folds with each share of their training photos."""
    parts = {}
    for share in _SHARES:
        parts[share] = [_subsample(folds, fold, share, validator.settings["SEED"]) for fold in folds.folds]
    return parts


def _curve(correct: dict[float, np.ndarray], n_train: dict[float, Any], folds: Folds) -> LearningCurve:
    table = score_table(correct, "share", folds).assign(train=list(n_train.values()))
    half, full = correct[0.5], correct[1.0]
    _, low, high = folds.gain(half, full, confidence=_CERTAIN)
    return LearningCurve(table, folds.gain(half, full), (low, high), folds.measure)


def _subsample(folds: Folds, fold: Fold, share: float, seed: int) -> Fold:
    """Return the fold with `share` of its training photos: whole groups, at least one photo of each class.

    Each fold has a share of its own. If all had the same photos, whether these are good ones would decide the gain.
    """
    shuffled = np.random.default_rng([seed, fold.number]).permutation(folds.groups.max() + 1)[folds.groups[fold.train]]
    chosen = np.zeros(len(fold.train), dtype=bool)
    for label in np.unique(folds.labels[fold.train]):
        own = folds.labels[fold.train] == label
        ranks = np.sort(shuffled[own])
        chosen[own] = shuffled[own] <= ranks[max(0, round(share * len(ranks)) - 1)]
    return replace(fold, train=fold.train[chosen])

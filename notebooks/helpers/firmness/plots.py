"""What do cross-validation, ladder and learning curve look like? Results in, figure out."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.firmness.cross_validation import CrossValidation
from helpers.firmness.intervals import wilson
from helpers.firmness.ladder import Ladder
from helpers.firmness.learning import LearningCurve
from helpers.plots import BLUE, GREEN, GREY, ORANGE


def folds(found: CrossValidation | None, right: int, of: int) -> Figure | None:
    """The score of each fold, of all photos, and of the test photos (`right` of `of`), intervals on the last two."""
    if found is None:
        return None
    figure, axis = plt.subplots(figsize=(7, 2.6))
    jitter = np.linspace(-0.16, 0.16, len(found.table)) if len(found.table) > 1 else [0.0]
    axis.plot(found.table["accuracy"], 2 + np.asarray(jitter), "o", color=GREY, ms=6, mfc="white")
    _interval(axis, 1, found.accuracy, found.low, found.high, BLUE, "o")
    if of:
        _interval(axis, 0, right / of, *wilson(right, of), ORANGE, "D")
    labels = [f"test photos ({of})", f"all photos ({found.photos})", f"the {len(found.table)} folds"]
    axis.set(
        yticks=[0, 1, 2], yticklabels=labels, ylim=(-0.6, 2.6), title="Each photo judged by a head that never saw it"
    )
    _shares(axis, found.table["accuracy"].min())
    return figure


def ladder(found: Ladder | None) -> Figure | None:
    """Every rung from simple (above) to complex with its interval; filled: not distinguishable from the best."""
    if found is None:
        return None
    table = found.table
    figure, axis = plt.subplots(figsize=(8, 1.1 + 0.36 * len(table)))
    for place, row in enumerate(table.itertuples()):
        colour = GREEN if row.rung == found.simplest else BLUE
        _interval(axis, -place, row.accuracy, row.low, row.high, colour, "o", filled=row.alike)
    labels = [f"{row.rung}{' (yours)' * row.configured}" for row in table.itertuples()]
    axis.set(yticks=-np.arange(len(table)), yticklabels=labels, ylim=(0.6 - len(table), 0.6))
    axis.set_title("From simple to complex")
    _shares(axis, table["low"].min())
    told = "filled: not distinguishable from the best; green: the simplest such"
    axis.set_xlabel(f"{axis.get_xlabel()}\n{told}")
    return figure


def learning(found: LearningCurve | None) -> Figure | None:
    """The score by the number of training photos."""
    if found is None:
        return None
    table = found.table
    figure, axis = plt.subplots(figsize=(6, 3.2))
    below, above = table["accuracy"] - table["low"], table["high"] - table["accuracy"]
    axis.errorbar(table["train"], table["accuracy"], [below, above], color=BLUE, marker="o", capsize=3)
    axis.set(xlabel="training photos", ylabel="share told right", title="The same head with fewer training photos")
    axis.set_xticks(table["train"], [f"{row.train:.0f}\n{row.share:.0%}" for row in table.itertuples()])
    axis.set_xlim(0, table["train"].max() * 1.06)
    return figure


def _interval(
    axis: Axes, y: float, middle: float, low: float, high: float, colour: str, marker: str, filled: bool = True
) -> None:
    axis.plot([low, high], [y, y], color=colour, linewidth=2)
    axis.plot(middle, y, marker, color=colour, ms=8, mfc=colour if filled else "white")
    axis.annotate(f"{middle:.2f}", (middle, y), (0, 7), textcoords="offset points", ha="center", fontsize=9)


def _shares(axis: Axes, least: float) -> None:
    axis.set_xlim(max(0.0, min(least, axis.get_xlim()[0]) - 0.02), 1.01)
    axis.set_xlabel("share of photos told right, with its 95 % interval")
    axis.grid(axis="x", color=GREY, alpha=0.25)

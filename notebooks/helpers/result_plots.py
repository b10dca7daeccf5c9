"""What do attention, fine-tuning, tuning and several runs look like? Data in, figure out, nothing trained here."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.plots import BLUE, GREEN, GREY, ORANGE, VERMILLION, by_epoch, short

if TYPE_CHECKING:  # plots know no training
    from helpers.attention import Attention
    from helpers.compare import Compared
    from helpers.search import Search

HEAT = "inferno"


def attention(looked: "Attention") -> Figure:
    """The surest right photos, below the surest wrong ones, lit where the network looked; dotted: the middle."""
    kinds = [(rows, right) for rows, right in ((looked.right, True), (looked.wrong, False)) if len(rows)]
    columns = 8
    figure, axes = plt.subplots(len(kinds), columns, figsize=(columns * 1.5, len(kinds) * 2.05), squeeze=False)
    for line, (rows, right) in zip(axes, kinds, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, row in zip(line, rows.itertuples(), strict=False):
            _lit(axis, looked.squares[row.Index], looked.maps[row.Index], looked.edge)
            said = f"{'✓' if right else '✗'} {short(row.predicted, 18)} {row.probability:.2f}"
            border = "empty map" if np.isnan(row.border) else f"border {row.border:.2f}"
            title = f"{said}\n{border}" if right else f"{said}\nis {short(row.label, 20)}\n{border}"
            axis.set_title(title, fontsize=7, color=GREEN if right else VERMILLION, loc="center", parse_math=False)
    return figure


def _lit(axis: Axes, photo: np.ndarray, heat: np.ndarray, edge: int) -> None:
    """A photo, uint8 (size, size, 3), grey where the network did not look and in glowing colours where it did."""
    grey = np.repeat(photo.mean(axis=2, keepdims=True), 3, axis=2) / 255
    coloured = plt.get_cmap(HEAT)(0.15 + 0.85 * heat)[..., :3]
    strength = 0.65 * heat[..., None]
    axis.imshow(grey * (1 - strength) + coloured * strength, vmin=0, vmax=1)
    inner = len(photo) - 2 * edge
    axis.add_patch(Rectangle((edge, edge), inner, inner, fill=False, color="white", linestyle=":", linewidth=0.8))


def curves_continued(head: pd.DataFrame, tuned: pd.DataFrame) -> Figure:
    """Loss and accuracy of the head's epochs and of the fine-tuning after them, a line where it begins.

    head, tuned: one row an epoch: loss, accuracy, val_loss, val_accuracy. The head's line ends at its best epoch, the
    one that fine-tuning went on from.
    """
    start = int(head["val_loss"].idxmin()) + 1
    both = pd.concat([head.head(start), tuned], ignore_index=True)
    return by_epoch(both, start + 0.5, "fine-tuning begins")


AXES = {
    "layers": "Dense layers",
    "units": "units of the first",
    "dropout": "dropout",
    "learning_rate": "learning rate",
    "weight_decay": "weight decay",
    "views": "augmented views",
}


def tuning(search: "Search") -> Figure:
    """The score of each head that was tried by each hyper-parameter, the ones that explain most of it first.

    Heads given up early are grey crosses at the score of the folds they were tried on; the best head is ringed, the
    dashed line is the configured head.
    """
    names = sorted(AXES.keys() & search.trials.columns, key=lambda name: (-search.importance.get(name, 0), name))
    best, pruned = search.best(), search.trials["pruned"]
    figure, axes = plt.subplots(1, len(names), figsize=(11, 2.9), sharey=True)
    for axis, name in zip(axes, names, strict=True):
        whole, rest = search.trials[~pruned], search.trials[pruned]
        axis.plot(rest[name], rest["score"], "x", color=GREY, markersize=5, label="given up early")
        axis.plot(whole[name], whole["score"], "o", color=BLUE, markersize=5, label="tried")
        axis.plot(best[name], best["score"], "o", color=ORANGE, markersize=12, fillstyle="none", mew=2, label="best")
        axis.axhline(search.configured.mean(), color=GREY, linestyle="--", linewidth=1, label="configured head")
        if name in ("learning_rate", "weight_decay"):
            axis.set_xscale("log")
        elif name == "units":
            axis.set_xscale("log", base=2)
            axis.set_xticks([64, 256, 1024], ["64", "256", "1024"])
        elif name in ("layers", "views"):
            axis.xaxis.get_major_locator().set_params(integer=True)
        share = f"\nexplains {search.importance[name]:.0%}" if name in search.importance else ""
        axis.set(xlabel=f"{AXES[name]}{share}")
        axis.margins(0.12)
    axes[0].set(ylabel="share right, out of fold")
    figure.legend(*axes[0].get_legend_handles_labels(), ncols=4, frameon=False, loc="outside upper center")
    return figure


def runs_compared(compared: "Compared") -> Figure | None:
    """The test accuracy of each run with its interval, this run filled; None if there is nothing to compare with."""
    if compared.best is None:
        return None
    rows = compared.runs.set_index("run").loc[compared.shown().index]
    places = np.arange(len(rows))
    figure, axis = plt.subplots(figsize=(8, 1.1 + 0.32 * len(rows)))
    for place, (name, row) in zip(places, rows.iterrows(), strict=True):
        mine = name == compared.this
        colour = BLUE if mine else GREY
        axis.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.5 if mine else 1.5)
        axis.plot(row["accuracy"], place, "o", color=colour, markerfacecolor=colour if mine else "white", markersize=7)
    labels = [f"{name} (this run)" if name == compared.this else name for name in rows.index]
    axis.set_yticks(places, [short(label, 46) for label in labels], parse_math=False)
    axis.set_ylim(len(rows) - 0.5, -0.5)  # the newest last, as in the table
    axis.set(title="Right on the same test photos, 95 % interval", xlabel="share of test photos")
    axis.grid(axis="x", alpha=0.3)
    return figure

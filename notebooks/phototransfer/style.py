"""Style of the figures: colours, grids of photos, and shared elements."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from phototransfer.stats import format_share

#: Okabe and Ito's colours, which colour-blind readers can distinguish: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, VERMILLION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", VERMILLION, "#F0E442", "#000000")
MAX_CLASSES = 20  # more names than this on one axis cannot be read
_THUMBNAIL = 170  # pixels that a photo gets in a grid

plt.rcParams.update(
    {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.prop_cycle": plt.cycler(color=COLOURS),
        "figure.constrained_layout.use": True,
        "figure.dpi": 110,
        "savefig.dpi": "figure",
    }
)


def class_colours(classes: Sequence[str]) -> dict[str, str]:
    """Return one colour per class, the same in every figure of a run whatever the order of its rows."""
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(sorted(classes))}


def photo_grid(
    paths: Sequence[str], titles: Sequence[str], columns: int = 6, correct: Sequence[bool] | None = None
) -> Figure:
    """Return a figure of photos in rows, each under its title; incorrect predictions get a red dashed frame."""
    rows = -(-len(paths) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.75, rows * 2.0), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (axis, path, title) in enumerate(zip(axes.flat, paths, titles, strict=False)):
        show_photo(axis, path, title, None if correct is None else bool(correct[number]))
    return figure


def show_photo(axis: Axes, path: str, title: str, correct: bool | None = None) -> None:
    """Draw one photo with a title above it, and a frame: thin and green if correct, dashed and red if not."""
    with Image.open(path) as picture:
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        axis.imshow(np.asarray(picture.convert("RGB")))
    colour = "black" if correct is None else GREEN if correct else VERMILLION
    axis.set_title(title, fontsize=8, color=colour, loc="center", parse_math=False)
    axis.set_axis_on()
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set(visible=correct is not None, color=colour, linewidth=4 if correct is False else 1.5)
        side.set_linestyle("--" if correct is False else "-")


def plot_epochs(history: pd.DataFrame, mark: float, label: str) -> Figure:
    """Return loss and accuracy by epoch, for training and validation, with a labelled line at epoch `mark`.

    Parameters
    ----------
    history : DataFrame
        One row per epoch, with the columns loss, accuracy, val_loss and val_accuracy.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4))
    epochs = np.arange(1, len(history) + 1)
    for axis, measure in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, history[measure], color=BLUE, marker="o", markersize=3, label="train")
        axis.plot(epochs, history[f"val_{measure}"], color=ORANGE, marker="s", markersize=3, label="validation")
        axis.axvline(mark, color=GREY, linestyle=":", linewidth=1.5, label=label)
        axis.set(title=measure.capitalize(), xlabel="epoch", xlim=(0.5, len(history) + 0.5))
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylim(bottom=0)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def plot_interval(
    axis: Axes,
    row: float,
    share: float,
    interval: tuple[float, float],
    *,
    colour: str = BLUE,
    marker: str = "o",
    filled: bool = True,
) -> None:
    """Draw a proportion and its interval as a horizontal line with a marker, the value written above it."""
    axis.plot(interval, [row, row], color=colour, linewidth=2, clip_on=False)
    face = colour if filled else "white"
    axis.plot(share, row, marker, color=colour, markersize=8, markerfacecolor=face, clip_on=False)
    axis.annotate(format_share(share), (share, row), (0, 7), textcoords="offset points", ha="center", fontsize=9)


def accuracy_axis(axis: Axes, lowest: float, label: str = "accuracy, with its 95 % interval") -> None:
    """Set up a horizontal axis of accuracies from a little below `lowest` to 1, markers at 1 not cut off."""
    axis.set_xlim(max(0.0, lowest - 0.03), 1.015)
    axis.set_xlabel(label)
    axis.grid(axis="x", color=GREY, alpha=0.25)

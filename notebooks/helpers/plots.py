"""What does it look like? Every figure of the notebook; data in, figure out, nothing trained here."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image as DisplayedImage
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay, RocCurveDisplay, confusion_matrix, top_k_accuracy_score

from helpers.files import written_beside

#: Okabe and Ito's colours, told apart by colour-blind readers: https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, VERMILLION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", VERMILLION, "#F0E442", "#000000")
THUMBNAIL = 170  # pixels: what a photo gets in a grid
MOST_CLASSES = 20  # more names than this on one axis cannot be read

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


class Show:
    """Shows the figures of a run where the notebook is read, and keeps them as <run folder>/figures/<name>.png.

    `wanted` False: nothing is drawn, which saves seconds where only the score is asked for.
    """

    def __init__(self, run_folder: Path, wanted: bool = True) -> None:
        self.folder, self.wanted = run_folder / "figures", wanted

    def __call__(self, name: str, draw: Callable[..., Figure | None], *data: Any) -> None:
        """Draw `draw(*data)` once. Nothing happens where any of the data is None or there is nothing to draw."""
        if not self.wanted or any(part is None for part in data):
            return
        figure = draw(*data)
        if figure is None:
            return
        pixels, photo = io.BytesIO(), io.BytesIO()
        figure.savefig(pixels, format="png")
        plt.close(figure)  # or Jupyter would draw it once more
        with written_beside(self.folder / f"{name}.png") as partial:
            partial.write_bytes(pixels.getvalue())
        # Photos as PNG would make a notebook of many megabytes.
        Image.open(pixels).convert("RGB").save(photo, "JPEG", quality=88)
        alt = {"image/jpeg": {"alt": name.replace("_", " ")}}
        display(DisplayedImage(photo.getvalue(), format="jpeg"), metadata=alt)


def photo_grid(
    paths: Sequence[str], titles: Sequence[str], columns: int = 6, right: Sequence[bool] | None = None
) -> Figure:
    """Photos in rows, each under its title. `right`: which were told right; the others get a red dashed frame."""
    rows = -(-len(paths) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.75, rows * 2.0), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (axis, path, title) in enumerate(zip(axes.flat, paths, titles, strict=False)):
        show_photo(axis, path, title, None if right is None else bool(right[number]))
    return figure


def show_photo(axis: Axes, path: str, title: str, right: bool | None = None) -> None:
    """One photo with a title above it; a frame that says right (thin, green) or wrong (dashed, red)."""
    with Image.open(path) as picture:
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        axis.imshow(np.asarray(picture.convert("RGB")))
    colour = "black" if right is None else GREEN if right else VERMILLION
    axis.set_title(title, fontsize=8, color=colour, loc="center", parse_math=False)
    axis.set_axis_on()
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set(visible=right is not None, color=colour, linewidth=4 if right is False else 1.5)
        side.set_linestyle("--" if right is False else "-")


def look(photos: pd.DataFrame, seed: int, count: int = 18) -> Figure:
    """Some photos of the table, every class in turn, each with its class and size on disk in pixels."""
    mixed = photos.sample(frac=1, random_state=seed)
    turn = mixed.groupby("label").cumcount().sort_values(kind="stable").index
    some = mixed.loc[turn].head(count).sort_values("label", kind="stable")
    titles = [f"{short(row.label)}\n{row.width} × {row.height}" for row in some.itertuples()]
    return photo_grid(list(some["path"]), titles)


def short(name: str, length: int = 22) -> str:
    """A name that fits above a thumbnail, its middle left out where it is too long."""
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"


def curves(history: pd.DataFrame) -> Figure:
    """Loss and accuracy by epoch for training and validation, the best epoch (lowest validation loss) marked."""
    best = int(history["val_loss"].idxmin()) + 1
    return by_epoch(history, best, f"best epoch: {best}")


def by_epoch(history: pd.DataFrame, mark: float, told: str) -> Figure:
    """Loss and accuracy by epoch, both for validation too (columns val_…); a line at epoch `mark`, named `told`."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4))
    epochs = np.arange(1, len(history) + 1)
    for axis, measure in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, history[measure], color=BLUE, marker="o", markersize=3, label="train")
        axis.plot(epochs, history[f"val_{measure}"], color=ORANGE, marker="s", markersize=3, label="validation")
        axis.axvline(mark, color=GREY, linestyle=":", linewidth=1.5, label=told)
        axis.set(title=measure.capitalize(), xlabel="epoch", xlim=(0.5, len(history) + 0.5))
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylim(bottom=0)
    axes[1].legend(loc="lower right", edgecolor="none", framealpha=1)
    return figure


def confusion(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> Figure:
    """Which class was taken for which: the confusion matrix, or where there are many classes its largest mistakes."""
    matrix = confusion_matrix(truth, predicted, labels=list(classes))
    if len(classes) > MOST_CLASSES:
        return _largest_mistakes(matrix, classes)
    side = 2.6 + 0.36 * len(classes)
    figure, axis = plt.subplots(figsize=(side + 1, side))
    rotation = 90 if len(classes) > 4 else 0
    shown = ConfusionMatrixDisplay(matrix, display_labels=list(classes))
    shown.plot(ax=axis, cmap="Blues", colorbar=False, xticks_rotation=rotation)
    axis.set(title="Test photos", xlabel="predicted", ylabel="true")
    return figure


def _largest_mistakes(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """The cells off the diagonal with the most photos, of equals the ones from the smaller class first."""
    photos, wrong = matrix.sum(axis=1), matrix - np.diag(np.diag(matrix))
    true, taken = np.nonzero(wrong)
    order = np.lexsort((photos[true], -wrong[true, taken]))[:MOST_CLASSES]
    names = [f"{classes[a]} for {classes[b]}" for a, b in zip(true[order], taken[order], strict=True)]
    counts = wrong[true, taken][order]
    figure, axis = plt.subplots(figsize=(8, 1.4 + 0.25 * max(len(order), 1)))
    bars = axis.barh(np.arange(len(order)), counts, color=BLUE, tick_label=names)
    axis.bar_label(bars, [f"{n} of {photos[a]}" for n, a in zip(counts, true[order], strict=True)], padding=4)
    axis.set(
        xlim=(0, 1.15 * counts.max(initial=1)), xlabel="test photos of the first class that were taken for the second"
    )
    title = f"Most often mistaken: {len(order)} of {len(true)} pairs of classes, {wrong.sum()} mistakes in all"
    figure.suptitle(title, x=0.01, ha="left", size="medium")  # the names leave little room above the axis
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.invert_yaxis()
    return figure


def ranking(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> Figure:
    """The ROC curve for two classes, the top-k accuracy for more. truth: int (n,); probabilities: (n, classes)."""
    return roc(truth, probabilities, classes) if len(classes) == 2 else top_k(truth, probabilities)


def roc(truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> Figure:
    """How well two classes are ranked at every threshold. truth: int (n,); probabilities: (n, 2)."""
    figure, axis = plt.subplots(figsize=(4.6, 4.4))
    RocCurveDisplay.from_predictions(
        truth == 0,
        probabilities[:, 0],
        ax=axis,
        name="test photos",
        plot_chance_level=True,
        curve_kwargs={"color": BLUE},
    )
    axis.set(title="ROC", xlabel=f"{classes[1]} taken for {classes[0]}", ylabel=f"{classes[0]} found")
    return figure


def top_k(truth: np.ndarray, probabilities: np.ndarray, most: int = 10) -> Figure:
    """How often the true class is among the k most probable. truth: int (n,); probabilities: (n, classes)."""
    classes = probabilities.shape[1]
    ks = np.arange(1, min(most, classes) + 1)
    shares = [
        top_k_accuracy_score(truth, probabilities, k=k, labels=np.arange(classes)) if k < classes else 1.0 for k in ks
    ]
    figure, axis = plt.subplots(figsize=(6, 3.2))
    axis.bar(ks, shares, color=BLUE)
    for k, share in zip(ks, shares, strict=True):
        axis.annotate(f"{share:.2f}", (k, share), ha="center", va="bottom", fontsize=8)
    axis.set(
        title="True class among the k most probable",
        xlabel="k",
        ylabel="share of test photos",
        ylim=(0, 1.08),
        xticks=ks,
    )
    return figure


def predictions(test: pd.DataFrame, seed: int, count: int = 25) -> Figure:
    """A grid of test photos with the predicted class and its probability; wrong ones are crossed and framed."""
    some = test.sample(min(count, len(test)), random_state=seed).sort_index()
    titles = [
        f"{'✓' if row.correct else '✗'} {short(row.predicted)} {row.probability:.2f}"
        + ("" if row.correct else f"\nis {short(row.label)}")
        for row in some.itertuples()
    ]
    return photo_grid(list(some["path"]), titles, columns=5, right=list(some["correct"]))


def mistakes(test: pd.DataFrame, count: int = 10) -> Figure | None:
    """The wrong predictions the model was surest of, with the photos' file names; None if there are none."""
    wrong = test[~test["correct"]].sort_values("probability", ascending=False, kind="stable").head(count)
    if wrong.empty:
        return None
    titles = [
        f"{short(Path(row.original).name)}\n✗ {short(row.predicted)} {row.probability:.2f}\nis {short(row.label)}"
        for row in wrong.itertuples()
    ]
    return photo_grid(list(wrong["path"]), titles, columns=5, right=[False] * len(wrong))

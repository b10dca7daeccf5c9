"""Grad-CAM: the regions of a photo that support the predicted class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from phototransfer.console import plural, progress, short_name, shorten_list
from phototransfer.network.backbones import Backbone
from phototransfer.network.features import BATCH, fingerprint, read_image
from phototransfer.network.graph import as_graph
from phototransfer.network.novelty import split_model
from phototransfer.network.views import BLANK
from phototransfer.report import Result, Skipped
from phototransfer.stored import stored
from phototransfer.style import GREEN, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib and SciPy are imported where they are used: the classification of a photo need not wait for them.

#: Photos for the share of the attention in the border: enough for an interval of a few hundredths.
MAX_PHOTOS = 300
EXAMPLES = 8  # per row of the figure
MIN_PHOTOS_PER_CLASS = 5  # for a mean of the class
_WIDE = 0.2  # an interval of this width includes twice the uniform fraction or none
#: Mean difference of the probabilities in the table from those computed here, which only another engine may explain.
_TOLERANCE = 0.05


@dataclass(frozen=True, eq=False)
class GradCam(Result):
    """Grad-CAM of test photos.

    `table` has one row per photo: path, original, label, group, predicted, probability, correct, and border: the
    fraction of its attention in the border, NaN if its map is empty.
    """

    name = "grad_cam"
    table: pd.DataFrame
    examples: pd.DataFrame  #: the same for the most confident correct and incorrect predictions
    images: dict[Any, np.ndarray]  #: by row of `examples`: what the network gets, uint8 (size, size, 3)
    maps: dict[Any, np.ndarray]  #: by row of `examples`: float32 (size, size), 0 to 1
    uniform: float  #: the fraction of the area, and so of a uniform map, that is in the border
    total: int  #: number of test photos

    def border(self) -> tuple[float, float, float] | None:
        """Return the mean fraction in the border and its 95 % interval (Student's t), None with fewer than 2 maps.

        Near-duplicates count as one map, their mean.
        """
        from scipy import stats

        fractions = self.table.dropna(subset="border").groupby("group")["border"].mean()
        if len(fractions) < 2:
            return None
        mean = float(fractions.mean())
        half = float(stats.sem(fractions) * stats.t.ppf(0.975, len(fractions) - 1))
        return mean, max(0.0, mean - half), min(1.0, mean + half)

    def by_class(self) -> pd.Series:
        """Return the mean fraction in the border of each class with enough photos, in increasing order."""
        fractions = self.table.dropna(subset="border").groupby("label")["border"]
        return fractions.mean()[fractions.size() >= MIN_PHOTOS_PER_CLASS].sort_values()

    def summary(self) -> str:
        photos, empty = len(self.table), self.table["border"].isna().sum()
        border, by_class = self.border(), self.by_class()
        lines = ["Too few maps to say how much of the attention lies in the border."]
        if border is not None:
            mean, low, high = border
            comparison = "more than" if low > self.uniform else "less than"
            if low <= self.uniform <= high:
                wide = high - low > _WIDE
                comparison = "too few photos to tell if that is more or less than" if wide else "about as much as"
            chosen = f" of {self.total:,} test photos, chosen at random" if photos < self.total else " test photos"
            lines = [
                f"On {photos}{chosen}: {mean:.2f} of the attention (95 % interval {low:.2f} to {high:.2f}) lies in the "
                f"border, {comparison} if it were uniform ({self.uniform:.2f}, the border's share of the area)."
            ]
        if len(by_class) > 5:
            by_class = by_class.iloc[[0, -1]]
        if len(by_class) > 1:
            lines.append("By class: " + ", ".join(f"{label} {mean:.2f}" for label, mean in by_class.items()) + ".")
        if empty:
            lines.append(f"{empty} of {photos} maps are empty: no region supports the predicted class.")
        return "\n".join(lines)

    def advice(self) -> list[str]:
        border = self.border()
        if border is None or border[1] <= self.uniform:
            return []
        return [
            f"{border[0]:.2f} of the network's attention lies in the border of the photos: crop the photos to their "
            "subjects, and set DATASET to the folder of the cropped photos."
        ]

    def alt(self) -> str:
        rows = [
            f"{photo.predicted} {photo.probability:.2f}{'' if photo.correct else f' (label: {photo.label})'}"
            for photo in self.examples.itertuples()
        ]
        return (
            f"{plural(len(rows), 'test photo')} with the regions that support the predicted class highlighted: "
            f"{shorten_list(rows, 8)}."
        )

    def plot(self, columns: int = EXAMPLES) -> "Figure":
        """Return the most confident correct and incorrect predictions, highlighted; the dotted line is the border."""
        import matplotlib.pyplot as plt

        photos = list(self.examples.itertuples())
        rows = []
        for correct in (True, False):
            group = [photo for photo in photos if photo.correct == correct]
            rows += [group[start : start + columns] for start in range(0, len(group), columns)]
        figure, axes = plt.subplots(len(rows), columns, figsize=(1.5 * columns, 2.05 * len(rows)), squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for row, group in zip(axes, rows, strict=True):
            for axis, photo in zip(row, group, strict=False):
                self._draw(axis, photo)
        return figure

    def plot_narrow(self) -> "Figure":
        return self.plot(columns=2)

    def _draw(self, axis: "Axes", photo: Any) -> None:
        """Draw a photo, grey where the map is 0 and coloured where it is not."""
        from matplotlib.patches import Rectangle

        heat = self.maps[photo.Index]
        axis.imshow(_coloured(self.images[photo.Index], heat), vmin=0, vmax=1)
        width = _border_width(len(heat))
        inside = len(heat) - 2 * width
        axis.add_patch(Rectangle((width, width), inside, inside, fill=False, color="white", linestyle=":"))
        title = f"{'✓' if photo.correct else '✗'} {short_name(photo.predicted, 18)} {photo.probability:.2f}\n"
        if not photo.correct:
            title += f"label: {short_name(photo.label, 18)}\n"
        title += "empty map" if np.isnan(photo.border) else f"border {photo.border:.2f}"
        axis.set_title(title, fontsize=7, color=GREEN if photo.correct else VERMILLION, loc="center", parse_math=False)

    def to_dict(self) -> dict[str, Any]:
        border = self.border()
        return {
            "border": border[0] if border else None,
            "border_ci95": list(border[1:]) if border else None,
            "uniform": self.uniform,
            "photos": len(self.table),
            "empty_maps": int(self.table["border"].isna().sum()),
        }


def grad_cam_examples(
    photos: pd.DataFrame,
    backbone: Backbone,
    head: keras.Model,
    classes: Sequence[str],
    settings: Mapping[str, Any],
    *,
    results: Path | None = None,
) -> GradCam | Skipped:
    """Compute Grad-CAM of at most MAX_PHOTOS test photos, and of the examples, for their predicted classes.

    Parameters
    ----------
    photos : DataFrame
        With the columns of `add_predictions`.
    head : keras.Model
        From pooled features to probabilities.
    results : Path or None
        Folder in which the feature maps are kept for the next run: `Features.results`.

    Raises
    ------
    ValueError
        Backbone and head do not give the probabilities in the table, or the head does not end in Dense with softmax.
    """
    if not settings["CHECKS"]:
        return Skipped(GradCam.name, "Not checked (CHECKS = False).")
    test = photos[photos["split"] == "test"]
    if test.empty:
        return Skipped(GradCam.name, "Cannot tell: there are no test photos.")
    ranked = test.sort_values("probability", ascending=False, kind="stable")
    examples = pd.concat([ranked[ranked["correct"]].head(EXAMPLES), ranked[~ranked["correct"]].head(EXAMPLES)]).index
    sample = test.sample(min(len(test), MAX_PHOTOS), random_state=settings["SEED"]).index.sort_values()
    rows = test[test.index.isin(sample.union(examples))]

    size = backbone.image_size
    width = _border_width(size)
    in_border = np.ones((size, size), bool)
    in_border[width:-width, width:-width] = False
    image = keras.Input((size, size, 3))
    feature_model = keras.Model(image, backbone.model(backbone.preprocess(image), training=False))
    network = fingerprint(feature_model)
    borders, images, maps = {}, {}, {}
    with progress("Grad-CAM", len(rows)) as bar:
        for start in range(0, len(rows), BATCH):
            batch = rows.iloc[start : start + BATCH]
            pixels = np.stack([read_image(path, size, settings["FIT"]) for path in batch["path"]])
            predicted = batch["predicted"].map(classes.index).to_numpy()
            depends_on = {"result": "feature maps", "network": network, "pixels": pixels}
            feature_map, _ = stored(results, depends_on, partial(as_graph(feature_model), pixels))
            heat, probabilities = grad_cam(feature_map, head, predicted)
            difference = np.abs(batch["probability"] - probabilities[np.arange(len(batch)), predicted])
            if difference.mean() > _TOLERANCE:
                raise ValueError(
                    f"{batch.at[difference.idxmax(), 'original']}: backbone and head do not give the probability in "
                    "the table of photos. Run the notebook again from the features on."
                )
            heat = _resized(heat, size)
            for row, photo, heat_map in zip(batch.index, pixels, heat, strict=True):
                empty = heat_map.max() <= 0
                borders[row] = np.nan if empty else float(heat_map[in_border].sum() / heat_map.sum())
                if row in examples:
                    images[row], maps[row] = photo, heat_map if empty else heat_map / heat_map.max()
            bar.update(len(batch))
    columns = ["path", "original", "label", "group", "predicted", "probability", "correct"]
    table = rows[columns].assign(border=pd.Series(borders))
    uniform = float(in_border.mean())
    return GradCam(table.loc[sample], table.loc[examples], images, maps, uniform=uniform, total=len(test))


def highlight(model: keras.Model, seen: np.ndarray, class_index: int) -> np.ndarray | None:
    """Return a photo in grey, coloured where a loaded model finds support for a class.

    Parameters
    ----------
    model : keras.Model
        From `load_run`.
    seen : float32 array of shape (size, size, 3)
        What the network sees of the photo, raw RGB 0–255: `Examination.seen`.
    class_index : int

    Returns
    -------
    uint8 array of shape (size, size, 3) or None
        None if no region supports the class.

    Raises
    ------
    ValueError
        The extractor does not end in pooling, or the head does not end in Dense with softmax.
    """
    extractor, head = split_model(model)
    pooling = extractor.layers[-1]
    if not isinstance(pooling, keras.layers.GlobalAveragePooling2D):
        raise ValueError(f"Grad-CAM needs an extractor that ends in GlobalAveragePooling2D; its end is {pooling.name}.")
    feature_model = keras.Model(extractor.inputs, pooling.input)
    feature_map = np.asarray(feature_model([seen[None]], training=False))
    maps, _ = grad_cam(feature_map, head, np.array([class_index]))
    [heat] = _resized(maps, len(seen))
    if heat.max() <= 0:
        return None
    picture = np.clip(seen, 0, 255)  # resizing can overshoot at edges
    return np.round(255 * _coloured(picture, heat / heat.max())).astype(np.uint8)


def _coloured(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return a picture, RGB 0–255, in grey, coloured where its map, 0 to 1, is not 0: (size, size, 3), 0 to 1."""
    import matplotlib as mpl

    grey = image.mean(axis=2, keepdims=True) / 255
    coloured, strength = mpl.colormaps["inferno"](0.15 + 0.85 * heat)[..., :3], 0.65 * heat[..., None]
    return grey * (1 - strength) + coloured * strength


def _resized(maps: np.ndarray, size: int) -> np.ndarray:
    """Return maps, float32 (n, h, w), in the size of the photos: (n, size, size)."""
    return tf.image.resize(maps[..., None], (size, size)).numpy()[..., 0]


def _border_width(size: int) -> int:
    return round(size * (1 - BLANK) / 2)


def grad_cam(feature_map: np.ndarray, head: keras.Model, class_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute which places of a feature map, float32 (n, h, w, channels), support the classes `class_index`, int (n,).

    Returns maps, float32 (n, h, w), not negative and not scaled, and probabilities, float32 (n, n_classes).

    Notes
    -----
    R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV
    2017: each channel is weighted by the mean gradient of the score of the class (before softmax) with respect to it,
    and of their sum the negative part is set to 0.
    """
    last = head.layers[-1]
    if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.softmax:
        raise ValueError(f"Grad-CAM needs a head whose last layer is Dense with softmax; {head.name} has another one.")
    hidden = keras.Model(head.inputs, last.input)
    places = tf.convert_to_tensor(feature_map)
    with tf.GradientTape() as tape:
        tape.watch(places)
        scores = tf.matmul(hidden(tf.reduce_mean(places, axis=(1, 2)), training=False), last.kernel)
        scores = scores + last.bias if last.use_bias else scores
        explained = tf.gather(scores, class_index, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(explained, places), axis=(1, 2), keepdims=True)
    maps = tf.nn.relu(tf.reduce_sum(weights * places, axis=-1))
    return maps.numpy(), tf.nn.softmax(scores).numpy()

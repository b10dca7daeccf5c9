"""Where does the network look when it decides?"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from scipy import stats

from helpers.backbones import Backbone
from helpers.features import BATCH, read_square
from helpers.progress import progress
from helpers.views import BLANK

#: Photos looked at for the share in the border: enough for an interval of a few hundredths.
MOST = 300
SHOWN = 8
#: The table's probabilities and those found here may differ by the rounding of another engine, on average not by more.
SAME = 0.05
FEWEST = 5  # photos of a class before its mean is named


@dataclass(frozen=True)
class Attention:
    """Where the network looked.

    `table`: one row a photo looked at: path, original, label, predicted, probability, correct, and border: the share
    of the attention that lies in the outer frame, NaN for an empty map (nowhere did anything speak for the class).
    `right`, `wrong`: the rows that the network was surest of. `squares`, `maps`: row → uint8 (size, size, 3), what the
    network saw, and float32 (size, size), 0 to 1, where it looked. `even`: the frame's share of the area, what an even
    spread would put there. `edge`: the frame's width in pixels of `size`. `of`: how many test photos there are.
    """

    table: pd.DataFrame
    right: pd.DataFrame
    wrong: pd.DataFrame
    squares: dict[Any, np.ndarray]
    maps: dict[Any, np.ndarray]
    even: float
    edge: int
    size: int
    of: int

    def border(self) -> tuple[float, float, float] | None:
        """Mean share of the attention in the frame, its 95 % interval (Student's t); None for fewer than two maps."""
        shares = self.table["border"].dropna()
        if len(shares) < 2:
            return None
        half = stats.sem(shares) * stats.t.ppf(0.975, len(shares) - 1)
        return float(shares.mean()), float(shares.mean() - half), float(shares.mean() + half)

    def by_class(self) -> pd.Series:
        """Mean share in the frame for each class with at least FEWEST photos, the least first."""
        shares = self.table.dropna(subset="border").groupby("label")["border"]
        return shares.mean()[shares.size() >= FEWEST].sort_values()

    def in_words(self) -> str:
        """One reading of the share in the frame, the classes that differ most, and the maps that are empty."""
        empty = int(self.table["border"].isna().sum())
        nothing = f" {empty} of {len(self.table)} maps are empty: nowhere does anything speak for the class."
        found = self.border()
        if found is None:
            return "Too few maps to say how much of the attention lies in the border." + (nothing if empty else "")
        mean, low, high = found
        where = "about as an even spread would"
        if high < self.even:
            where = "more at the middle than an even spread would"
        elif low > self.even:
            where = "more at the border than an even spread would, which is seldom where the subject is"
        some = "" if len(self.table) == self.of else f" (of {self.of}, drawn at random)"
        said = (
            f"On {len(self.table)} test photos{some} {mean:.2f} of the attention (95 % interval {low:.2f} to "
            f"{high:.2f}) lies in the outer frame, which is {self.even:.2f} of the area: the network looks {where}."
        )
        classes = self.by_class()
        if len(classes) > 5:
            classes = classes.iloc[[0, -1]]
        if len(classes) > 1:
            said += " By class: " + ", ".join(f"{label} {share:.2f}" for label, share in classes.items()) + "."
        return said + (nothing if empty else "")

    def metrics(self) -> dict[str, Any]:
        """The share in the frame for metrics.json."""
        mean, low, high = self.border() or (None, None, None)
        interval = None if mean is None else [low, high]
        empty = int(self.table["border"].isna().sum())
        counts = {"photos": len(self.table), "empty_maps": empty}
        return {"border": mean, "border_ci95": interval, "even": self.even, **counts}


def grad_cam(feature_map: np.ndarray, head: keras.Model, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which places of the feature map speak for a class?

    R. R. Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV
    2017: each channel is weighted by the mean gradient of the class' score (before softmax) with respect to it, and of
    their sum what is negative is cut off. feature_map: float32 (n, h, w, channels), the backbone's answer; head: pooled
    features → probabilities, its last layer Dense with softmax; wanted: int (n,), the class to explain for each photo.
    Returns maps, float32 (n, h, w), not negative and not scaled, and probabilities, float32 (n, classes). Raises
    ValueError for a head with another last layer.
    """
    scores_of = _before_softmax(head)
    seen = tf.convert_to_tensor(feature_map)
    with tf.GradientTape() as tape:
        tape.watch(seen)
        scores = scores_of(tf.reduce_mean(seen, axis=(1, 2)))
        explained = tf.gather(scores, np.asarray(wanted), batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(explained, seen), axis=(1, 2), keepdims=True)
    maps = tf.nn.relu(tf.reduce_sum(weights * seen, axis=-1))
    return maps.numpy(), tf.nn.softmax(scores).numpy()


def _before_softmax(head: keras.Model):
    last = head.layers[-1]
    if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.softmax:
        raise ValueError(f"The last layer of {head.name} has to be Dense with softmax to be looked into.")
    until = keras.Model(head.inputs, last.input)

    def scores_of(features: tf.Tensor) -> tf.Tensor:
        scores = tf.matmul(until(features, training=False), last.kernel)
        return scores + last.bias if last.use_bias else scores

    return scores_of


def look(
    test: pd.DataFrame, backbone: Backbone, head: keras.Model, classes: list[str], seed: int, most: int = MOST
) -> Attention:
    """Grad-CAM for test photos: a picture for the surest right and wrong ones, a number for up to `most` of them.

    test: columns path (prepared photo), original, label, predicted, probability, correct; the class explained is the
    predicted one. Only the share in the frame outside the middle BLANK of each side is kept of most maps. Raises
    ValueError if backbone and head do not give the probabilities in the table.
    """
    size = backbone.image_size
    edge = round(size * (1 - BLANK) / 2)
    frame = np.pad(np.zeros((size - 2 * edge,) * 2, np.float32), edge, constant_values=1)
    surest = test.sort_values("probability", ascending=False, kind="stable")
    right, wrong = surest[surest["correct"]].head(SHOWN), surest[~surest["correct"]].head(SHOWN)
    shown = right.index.union(wrong.index)
    table = test if len(test) <= most else test.sample(most, random_state=seed).sort_index()
    rows = test[test.index.isin(table.index.union(shown))]
    pixels = keras.Input((size, size, 3))
    eyes = keras.Model(pixels, backbone.network(backbone.preprocess(pixels), training=False))
    borders, squares, maps = [], {}, {}
    with progress("Grad-CAM", len(rows)) as bar:
        for start in range(0, len(rows), BATCH):
            some = rows.iloc[start : start + BATCH]
            seen = np.stack([read_square(path, size) for path in some["path"]])
            wanted = some["predicted"].map(classes.index).to_numpy()
            found, probabilities = grad_cam(eyes.predict_on_batch(seen.astype(np.float32)), head, wanted)
            _check(some, probabilities[np.arange(len(some)), wanted])
            found = tf.image.resize(found[..., None], (size, size)).numpy()[..., 0]
            borders += [float((m * frame).sum() / m.sum()) if m.max() > 0 else np.nan for m in found]
            squares |= {row: square for row, square in zip(some.index, seen, strict=True) if row in shown}
            maps |= {row: _scaled(m) for row, m in zip(some.index, found, strict=True) if row in shown}
            bar.update(len(some))
    columns = ["path", "original", "label", "predicted", "probability", "correct"]
    everything = rows[columns].assign(border=borders)
    right, wrong = everything.loc[right.index], everything.loc[wrong.index]
    table = everything[everything.index.isin(table.index)]
    return Attention(table, right, wrong, squares, maps, float(frame.mean()), edge, size, len(test))


def _check(rows: pd.DataFrame, probability: np.ndarray) -> None:
    off = np.abs(rows["probability"].to_numpy() - probability)
    if off.mean() > SAME:
        worst = rows["original"].iloc[int(off.argmax())]
        raise ValueError(
            f"{worst}: this backbone and head give the predicted class another probability than the table has. "
            "Run the notebook from the features on again."
        )


def _scaled(one: np.ndarray) -> np.ndarray:
    return one / one.max() if one.max() > 0 else one
